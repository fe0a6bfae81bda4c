/** People in front of Chromium, on the hosted pages as they are. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { codeOf, createUser, issuer, linkOf, nextMessage, owner } from '../cardea.js'
import { launch } from '../chromium.js'
import { signIn } from '../person.js'

describe('pages', { concurrency: 3 }, () => {
  let browser
  before(async () => { browser = await launch() })
  after(() => browser.close())

  /** Gives a test a browser window that nobody has used. */
  const open = (name, work, options) => test(name, async () => {
    const context = await browser.newContext(options)
    const page = await context.newPage()
    page.setDefaultTimeout(30_000)
    const faults = []
    page.on('pageerror', (fault) => faults.push(fault.message))
    page.on('console', (line) => line.type() === 'error' && !line.location().url.includes('favicon') && faults.push(line.text()))
    try {
      await work(page, context)
      assert.deepEqual(faults, [], 'neither scripts nor the policy complain')
    } finally {
      await context.close()
    }
  })
  const arrived = (page) => page.waitForURL((url) => url.pathname.startsWith('/account'))

  for (const how of ['link', 'code', 'password']) {
    open(`signs in by ${how}`, async (page) => {
      await page.goto(issuer + '/signin')
      await signIn(page, how === 'password' ? owner : await createUser(), how)
      await arrived(page)
    })
    open(`signs in by ${how} with scripts off`, async (page) => {
      await page.goto(issuer + '/signin')
      await signIn(page, how === 'password' ? owner : await createUser(), how)
      await arrived(page)
    }, { javaScriptEnabled: false })
  }

  open('signs in with the keyboard alone', async (page) => {
    const { email } = await createUser()
    await page.goto(issuer + '/signin')
    await page.keyboard.type(email) // the field has the focus
    await page.keyboard.press('Enter')
    await page.waitForSelector('input[name=code]')
    await page.keyboard.type(codeOf(await nextMessage(email)))
    await page.keyboard.press('Enter')
    await arrived(page)
  })

  open('signs in with a password and the keyboard alone', async (page) => {
    await page.goto(issuer + '/signin')
    await page.keyboard.type(owner.email)
    await page.keyboard.press('Enter')
    await page.waitForSelector('input[name=code], input[name=password]')
    if (await page.locator('input[name=password]').count() === 0) {
      await tabTo(page, 'a[href^="/signin/password"]')
      await page.keyboard.press('Enter')
      await page.waitForSelector('input[name=password]')
    }
    await page.keyboard.type(owner.password)
    await page.keyboard.press('Enter')
    await arrived(page)
  })

  /** Presses Tab until an element has the focus, which has to be seen. */
  async function tabTo(page, selector) {
    for (let i = 0; i < 25; i++) {
      await page.keyboard.press('Tab')
      const [isThere, isSeen] = await page.evaluate((selector) => {
        const at = document.activeElement
        const style = getComputedStyle(at)
        return [at.matches(selector), style.outlineStyle !== 'none' || style.boxShadow !== 'none']
      }, selector)
      if (!isThere) continue
      assert.ok(isSeen, 'the focus can be seen')
      return
    }
    assert.fail('Tab does not reach ' + selector)
  }

  open('a link that is opened elsewhere asks for the number, and the first window goes on', async (page) => {
    const { email } = await createUser()
    await page.goto(issuer + '/signin')
    await page.fill('input[name=identifier]', email)
    await page.press('input[name=identifier]', 'Enter')
    const number = await page.locator('.number .num').textContent()
    const elsewhere = await (await browser.newContext()).newPage()
    await elsewhere.goto(linkOf(await nextMessage(email), '/signin/link'))
    await elsewhere.fill('input[name=number]', number.trim())
    await elsewhere.click('form[action="/signin/link"] button')
    await arrived(page)
    await elsewhere.goto(issuer + '/account')
    assert.match(elsewhere.url(), /\/signin/, 'nobody is signed in where the link was opened')
    await elsewhere.context().close()
  })

  open('two tabs sign in at once', async (page, context) => {
    const who = await createUser()
    const other = await context.newPage()
    await page.goto(issuer + '/signin')
    await other.goto(issuer + '/signin')
    await signIn(page, who, 'code')
    await arrived(page)
    await signIn(other, owner, 'password')
    await arrived(other)
  })

  open('the back button after signing out shows nothing private', async (page) => {
    await page.goto(issuer + '/signin')
    await signIn(page, owner, 'password')
    await arrived(page)
    await page.goto(issuer + '/signout')
    await page.click('form[action="/signout"] button[value=one]')
    await page.waitForSelector('a[href^="/signin"]')
    await page.goBack()
    await page.goBack()
    assert.ok(!(await page.content()).includes(owner.email), 'the account is not shown again')
  })

  open('speaks Arabic from right to left, as the browser asks for', async (page) => {
    await page.goto(issuer + '/signin')
    assert.deepEqual(await page.evaluate(() => [document.documentElement.lang, document.documentElement.dir]), ['ar', 'rtl'])
  }, { locale: 'ar' })
})
