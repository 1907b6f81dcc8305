// A real identity provider for tests: oidc-provider, on this machine, with two clients that are two people.
//
//   node provider.mjs PORT      0 picks a port; prints `issuer URL` once it answers
//
// Its key is new at every start. `POST /token` with client credentials and `resource=urn:couplet:relay` gives a signed
// access token whose audience is `couplet`.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const key = { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg: 'ES256', use: 'sig' };
const client = (client_id) => ({
  client_id,
  client_secret: `${client_id}-secret`,
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
  id_token_signed_response_alg: 'ES256',
});
const resource = { audience: 'couplet', scope: '', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } };

const server = createServer();
server.listen(Number(process.argv[2]), '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [client('ann'), client('bob')],
    jwks: { keys: [key] },
    cookies: { keys: [randomUUID()] },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: { enabled: true, getResourceServerInfo: () => resource },
    },
    extraTokenClaims: (_, token) => ({ email: `${token.clientId}@example.org` }),
  });
  server.on('request', provider.callback());
  console.log(`issuer ${issuer}`);
});
