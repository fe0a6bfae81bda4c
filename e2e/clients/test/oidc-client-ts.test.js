/** A single-page application with oidc-client-ts, in Chromium. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { start } from '../apps/single-page.js'
import { createUser, owner } from '../cardea.js'
import { launch } from '../chromium.js'
import { signIn } from '../person.js'

describe('oidc-client-ts', { concurrency: true }, () => {
  let browser
  before(async () => { browser = await launch() })
  after(() => browser.close())

  const cases = [
    { how: 'link', frame: false },
    { how: 'code', frame: true },
    { how: 'password', frame: false },
  ]
  for (const { how, frame } of cases) {
    test(`signs in by ${how}, renews ${frame ? 'in a hidden frame' : 'with a refresh token'}, signs out`, async () => {
      const app = await start({ frame })
      const context = await browser.newContext()
      try {
        const page = await context.newPage()
        page.setDefaultTimeout(30_000)
        const faults = []
        page.on('pageerror', (fault) => faults.push(fault.message))
        const who = how === 'password' ? owner : await createUser()
        const token = () => page.locator('#token').textContent()
        const hello = (text) => page.waitForFunction((text) => document.querySelector('#who')?.textContent === text, text)

        await page.goto(app.url)
        await page.click('#in')
        await page.waitForURL('**/signin?**')
        await signIn(page, who, how)
        await hello(`Hello ${who.email}`)

        const first = await token()
        await page.click('#renew')
        await page.waitForFunction((first) => document.querySelector('#fault').textContent || document.querySelector('#token').textContent !== first, first)
        assert.equal(await page.locator('#fault').textContent(), '')
        assert.ok(await token(), 'a renewed token')

        await page.reload()
        await hello(`Hello ${who.email}`)
        await page.click('#out')
        await page.waitForURL(app.url + '/')
        await hello('Hello stranger')
        await page.click('#in')
        await page.waitForURL('**/signin?**')
        assert.deepEqual(faults, [])
      } finally {
        await context.close()
        await app.close()
      }
    })
  }
})
