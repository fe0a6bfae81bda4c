/**
 * A small application with Auth.js, which has no page of ours but its own form to
 * begin with, and checks PKCE, state and nonce.
 */
import { randomBytes } from 'node:crypto'
import { ExpressAuth, getSession } from '@auth/express'
import express from 'express'
import { createApplication, issuer } from '../cardea.js'
import { listen } from './listen.js'

/** Starts the application. Its url is where it is. */
export async function start() {
  const { url, serve, close } = await listen()
  const registered = await createApplication('Ledger', [url + '/auth/callback/cardea'], { post_logout_redirect_uris: [url + '/'] })
  const config = {
    providers: [{
      id: 'cardea', name: 'Cardea', type: 'oidc', issuer, clientId: registered.client_id, clientSecret: registered.client_secret,
      checks: ['pkce', 'state', 'nonce'], authorization: { params: { scope: 'openid profile email' } },
    }],
    secret: randomBytes(32).toString('hex'),
    trustHost: true,
    callbacks: {
      jwt: ({ token, account }) => (account ? { ...token, idToken: account.id_token } : token),
      session: ({ session, token }) => ({ ...session, idToken: token.idToken }),
    },
  }
  const app = express()
  const auth = ExpressAuth(config)
  app.use('/auth/*path', (req, res, next) => {
    req.params[0] = req.params.path.join('/') // where Auth.js looks for what Express 5 names
    return auth(req, res, next)
  })
  app.get('/', async (req, res) => {
    const session = await getSession(req, config)
    res.send(session ? `Hello ${session.user.email}` : 'Hello stranger')
  })
  app.get('/ledger', async (req, res) => {
    const session = await getSession(req, config)
    if (!session) return res.redirect('/auth/signin')
    res.send(`Ledger of ${session.user.name}`)
  })
  // Auth.js signs out of the application only; this is the way to sign out of both.
  app.get('/goodbye', async (req, res) => {
    const session = await getSession(req, config)
    const query = new URLSearchParams({ post_logout_redirect_uri: url + '/', ...(session && { id_token_hint: session.idToken }) })
    res.redirect(`${issuer}/oauth2/logout?${query}`)
  })
  serve(app)
  return { url, close }
}
