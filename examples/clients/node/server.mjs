// A resource server that checks Kerria's access tokens with jose, and refuses those that were ended.
//
//   node server.mjs PORT CHECKERS_TOKEN_FILE AUDIENCE NODE...

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRemoteJWKSet, errors, jwtVerify } from "jose";
import { Feed } from "./feed.mjs";

const [port, tokenFile, audience, ...nodes] = process.argv.slice(2);
if (nodes.length === 0) {
  console.error("usage: node server.mjs PORT CHECKERS_TOKEN_FILE AUDIENCE NODE...");
  process.exit(2);
}

const feed = await Feed.follow(nodes, (await readFile(tokenFile, "utf8")).trim(), "node");
const { issuer } = feed.settings;
const keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`), { cacheMaxAge: 300_000 });
const expected = {
  issuer,
  audience,
  typ: "at+jwt",
  algorithms: ["EdDSA", "ES256"],
  requiredClaims: ["exp", "jti", "sub", "client_id", "as_of"],
};

// That the keys could not be fetched says nothing about the token.
const isAboutTheKeys = (error) =>
  !(error instanceof errors.JOSEError) || ["ERR_JOSE_GENERIC", "ERR_JWKS_TIMEOUT", "ERR_JWKS_INVALID"].includes(error.code);

const answer = (response, status, body, headers = {}) => {
  response.writeHead(status, { "content-type": "application/json", "cache-control": "no-store", ...headers });
  response.end(`${JSON.stringify(body)}\n`);
};
const refuse = (response, error) =>
  answer(response, 401, { error }, { "www-authenticate": error ? `Bearer error="${error}"` : "Bearer" });
// Neither "good" nor "signed out": the client keeps its token and comes again.
const cannotTell = (response) => answer(response, 503, { error: "temporarily_unavailable" }, { "retry-after": "1" });

const server = createServer(async (request, response) => {
  const token = /^Bearer (\S+)$/i.exec(request.headers.authorization ?? "")?.[1];
  if (!token) return refuse(response);
  let claims;
  try {
    ({ payload: claims } = await jwtVerify(token, keys, expected));
  } catch (error) {
    return isAboutTheKeys(error) ? cannotTell(response) : refuse(response, "invalid_token");
  }
  const body = { user: claims.sub, session: claims.sid, scope: claims.scope };
  // Last, and nothing is awaited after it.
  switch (feed.verdict(claims)) {
    case "good":
      return answer(response, 200, body);
    case "ended":
      return refuse(response, "invalid_token");
    default:
      return cannotTell(response);
  }
});

server.listen(port, "127.0.0.1", () => console.error(`listening on http://127.0.0.1:${server.address().port}`));
process.once("SIGTERM", async () => {
  server.close();
  server.closeAllConnections();
  await feed.leave();
});
