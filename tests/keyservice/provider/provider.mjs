// A real OpenID provider (npm oidc-provider) for the tests of the key service.
//
//   node provider.mjs CONFIG.json     prints {"port": N} once it listens
//
// CONFIG: port (0: any), jwks (private keys, the first signs), audience (whose access tokens are JWTs),
//         ttl (seconds an access token holds), people {login: claims of her access tokens}
import { readFileSync } from 'node:fs';
import http from 'node:http';
import Provider from 'oidc-provider';

const config = JSON.parse(readFileSync(process.argv[2], 'utf8'));
// Ends with whoever started it.
process.stdin.resume().on('end', () => process.exit());

const server = http.createServer((request, response) => handle(request, response));
let handle = (_, response) => response.writeHead(503).end();

server.listen(config.port, '127.0.0.1', () => {
  const { port } = server.address();
  const issuer = `http://127.0.0.1:${port}`;
  const algorithm = config.jwks.keys[0].alg;
  const provider = new Provider(issuer, {
    jwks: config.jwks,
    clients: [{
      client_id: 'web-page',
      token_endpoint_auth_method: 'none',
      redirect_uris: ['http://127.0.0.1/back'],
      response_types: ['code'],
      grant_types: ['authorization_code'],
      id_token_signed_response_alg: algorithm,
    }],
    cookies: { keys: ['only for tests'] },
    scopes: ['openid', 'stream-keys'],
    findAccount: (_, login) => ({ accountId: login, claims: () => ({ sub: login }) }),
    // Whatever the account's access tokens say beside sub.
    extraTokenClaims: (_, token) => config.people[token.accountId] ?? {},
    ttl: { AccessToken: config.ttl, Grant: 3600, IdToken: 600, Interaction: 600, Session: 3600 },
    features: {
      devInteractions: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => ({
          scope: 'stream-keys',
          audience: resource,
          accessTokenTTL: config.ttl,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: algorithm } },
        }),
        useGrantedResource: () => true,
      },
    },
  });
  handle = provider.callback();
  process.stdout.write(`${JSON.stringify({ port })}\n`);
});
