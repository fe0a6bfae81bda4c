/**
 * LemonLDAP::NG, a SAML provider on the library Lasso, at a site of its own: it encrypts
 * assertions, wants requests signed, and takes them by both bindings.
 */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { after, before, describe, test } from 'node:test'
import { api, issuer } from '../cardea.js'
import { launch } from '../chromium.js'

const provider = process.env.CARDEA_LEMONLDAP_URL
const all = `/organizations/${process.env.CARDEA_ORGANIZATION}/connections/`
const address = all + process.env.CARDEA_CONNECTION
const ofNames = all + process.env.CARDEA_CONNECTION_OF_NAMES

describe('people of an organization with LemonLDAP::NG', () => {
  let browser, idp, settings
  before(async () => {
    browser = await launch()
    const roles = await api('GET', '/roles')
    const role = (roles.roles ?? roles).find(({ name }) => name === 'Developer')
    settings = {
      require_encrypted: true,
      attributes: { email: 'mail', first_name: 'givenName', last_name: 'sn' },
      group_attribute: 'groups',
      group_rules: [{ group: 'engineers', role_id: role.id ?? role._id }],
    }
    const { settings: made } = await api('PUT', address, { settings, metadata: await readFile(process.env.CARDEA_LEMONLDAP_METADATA, 'utf8'), state: 'active' })
    idp = made.idp
    assert.ok(idp.sso_redirect && idp.sso_post && idp.slo_redirect && idp.slo_post && idp.want_signed, 'its metadata are read: ' + JSON.stringify(idp))
  })
  after(() => browser.close())

  /** Changes settings of the connection, until the next change. */
  async function set(change, itsOwn = idp) {
    const { settings } = await api('GET', address)
    await api('PUT', address, { settings: { ...settings, ...change, idp: itsOwn } })
  }

  async function open(work, connection = address) {
    const context = await browser.newContext()
    try {
      const page = await context.newPage()
      page.setDefaultTimeout(60_000)
      return await work(page)
    } catch (error) {
      const page = context.pages()[0]
      const { traces } = await api('GET', connection + '/traces')
      error.message += `\nat ${page.url()}\n${await page.innerText('body')}\n${JSON.stringify(traces[0], null, 1)}`
      throw error
    } finally {
      await context.close()
    }
  }

  /** Signs in at the provider, on whose page the browser is. */
  async function signInThere(page, name) {
    await page.waitForURL(provider + '/**')
    await page.fill('input[name=user]', name)
    await page.fill('input[name=password]', name)
    await page.press('input[name=password]', 'Enter')
  }

  const isHere = (path) => (url) => url.origin === issuer && url.pathname.startsWith(path)

  async function signIn(page, name) {
    await page.goto(issuer + '/account')
    await page.fill('input[name=identifier]', name + '@acme.test')
    await page.press('input[name=identifier]', 'Enter')
    await signInThere(page, name)
    await page.waitForURL(isHere('/account'))
  }

  /** Whether the browser has a session here. */
  async function isSignedIn(page) {
    await page.goto(issuer + '/account')
    return isHere('/account')(new URL(page.url()))
  }

  test('sign in, sent there by a redirect, by an encrypted assertion', () => open(async (page) => {
    await signIn(page, 'rtyler')
    const [rose] = await api('GET', '/users?email=rtyler@acme.test')
    assert.deepEqual([rose.first_name, rose.last_name, rose.email_verified], ['Rose', 'Tyler', true])
    const { organizations } = await api('GET', `/users/${rose._id}/organizations`)
    assert.deepEqual(organizations.map(({ Name, roles }) => [Name, roles.map(({ role_name }) => role_name)]), [['Acme', ['Developer']]])
  }))

  test('sign in, sent there by a form, and are the same', async () => {
    const [before] = await api('GET', '/users?email=rtyler@acme.test')
    const { sso_redirect: _, ...byForm } = idp
    await set({}, byForm)
    await open((page) => signIn(page, 'rtyler'))
    await set({})
    const all = await api('GET', '/users?email=rtyler@acme.test')
    assert.deepEqual(all.map(({ _id }) => _id), [before._id])
  })

  test('begin there only where the connection lets them, and are asked', () => open(async (page) => {
    const begin = provider + '/saml/singleSignOn?IDPInitiated=1&spConfKey=assertion'
    await page.goto(begin)
    await signInThere(page, 'dwho')
    await page.waitForURL((url) => url.origin === issuer)
    assert.equal(await isSignedIn(page), false)
    await set({ allow_unsolicited: true })
    await page.goto(begin)
    await page.waitForURL(isHere('/signin/sso'))
    await page.click('main .button.primary')
    await page.waitForURL(isHere('/account'))
  }))

  test('sign in by an encrypted name', async () => {
    await api('PUT', address, { state: 'disabled' })
    await api('PUT', ofNames, { settings: { ...settings, require_encrypted: false }, metadata: await readFile(process.env.CARDEA_LEMONLDAP_METADATA, 'utf8'), state: 'active' })
    await open((page) => signIn(page, 'msmith'), ofNames)
    await api('PUT', ofNames, { state: 'disabled' })
    await api('PUT', address, { state: 'active' })
  })

  for (const [how, itsOwn] of [['a redirect', (idp) => ({ ...idp, slo_post: undefined, slo_post_answer: undefined })], ['a form', (idp) => ({ ...idp, slo_redirect: undefined, slo_redirect_answer: undefined })]]) {
    test('sign out here, and are signed out there, by ' + how, () => open(async (page) => {
      await set({}, itsOwn(idp))
      await signIn(page, 'rtyler')
      await page.goto(issuer + '/signout')
      await page.click('main button[value=one]')
      await page.waitForURL(isHere('/signout'))
      assert.match(await page.textContent('main'), /You are signed out/)
      const { traces } = await api('GET', address + '/traces')
      assert.deepEqual([traces[0].outcome, traces[0].steps.at(-1).name], ['ok', 'logout.status'])
      await page.goto(provider)
      assert.ok(await page.isVisible('input[name=password]'), 'the session there is over')
      await set({})
    }))
  }

  test('sign out there, and are signed out here', () => open(async (page) => {
    await signIn(page, 'msmith')
    await page.goto(provider + '/?logout=1')
    await page.waitForLoadState('networkidle')
    assert.equal(await isSignedIn(page), false)
  }))
})
