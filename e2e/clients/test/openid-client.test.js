/**
 * openid-client is a strict client: it checks issuer, nonce, state, at_hash, times,
 * and here signatures too. Whatever it takes, it takes as the standards have it.
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import * as client from 'openid-client'
import { createApplication, createUser, issuer, owner } from '../cardea.js'
import { Person } from '../person.js'

// Nobody listens here: the tests take the address that the browser is sent to.
const callback = 'http://localhost:3999/callback'
const goodbye = 'http://localhost:3999/goodbye'
const scope = 'openid profile email offline_access'

/** How each client proves who it is: what is registered, and what openid-client does. */
const authentications = {
  none: { oauth: { token_endpoint_auth_method: 'none' }, proof: () => client.None() },
  client_secret_basic: { oauth: { token_endpoint_auth_method: 'client_secret_basic' }, proof: (secret) => client.ClientSecretBasic(secret) },
  client_secret_post: { oauth: { token_endpoint_auth_method: 'client_secret_post' }, proof: (secret) => client.ClientSecretPost(secret) },
}
for (const [alg, parameters] of Object.entries({
  ES256: { name: 'ECDSA', namedCurve: 'P-256' },
  EdDSA: { name: 'Ed25519' },
  RS256: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) },
  PS256: { name: 'RSA-PSS', hash: 'SHA-256', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) },
})) {
  const { privateKey, publicKey } = await crypto.subtle.generateKey(parameters, true, ['sign', 'verify'])
  const jwk = { ...(await crypto.subtle.exportKey('jwk', publicKey)), alg, kid: alg, use: 'sig' }
  delete jwk.key_ops
  delete jwk.ext
  authentications[`private_key_jwt ${alg}`] = {
    oauth: { token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [jwk] } },
    proof: () => client.PrivateKeyJwt({ key: privateKey, kid: alg }),
  }
}

/** Registers an application and configures openid-client for it. */
async function configure(method = 'client_secret_basic', oauth = {}) {
  const { oauth: registered, proof } = authentications[method]
  const app = await createApplication(`openid-client, ${method}`, [callback], { ...registered, post_logout_redirect_uris: [goodbye], ...oauth })
  const config = await client.discovery(new URL(issuer), app.client_id, {}, proof(app.client_secret), {
    execute: [client.allowInsecureRequests, client.enableNonRepudiationChecks],
  })
  return config
}

/** Begins an authorization: what to ask the browser for, and what to expect back. */
async function begin(config, more = {}) {
  const verifier = client.randomPKCECodeVerifier()
  const checks = { pkceCodeVerifier: verifier, expectedState: client.randomState(), expectedNonce: client.randomNonce(), idTokenExpected: true }
  const parameters = {
    redirect_uri: callback, scope, state: checks.expectedState, nonce: checks.expectedNonce,
    code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256', ...more,
  }
  return { checks, parameters }
}

/** Has somebody sign in for an application, and returns its tokens. */
async function signIn(config, person, how, more) {
  const { checks, parameters } = await begin(config, more)
  const page = await person.open(client.buildAuthorizationUrl(config, parameters).href)
  const back = await person.signIn(page, how, callback)
  return client.authorizationCodeGrant(config, back, checks)
}

/** Says that an answer is an error of that code. */
const isRefused = (code) => (error) => {
  assert.equal(error.error, code, error.stack)
  return true
}

const ofIssuer = (error) => {
  assert.match(error.cause?.message ?? error.message, /iss/)
  return true
}

// Not all at once: tries of one person in progress count, and there are ten.
describe('openid-client', { concurrency: 4 }, () => {
  const ways = ['link', 'code', 'password']
  for (const [i, method] of Object.keys(authentications).entries()) {
    const how = ways[i % ways.length]
    test(`${method}: signs in by ${how}, renews, reads, revokes`, async () => {
      const config = await configure(method)
      const who = how === 'password' ? owner : await createUser()
      const tokens = await signIn(config, new Person(who), how)
      const claims = tokens.claims()
      assert.equal(claims.email, who.email)
      assert.equal(claims.email_verified, true)
      assert.ok(claims.sid && claims.auth_time && claims.acr && claims.amr.length > 0, 'the ID token says how and when')

      const info = await client.fetchUserInfo(config, tokens.access_token, claims.sub)
      assert.equal(info.email, who.email)
      assert.ok(info.given_name && info.family_name)

      const renewed = await client.refreshTokenGrant(config, tokens.refresh_token)
      assert.notEqual(renewed.refresh_token, tokens.refresh_token, 'refresh tokens rotate')
      assert.equal(renewed.claims().sub, claims.sub)
      assert.equal(renewed.claims().auth_time, claims.auth_time)

      if (method !== 'none') {
        const live = await client.tokenIntrospection(config, renewed.access_token)
        assert.equal(live.active, true)
        assert.equal(live.sub, claims.sub)
        assert.equal(live.client_id, config.clientMetadata().client_id)
      }
      await client.tokenRevocation(config, renewed.refresh_token)
      await assert.rejects(client.refreshTokenGrant(config, renewed.refresh_token), isRefused('invalid_grant'))
      if (method !== 'none') {
        assert.deepEqual(await client.tokenIntrospection(config, renewed.refresh_token), { active: false })
      }
    })
  }

  test('a code is good once, and what it gave ends when it comes again', async () => {
    const config = await configure()
    const person = new Person(owner)
    const { checks, parameters } = await begin(config)
    const back = await person.signIn(await person.open(client.buildAuthorizationUrl(config, parameters).href), 'password', callback)
    const tokens = await client.authorizationCodeGrant(config, back, checks)
    await assert.rejects(client.authorizationCodeGrant(config, back, checks), isRefused('invalid_grant'))
    await assert.rejects(client.refreshTokenGrant(config, tokens.refresh_token), isRefused('invalid_grant'))
  })

  test('another verifier is refused', async () => {
    const config = await configure('none')
    const person = new Person(owner)
    const { checks, parameters } = await begin(config)
    const back = await person.signIn(await person.open(client.buildAuthorizationUrl(config, parameters).href), 'password', callback)
    await assert.rejects(client.authorizationCodeGrant(config, back, { ...checks, pkceCodeVerifier: client.randomPKCECodeVerifier() }), isRefused('invalid_grant'))
  })

  test('answers name their issuer, and the client refuses another', async () => {
    const config = await configure()
    assert.equal(config.serverMetadata().authorization_response_iss_parameter_supported, true)
    const person = new Person(owner)
    const { checks, parameters } = await begin(config)
    const back = await person.signIn(await person.open(client.buildAuthorizationUrl(config, parameters).href), 'password', callback)
    assert.equal(back.searchParams.get('iss'), issuer)
    const forged = new URL(back)
    forged.searchParams.set('iss', 'https://elsewhere.example')
    await assert.rejects(client.authorizationCodeGrant(config, forged, checks), ofIssuer)
    forged.searchParams.delete('iss')
    await assert.rejects(client.authorizationCodeGrant(config, forged, checks), ofIssuer)
    await client.authorizationCodeGrant(config, back, checks)
  })

  test('prompt and max_age: silent when signed in, asks again when told to', async () => {
    const config = await configure()
    const person = new Person(owner)
    const silent = await begin(config, { prompt: 'none' })
    const nobody = await person.open(client.buildAuthorizationUrl(config, silent.parameters).href, callback)
    await assert.rejects(client.authorizationCodeGrant(config, nobody, silent.checks), isRefused('login_required'))

    const first = await signIn(config, person, 'password')
    const back = await person.open(client.buildAuthorizationUrl(config, { ...silent.parameters, max_age: '10000', id_token_hint: first.id_token }).href, callback)
    const again = await client.authorizationCodeGrant(config, back, { ...silent.checks, maxAge: 10000 })
    assert.equal(again.claims().sub, first.claims().sub)
    assert.equal(again.claims().auth_time, first.claims().auth_time)

    const anew = await begin(config, { prompt: 'login', max_age: '0' })
    const page = await person.open(client.buildAuthorizationUrl(config, anew.parameters).href, callback)
    const tokens = await client.authorizationCodeGrant(config, await person.signIn(page, 'password', callback), { ...anew.checks, maxAge: 60 })
    assert.ok(tokens.claims().auth_time >= first.claims().auth_time)
  })

  test('pushed requests, where nothing else is taken', async () => {
    const config = await configure('private_key_jwt ES256', { require_pushed_authorization_requests: true })
    const person = new Person(owner)
    const { checks, parameters } = await begin(config)
    const plain = await person.open(client.buildAuthorizationUrl(config, parameters).href, callback)
    assert.ok(!(plain instanceof URL) || plain.searchParams.has('error'), 'a request that was not pushed is refused')

    const pushed = await client.buildAuthorizationUrlWithPAR(config, parameters)
    assert.deepEqual([...pushed.searchParams.keys()].sort(), ['client_id', 'request_uri'])
    const back = await person.signIn(await person.open(pushed.href), 'password', callback)
    const tokens = await client.authorizationCodeGrant(config, back, checks)
    assert.equal(tokens.claims().email, owner.email)
  })

  for (const alg of ['ES256', 'EdDSA']) {
    test(`DPoP with ${alg}: tokens are of use to the holder of the key only`, async () => {
      const config = await configure('none', { dpop_bound_access_tokens: true })
      const mine = client.getDPoPHandle(config, await client.randomDPoPKeyPair(alg))
      const other = client.getDPoPHandle(config, await client.randomDPoPKeyPair(alg))
      const person = new Person(owner)
      const { checks, parameters } = await begin(config, { dpop_jkt: await mine.calculateThumbprint() })
      const back = await person.signIn(await person.open(client.buildAuthorizationUrl(config, parameters).href), 'password', callback)
      const tokens = await client.authorizationCodeGrant(config, back, checks, undefined, { DPoP: mine })
      assert.equal(tokens.token_type, 'dpop')
      const info = await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub, { DPoP: mine })
      assert.equal(info.email, owner.email)
      await assert.rejects(client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub, { DPoP: other }))
      await assert.rejects(client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub))

      const renewed = await client.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP: mine })
      assert.equal(renewed.token_type, 'dpop')
      await assert.rejects(client.refreshTokenGrant(config, renewed.refresh_token, undefined, { DPoP: other }))
    })
  }

  test('pushed and bound: PAR with DPoP and private_key_jwt', async () => {
    const config = await configure('private_key_jwt ES256', { require_pushed_authorization_requests: true, dpop_bound_access_tokens: true })
    const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'))
    const person = new Person(owner)
    const { checks, parameters } = await begin(config)
    const url = await client.buildAuthorizationUrlWithPAR(config, parameters, { DPoP })
    const back = await person.signIn(await person.open(url.href), 'password', callback)
    const tokens = await client.authorizationCodeGrant(config, back, checks, undefined, { DPoP })
    assert.equal(tokens.token_type, 'dpop')
  })

  test('form_post: the answer comes in a form', async () => {
    const config = await configure()
    const person = new Person(owner)
    const { checks, parameters } = await begin(config, { response_mode: 'form_post' })
    const page = await person.signIn(await person.open(client.buildAuthorizationUrl(config, parameters).href), 'password')
    const form = page.form('/callback')
    assert.equal(form.action, callback)
    const request = new Request(form.action, { method: 'POST', body: new URLSearchParams(form.fields) })
    const tokens = await client.authorizationCodeGrant(config, request, checks)
    assert.equal(tokens.claims().email, owner.email)
  })

  test('claims that are asked for one by one come in the ID token', async () => {
    const config = await configure()
    const person = new Person(owner)
    const { checks, parameters } = await begin(config, { scope: 'openid', claims: JSON.stringify({ id_token: { email: { essential: true } }, userinfo: { given_name: null } }) })
    const back = await person.signIn(await person.open(client.buildAuthorizationUrl(config, parameters).href), 'password', callback)
    const tokens = await client.authorizationCodeGrant(config, back, checks)
    assert.equal(tokens.claims().email, owner.email)
    const info = await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub)
    assert.ok(info.given_name)
    assert.equal(info.email, undefined)
  })

  for (const id_token_signed_response_alg of ['ES256', 'EdDSA', 'RS256']) {
    test(`ID tokens signed with ${id_token_signed_response_alg}`, async () => {
      const app = await createApplication('openid-client, algorithms', [callback], { id_token_signed_response_alg })
      const config = await client.discovery(new URL(issuer), app.client_id, { id_token_signed_response_alg }, client.ClientSecretPost(app.client_secret), {
        execute: [client.allowInsecureRequests, client.enableNonRepudiationChecks],
      })
      const tokens = await signIn(config, new Person(owner), 'password')
      assert.equal(JSON.parse(Buffer.from(tokens.id_token.split('.')[0], 'base64url')).alg, id_token_signed_response_alg)
    })
  }

  test('third parties ask for consent, once', async () => {
    const config = await configure('client_secret_basic', { third_party: true })
    const person = new Person(await createUser())
    const denied = await begin(config)
    const asked = await person.signIn(await person.open(client.buildAuthorizationUrl(config, denied.parameters).href), 'code', callback)
    const consent = asked.form('/oauth2/authorize/consent')
    const no = await person.submit(consent, { decision: 'deny' }, callback)
    await assert.rejects(client.authorizationCodeGrant(config, no, denied.checks), isRefused('access_denied'))

    const { checks, parameters } = await begin(config)
    const url = client.buildAuthorizationUrl(config, parameters).href
    const silent = await begin(config, { prompt: 'none' })
    const never = await person.open(client.buildAuthorizationUrl(config, silent.parameters).href, callback)
    await assert.rejects(client.authorizationCodeGrant(config, never, silent.checks), isRefused('consent_required'))

    const page = await person.open(url, callback)
    const back = await person.submit(page.form('/oauth2/authorize/consent'), { decision: 'allow' }, callback)
    assert.equal((await client.authorizationCodeGrant(config, back, checks)).claims().email, person.who.email)

    const again = await begin(config)
    const straight = await person.open(client.buildAuthorizationUrl(config, again.parameters).href, callback)
    assert.ok(straight instanceof URL, 'a consent is remembered')
    await client.authorizationCodeGrant(config, straight, again.checks)
  })

  test('client credentials', async () => {
    for (const method of ['client_secret_basic', 'client_secret_post', 'private_key_jwt ES256']) {
      const config = await configure(method, { scopes: ['users:read'], resources: ['https://orders.example'] })
      const tokens = await client.clientCredentialsGrant(config, { scope: 'users:read', resource: 'https://orders.example' })
      assert.ok(tokens.access_token && !tokens.refresh_token && !tokens.id_token)
      const live = await client.tokenIntrospection(config, tokens.access_token)
      assert.equal(live.active, true)
      assert.equal(live.scope, 'users:read')
      await assert.rejects(client.clientCredentialsGrant(config, { scope: 'users:write' }), isRefused('invalid_scope'))
      await assert.rejects(client.clientCredentialsGrant(config, { resource: 'https://other.example' }), isRefused('invalid_target'))
    }
  })

  test('a wrong secret is no client', async () => {
    const app = await createApplication('openid-client, wrong secret', [callback])
    for (const proof of [client.ClientSecretBasic('wrong'), client.ClientSecretPost('wrong'), client.None()]) {
      const config = await client.discovery(new URL(issuer), app.client_id, {}, proof, { execute: [client.allowInsecureRequests] })
      await assert.rejects(client.clientCredentialsGrant(config), (error) => {
        assert.equal(error.status ?? error.response?.status ?? error.cause?.status, 401)
        return true
      })
    }
  })

  test('a device signs in by the code it shows', async () => {
    const grants = ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token']
    const config = await configure('none', { grant_types: grants })
    const device = await client.initiateDeviceAuthorization(config, { scope })
    const tokens = client.pollDeviceAuthorizationGrant(config, device, undefined, { signal: AbortSignal.timeout(30_000) })
    const person = new Person(owner)
    const asked = await person.submit((await person.open(device.verification_uri)).form('/device'), { user_code: device.user_code })
    const signedIn = await person.signIn(asked, 'password')
    const confirm = await person.submit(signedIn.form('/device'))
    assert.match(confirm.text, /openid-client/, 'the page names the application')
    await person.submit(confirm.form('/device/confirm'), { decision: 'allow' })
    assert.equal((await tokens).claims().email, owner.email)
    assert.ok((await tokens).refresh_token)
  })

  for (const [asked, outlives] of [['openid email', false], [scope, true]]) {
    test(`signing out at the application signs out here, with scope ${asked}`, async () => {
      const config = await configure()
      const person = new Person(owner)
      const tokens = await signIn(config, person, 'password', { scope: asked })
      const state = client.randomState()
      const url = client.buildEndSessionUrl(config, { id_token_hint: tokens.id_token, post_logout_redirect_uri: goodbye, state })
      const back = await person.open(url.href, goodbye)
      assert.ok(back instanceof URL, 'with a hint nobody is asked: ' + back.text)
      assert.equal(back.searchParams.get('state'), state)

      const silent = await begin(config, { prompt: 'none' })
      const nobody = await person.open(client.buildAuthorizationUrl(config, silent.parameters).href, callback)
      await assert.rejects(client.authorizationCodeGrant(config, nobody, silent.checks), isRefused('login_required'))
      await pause(1100) // within a second it is known everywhere
      const { active } = await client.tokenIntrospection(config, tokens.access_token)
      assert.equal(active, outlives, 'tokens end with the session, but for those of offline_access')
    })
  }

  test('a token is exchanged for one with less in it', async () => {
    const config = await configure('client_secret_basic', { grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:token-exchange'], resources: ['https://orders.example'] })
    const tokens = await signIn(config, new Person(owner), 'password')
    const exchanged = await client.genericGrantRequest(config, 'urn:ietf:params:oauth:grant-type:token-exchange', {
      subject_token: tokens.access_token, subject_token_type: 'urn:ietf:params:oauth:token-type:access_token', resource: 'https://orders.example', scope: 'openid',
    })
    assert.equal(exchanged.issued_token_type, 'urn:ietf:params:oauth:token-type:access_token')
    const live = await client.tokenIntrospection(config, exchanged.access_token)
    assert.equal(live.sub, tokens.claims().sub)
    assert.equal(live.scope, 'openid')
  })
})
