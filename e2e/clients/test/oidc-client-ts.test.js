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

  /** Starts the application and opens it in a browser of its own. */
  async function open(options, work) {
    const app = await start(options)
    const context = await browser.newContext()
    try {
      const page = await context.newPage()
      page.setDefaultTimeout(30_000)
      const faults = []
      page.on('pageerror', (fault) => faults.push(fault.message))
      await page.goto(app.url)
      await work(page, app)
      assert.deepEqual(faults, [])
    } finally {
      await context.close()
      await app.close()
    }
  }

  async function enter(page, who, how) {
    await page.click('#in')
    await page.waitForURL('**/signin?**')
    await signIn(page, who, how)
    await greeted(page, `Hello ${who.email}`)
  }

  const greeted = (page, text) => page.waitForFunction((text) => document.querySelector('#who')?.textContent === text, text)

  /** Has the page renew its tokens, and returns what went wrong, or "". */
  async function renew(page) {
    const before = await page.locator('#token').textContent()
    await page.click('#renew')
    await page.waitForFunction((before) => document.querySelector('#fault').textContent || document.querySelector('#token').textContent !== before, before)
    return page.locator('#fault').textContent()
  }

  for (const [how, frame] of [['link', false], ['code', true], ['password', false]]) {
    test(`signs in by ${how}, renews ${frame ? 'in a hidden frame' : 'with a refresh token'}, signs out`, () => open({ frame }, async (page, app) => {
      const who = how === 'password' ? owner : await createUser()
      await enter(page, who, how)
      assert.equal(await renew(page), '')
      assert.ok(await page.locator('#token').textContent())
      await page.reload()
      await greeted(page, `Hello ${who.email}`)

      await page.click('#out')
      await page.waitForURL(app.url + '/')
      await greeted(page, 'Hello stranger')
      await page.click('#in')
      await page.waitForURL('**/signin?**')
    }))
  }

  test('a page of another site learns nothing in a hidden frame, and renews with a refresh token', async () => {
    await open({ frame: true, elsewhere: true }, async (page) => {
      await enter(page, await createUser(), 'code')
      assert.match(await renew(page), /login_required|sign in/i)
    })
    await open({ elsewhere: true }, async (page) => {
      await enter(page, await createUser(), 'code')
      assert.equal(await renew(page), '')
    })
  })
})
