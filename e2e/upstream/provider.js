// An OpenID provider by other people, for tests: everybody is who they say they are.
//
//	node provider.js PORT CLIENT_ID CLIENT_SECRET REDIRECT_URI
//
// It has a key of its own for each start, and prints its address when it is ready.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const [port, client_id, client_secret, redirect_uri] = process.argv.slice(2);
const server = createServer().listen(Number(port), '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const key = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });
  const provider = new Provider(issuer, {
    clients: [{ client_id, client_secret, redirect_uris: [redirect_uri] }],
    jwks: { keys: [{ ...key, kid: randomBytes(8).toString('hex'), alg: 'RS256', use: 'sig' }] },
    cookies: { keys: [randomBytes(32).toString('hex')] },
    features: { devInteractions: { enabled: true } },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'given_name', 'family_name'] },
    pkce: { required: () => true },
    // Who signs in as "name" has the address name@upstream.test. It is verified unless
    // the name says otherwise.
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, email: `${id}@upstream.test`, email_verified: !id.startsWith('unverified'), name: `${id} There`, given_name: id, family_name: 'There' }),
    }),
  });
  server.on('request', provider.callback());
  console.log(issuer);
});
