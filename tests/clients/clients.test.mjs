// Other people's libraries refresh, introspect, revoke and verify against a running Kerria.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { createRemoteJWKSet, exportJWK, generateKeyPair, jwtVerify } from "jose";
import * as oauth from "oauth4webapi";
import * as openid from "openid-client";
import { Kerria, PASSWORD } from "../kerria.mjs";

const AUDIENCE = "https://api.example.com";
const plain = { [oauth.allowInsecureRequests]: true };

let kerria, issuer, shop, signer, signerKey, folder, checkersToken;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "kerria-clients-"));
  checkersToken = join(folder, "checkers-token");
  await writeFile(checkersToken, "the-applications-of-the-tests");
  kerria = await Kerria.start({
    "sign_up.mode": "open", "tokens.jwks_max_age": "1s", "checkers.token_file": checkersToken,
  });
  issuer = new URL(kerria.origin);
  kerria.cli(["user", "add", "alice", "--password-stdin"], PASSWORD);
  const grants = ["--grant", "client_credentials", "--grant", "refresh_token"];
  const added = kerria.cli([
    "client", "add", "shop", "--authentication", "client_secret", "--audience", AUDIENCE, "--scope", "read write", ...grants,
  ]);
  shop = { client_id: "shop", secret: added.secret };
  const { publicKey, privateKey } = await generateKeyPair("ES256", { extractable: true });
  signerKey = privateKey;
  const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: "one", alg: "ES256", use: "sig" }] };
  const file = join(kerria.folder, "signer.jwks.json");
  await writeFile(file, JSON.stringify(jwks));
  kerria.cli([
    "client", "add", "signer", "--authentication", "private_key_jwt", "--jwks-file", file, "--audience", AUDIENCE, ...grants,
  ]);
  signer = { client_id: "signer" };
});

after(async () => {
  await kerria.end();
  await rm(folder, { recursive: true });
});

const signIn = async () => {
  const body = { login: "alice", password: PASSWORD, transport: "tokens" };
  const answer = await fetch(`${kerria.origin}/api/v1/login`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  assert.equal(answer.status, 200);
  return answer.json();
};

const discover = async () => {
  const answer = await oauth.discoveryRequest(issuer, { ...plain, algorithm: "oauth2" });
  return oauth.processDiscoveryResponse(issuer, answer);
};

const verify = (token, keys, audience = kerria.origin) =>
  jwtVerify(token, keys, { issuer: kerria.origin, audience, typ: "at+jwt" });

test("oauth4webapi refreshes as a public client, and a revoked refresh token is dead", async () => {
  const server = await discover();
  const own = { client_id: "kerria" };
  const { refresh_token: first, access_token: access } = await signIn();
  const answer = await oauth.refreshTokenGrantRequest(server, own, oauth.None(), first, plain);
  const tokens = await oauth.processRefreshTokenResponse(server, own, answer);
  assert.notEqual(tokens.refresh_token, first);
  const keys = createRemoteJWKSet(new URL(server.jwks_uri));
  const [before, after] = [await verify(access, keys), await verify(tokens.access_token, keys)];
  assert.equal(before.payload.sid, after.payload.sid);
  const revoked = await oauth.revocationRequest(server, own, oauth.None(), tokens.refresh_token, plain);
  await oauth.processRevocationResponse(revoked);
  const refused = await oauth.refreshTokenGrantRequest(server, own, oauth.None(), tokens.refresh_token, plain);
  await assert.rejects(oauth.processRefreshTokenResponse(server, own, refused), { error: "invalid_grant" });
  const session = await fetch(`${kerria.origin}/api/v1/session`, { headers: { authorization: `Bearer ${tokens.access_token}` } });
  assert.equal(session.status, 401);
});

for (const [method, authentication] of [
  ["client_secret_basic", () => oauth.ClientSecretBasic(shop.secret)],
  ["client_secret_post", () => oauth.ClientSecretPost(shop.secret)],
]) {
  test(`oauth4webapi gets a token for itself with ${method}, asks about it and ends it`, async () => {
    const server = await discover();
    const scope = new URLSearchParams({ scope: "read" });
    const answer = await oauth.clientCredentialsGrantRequest(server, shop, authentication(), scope, plain);
    const tokens = await oauth.processClientCredentialsResponse(server, shop, answer);
    const { payload } = await verify(tokens.access_token, createRemoteJWKSet(new URL(server.jwks_uri)), AUDIENCE);
    assert.deepEqual([payload.sub, payload.client_id, payload.scope], ["shop", "shop", "read"]);
    const ask = async () => {
      const about = await oauth.introspectionRequest(server, shop, authentication(), tokens.access_token, plain);
      return oauth.processIntrospectionResponse(server, shop, about);
    };
    assert.equal((await ask()).active, true);
    await oauth.processRevocationResponse(
      await oauth.revocationRequest(server, shop, authentication(), tokens.access_token, plain),
    );
    assert.deepEqual(await ask(), { active: false });
  });
}

test("oauth4webapi proves itself with a signed JWT, once", async () => {
  const server = await discover();
  const authentication = oauth.PrivateKeyJwt({ key: signerKey, kid: "one" });
  const ask = () => oauth.clientCredentialsGrantRequest(server, signer, authentication, new URLSearchParams(), plain);
  const tokens = await oauth.processClientCredentialsResponse(server, signer, await ask());
  assert.equal(tokens.token_type, "bearer");
  let assertion;
  const keep = { ...plain, [oauth.customFetch]: (url, options) => { assertion = options.body; return fetch(url, options); } };
  await oauth.clientCredentialsGrantRequest(server, signer, authentication, new URLSearchParams(), keep);
  const again = await fetch(server.token_endpoint, { method: "POST", body: assertion });
  assert.deepEqual([again.status, (await again.json()).error], [401, "invalid_client"]);
});

test("openid-client discovers, gets a token for itself, introspects and revokes", async () => {
  const config = await openid.discovery(issuer, "shop", shop.secret, openid.ClientSecretBasic(shop.secret), {
    algorithm: "oauth2",
    execute: [openid.allowInsecureRequests],
  });
  const tokens = await openid.clientCredentialsGrant(config, { scope: "write" });
  const about = await openid.tokenIntrospection(config, tokens.access_token);
  assert.deepEqual([about.active, about.scope, about.client_id], [true, "write", "shop"]);
  await openid.tokenRevocation(config, tokens.access_token);
  assert.equal((await openid.tokenIntrospection(config, tokens.access_token)).active, false);
});

test("openid-client refreshes as a public client", async () => {
  const config = await openid.discovery(issuer, "kerria", undefined, openid.None(), {
    algorithm: "oauth2",
    execute: [openid.allowInsecureRequests],
  });
  const { refresh_token: first } = await signIn();
  const second = await openid.refreshTokenGrant(config, first);
  const third = await openid.refreshTokenGrant(config, second.refresh_token);
  await assert.rejects(openid.refreshTokenGrant(config, first), { error: "invalid_grant" });
  await assert.rejects(openid.refreshTokenGrant(config, third.refresh_token), { error: "invalid_grant" });
});

test("jose verifies across rotations under load without one failed request", async () => {
  const keys = createRemoteJWKSet(new URL(`${kerria.origin}/.well-known/jwks.json`), { cooldownDuration: 0, cacheMaxAge: 1000 });
  let { refresh_token: refresh, access_token: access } = await signIn();
  const kids = new Set();
  let rotated = 0;
  // By then the next key has been published for as long as verifiers may keep the keys.
  const due = () => kerria.cli(["keys", "list"]).keys.every((key) => key.state !== "next" || Date.now() - Date.parse(key.created_at) > 1100);
  const patience = Date.now() + 120_000;
  for (let round = 0; rotated < 3 && Date.now() < patience; round++) {
    const { protectedHeader } = await verify(access, keys);
    kids.add(protectedHeader.kid);
    const answer = await fetch(`${kerria.origin}/oauth2/token`, {
      method: "POST",
      body: new URLSearchParams({ grant_type: "refresh_token", client_id: "kerria", refresh_token: refresh }),
    });
    assert.equal(answer.status, 200);
    const before = access;
    ({ refresh_token: refresh, access_token: access } = await answer.json());
    await verify(before, keys);
    if (round % 50 === 49 && due()) {
      kerria.cli(["keys", "rotate", "--algorithm", "EdDSA"]);
      rotated++;
    }
  }
  assert.equal(rotated, 3);
  assert.ok(kids.size >= 3, `signed by ${kids.size} keys`);
});

test("Authlib and PyJWT refresh, introspect, revoke and verify", async () => {
  const { refresh_token: refresh } = await signIn();
  const python = spawn(process.env.PYTHON ?? "python3", ["clients.py"], {
    env: { ...process.env, ORIGIN: kerria.origin, REFRESH: refresh, SECRET: shop.secret, AUDIENCE },
    stdio: "inherit",
  });
  const [code] = await once(python, "exit");
  assert.equal(code, 0);
});

test("a checker that was written after the description refuses what was ended, once it is answered", async () => {
  const program = new URL("../../examples/clients/python/checker.py", import.meta.url).pathname;
  const checker = spawn(process.env.PYTHON, [program, checkersToken, kerria.origin], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: checker.stdout })[Symbol.asyncIterator]();
  const says = async (token) => {
    checker.stdin.write(`${token}\n`);
    return (await lines.next()).value;
  };
  const post = async (path, body, token) => {
    const headers = { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) };
    const answer = await fetch(`${kerria.origin}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
    assert.ok(answer.ok, await answer.clone().text());
    return answer;
  };
  assert.equal((await lines.next()).value, "follows");
  const login = { login: "alice", password: PASSWORD, transport: "bearer" };
  for (let round = 0; round < 50; round += 1) {
    const { token } = await (await post("/api/v1/login", login)).json();
    assert.equal(await says(token), "good: alice (asked)");
    assert.equal(await says(token), "good: alice (from memory)");
    if (round % 2 === 0) await post("/api/v1/logout", {}, token);
    else kerria.cli(["session", "end", "--everyone", "--yes"]);
    const refused = await says(token);
    assert.ok(refused.startsWith("refused: "), refused);
  }
  assert.equal(await says("kst_8GkZ2m0V1xJ4Qe7hYt9WcB3nRfUaLs6PiDoKgMvXzTjHbNyEwCrSqIpd"), "refused: no token");
  const { token } = await (await post("/api/v1/login", login)).json();
  assert.equal(await says(token), "good: alice (asked)");
  checker.stdin.end();
  assert.deepEqual(await once(checker, "exit"), [0, null]);
  const nodes = kerria.cli(["cluster", "status"]).nodes.map((node) => node.name);
  assert.ok(!nodes.includes("checker.py"), `it has left: ${nodes}`);
});
