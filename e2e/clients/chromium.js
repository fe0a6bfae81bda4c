/**
 * Somebody with Chromium. CARDEA_CHROMIUM names the program; without it the usual
 * names are tried.
 */
import { execFileSync } from 'node:child_process'
import { chromium } from 'playwright-core'
import { codeOf, linkOf, messages, nextMessage } from './cardea.js'

function program() {
  if (process.env.CARDEA_CHROMIUM) return process.env.CARDEA_CHROMIUM
  for (const name of ['chromium', 'chromium-browser', 'google-chrome']) {
    try {
      return execFileSync('which', [name], { encoding: 'utf8' }).trim()
    } catch {
      // the next one
    }
  }
  throw new Error('Chromium is missing: set CARDEA_CHROMIUM to the program')
}

/** Starts the browser. Each test makes contexts in it, which share nothing. */
export function launch() {
  return chromium.launch({ executablePath: program(), chromiumSandbox: process.getuid?.() !== 0 })
}

/** Presses the button of the form that goes to a path. */
export function press(page, path, name = 'button:not([hidden])') {
  return page.locator(`form[action^="${path}"] ${name}`).last().click()
}

/** Signs in on the page that asks who is there, by "code", "link" or "password". */
export async function signIn(page, who, how) {
  const had = (await messages(who.email)).length
  await page.fill('input[name=identifier]', who.email)
  await page.press('input[name=identifier]', 'Enter')
  switch (how) {
    case 'code':
      await page.waitForSelector('input[name=code]')
      await page.fill('input[name=code]', codeOf(await nextMessage(who.email, had)))
      await page.press('input[name=code]', 'Enter').catch(() => {}) // six digits may have sent themselves
      return
    case 'link': {
      await page.waitForSelector('input[name=code]')
      await page.goto(linkOf(await nextMessage(who.email, had), '/signin/link'))
      await page.click('form[action="/signin/link"] button')
      return
    }
    case 'password':
      await page.waitForSelector('input[name=code], input[name=password]')
      if (await page.locator('input[name=password]').count() === 0) await page.click('a[href^="/signin/password"]')
      await page.fill('input[name=password]', who.password)
      await page.press('input[name=password]', 'Enter')
  }
}
