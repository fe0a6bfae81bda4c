/**
 * A single-page application with oidc-client-ts: a public client that keeps its
 * tokens in the page, renews them without being seen, and signs out.
 */
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import express from 'express'
import { createApplication, issuer } from '../cardea.js'
import { listen } from './listen.js'

const library = path.resolve(path.dirname(createRequire(import.meta.url).resolve('oidc-client-ts')), '../browser/oidc-client-ts.min.js')

/**
 * Starts the application. With "frame" it has no refresh token and renews in a
 * hidden frame instead (prompt=none). With "elsewhere" it is on another site than
 * Cardea is, for a browser.
 */
export async function start({ frame = false, elsewhere = false } = {}) {
  const { url: near, serve, close } = await listen()
  const url = elsewhere ? near.replace('localhost', '127.0.0.1') : near
  const registered = await createApplication('Shop', [url + '/', url + '/silent'], {
    token_endpoint_auth_method: 'none',
    grant_types: frame ? ['authorization_code'] : ['authorization_code', 'refresh_token'],
    post_logout_redirect_uris: [url + '/'],
  }, { allowed_origins: [url] })
  const settings = {
    authority: issuer,
    client_id: registered.client_id,
    redirect_uri: url + '/',
    silent_redirect_uri: url + '/silent',
    post_logout_redirect_uri: url + '/',
    scope: frame ? 'openid profile email' : 'openid profile email offline_access',
    loadUserInfo: true,
    automaticSilentRenew: false,
  }
  const page = await readFile(new URL('single-page.html', import.meta.url), 'utf8')
  const app = express()
  app.get('/oidc-client-ts.js', (_, res) => res.sendFile(library))
  app.get(['/', '/silent'], (_, res) => res.type('html').send(page.replace('SETTINGS', JSON.stringify(settings))))
  serve(app)
  return { url, close }
}
