/** A small application with Auth.js. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { start } from '../apps/authjs.js'
import { createUser, issuer, owner } from '../cardea.js'
import { Person } from '../person.js'

describe('Auth.js', () => {
  let app
  before(async () => { app = await start() })
  after(() => app.close())

  for (const how of ['link', 'code', 'password']) {
    test(`signs in by ${how}, signs out`, async () => {
      const person = new Person(how === 'password' ? owner : await createUser())
      const begin = await person.open(app.url + '/ledger')
      const asked = await person.submit(begin.form('/auth/signin/cardea'), { callbackUrl: app.url + '/ledger' })
      assert.equal(new URL(asked.url).origin, issuer)
      const ledger = await person.signIn(asked, how)
      assert.match(ledger.text, /^Ledger of \w+/)
      assert.equal((await person.open(app.url)).text, `Hello ${person.who.email}`)

      // At the provider with the ID token, then in the application.
      const gone = await person.open(app.url + '/goodbye')
      assert.equal(new URL(gone.url).origin, app.url)
      const page = await person.open(app.url + '/auth/signout')
      await person.submit(page.form('/auth/signout'))
      assert.equal((await person.open(app.url)).text, 'Hello stranger')
      const again = await person.open(app.url + '/ledger')
      const anew = await person.submit(again.form('/auth/signin/cardea'))
      assert.equal(new URL(anew.url).pathname, '/signin')
    })
  }
})
