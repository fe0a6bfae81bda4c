/**
 * The administrator of a customer, with nothing but a link: they connect their identity
 * provider (SimpleSAMLphp) and their directory, and their people sign in.
 */
import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { after, before, describe, test } from 'node:test'
import { api, bootstrap, issuer } from '../cardea.js'
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
    link = (await api('GET', `/tenants/${organization.id}/portal/generate_link`)).sso_portal_url
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

    const scim = async (method, path, body) => {
      const answer = await fetch(base + path, { method, headers: { authorization: 'Bearer ' + token, 'content-type': 'application/scim+json' }, body: body && JSON.stringify(body) })
      return { status: answer.status, body: await answer.json().catch(() => null) }
    }
    const made = await scim('POST', '/Users', {
      schemas: ['urn:ietf:params:scim:schemas:core:2.0:User'], userName: 'ben@acme.test', externalId: 'e-17', active: true,
      name: { givenName: 'Ben', familyName: 'Birch' }, emails: [{ value: 'ben@acme.test', type: 'work', primary: true }],
    })
    assert.equal(made.status, 201)

    await open(async (his) => {
      await his.goto(issuer + '/account')
      await his.fill('input[name=identifier]', 'ben@acme.test')
      await his.press('input[name=identifier]', 'Enter')
      await signInThere(his, 'ben')
      await his.waitForURL((url) => url.origin === issuer && url.pathname.startsWith('/account'))
      const all = await api('GET', '/users?email=ben@acme.test')
      assert.equal(all.length, 1, 'whom the directory has made and who signs in are one')

      const gone = await scim('PATCH', `/Users/${made.body.id}`, { schemas: ['urn:ietf:params:scim:api:messages:2.0:PatchOp'], Operations: [{ op: 'Replace', path: 'active', value: 'False' }] })
      assert.equal(gone.status, 200)
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
