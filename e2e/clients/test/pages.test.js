/** People in front of Chromium, on the hosted pages as they are. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import * as client from 'openid-client'
import { listen } from '../apps/listen.js'
import { codeOf, createApplication, createUser, issuer, linkOf, nextMessage, owner } from '../cardea.js'
import { launch } from '../chromium.js'
import { enterCode, signIn } from '../person.js'

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
    await enterCode(page, codeOf(await nextMessage(email)), { typed: true })
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

  /** An application that notes what browsers bring it. */
  async function notebook() {
    const { url, serve, close } = await listen()
    const seen = []
    serve(async (request, response) => {
      let body = ''
      for await (const part of request) body += part
      const { pathname, searchParams } = new URL(request.url, url)
      seen.push({ path: pathname, method: request.method, query: Object.fromEntries(searchParams), form: Object.fromEntries(new URLSearchParams(body)) })
      response.setHeader('content-type', 'text/html').end('<title>Notebook</title>')
    })
    const app = await createApplication('Notebook', [url + '/callback'], { frontchannel_logout_uri: url + '/front', post_logout_redirect_uris: [url + '/bye'] })
    const config = await client.discovery(new URL(issuer), app.client_id, {}, client.ClientSecretBasic(app.client_secret), { execute: [client.allowInsecureRequests] })
    const verifier = client.randomPKCECodeVerifier()
    const begin = async (more) => client.buildAuthorizationUrl(config, {
      redirect_uri: url + '/callback', scope: 'openid email', state: 'theirs', code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256', ...more,
    }).href
    const redeem = (back) => client.authorizationCodeGrant(config, back, { pkceCodeVerifier: verifier, expectedState: 'theirs' })
    return { url, seen, config, begin, redeem, close }
  }

  open('an answer in a form goes to the application by itself', async (page) => {
    const app = await notebook()
    await page.goto(await app.begin({ response_mode: 'form_post' }))
    await signIn(page, owner, 'password')
    await page.waitForURL(app.url + '/callback')
    const { method, form } = app.seen.find(({ path }) => path === '/callback')
    assert.equal(method, 'POST')
    assert.deepEqual([form.state, form.iss], ['theirs', issuer])
    assert.ok(form.code)
    await app.close()
  })

  open('signing out at one application tells the other in a frame', async (page) => {
    const [app, other] = await Promise.all([notebook(), notebook()])
    await page.goto(await other.begin())
    await signIn(page, owner, 'password')
    await page.waitForURL(other.url + '/callback**')
    const { sid } = (await other.redeem(new URL(page.url()))).claims()
    await page.goto(await app.begin())
    await page.waitForURL(app.url + '/callback**')
    const { id_token } = await app.redeem(new URL(page.url()))

    await page.goto(client.buildEndSessionUrl(app.config, { id_token_hint: id_token, post_logout_redirect_uri: app.url + '/bye', state: 'left' }).href)
    await page.waitForURL(app.url + '/bye?state=left')
    assert.deepEqual(other.seen.find(({ path }) => path === '/front')?.query, { iss: issuer, sid })
    await Promise.all([app.close(), other.close()])
  })

  open('speaks Arabic from right to left, as the browser asks for', async (page) => {
    await page.goto(issuer + '/signin')
    assert.deepEqual(await page.evaluate(() => [document.documentElement.lang, document.documentElement.dir]), ['ar', 'rtl'])
  }, { locale: 'ar' })
})
