// Records what the SAML provider "samlp" answers, for the tests of
// internal/sso/samlxml: npm ci && npm run record.
import crypto from 'node:crypto'
import fs from 'node:fs'
import { promisify } from 'node:util'
import samlp from 'samlp'

const testdata = new URL('../../../internal/sso/samlxml/testdata/', import.meta.url)
const read = (name) => fs.readFileSync(new URL(name, testdata), 'utf8')

// privateKey makes the key of which the tests keep the two primes.
function privateKey({ p, q }) {
  const [P, Q, e] = [BigInt('0x' + p), BigInt('0x' + q), 65537n]
  const d = inverse(e, (P - 1n) * (Q - 1n))
  const b64 = (n) => Buffer.from(n.toString(16).padStart(n.toString(16).length + (n.toString(16).length % 2), '0'), 'hex').toString('base64url')
  const jwk = { kty: 'RSA', n: b64(P * Q), e: b64(e), d: b64(d), p: b64(P), q: b64(Q), dp: b64(d % (P - 1n)), dq: b64(d % (Q - 1n)), qi: b64(inverse(Q, P)) }
  return crypto.createPrivateKey({ key: jwk, format: 'jwk' }).export({ type: 'pkcs8', format: 'pem' })
}

function inverse(a, m) {
  let [r, s, x, y] = [a % m, m, 1n, 0n]
  while (s > 0n) [r, s, x, y] = [s, r % s, y, x - (r / s) * y]
  return ((x % m) + m) % m
}

const options = {
  issuer: 'https://idp.test/metadata',
  audience: 'https://cardea.test/saml/con_1/metadata',
  recipient: 'https://cardea.test/saml/con_1/acs',
  destination: 'https://cardea.test/saml/con_1/acs',
  inResponseTo: '_request',
  sessionIndex: '_session',
  key: privateKey(JSON.parse(read('keys.json')).idp),
  cert: read('idp.crt'),
  signatureAlgorithm: 'rsa-sha256',
  digestAlgorithm: 'sha256',
}
const ours = { encryptionCert: read('ours.crt'), encryptionPublicKey: crypto.createPublicKey(read('ours.crt')).export({ type: 'spki', format: 'pem' }) }
const cbc = { ...ours, encryptionAlgorithm: 'http://www.w3.org/2001/04/xmlenc#aes256-cbc', disallowEncryptionWithInsecureAlgorithm: false, warnOnInsecureEncryptionAlgorithm: false }
const alice = { id: 'alice', displayName: 'Alice & <Bob>', emails: [{ value: 'alice@acme.test' }], name: { givenName: 'Alice', familyName: 'Müller' } }

const samples = {
  'assertion signed': {},
  'response signed': { signResponse: true, signAssertion: false },
  'both signed': { signResponse: true },
  'signature with a prefix': { signatureNamespacePrefix: 'ds' },
  'encrypted with GCM': { ...ours, encryptionAlgorithm: 'http://www.w3.org/2009/xmlenc11#aes256-gcm' },
  'encrypted with CBC in a signed response': { ...cbc, signResponse: true },
  'encrypted with CBC': cbc,
  'signed with SHA-1': { signatureAlgorithm: 'rsa-sha1', digestAlgorithm: 'sha1' },
}

const recorded = { at: new Date().toISOString(), samples: {} }
for (const [name, more] of Object.entries(samples)) {
  const response = await promisify(samlp.getSamlResponse)({ ...options, ...more }, alice)
  recorded.samples[name] = Buffer.from(response).toString('base64')
}
fs.writeFileSync(new URL('samlp.json', testdata), JSON.stringify(recorded, null, 1) + '\n')
