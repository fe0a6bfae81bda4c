/**
 * A small application with express-openid-connect, as its documentation has it: a
 * page for everybody, one for those who are signed in, signing out here and there,
 * and signing out when Cardea says so (back-channel logout).
 */
import { randomBytes } from 'node:crypto'
import express from 'express'
import openid from 'express-openid-connect'
import { createApplication, issuer } from '../cardea.js'
import { listen } from './listen.js'

/** Starts the application. Its url is where it is. */
export async function start() {
  const { url, serve, close } = await listen()
  const registered = await createApplication('Orders', [url + '/callback'], {
    post_logout_redirect_uris: [url],
    backchannel_logout_uri: url + '/backchannel-logout',
  })
  const app = express()
  app.use(openid.auth({
    issuerBaseURL: issuer,
    baseURL: url,
    clientID: registered.client_id,
    clientSecret: registered.client_secret,
    secret: randomBytes(32).toString('hex'),
    authorizationParams: { response_type: 'code', scope: 'openid profile email offline_access' },
    authRequired: false,
    idpLogout: true,
    backchannelLogout: { store: new Memory() },
  }))
  app.get('/', (req, res) => res.send(req.oidc.isAuthenticated() ? `Hello ${req.oidc.user.email}` : 'Hello stranger'))
  app.get('/orders', openid.requiresAuth(), async (req, res) => {
    const info = await req.oidc.fetchUserInfo()
    res.send(`Orders of ${info.given_name}`)
  })
  app.get('/renew', openid.requiresAuth(), async (req, res) => {
    const { access_token: before } = req.oidc.accessToken
    const { access_token: after } = await req.oidc.accessToken.refresh()
    res.send(before === after ? 'the same token' : 'another token')
  })
  serve(app)
  return { url, close }
}

/** The store of logged out sessions, in the form of express-session's. */
class Memory {
  #kept = new Map()
  get(id, done) { done(null, this.#kept.get(id)) }
  set(id, value, done) { this.#kept.set(id, value); done(null) }
  destroy(id, done) { this.#kept.delete(id); done(null) }
}
