// A certified provider over keys in a file, which another process may change: `node serve.js PORT KEYS_FILE REDIRECT`.
// `GET /rotate` reads them again. Anybody may sign in under any name (oidc-provider's own pages for development).

import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { Provider } from "oidc-provider";

const [port, file, redirect] = process.argv.slice(2);
const alg = JSON.parse(readFileSync(file, "utf-8")).keys[0].alg; // the first key signs access tokens
const issuer = `http://127.0.0.1:${port}`;
const groups = { ada: ["ml"], eve: [] };

function configured() {
  return new Provider(issuer, {
    jwks: JSON.parse(readFileSync(file, "utf-8")),
    clients: [
      { client_id: "console", client_secret: "not:plain", redirect_uris: [redirect] },
      { client_id: "robot", client_secret: "robots-secret", redirect_uris: [], response_types: [], grant_types: ["client_credentials"] },
    ],
    pkce: { required: () => true },
    claims: { openid: ["sub"], profile: ["groups"] },
    conformIdTokenClaims: false,
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, groups: groups[id] ?? [] }) }),
    extraTokenClaims: () => ({ groups: ["ml"], sub: "robot" }),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => "urn:understudy",
        getResourceServerInfo: () => ({ scope: "", audience: "understudy", accessTokenFormat: "jwt", accessTokenTTL: 300, jwt: { sign: { alg } } }),
      },
    },
  });
}

let provider = configured();
createServer((request, response) => {
  if (request.url === "/rotate") {
    provider = configured();
    response.end("rotated\n");
    return;
  }
  provider.callback()(request, response);
}).listen(Number(port), "127.0.0.1", () => console.log("listening"));
