/**
 * Somebody who signs in. Person has a browser that runs no scripts: cookies, redirects,
 * links and forms; signIn does the same in a page of Chromium. Both know the hosted
 * pages as a person does, by their forms.
 */
import { codeOf, linkOf, messages, nextMessage } from './cardea.js'

const entities = { amp: '&', lt: '<', gt: '>', quot: '"', '#34': '"', '#39': "'", '#43': '+' }
const decode = (text) => text.replace(/&(#?\w+);/g, (whole, name) => entities[name] ?? whole)

/** The attributes of a tag. */
function attributes(tag) {
  const found = [...tag.matchAll(/\s([\w-]+)(?:="([^"]*)")?/g)]
  return Object.fromEntries(found.map(([, name, value]) => [name, decode(value ?? '')]))
}

/** A page that was opened. */
export class Page {
  constructor(url, response, html) {
    this.url = url
    this.status = response.status
    this.headers = response.headers
    this.html = html
  }

  /** The forms of the page: where they go and what they would send. */
  get forms() {
    return [...this.html.matchAll(/<form([^>]*)>(.*?)<\/form>/gs)].map(([, tag, inside]) => {
      const { action, method = 'get' } = attributes(tag)
      const inputs = [...inside.matchAll(/<input([^>]*)>/gs)].map(([, input]) => attributes(input)).filter((input) => input.name)
      return {
        action: new URL(action, this.url).href,
        method,
        fields: Object.fromEntries(inputs.map((input) => [input.name, input.value ?? ''])),
      }
    })
  }

  /** The form that goes to a path. */
  form(path) {
    const form = this.forms.find((form) => new URL(form.action).pathname === path)
    if (!form) throw new Error(`${this.url} (${this.status}) has no form that goes to ${path}: ${this.text}`)
    return form
  }

  hasForm(path) {
    return this.forms.some((form) => new URL(form.action).pathname === path)
  }

  /** The address of the link that goes to a path. */
  link(path) {
    const all = [...this.html.matchAll(/<a([^>]*)>/gs)].map(([, tag]) => new URL(attributes(tag).href, this.url))
    const link = all.find((link) => link.pathname === path)
    if (!link) throw new Error(`${this.url} (${this.status}) has no link to ${path}: ${this.text}`)
    return link.href
  }

  /** What is to be read on the page. */
  get text() {
    const body = this.html.replace(/^.*<body[^>]*>|<style.*?<\/style>|<script.*?<\/script>/gs, '')
    return decode(body.replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ')).trim()
  }
}

export class Person {
  #cookies = new Map() // by host, then by name: browsers do not tell ports apart

  /** Somebody with an address and perhaps a password: { email, password }. */
  constructor(who) {
    this.who = who
  }

  /**
   * Opens an address, and goes where it is sent. With "until", it stops where it is
   * sent to an address that begins so, and returns that as a URL instead of a Page.
   */
  async open(url, until) {
    return this.#go(url, { method: 'GET' }, until)
  }

  /** Fills a form of a page in and sends it. */
  async submit(form, values = {}, until) {
    const body = new URLSearchParams({ ...form.fields, ...values })
    const headers = { origin: new URL(form.action).origin, 'sec-fetch-site': 'same-origin' }
    return this.#go(form.action, { method: 'POST', body, headers }, until)
  }

  async #go(url, request, until) {
    for (let hops = 0; hops < 20; hops++) {
      const response = await this.#send(url, request)
      if (response.status < 300 || response.status > 399 || response.status === 304) {
        return new Page(url, response, await response.text())
      }
      if (response.status !== 303 && request.method !== 'GET' && response.status !== 302) {
        throw new Error(`${url} would have a form sent on: ${response.status}`)
      }
      const next = new URL(response.headers.get('location'), url)
      if (until && next.href.startsWith(until)) return next
      url = next.href
      request = { method: 'GET' }
    }
    throw new Error(`too many redirects, the last to ${url}`)
  }

  async #send(url, { headers = {}, ...request }) {
    const { hostname } = new URL(url)
    if (!this.#cookies.has(hostname)) this.#cookies.set(hostname, new Map())
    const jar = this.#cookies.get(hostname)
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(url, {
      ...request,
      redirect: 'manual',
      headers: { 'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0', accept: 'text/html', 'accept-language': 'en', ...headers, ...(cookie && { cookie }) },
    })
    for (const line of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)
      const isOver = /max-age=(0|-\d+)\b/i.test(line) || new Date(/expires=([^;]+)/i.exec(line)?.[1] ?? NaN) < new Date()
      if (isOver) jar.delete(name)
      else jar.set(name, value)
    }
    return response
  }

  /** The names of the cookies that the browser holds for a host. */
  cookies(hostname = 'localhost') {
    return [...(this.#cookies.get(hostname)?.keys() ?? [])]
  }

  /**
   * Signs in from the page that asks who is there, by "code", "link" or "password".
   * It returns what comes afterwards, which is not the same page again.
   */
  async signIn(page, how, until) {
    const next = await this.#prove(page, how, until)
    if (next instanceof Page && next.status >= 400) throw new Error(`signing in ended at ${next.url} (${next.status}): ${next.text}`)
    return next
  }

  async #prove(page, how, until) {
    const had = (await messages(this.who.email)).length
    const asked = await this.submit(page.form('/signin'), { identifier: this.who.email })
    switch (how) {
      case 'code':
        return this.submit(asked.form('/signin/code'), { code: codeOf(await nextMessage(this.who.email, had)) }, until)
      case 'link': {
        const opened = await this.open(linkOf(await nextMessage(this.who.email, had), '/signin/link'))
        return this.submit(opened.form('/signin/link'), {}, until)
      }
      case 'password': {
        const page = asked.hasForm('/signin/password') ? asked : await this.open(asked.link('/signin/password'))
        return this.submit(page.form('/signin/password'), { password: this.who.password }, until)
      }
      default:
        throw new Error('there is no way to sign in by ' + how)
    }
  }
}

/** Types a code into the field that has the focus, or fills the field in, and sends it. */
export async function enterCode(page, code, { typed = false } = {}) {
  const field = await page.waitForSelector('input[name=code]')
  await page.waitForLoadState() // what listens for a whole code does so from then on
  // With scripts the page sends a whole code by itself: a key would meet the next page.
  const isPlain = await page.locator('noscript button').count() > 0 || (await field.getAttribute('data-digits')) === null
  await (typed ? page.keyboard.type(code) : field.fill(code))
  if (isPlain) await page.keyboard.press('Enter')
}

/** Signs in on a page of Chromium that asks who is there, by "code", "link" or "password". */
export async function signIn(page, who, how) {
  const had = (await messages(who.email)).length
  await page.fill('input[name=identifier]', who.email)
  await page.press('input[name=identifier]', 'Enter')
  switch (how) {
    case 'code': {
      await page.waitForSelector('input[name=code]')
      return enterCode(page, codeOf(await nextMessage(who.email, had)))
    }
    case 'link': {
      await page.waitForSelector('input[name=code]')
      await page.goto(linkOf(await nextMessage(who.email, had), '/signin/link'))
      await page.click('form[action="/signin/link"] button')
      return
    }
    case 'password':
      await page.waitForSelector('input[name=code], input[name=password]')
      if (await page.locator('input[name=password]').count() === 0) await page.click('a[href^="/signin/password"]')
      await page.fill('input[name=password]', who.password)
      await page.press('input[name=password]', 'Enter')
  }
}
