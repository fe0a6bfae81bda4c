/**
 * Clients that no administrator has registered: openid-client registers itself, is known
 * by the address of its own document, and signs with keys that it publishes.
 */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import { after, before, describe, test } from 'node:test'
import * as client from 'openid-client'
import { createApplication, createUser, issuer } from '../cardea.js'
import { Person } from '../person.js'

const insecure = { execute: [client.allowInsecureRequests, client.enableNonRepudiationChecks] }

/** What the clients publish, by path. */
const published = {}
let site, home

before(async () => {
  const [cert, key] = await Promise.all([readFile(process.env.CARDEA_CLIENT_CERT), readFile(process.env.CARDEA_CLIENT_KEY)])
  site = createServer({ cert, key }, (request, response) => {
    const body = published[request.url]
    response.writeHead(body ? 200 : 404, { 'content-type': 'application/json' }).end(JSON.stringify(body ?? {}))
  })
  await new Promise((done) => site.listen(0, '127.0.0.1', done))
  home = `https://127.0.0.1:${site.address().port}`
})
after(() => site.close())

/** A new key, and its public half as a client publishes it. */
async function newKey(kid) {
  const { privateKey, publicKey } = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify'])
  const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', publicKey)
  return { proof: client.PrivateKeyJwt({ key: privateKey, kid }), jwk: { kty, crv, x, y, kid, alg: 'ES256', use: 'sig' } }
}

/** Has a new person sign in for a client of somebody else, who is asked first. */
async function signIn(config, callback, named) {
  const verifier = client.randomPKCECodeVerifier()
  const checks = { pkceCodeVerifier: verifier, expectedState: client.randomState(), expectedNonce: client.randomNonce(), idTokenExpected: true }
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: callback, scope: 'openid email offline_access', prompt: 'consent', state: checks.expectedState, nonce: checks.expectedNonce,
    code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
  })
  const person = new Person(await createUser())
  const asked = await person.signIn(await person.open(url.href), 'code')
  assert.ok(asked.text.includes(named), `the page says ${named}: ${asked.text}`)
  const back = await person.submit(asked.form('/oauth2/authorize/consent'), { decision: 'allow' }, callback)
  const tokens = await client.authorizationCodeGrant(config, back, checks)
  assert.equal(tokens.claims().email, person.who.email)
  assert.equal((await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub)).email, person.who.email)
  assert.ok((await client.refreshTokenGrant(config, tokens.refresh_token)).access_token)
  return tokens
}

describe('clients that nobody has registered', () => {
  for (const [method, proof] of Object.entries({ client_secret_basic: client.ClientSecretBasic, client_secret_post: client.ClientSecretPost, none: client.None })) {
    test(`one registers itself, with ${method}`, async () => {
      const callback = `${home}/callback`
      const metadata = { redirect_uris: [callback], client_name: `Stranger ${method}`, token_endpoint_auth_method: method }
      const config = await client.dynamicClientRegistration(new URL(issuer), metadata, method === 'none' ? client.None() : proof(), insecure)
      assert.equal(config.clientMetadata().client_name, metadata.client_name)
      assert.equal(Boolean(config.clientMetadata().client_secret), method !== 'none')
      await signIn(config, callback, metadata.client_name)
    })
  }

  test('one registers itself, with the address of its keys', async () => {
    const { proof, jwk } = await newKey('of-registration')
    published['/registered-keys'] = { keys: [jwk] }
    const callback = `${home}/callback`
    const config = await client.dynamicClientRegistration(
      new URL(issuer), { redirect_uris: [callback], client_name: 'Stranger with keys', token_endpoint_auth_method: 'private_key_jwt', jwks_uri: `${home}/registered-keys` }, proof, insecure)
    await signIn(config, callback, 'Stranger with keys')
  })

  test('a registration that asks for too much is refused', async () => {
    const refused = (metadata, code) => assert.rejects(client.dynamicClientRegistration(new URL(issuer), metadata, client.None(), insecure), (error) => {
      assert.equal(error.error, code, error.stack)
      return true
    })
    await refused({ redirect_uris: ['https://example.com/callback#fragment'] }, 'invalid_redirect_uri')
    await refused({ redirect_uris: ['https://example.com/callback'], grant_types: ['client_credentials'] }, 'invalid_client_metadata')
    await refused({ redirect_uris: ['https://example.com/callback'], token_endpoint_auth_method: 'private_key_jwt' }, 'invalid_client_metadata')
  })

  for (const method of ['none', 'private_key_jwt']) {
    test(`one is known by the address of its document, with ${method}`, async () => {
      const { proof, jwk } = await newKey('of-document')
      const id = `${home}/clients/${method}`, callback = `${home}/clients/${method}/callback`
      published[`/keys/${method}`] = { keys: [jwk] }
      published[`/clients/${method}`] = {
        client_id: id, client_name: 'Documented', redirect_uris: [callback], token_endpoint_auth_method: method,
        ...(method === 'private_key_jwt' && { jwks_uri: `${home}/keys/${method}` }),
      }
      const config = await client.discovery(new URL(issuer), id, {}, method === 'none' ? client.None() : proof, insecure)
      assert.equal(config.serverMetadata().client_id_metadata_document_supported, true)
      await signIn(config, callback, '127.0.0.1')
    })
  }

  test('a document of another client is no client', async () => {
    const id = `${home}/clients/liar`
    published['/clients/liar'] = { client_id: `${home}/clients/none`, redirect_uris: [`${home}/callback`], token_endpoint_auth_method: 'none' }
    const config = await client.discovery(new URL(issuer), id, {}, client.None(), insecure)
    const url = client.buildAuthorizationUrl(config, { redirect_uri: `${home}/callback`, scope: 'openid' })
    const page = await new Person(await createUser()).open(url.href)
    assert.ok(page.status >= 400, page.text)
  })

  test('an application of the tenant signs with the keys at its address, and with no others', async () => {
    const known = await newKey('known'), unknown = await newKey('unknown')
    published['/keys/own'] = { keys: [known.jwk] }
    const app = await createApplication('keys at an address', [`${home}/callback`], {
      token_endpoint_auth_method: 'private_key_jwt', jwks_uri: `${home}/keys/own`, grant_types: ['client_credentials'], scopes: ['users:read'],
    })
    const by = (proof) => client.discovery(new URL(issuer), app.client_id, {}, proof, insecure)
    const tokens = await client.clientCredentialsGrant(await by(known.proof), { scope: 'users:read' })
    assert.equal(tokens.scope, 'users:read')
    await assert.rejects(by(unknown.proof).then((config) => client.clientCredentialsGrant(config)), (error) => {
      assert.equal(error.error ?? error.cause?.error, 'invalid_client', error.stack)
      return true
    })
  })
})
