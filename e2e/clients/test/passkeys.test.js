/** People with passkeys in front of Chromium, whose authenticator is a virtual one. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { codeOf, createUser, issuer, nextMessage } from '../cardea.js'
import { launch } from '../chromium.js'
import { enterCode, signIn } from '../person.js'

describe('passkeys', () => {
  let browser
  before(async () => { browser = await launch() })
  after(() => browser.close())
  let people = 0

  /** Gives a test a window with an authenticator that knows its user, unless told otherwise. */
  const open = (name, work, device = {}) => test(name, async () => {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 } })
    const page = await context.newPage()
    page.setDefaultTimeout(30_000)
    const faults = []
    page.on('pageerror', (fault) => faults.push(fault.message))
    page.on('console', (line) => line.type() === 'error' && !/favicon|status of 4\d\d/.test(line.location().url + line.text()) && faults.push(line.text()))
    const cdp = await context.newCDPSession(page)
    await cdp.send('WebAuthn.enable')
    const { authenticatorId } = await cdp.send('WebAuthn.addVirtualAuthenticator', {
      options: { protocol: 'ctap2', ctap2Version: 'ctap2_1', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true, defaultBackupEligibility: true, defaultBackupState: true, ...device },
    })
    const phone = {
      /** The user is there, or is not. */
      present: (enabled) => cdp.send('WebAuthn.setAutomaticPresenceSimulation', { authenticatorId, enabled }),
      /** The device knows the user, or does not. */
      verified: (isUserVerified) => cdp.send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified }),
      keys: async () => (await cdp.send('WebAuthn.getCredentials', { authenticatorId })).credentials,
      /** Puts other values into the one passkey. */
      async change(values) {
        const [key] = await phone.keys()
        await cdp.send('WebAuthn.removeCredential', { authenticatorId, credentialId: key.credentialId })
        await cdp.send('WebAuthn.addCredential', { authenticatorId, credential: { ...key, ...values } })
      },
    }
    try {
      await work(page, phone)
      assert.deepEqual(faults, [], 'neither scripts nor the policy complain')
    } finally {
      await context.close()
    }
  })

  const at = (page, path) => page.waitForURL((url) => url.pathname === path)
  const button = (page) => page.locator('form[data-passkey=get] button')

  /** Signs up somebody new, up to what comes after the code. */
  async function signUp(page) {
    const email = `pass.${process.pid}.${++people}@example.com`
    await page.goto(issuer + '/signup')
    await page.fill('input[name=identifier]', email)
    await page.press('input[name=identifier]', 'Enter')
    await page.waitForSelector('input[name=code]')
    await enterCode(page, codeOf(await nextMessage(email)))
    return email
  }

  async function signOut(page) {
    await page.goto(issuer + '/signout')
    await page.click('form[action^="/signout"] button')
    await page.waitForLoadState('networkidle')
  }

  /** Adds a passkey on the account's page. */
  async function add(page) {
    await page.goto(issuer + '/account/passkeys')
    await page.click('form[data-passkey=create] button')
    await page.waitForSelector('.rows li')
  }

  open('signs up, adds a passkey, signs out, signs in by autofill', async (page, phone) => {
    const email = await signUp(page)
    await at(page, '/account')
    await add(page)
    assert.equal((await phone.keys()).length, 1)
    assert.match(await page.textContent('main'), /On all your devices/)
    await signOut(page)
    await page.goto(issuer + '/signin') // nothing is clicked: the browser offers, and somebody takes it
    await at(page, '/account')
    assert.ok((await page.textContent('main')).includes(email))
    await page.goto(issuer + '/account/passkeys')
    assert.match(await page.textContent('.rows li'), /last used/)
  })

  open('signs in by the button', async (page, phone) => {
    await signUp(page)
    await at(page, '/account')
    await add(page)
    await signOut(page)
    await phone.present(false)
    await page.goto(issuer + '/signin')
    await button(page).waitFor()
    await phone.present(true)
    await Promise.all([at(page, '/account'), button(page).click().catch(() => {})]) // the offer may have been faster
  })

  open('is offered a passkey after signing in, and takes it', async (page, phone) => {
    const asked = page.waitForResponse((answer) => answer.url().endsWith('/signin/passkey/options'))
    await page.goto(issuer + '/signin')
    await asked
    await signIn(page, await createUser(), 'code')
    await at(page, '/signin/passkey/offer')
    await page.click('form[data-passkey=create] button')
    await at(page, '/account')
    assert.equal((await phone.keys()).length, 1)
  })

  open('has two passkeys, names and removes them', async (page, phone) => {
    await signUp(page)
    await at(page, '/account')
    await add(page)
    await page.click('form[data-passkey=create] button') // the same device makes no second one
    await page.waitForSelector('form[data-passkey=create] .error:not([hidden])')
    assert.match(await page.textContent('form[data-passkey=create] .error'), /registered already/)
    await page.click('summary:has-text("Rename")')
    await page.fill('input[name=name]', 'Old laptop')
    await page.press('input[name=name]', 'Enter')
    await page.waitForSelector('strong:has-text("Old laptop")')
    await page.click('summary:has-text("Remove")')
    await page.click('button:has-text("Yes, remove it")')
    await page.waitForSelector('text=no passkeys yet')
    const left = await phone.keys()
    assert.ok(left.length <= 1) // a browser that listens has dropped it too
  })

  /** The answer to a passkey that is not good. */
  const refusal = (page) => page.waitForResponse((answer) => new URL(answer.url()).pathname === '/signin/passkey' && answer.status() === 400)

  open('is refused without user verification', async (page, phone) => {
    await signUp(page)
    await at(page, '/account')
    await add(page)
    await signOut(page)
    await phone.verified(false)
    await page.goto(issuer + '/signin')
    await button(page).click()
    await page.waitForLoadState('networkidle')
    assert.equal(new URL(page.url()).pathname, '/signin')
  })

  open('is refused when the counter goes back', async (page, phone) => {
    await signUp(page)
    await at(page, '/account')
    await add(page)
    await phone.change({ signCount: 0 })
    await signOut(page)
    await Promise.all([refusal(page), page.goto(issuer + '/signin')])
  }, { defaultBackupEligibility: false, defaultBackupState: false })

  open('is refused when the backup eligibility changes', async (page, phone) => {
    await signUp(page)
    await at(page, '/account')
    await add(page)
    await phone.change({ backupEligibility: false, backupState: false, signCount: 50 })
    await signOut(page)
    await Promise.all([refusal(page), page.goto(issuer + '/signin')])
  })
})
