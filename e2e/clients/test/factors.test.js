/**
 * Somebody with an authenticator app that others wrote (otplib), and passkeys whose
 * ceremonies a server that others wrote (@simplewebauthn/server) judges beside ours.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { verifyAuthenticationResponse, verifyRegistrationResponse } from '@simplewebauthn/server'
import { generate } from 'otplib'
import { createUser, issuer } from '../cardea.js'
import { launch } from '../chromium.js'
import { enterCode, signIn } from '../person.js'

describe('factors', () => {
  let browser
  before(async () => { browser = await launch() })
  after(() => browser.close())

  const at = (page, path) => page.waitForURL((url) => url.pathname === path)

  async function window() {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 } })
    const page = await context.newPage()
    page.setDefaultTimeout(30_000)
    return page
  }

  async function signOut(page) {
    await page.goto(issuer + '/signout')
    await page.click('form[action^="/signout"] button')
    await page.waitForLoadState('networkidle')
  }

  test('an authenticator app is set up, used, lost, and made up for by a backup code', async () => {
    const page = await window()
    const who = await createUser()
    await page.goto(issuer + '/account/security')
    await signIn(page, who, 'code')
    await at(page, '/account/security')
    await page.click('form[action="/account/security/apps"] button')
    await at(page, '/account/security/app')
    const uri = new URL(await page.getAttribute('a[href^="otpauth:"]', 'href'))
    const secret = uri.searchParams.get('secret')
    let epoch = Math.floor(Date.now() / 1000)
    await enterCode(page, await generate({ secret, epoch }))
    await page.waitForSelector('text=Your backup codes')
    const codes = (await page.textContent('main')).match(/[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{5}/g)
    assert.equal(codes.length, 10)

    await signOut(page)
    await pause(31_000) // between two messages to one address
    await page.goto(issuer + '/account')
    await signIn(page, who, 'code')
    await page.waitForSelector('form[action="/signin/second"] input[name=code]')
    await enterCode(page, await generate({ secret, epoch })) // used already
    await page.waitForSelector('[aria-invalid=true]')
    epoch = Math.floor(Date.now() / 1000) + 30 // clocks may differ by a step
    await enterCode(page, await generate({ secret, epoch }))
    await at(page, '/account')

    await signOut(page) // and the phone is gone
    await pause(31_000) // between two messages to one address
    await page.goto(issuer + '/account')
    await signIn(page, who, 'code')
    await page.waitForSelector('form[action="/signin/second"] input[name=code]')
    await page.goto(page.url().replace('/signin?', '/signin/second?') + '&way=backup_code')
    await enterCode(page, codes[0])
    await at(page, '/account')
    await page.goto(issuer + '/account/security')
    assert.match(await page.textContent('main'), /9 of 10 are left/)
    await page.context().close()
  })

  test('another server takes what ours takes: making a passkey and signing in with it', async () => {
    const page = await window()
    const cdp = await page.context().newCDPSession(page)
    await cdp.send('WebAuthn.enable')
    await cdp.send('WebAuthn.addVirtualAuthenticator', {
      options: { protocol: 'ctap2', ctap2Version: 'ctap2_1', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
    })
    const asked = []
    const given = []
    await page.route('**/options', async (route) => {
      const response = await route.fetch()
      if (response.ok()) asked.push(await response.json())
      await route.fulfill({ response })
    })
    page.on('request', (request) => {
      const credential = request.method() === 'POST' && new URLSearchParams(request.postData() ?? '').get('credential')
      if (credential) given.push(JSON.parse(credential))
    })
    const expected = { expectedOrigin: new URL(issuer).origin, expectedRPID: new URL(issuer).hostname, requireUserVerification: true }
    /** The challenge that an answer is to, among those that were asked. */
    const challengeOf = (answer) => {
      const { challenge } = JSON.parse(Buffer.from(answer.response.clientDataJSON, 'base64url').toString())
      const all = asked.map((options) => options.publicKey.challenge)
      assert.ok(all.includes(challenge), 'it answers what was asked')
      return challenge
    }

    const who = await createUser()
    await page.goto(issuer + '/account/passkeys')
    await signIn(page, who, 'code')
    await page.waitForURL(/\/account\/passkeys|\/signin\/passkey\/offer/)
    await page.click('form[data-passkey=create] button')
    await at(page, '/account/passkeys')
    await page.waitForLoadState('networkidle')
    const made = given.find((answer) => answer.response.attestationObject)
    const registration = await verifyRegistrationResponse({ ...expected, response: made, expectedChallenge: challengeOf(made) })
    assert.ok(registration.verified)
    const { credential, userVerified, fmt } = registration.registrationInfo
    assert.equal(userVerified, true)
    assert.equal(fmt, 'none')

    await signOut(page)
    await page.goto(issuer + '/account')
    await at(page, '/account') // the browser offers it, and somebody takes it
    const used = given.findLast((answer) => answer.response.signature)
    const signedIn = await verifyAuthenticationResponse({ ...expected, response: used, expectedChallenge: challengeOf(used), credential })
    assert.ok(signedIn.verified)
    assert.ok(signedIn.authenticationInfo.userVerified)
    for (const wrong of [{ expectedOrigin: 'https://evil.example' }, { expectedRPID: 'evil.example' }]) {
      await assert.rejects(async () => verifyAuthenticationResponse({ ...expected, response: used, expectedChallenge: challengeOf(used), credential, ...wrong }))
    }
    await page.unrouteAll({ behavior: 'ignoreErrors' }) // the last page asks for options by itself
    await page.context().close()
  })
})
