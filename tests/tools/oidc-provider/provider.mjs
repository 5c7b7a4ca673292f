// An OpenID provider for tests: the certified npm package oidc-provider, with accounts, a form to log in, and a door for tests.
//
// Environment: PORT; APPS, origins of applications, separated by blanks; BACKCHANNEL, where logout tokens go; REFRESH, the
// seconds that an access token is good: then there are refresh tokens, each good once; CLIENTS, names separated by blanks:
// each has an issuer of its own, /oauth2/openid/NAME, and all of these have the same keys; ORIGIN, the public one, with
// TLS_CERTIFICATE and TLS_KEY, in PEM.
// Everything lives in memory and binds 127.0.0.1 only. The door:
//   GET  /_test/ready                        ok
//   POST /_test/account {id, ...claims}      adds or changes an account
//   POST /_test/rotate  {keep}               new keys in front; keep: false drops the older ones
//   POST /_test/token   {claims, alg, kid}   a token with these claims, signed with the newest key
//   GET  /_test/refreshes                    how many times tokens were refreshed, and how many times that was refused
//   POST /_test/forget                       no refresh token is good any more
import http from 'node:http';
import https from 'node:https';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { SignJWT, importJWK } from 'jose';
import { Provider } from 'oidc-provider';

const { env } = process;
const port = Number(env.PORT);
const origin = env.ORIGIN ?? `http://127.0.0.1:${port}`;
const apps = env.APPS.split(' ');

const accounts = new Map();
const put = (a) => accounts.set(a.id, {
  password: 'password', email: `${a.id}@example.test`, email_verified: true, name: a.id, preferred_username: a.id,
  groups: [], ...accounts.get(a.id), ...a,
});
[{ id: 'ada', groups: ['admins', 'staff'] }, { id: 'bob', groups: ['staff'] }, { id: 'eve', email_verified: false }].forEach(put);

const newKeys = () => [['ec', { namedCurve: 'P-256' }, 'ES256'], ['rsa', { modulusLength: 2048 }, 'RS256']]
  .map(([type, options, alg]) => ({
    ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }),
    alg, use: 'sig', kid: `${alg}-${randomBytes(4).toString('hex')}`,
  }));
let keys = newKeys();
const cookieKeys = [randomBytes(24).toString('hex')];

// One store for every rebuilt Provider, so that new keys do not lose sessions and grants.
const db = new Map();
class Store {
  constructor(model) { this.key = (id) => `${model}:${id}`; }
  async upsert(id, payload, ttl) { db.set(this.key(id), { payload, end: Date.now() + (ttl ?? 86400) * 1000 }); }
  async find(id) { const entry = db.get(this.key(id)); return entry && entry.end > Date.now() ? entry.payload : undefined; }
  async findByUid(uid) {
    for (const { payload } of db.values()) if (payload.uid === uid && payload.kind === 'Session') return payload;
    return undefined;
  }
  async consume(id) { db.get(this.key(id)).payload.consumed = Math.floor(Date.now() / 1000); }
  async destroy(id) { db.delete(this.key(id)); }
  async revokeByGrantId(grant) { for (const [key, { payload }] of db) if (payload.grantId === grant) db.delete(key); }
}

const client = (id, alg) => ({
  client_id: id,
  client_secret: 'edge-secret-0123456789abcdef0123',
  grant_types: ['authorization_code', ...(env.REFRESH ? ['refresh_token'] : [])],
  redirect_uris: apps.map((app) => `${app}/oauth2/callback`),
  post_logout_redirect_uris: apps.map((app) => `${app}/oauth2/signed_out`),
  id_token_signed_response_alg: alg,
  ...(env.BACKCHANNEL && { backchannel_logout_uri: env.BACKCHANNEL, backchannel_logout_session_required: true }),
});

const config = (mount, clients) => ({
  adapter: Store,
  // The library cuts connections to loopback by itself.
  fetch: (url, { dispatcher, ...rest }) => globalThis.fetch(url, rest),
  clients,
  jwks: { keys },
  cookies: { keys: cookieKeys },
  enabledJWA: { idTokenSigningAlgValues: ['ES256', 'RS256'] },
  scopes: ['openid', 'profile', 'email', 'groups'],
  claims: { openid: ['sub', 'sid'], profile: ['name', 'preferred_username'], email: ['email', 'email_verified'], groups: ['groups'] },
  // The client with RS256 says its claims at the userinfo endpoint only.
  conformIdTokenClaims: env.CLAIMS === 'userinfo',
  pkce: { required: () => true },
  // One that is used twice is refused, and with it all that came of its login.
  rotateRefreshToken: true,
  issueRefreshToken: (_context, client) => Boolean(env.REFRESH) && client.grantTypeAllowed('refresh_token'),
  ttl: { AccessToken: Number(env.REFRESH ?? 60), RefreshToken: 3600, IdToken: 300, Interaction: 600, Session: 3600, Grant: 3600, AuthorizationCode: 60 },
  features: { devInteractions: { enabled: false }, rpInitiatedLogout: { enabled: true }, backchannelLogout: { enabled: true } },
  interactions: { url: (_context, interaction) => `${mount}/interaction/${interaction.uid}` },
  findAccount: (_context, id) => accounts.get(id) && {
    accountId: id,
    claims: () => { const { id: sub, password, ...rest } = accounts.get(id); return { sub, ...rest }; },
  },
});

// The path that an issuer is mounted at, and what serves it.
const issuers = new Map();
const refreshes = { good: 0, refused: 0 };
const counted = (outcome) => (context) => { if (context.oidc.params?.grant_type === 'refresh_token') refreshes[outcome] += 1; };
const mounted = (mount, clients) => {
  const provider = new Provider(origin + mount, config(mount, clients));
  provider.on('grant.success', counted('good'));
  provider.on('grant.error', counted('refused'));
  issuers.set(mount, { provider, handle: provider.callback() });
};
const build = () => {
  if (env.CLIENTS) for (const id of env.CLIENTS.split(' ')) mounted(`/oauth2/openid/${id}`, [client(id, 'ES256')]);
  else mounted('', [client('edge', 'ES256'), client('edge-rs256', 'RS256')]);
};
build();

const body = async (request) => { let text = ''; for await (const chunk of request) text += chunk; return text; };
const page = (response, status, html) => response.writeHead(status, { 'content-type': 'text/html; charset=utf-8' })
  .end(`<!doctype html><title>Provider</title>${html}`);

async function interaction({ provider }, request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (request.method === 'GET') {
    return page(response, 200, prompt.name === 'login'
      ? '<form method=post><input name=login autofocus><input name=password type=password><button>Sign in</button></form>'
      : '<form method=post><button name=ok value=1>Allow</button></form>');
  }
  const form = new URLSearchParams(await body(request));
  if (form.has('deny')) return provider.interactionFinished(request, response, { error: 'access_denied' });
  if (prompt.name === 'login') {
    const id = form.get('login');
    if (!id || accounts.get(id)?.password !== form.get('password')) return page(response, 401, '<p>Wrong name or password</p>');
    return provider.interactionFinished(request, response, { login: { accountId: id } });
  }
  const grant = (grantId && await provider.Grant.find(grantId))
    || new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope((prompt.details.missingOIDCScope ?? []).join(' '));
  grant.addOIDCClaims(prompt.details.missingOIDCClaims ?? []);
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true });
}

async function token({ claims }) {
  const key = keys.find((one) => one.alg === 'ES256');
  const now = Math.floor(Date.now() / 1000);
  return new SignJWT({ iss: origin, iat: now, exp: now + 300, ...claims })
    .setProtectedHeader({ alg: 'ES256', kid: key.kid }).sign(await importJWK(key, 'ES256'));
}

async function door(request, response, path) {
  const argument = request.method === 'POST' ? JSON.parse(await body(request) || '{}') : {};
  if (path === '/_test/account') put(argument);
  if (path === '/_test/rotate') { keys = argument.keep === false ? newKeys() : [...newKeys(), ...keys]; build(); }
  if (path === '/_test/forget') for (const key of db.keys()) if (key.startsWith('RefreshToken:')) db.delete(key);
  if (path === '/_test/refreshes') return response.end(JSON.stringify(refreshes));
  response.end(path === '/_test/token' ? await token(argument) : 'ok');
}

const serve = (request, response) => {
  const path = request.url.split('?')[0];
  const mount = [...issuers.keys()].find((start) => path.startsWith(`${start}/`));
  const answered = () => {
    if (path.startsWith('/_test/')) return door(request, response, path);
    if (mount === undefined) return page(response, 404, '<p>no such issuer</p>');
    const issuer = issuers.get(mount);
    if (path.startsWith(`${mount}/interaction/`)) return interaction(issuer, request, response);
    // The library finds out by the two where it is mounted.
    if (mount) request.originalUrl = request.url;
    request.url = request.url.slice(mount.length);
    return issuer.handle(request, response);
  };
  Promise.resolve().then(answered).catch((error) => page(response, error.statusCode ?? 500, `<p>${error.name}</p>`));
};
const server = env.TLS_KEY ? https.createServer({ cert: env.TLS_CERTIFICATE, key: env.TLS_KEY }, serve) : http.createServer(serve);
server.listen(port, '127.0.0.1');
