/**
 * Somebody with several addresses: adds one, makes it the primary one, signs in with
 * either, and takes one off. In Chromium, with scripts and without.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { api, codeOf, createUser, issuer, nextMessage } from '../cardea.js'
import { launch } from '../chromium.js'
import { signIn } from '../person.js'

describe('addresses', () => {
  let browser
  before(async () => { browser = await launch() })
  after(() => browser.close())

  const at = (page, path) => page.waitForURL((url) => url.pathname === path)
  const further = '/account/email/further'
  const addressesOf = async (who) => (await api('GET', `/users/${who.id}/addresses`)).map((a) => a.value)

  for (const javaScriptEnabled of [true, false]) {
    const how = javaScriptEnabled ? 'with scripts' : 'without scripts'
    test(`a second address is added, used, made the primary one and removed, ${how}`, async () => {
      const window = async () => {
        const context = await browser.newContext({ javaScriptEnabled, viewport: { width: 1280, height: 900 } })
        const page = await context.newPage()
        page.setDefaultTimeout(30_000)
        return page
      }
      const page = await window()
      const who = await createUser()
      const second = who.email.replace('person', `second.${javaScriptEnabled}`)
      await page.goto(issuer + '/account')
      await signIn(page, who, 'code')
      await at(page, '/account')

      await page.click(`a[href="${further}"]`)
      await at(page, further)
      await page.fill('input[name=address]', second.toUpperCase())
      await page.press('input[name=address]', 'Enter')
      const field = await page.waitForSelector('input[name=code]')
      assert.deepEqual(await addressesOf(who), [], 'nothing is kept before it is proved')
      await field.fill(codeOf(await nextMessage(second)))
      if (!javaScriptEnabled) await field.press('Enter')
      await at(page, '/account')
      await page.waitForSelector(`text=${second}`)
      assert.deepEqual(await addressesOf(who), [second])

      await pause(31_000) // between two messages to one address
      const other = await window()
      await other.goto(issuer + '/account')
      await signIn(other, { email: second }, 'code')
      await at(other, '/account')
      await other.waitForSelector(`text=${who.email}`)
      await other.context().close()

      await page.click(`form[action="${further}/primary"] button`)
      await page.waitForURL((url) => url.searchParams.get('notice') === 'email_changed')
      assert.equal((await api('GET', `/users/${who.id}`)).email, second)
      assert.deepEqual(await addressesOf(who), [who.email])
      assert.equal(await page.locator('form[action="/account/email/remove"]').count(), 0, 'the primary one stays while there are others')

      await page.click('li:has(form[action="' + further + '/remove"]) summary')
      await page.click(`form[action="${further}/remove"] button`)
      await page.waitForURL((url) => url.searchParams.get('notice') === 'further_email_removed')
      assert.deepEqual(await addressesOf(who), [])
      assert.equal(await page.locator(`text=${who.email}`).count(), 0)
      await page.context().close()
    })
  }
})
