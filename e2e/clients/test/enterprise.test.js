/**
 * The administrator of a customer, with nothing but a link: they connect their identity
 * provider (SimpleSAMLphp) and their directory, and their people sign in.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { listen } from '../apps/listen.js'
import { api, bootstrap, createApplication, issuer } from '../cardea.js'
import { launch } from '../chromium.js'

const provider = { url: process.env.CARDEA_SIMPLESAML_URL, partners: process.env.CARDEA_SIMPLESAML_PARTNERS }
const pictures = process.env.CARDEA_PICTURES

describe('an administrator with a link', () => {
  let browser
  before(async () => { browser = await launch() })
  after(() => browser.close())

  let taken = 0
  /** Takes a picture of a step, if somebody wants to see them. */
  async function picture(page, name) {
    if (!pictures) return
    await mkdir(pictures, { recursive: true })
    for (const width of [1280, 360]) {
      await page.setViewportSize({ width, height: 900 })
      await page.screenshot({ path: `${pictures}/${String(++taken).padStart(2, '0')}-${name}-${width}.png`, fullPage: true })
    }
    await page.setViewportSize({ width: 1280, height: 900 })
  }

  async function open(work) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 } })
    try {
      const page = await context.newPage()
      page.setDefaultTimeout(30_000)
      return await work(page)
    } finally {
      await context.close()
    }
  }

  /** What a page gives to copy. */
  const copies = (page) => page.locator('.copy > span').allTextContents()
  const primary = (page) => page.locator('main .button.primary').first()

  /** Signs in at SimpleSAMLphp, on whose page the browser is. */
  async function signInThere(page, name) {
    await page.waitForURL(provider.url + '/**')
    await page.fill('input[name=username]', name)
    await page.fill('input[name=password]', name + 'pass')
    await page.press('input[name=password]', 'Enter')
  }

  let organization, link
  before(async () => {
    const all = await api('GET', '/organizations')
    organization = all.find(({ name }) => name === 'Acme')
    assert.ok(organization, 'the developer mode has an organization to try it with')
    for (const { id } of await api('GET', `/organizations/${organization.id}/connections`)) {
      await api('PUT', `/organizations/${organization.id}/connections/${id}`, { state: 'disabled' })
    }
    link = (await api('GET', `/tenants/${organization.id}/portal/generate_link?intents=sso,directory,domains,certificates,log`)).sso_portal_url
  })

  test('connects SimpleSAMLphp, tests it and switches it on', () => open(async (page) => {
    await page.goto(link)
    await picture(page, 'home')
    await page.click('a[href$="/connections"]')
    await page.locator('fieldset').first().locator('input[name=provider]').last().check()
    await picture(page, 'provider')
    await primary(page).click()
    await page.waitForSelector('.todo')
    await picture(page, 'create')
    const values = await copies(page)
    const acs = values.find((value) => value.endsWith('/acs'))
    const entity = values.find((value) => value.endsWith('/metadata'))
    assert.ok(acs && entity, 'the page says what to copy: ' + values)

    await writeFile(provider.partners, `<?php $metadata['${entity}'] = ['AssertionConsumerService' => '${acs}'];`)
    await primary(page).click()
    await page.fill('textarea[name=metadata]', await (await fetch(provider.url + '/saml2/idp/metadata.php')).text())
    await picture(page, 'send')
    await primary(page).click()
    await page.waitForSelector('input[name=attribute_email]')
    // A first try, with a mistake that people make: no attribute has that name.
    for (const [name, value] of [['attribute_email', 'emailaddress'], ['attribute_first_name', 'givenName'], ['attribute_last_name', 'sn'], ['group_attribute', 'groups'], ['group_0', 'engineers']]) {
      await page.fill(`input[name=${name}]`, value)
    }
    await page.selectOption('select[name=role_0]', { label: 'Developer' })
    await picture(page, 'map')
    await primary(page).click()
    await page.waitForSelector('text=Test the connection')
    const setup = page.url()
    await primary(page).click()
    await signInThere(page, 'ann')
    await page.waitForURL((url) => url.origin === issuer && !url.pathname.startsWith('/saml/'))
    await picture(page, 'test-failed')
    assert.match(await page.textContent('[role=alert]'), /e-mail/i, 'one cause in plain words')

    await page.goto(setup)
    await page.locator('ol.wizard a').nth(2).click()
    await page.fill('input[name=attribute_email]', 'mail')
    await primary(page).click()
    await page.click('button:has-text("Test the connection")')
    await page.waitForURL((url) => url.origin === issuer && !url.pathname.startsWith('/saml/')) // they are signed in there
    await page.waitForSelector('text=It works')
    await picture(page, 'test-works')
    await page.goto(setup)
    await page.click('button:has-text("Switch on")')
    await page.waitForSelector('.badge.ok')
    await picture(page, 'on')
  }))

  test('their people sign in there, and have what their groups give', () => open(async (page) => {
    await page.goto(issuer + '/signin')
    await page.fill('input[name=identifier]', 'ann@acme.test')
    await page.press('input[name=identifier]', 'Enter')
    await signInThere(page, 'ann')
    await page.waitForURL((url) => url.origin === issuer && url.pathname.startsWith('/account'))
    await picture(page, 'account')
    const [ann] = await api('GET', '/users?email=ann@acme.test')
    assert.deepEqual([ann.first_name, ann.last_name, ann.email_verified], ['Ann', 'Arbor', true])
    const { organizations } = await api('GET', `/users/${ann._id}/organizations`)
    assert.deepEqual(organizations.map(({ Name, roles }) => [Name, roles.map(({ role_name }) => role_name)]), [['Acme', ['Developer']]])
  }))

  test('their people begin at the provider, and land signed in at the application', async () => {
    const site = await listen()
    try {
      const start = site.url + '/login', callback = site.url + '/callback'
      const tickets = await createApplication('Tickets', [callback], { initiate_login_uri: start })
      const verifier = randomBytes(32).toString('base64url')
      const begun = []
      site.serve(async (request, response) => {
        const { pathname, searchParams } = new URL(request.url, site.url)
        if (pathname === '/login') {
          begun.push(searchParams.get('iss'))
          const query = new URLSearchParams({
            client_id: tickets.client_id, response_type: 'code', redirect_uri: callback, scope: 'openid email', state: 'its-own',
            code_challenge: createHash('sha256').update(verifier).digest('base64url'), code_challenge_method: 'S256',
          })
          return response.writeHead(303, { location: `${issuer}/oauth2/authorize?${query}` }).end()
        }
        if (pathname !== '/callback' || searchParams.get('state') !== 'its-own') return response.writeHead(404).end()
        const answer = await fetch(issuer + '/oauth2/token', {
          method: 'POST',
          headers: { authorization: 'Basic ' + Buffer.from(`${tickets.client_id}:${tickets.client_secret}`).toString('base64') },
          body: new URLSearchParams({ grant_type: 'authorization_code', code: searchParams.get('code'), redirect_uri: callback, code_verifier: verifier }),
        })
        const { id_token: token } = await answer.json()
        const { email, org_id: id } = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'))
        response.writeHead(200, { 'content-type': 'text/html' }).end(`<main>${email} of ${id}</main>`)
      })

      const [connection] = (await api('GET', `/organizations/${organization.id}/connections`)).filter(({ state }) => state === 'active')
      const there = new URL(provider.url + '/saml2/idp/SSOService.php')
      there.search = new URLSearchParams({ spentityid: connection.service_provider.entity_id, RelayState: 'https://evil.example/' })
      await open(async (page) => { // until it is allowed
        await page.goto(there.href)
        await signInThere(page, 'ann')
        await page.waitForURL((url) => url.origin === issuer)
        assert.match(await page.textContent('main'), /did not sign you in/)
      })
      await open(async (page) => {
        await page.goto(link)
        await page.click('a[href$="/connections"]')
        await page.click(`a[href$="${connection.id}"]`)
        await page.check('input[name=begin_there]')
        await page.selectOption('select[name=land]', { label: 'Tickets' })
        await picture(page, 'more')
        await page.locator('form[action$="/more"] button').click()
        await page.waitForSelector('text=Saved.')
        await page.click('a[href$="/log"]')
        await page.waitForSelector('text=was changed')
        await picture(page, 'log')
      })
      await open(async (page) => {
        await page.goto(there.href)
        await signInThere(page, 'ann')
        await page.waitForURL(issuer + '/signin/sso?**')
        await picture(page, 'continue')
        assert.match(await page.textContent('main'), /ann@acme\.test/)
        await primary(page).click()
        await page.waitForURL(callback + '?**')
        assert.equal(await page.textContent('main'), `ann@acme.test of ${organization.id}`)
        assert.deepEqual(begun, [issuer], 'the application began by itself, and was told who sent her')
      })
    } finally {
      await site.close()
    }
  })

  test('connects a directory, which creates people and takes them away', () => open(async (page) => {
    await page.goto(link)
    await page.click('a[href$="/directory"]')
    await page.locator('input[type=radio]').last().check()
    await primary(page).click()
    await page.waitForSelector('.notice')
    await picture(page, 'directory')
    const values = await copies(page)
    const base = values.find((value) => value.includes('/scim/v2/'))
    const token = values.find((value) => !value.includes('/'))
    assert.ok(base && token, 'the page gives an address and a token')

    // What others wrote for directories speaks to the address.
    const directory = (...what) => promisify(execFile)(process.env.CARDEA_SCIM_PYTHON, [process.env.CARDEA_SCIM_DIRECTORY, base, token, ...what])
    await directory('in', 'ben@acme.test')

    await open(async (his) => {
      await his.goto(issuer + '/account')
      await his.fill('input[name=identifier]', 'ben@acme.test')
      await his.press('input[name=identifier]', 'Enter')
      await signInThere(his, 'ben')
      await his.waitForURL((url) => url.origin === issuer && url.pathname.startsWith('/account'))
      const all = await api('GET', '/users?email=ben@acme.test')
      assert.equal(all.length, 1, 'whom the directory has made and who signs in are one')

      await directory('out', 'ben@acme.test')
      await his.goto(issuer + '/account')
      await his.waitForURL('**/signin?**')
    })
    await page.goto(link)
    await page.click('a[href$="/directory"]')
    await picture(page, 'directories')
  }))

  test('a link that was revoked shows nothing', () => open(async (page) => {
    const id = new URL(link).pathname.split('/')[2]
    const answer = await fetch(`${issuer}/api/v1/tenants/${organization.id}/portal_links/${id}`, { method: 'DELETE', headers: { authorization: 'Bearer ' + bootstrap.api_key } })
    assert.equal(answer.status, 200)
    await page.goto(link)
    assert.match(await page.textContent('main'), /no longer good/)
  }))
})
