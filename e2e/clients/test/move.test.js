/**
 * A tenant that moves from one domain of its own to another, and people whose passkeys are
 * for the old one: Chromium asks it which addresses may use them (related origins).
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { launch } from '../chromium.js'
import { enterCode } from '../person.js'

const old = 'https://id.old.example'
const current = 'https://login.new.example'
const stranger = 'https://evil.example'

describe('a tenant with two domains', () => {
  let browser, page, cdp, authenticatorId
  before(async () => {
    const to = process.env.CARDEA_TLS_ADDRESS
    const rules = [old, current, stranger].map((origin) => `MAP ${new URL(origin).hostname}:443 ${to}`).join(', ')
    browser = await launch([`--host-resolver-rules=${rules}`, '--ignore-certificate-errors'])
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 } })
    page = await context.newPage()
    page.setDefaultTimeout(60_000)
    cdp = await context.newCDPSession(page)
    await cdp.send('WebAuthn.enable')
    ;({ authenticatorId } = await cdp.send('WebAuthn.addVirtualAuthenticator', {
      options: { protocol: 'ctap2', ctap2Version: 'ctap2_1', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
    }))
  })
  after(() => browser.close())

  const keys = async () => (await cdp.send('WebAuthn.getCredentials', { authenticatorId })).credentials
  const at = (address) => page.waitForURL((url) => url.origin + url.pathname === address)

  async function code(to) {
    const mail = await page.context().newPage()
    await mail.goto(`${old}/dev/mailbox`)
    for (const end = Date.now() + 20_000; Date.now() < end; await pause(100)) {
      const [letter] = await mail.evaluate(async (to) => (await fetch(`/dev/mailbox?to=${encodeURIComponent(to)}`, { headers: { accept: 'application/json' } })).json(), to)
      const found = letter && /(?<!\d)(\d{3})\s?(\d{3})(?!\d)/.exec(letter.text)
      if (found) return mail.close().then(() => found[1] + found[2])
    }
    throw new Error('no code came in time')
  }

  async function signOut(origin) {
    await page.goto(origin + '/signout')
    await page.click('form[action^="/signout"] button')
    await page.waitForLoadState('networkidle')
  }

  const who = `mover.${process.pid}@example.com`

  test('a passkey is made at the first', async () => {
    await page.goto(old + '/signup')
    await page.fill('input[name=identifier]', who)
    await page.press('input[name=identifier]', 'Enter')
    await page.waitForSelector('input[name=code]')
    await enterCode(page, await code(who))
    await at(old + '/account')
    await page.goto(old + '/account/passkeys')
    await page.click('form[data-passkey=create] button')
    await page.waitForSelector('.rows li')
    assert.deepEqual((await keys()).map((key) => key.rpId), ['id.old.example'])
    await signOut(old)
  })

  test('it signs in at the second, which the first names to browsers', async () => {
    const moved = await fetch(process.env.CARDEA_MOVE_URL, { method: 'POST' })
    assert.ok(moved.ok)
    await page.goto(old + '/.well-known/webauthn')
    assert.ok(JSON.parse(await page.textContent('body')).origins.includes(current))
    await page.goto(current + '/signin')
    const button = page.locator('form[data-passkey=get] button')
    await Promise.all([at(current + '/account'), button.click({ timeout: 5_000 }).catch(() => {})]) // the offer may have been faster
    assert.ok((await page.textContent('main')).includes(who))
  })

  test('one made at the second is for the first too', async () => {
    const [first] = await keys()
    await cdp.send('WebAuthn.removeCredential', { authenticatorId, credentialId: first.credentialId }) // a device makes one for an account
    await page.goto(current + '/account/passkeys')
    await page.click('form[data-passkey=create] button')
    await page.waitForSelector('.rows li:nth-child(2)')
    assert.deepEqual((await keys()).map((key) => key.rpId), ['id.old.example'])
    await signOut(current)
    await page.goto(current + '/signin')
    await at(current + '/account')
  })

  test('an address that is not named gets none', async () => {
    const fault = await (async () => {
      await page.route(stranger + '/', (route) => route.fulfill({ contentType: 'text/html', body: '<title>Stranger</title>' }))
      await page.goto(stranger + '/')
      return page.evaluate(() => navigator.credentials.get({ publicKey: { challenge: new Uint8Array(32), rpId: 'id.old.example', allowCredentials: [] } }).then(() => 'given', (fault) => fault.name))
    })()
    assert.equal(fault, 'SecurityError')
  })
})
