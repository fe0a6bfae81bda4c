// An OpenID provider by other people, for tests: everybody is who they say they are.
//
//	node provider.js PORT CLIENT_ID CLIENT_SECRET REDIRECT_URI
//
// It has a key of its own for each start, and prints its address when it is ready. A POST
// to /fault?name=NAME gives it a fault from then on; an empty name takes it away.
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const [port, client_id, client_secret, redirect_uri] = process.argv.slice(2);
const server = createServer().listen(Number(port), '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const newKey = () => generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  const own = newKey(), foreign = newKey();
  const key = own.export({ format: 'jwk' });
  const provider = new Provider(issuer, {
    clients: [{ client_id, client_secret, redirect_uris: [redirect_uri] }],
    jwks: { keys: [{ ...key, kid: randomBytes(8).toString('hex'), alg: 'RS256', use: 'sig' }] },
    cookies: { keys: [randomBytes(32).toString('hex')] },
    features: { devInteractions: { enabled: true } },
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'given_name', 'family_name'] },
    pkce: { required: () => true },
    // Who signs in as "name" has the address name@upstream.test. It is verified unless
    // the name says otherwise. A name that is an address is that one.
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, email: id.includes('@') ? id : `${id}@upstream.test`, email_verified: !id.startsWith('unverified'), name: `${id} There`, given_name: id, family_name: 'There' }),
    }),
  });
  let fault = '';
  const wrong = {
    issuer: { iss: issuer + '/other' }, audience: { aud: 'somebody-else' }, nonce: { nonce: 'another' }, expired: { exp: 1_000_000_000 }, ahead: { iat: 4_000_000_000 }, key: {},
  };
  provider.use(async (ctx, next) => {
    if (ctx.path === '/fault') {
      fault = ctx.query.name;
      ctx.body = fault;
      return;
    }
    if (ctx.path === '/token' && fault === 'slow') await new Promise((done) => setTimeout(done, 30_000).unref());
    if (ctx.path === '/token' && fault === 'huge') {
      ctx.body = JSON.stringify({ access_token: 'x'.repeat(8 << 20) });
      return;
    }
    await next();
    if (ctx.path === '/token' && ctx.body?.id_token && wrong[fault]) {
      const [head, claims] = ctx.body.id_token.split('.');
      const told = { ...JSON.parse(Buffer.from(claims, 'base64url')), ...wrong[fault] };
      const text = head + '.' + Buffer.from(JSON.stringify(told)).toString('base64url');
      ctx.body = { ...ctx.body, id_token: text + '.' + sign('sha256', Buffer.from(text), fault === 'key' ? foreign : own).toString('base64url') };
    }
  });
  server.on('request', provider.callback());
  console.log(issuer);
});
