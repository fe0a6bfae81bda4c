/** A small application with express-openid-connect. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { start } from '../apps/express-openid-connect.js'
import { createUser, issuer, owner } from '../cardea.js'
import { Person } from '../person.js'

describe('express-openid-connect', () => {
  let app
  before(async () => { app = await start() })
  after(() => app.close())

  for (const how of ['link', 'code', 'password']) {
    test(`signs in by ${how}, renews, signs out`, async () => {
      const person = new Person(how === 'password' ? owner : await createUser())
      assert.equal((await person.open(app.url)).text, 'Hello stranger')
      const asked = await person.open(app.url + '/orders')
      assert.equal(new URL(asked.url).origin, issuer, 'a protected page sends strangers to sign in')
      const orders = await person.signIn(asked, how)
      assert.match(orders.text, /^Orders of \w+$/)
      assert.equal((await person.open(app.url)).text, `Hello ${person.who.email}`)
      assert.equal((await person.open(app.url + '/renew')).text, 'another token')

      const out = await person.open(app.url + '/logout')
      assert.equal(out.text, 'Hello stranger')
      const again = await person.open(app.url + '/orders')
      assert.equal(new URL(again.url).pathname, '/signin', 'signing out signs out at the provider too')
    })
  }

  test('whoever signs out here is signed out there (back-channel logout)', async () => {
    const person = new Person(owner)
    await person.signIn(await person.open(app.url + '/orders'), 'password')
    const page = await person.open(issuer + '/signout')
    await person.submit(page.form('/signout'), { decision: 'one' })
    let text
    for (const end = Date.now() + 10_000; Date.now() < end; await pause(50)) {
      text = (await person.open(app.url)).text
      if (text === 'Hello stranger') return
    }
    assert.fail(`the application still says: ${text}`)
  })
})
