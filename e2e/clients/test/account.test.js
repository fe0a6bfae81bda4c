/**
 * A life of an account, as its owner has it: from signing up to coming back by a backup
 * code, each step in Chromium, and what the log tells of it.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { generate } from 'otplib'
import { api, codeOf, issuer, nextMessage } from '../cardea.js'
import { launch } from '../chromium.js'
import { enterCode, signIn } from '../person.js'

describe('an account', () => {
  let browser
  before(async () => { browser = await launch() })
  after(() => browser.close())

  test('passkey, authenticator app, loss and backup code, and the log has it all', async () => {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 } })
    const page = await context.newPage()
    page.setDefaultTimeout(60_000)
    const at = (path) => page.waitForURL((url) => url.pathname === path)
    const cdp = await context.newCDPSession(page)
    await cdp.send('WebAuthn.enable')
    const { authenticatorId } = await cdp.send('WebAuthn.addVirtualAuthenticator', {
      options: { protocol: 'ctap2', ctap2Version: 'ctap2_1', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
    })
    async function signOut() {
      await page.goto(issuer + '/signout')
      await page.click('form[action^="/signout"] button')
      await page.waitForLoadState('networkidle')
    }

    const email = `whole.life.${process.pid}@example.com`
    await page.goto(issuer + '/signup')
    await page.fill('input[name=identifier]', email)
    await page.press('input[name=identifier]', 'Enter')
    await page.waitForSelector('input[name=code]')
    await enterCode(page, codeOf(await nextMessage(email)))
    await at('/account')

    await page.goto(issuer + '/account/passkeys')
    await page.click('form[data-passkey=create] button')
    await page.waitForSelector('.rows li')
    await signOut()
    await page.goto(issuer + '/signin') // nothing is clicked: the browser offers, and somebody takes it
    await at('/account')

    await page.goto(issuer + '/account/security')
    await page.click('form[action="/account/security/apps"] button')
    await at('/account/security/app')
    const secret = new URL(await page.getAttribute('a[href^="otpauth:"]', 'href')).searchParams.get('secret')
    await enterCode(page, await generate({ secret, epoch: Math.floor(Date.now() / 1000) }))
    await page.waitForSelector('text=Your backup codes')
    const codes = (await page.textContent('main')).match(/[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{5}/g)
    assert.equal(codes.length, 10)

    await signOut() // and the phone is gone, with the passkey and the app
    for (const key of (await cdp.send('WebAuthn.getCredentials', { authenticatorId })).credentials) {
      await cdp.send('WebAuthn.removeCredential', { authenticatorId, credentialId: key.credentialId })
    }
    await pause(31_000) // between two messages to one address
    await page.goto(issuer + '/account')
    await signIn(page, { email }, 'code')
    await page.click('a[href*="way=backup_code"]')
    await enterCode(page, codes[0])
    await page.waitForURL((url) => ['/account', '/signin/passkey/offer'].includes(url.pathname))
    await page.goto(issuer + '/account/security')
    assert.match(await page.textContent('main'), /9 of 10 are left/)
    await context.close()

    const [user] = await api('GET', '/users?email=' + encodeURIComponent(email))
    const steps = ['user.created', 'passkey.added', 'passkey.used', 'mfa.enrolled', 'backup_codes.used']
    const told = (events) => events.map((event) => event.action).filter((action) => steps.includes(action)).reverse()
    let events = []
    for (const end = Date.now() + 15_000; Date.now() < end && told(events).length < steps.length; await pause(250)) {
      events = await api('GET', '/logs?limit=200&target_id=' + user._id) // newest first
    }
    assert.deepEqual(told(events), steps)
    const ways = events.filter((event) => event.action === 'signin.succeeded').map((event) => `${event.method} ${event.detail.second_factor}`.trim()).reverse()
    assert.deepEqual(ways, ['email_code', 'passkey', 'email_code backup_code'])
    assert.ok(!JSON.stringify(events).includes(secret) && !codes.some((code) => JSON.stringify(events).includes(code)), 'no secret is in the log')
  })
})
