// The resource servers of examples/clients, in three languages, follow a running Kerria. All of them do the same.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, beforeEach, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { SignJWT, decodeJwt, decodeProtectedHeader, exportJWK, generateKeyPair } from "jose";
import { Feed } from "../../examples/clients/node/feed.mjs";
import { freePort, Kerria, PASSWORD } from "../kerria.mjs";

const CHECKERS_TOKEN = "the-resource-servers-of-the-tests";
const LEASE = 1000;
const PATIENCE = 20_000;
const example = (path) => new URL(`../../examples/clients/${path}`, import.meta.url).pathname;
const LANGUAGES = {
  node: [process.execPath, example("node/server.mjs")],
  python: [process.env.PYTHON ?? "python3", example("python/server.py")],
  go: [process.env.GO_SERVER ?? "resource-server"],
};

let folder, checkersToken, kerria, robot;
const [processes, peers] = [[], []];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "kerria-resource-servers-"));
  checkersToken = join(folder, "checkers-token");
  await writeFile(checkersToken, CHECKERS_TOKEN);
  kerria = await Kerria.start({ "sign_up.mode": "open", "checkers.token_file": checkersToken });
  for (const name of ["alice", "bob"]) kerria.cli(["user", "add", name, "--password-stdin"], PASSWORD);
  for (const [name, audience] of [["app", kerria.origin], ["other", "https://other.example.com"]]) {
    kerria.cli(["client", "add", name, "--grant", "refresh_token", "--scope", "read", "--audience", audience]);
  }
  const itself = ["--authentication", "client_secret", "--grant", "client_credentials"];
  robot = kerria.cli(["client", "add", "robot", ...itself, "--scope", "read", "--audience", kerria.origin]);
});

after(async () => {
  for (const process of processes) process.kill("SIGKILL");
  for (const peer of peers) peer.close();
  await kerria.end();
  await rm(folder, { recursive: true });
});

const post = async (path, body, token) => {
  const headers = { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) };
  const answer = await fetch(`${kerria.origin}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  assert.ok(answer.ok, await answer.clone().text());
  return answer;
};

const signIn = async (login = "alice", more = {}) =>
  (await post("/api/v1/login", { login, password: PASSWORD, transport: "tokens", ...more })).json();

const signOut = ({ access_token: token }) => post("/api/v1/logout", {}, token);

const end = (...what) => kerria.operate("session", "end", ...what, "--yes");

const endTheOthers = async ({ access_token: token }) => {
  const headers = { authorization: `Bearer ${token}` };
  const answer = await fetch(`${kerria.origin}/api/v1/sessions?scope=others`, { method: "DELETE", headers });
  assert.ok(answer.ok);
};

const forOAuth = async (path, form) => {
  const answer = await fetch(`${kerria.origin}${path}`, { method: "POST", body: new URLSearchParams(form) });
  assert.ok(answer.ok, await answer.clone().text());
  return answer;
};

// Between the resource server and the node: whole, silent (nothing arrives, nothing is closed), or cut.
class Cable {
  // How long what the node says is under way, what happens when it departs, and whether it is the last of it.
  delay = 0;
  departs = () => {};
  isLast = false;

  static async to(origin) {
    const cable = new Cable();
    cable.state = "whole";
    cable.pairs = new Set();
    peers.push(cable);
    cable.server = createServer((near) => {
      if (cable.state === "cut") return near.destroy();
      const far = connect({ host: "127.0.0.1", port: new URL(origin).port });
      const pair = [near, far];
      cable.pairs.add(pair);
      near.on("data", (data) => cable.state === "whole" && far.write(data));
      far.on("data", async (data) => {
        cable.departs();
        await pause(cable.delay);
        if (cable.state !== "whole" || near.destroyed) return;
        near.write(data);
        if (cable.isLast) cable.is("silent");
      });
      near.on("close", () => {
        far.destroy();
        cable.pairs.delete(pair);
      });
      far.on("close", async () => {
        await pause(cable.delay);
        near.end();
      });
      for (const end of pair) end.on("error", () => {});
    });
    await once(cable.server.listen(0, "127.0.0.1"), "listening");
    cable.origin = `http://127.0.0.1:${cable.server.address().port}`;
    return cable;
  }

  is(state) {
    // What was lost in the silence does not come any more: who waited for it has to ask again.
    if (state !== "silent") this.pairs.forEach(([near]) => near.destroy());
    this.state = state;
  }

  mend() {
    Object.assign(this, { delay: 0, departs: () => {}, isLast: false });
    this.is("whole");
  }

  close() {
    this.is("cut");
    this.server.close();
  }
}

// What signs whatever it is told to: Kerria signs no token that is wrong in one thing alone. Its log has begun at HEAD.
const HEAD = 5;

class Signer {
  static async start() {
    const signer = new Signer();
    const { privateKey, publicKey } = await generateKeyPair("EdDSA");
    signer.key = privateKey;
    const keys = { keys: [{ ...(await exportJWK(publicKey)), kid: "its", alg: "EdDSA", use: "sig" }] };
    const answers = {
      settings: () => ({ issuer: signer.origin, lease: LEASE }),
      renew: ({ applied }) =>
        applied === null ? { answer: "registered", head: HEAD } : { answer: "entries", entries: [], complete: true },
      log: () => ({ answer: "start_over", head: HEAD }),
      leave: () => null,
      "jwks.json": () => keys,
    };
    signer.server = createHttpServer(async (request, response) => {
      const body = (await request.toArray()).join("");
      const asked = body ? JSON.parse(body) : {};
      await pause(asked.wait ?? 0);
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify(answers[request.url.split("/").at(-1)](asked)));
    });
    await once(signer.server.listen(0, "127.0.0.1"), "listening");
    peers.push(signer);
    signer.origin = `http://127.0.0.1:${signer.server.address().port}`;
    return signer;
  }

  sign(claims, header = {}) {
    const now = Math.floor(Date.now() / 1000);
    const right = { iss: this.origin, aud: kerria.origin, sub: "alice", client_id: "app", jti: "one", iat: now, exp: now + 60, as_of: HEAD };
    return new SignJWT({ ...right, ...claims }).setProtectedHeader({ alg: "EdDSA", kid: "its", typ: "at+jwt", ...header }).sign(this.key);
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

class ResourceServer {
  static async start([program, ...script], nodes) {
    const server = new ResourceServer();
    server.port = await freePort();
    const args = [...script, String(server.port), checkersToken, kerria.origin, ...nodes];
    server.process = spawn(program, args, { stdio: ["ignore", "inherit", "pipe"] });
    processes.push(server.process);
    const lines = createInterface({ input: server.process.stderr });
    const gone = once(server.process, "exit").then(([code]) => assert.fail(`it has stopped: ${code}`));
    gone.catch(() => {});
    for (;;) {
      const [line] = await Promise.race([once(lines, "line"), gone]);
      if (line.startsWith("listening on ")) break;
      console.error(line);
    }
    lines.on("line", (line) => console.error(line));
    return server;
  }

  async status(token, scheme = "Bearer") {
    const headers = token ? { authorization: `${scheme} ${token}` } : {};
    const answer = await fetch(`http://127.0.0.1:${this.port}/`, { headers });
    assert.equal(answer.headers.get("cache-control"), "no-store");
    if (answer.status === 401) assert.match(answer.headers.get("www-authenticate"), /^Bearer/);
    if (answer.status === 200) assert.equal((await answer.json()).user, decodeJwt(token).sub);
    return answer.status;
  }

  async says({ access_token: token }) {
    return this.status(token);
  }

  async until(status, tokens) {
    const patience = Date.now() + PATIENCE;
    while ((await this.says(tokens)) !== status) {
      assert.ok(Date.now() < patience, `it never says ${status}`);
      await pause(10);
    }
  }

  async stop() {
    const gone = once(this.process, "exit");
    this.process.kill("SIGTERM");
    return gone;
  }
}

for (const [language, command] of Object.entries(LANGUAGES)) {
  describe(`a resource server in ${language}`, () => {
    let cable, server;

    before(async () => {
      cable = await Cable.to(kerria.origin);
      server = await ResourceServer.start(command, [cable.origin]);
      await server.until(200, await signIn("bob"));
    });

    beforeEach(() => cable.mend());

    test("a log-out is refused once it is answered", async () => {
      const kept = await signIn("bob");
      for (let round = 0; round < 20; round += 1) {
        const tokens = await signIn();
        assert.equal(await server.says(tokens), 200);
        await signOut(tokens);
        assert.equal(await server.says(tokens), 401);
        assert.equal(await server.says(kept), 200);
      }
    });

    test("so is every other end, of what it is about and nothing else", async () => {
      const check = async (endIt, [ended, ...kept]) => {
        for (const one of [ended, ...kept]) assert.equal(await server.says(one), 200);
        await endIt(ended, ...kept);
        assert.equal(await server.says(ended), 401);
        for (const one of kept) assert.equal(await server.says(one), 200);
      };
      const forApp = (login) => signIn(login, { client_id: "app" });
      await check((_, here) => endTheOthers(here), [await signIn(), await signIn(), await signIn("bob")]);
      await check(() => end("--user", "alice"), [await signIn(), await signIn("bob")]);
      await check(({ access_token }) => end("--token", decodeJwt(access_token).jti), [await signIn(), await signIn()]);
      await check(() => end("--client", "app"), [await forApp("alice"), await signIn()]);
      await check(
        ({ refresh_token: token }) => forOAuth("/oauth2/revoke", { token, client_id: "app" }),
        [await forApp("alice"), await forApp("alice")],
      );
      await check(() => kerria.operate("user", "disable", "alice"), [await signIn(), await signIn("bob")]);
      await kerria.operate("user", "enable", "alice");
      await check(() => end("--everyone"), [await signIn()]);
      assert.equal(await server.says(await signIn()), 200);
    });

    test("a token that a client has got for itself ends with its client", async () => {
      const form = { grant_type: "client_credentials", client_id: "robot", client_secret: robot.secret };
      const [one, other] = await Promise.all([1, 2].map(async () => (await forOAuth("/oauth2/token", form)).json()));
      await end("--token", decodeJwt(one.access_token).jti);
      assert.deepEqual([await server.says(one), await server.says(other)], [401, 200]);
      await end("--client", "robot");
      assert.equal(await server.says(other), 401);
    });

    test("one token has ended, and its session goes on", async () => {
      const { access_token: first, refresh_token: refresh } = await signIn();
      await end("--token", decodeJwt(first).jti);
      const answer = await forOAuth("/oauth2/token", { grant_type: "refresh_token", client_id: "kerria", refresh_token: refresh });
      const { access_token: second } = await answer.json();
      assert.deepEqual([await server.status(first), await server.status(second)], [401, 200]);
    });

    test("what is no access token for it is refused", async () => {
      const tokens = await signIn();
      const claims = decodeJwt(tokens.access_token);
      const header = decodeProtectedHeader(tokens.access_token);
      const { privateKey } = await generateKeyPair(header.alg);
      const forged = (more) => new SignJWT(claims).setProtectedHeader({ ...header, ...more }).sign(privateKey);
      const [, payload, signature] = tokens.access_token.split(".");
      const none = Buffer.from(JSON.stringify({ alg: "none", typ: "at+jwt" })).toString("base64url");
      const later = Buffer.from(JSON.stringify({ ...claims, as_of: claims.as_of + 1000 })).toString("base64url");
      const wrong = [
        undefined,
        "nonsense",
        await forged({}),
        await forged({ kid: "unknown" }),
        `${none}.${payload}.`,
        `${tokens.access_token.split(".")[0]}.${later}.${signature}`,
        (await signIn("alice", { client_id: "other" })).access_token,
        tokens.refresh_token,
      ];
      for (const token of wrong) assert.equal(await server.status(token), 401, token);
      assert.equal(await server.status(tokens.access_token, "Basic"), 401);
      assert.equal(await server.status(tokens.access_token, "bearer"), 200, "the scheme is case-insensitive");
    });

    test("a token that is wrong in one thing alone is refused", async () => {
      const signer = await Signer.start();
      const server = await ResourceServer.start(command, [signer.origin]);
      await server.until(200, { access_token: await signer.sign({}) });
      const missing = ["iss", "aud", "sub", "client_id", "jti", "exp", "as_of"].map((name) => [{ [name]: undefined }]);
      for (const [claims, header] of [
        ...missing,
        [{ iss: kerria.origin }],
        [{ aud: signer.origin }],
        [{ exp: Math.floor(Date.now() / 1000) - 1 }],
        [{ as_of: HEAD - 1 }],
        [{}, { typ: "JWT" }],
        [{}, { typ: "identity+jwt" }],
        [{}, { typ: undefined }],
      ]) {
        const what = JSON.stringify([claims, header], (_, value) => value ?? "missing");
        assert.equal(await server.status(await signer.sign(claims, header)), 401, what);
      }
      assert.equal(await server.status(await signer.sign({ aud: [signer.origin, kerria.origin] })), 200);
      await server.stop();
    });

    for (const state of ["silent", "cut"]) {
      test(`while its feed is ${state}, it can tell nothing once its lease is over`, async () => {
        const [ended, kept] = [await signIn(), await signIn("bob")];
        for (const one of [ended, kept]) assert.equal(await server.says(one), 200);
        const broken = Date.now();
        cable.is(state);
        await signOut(ended);
        assert.notEqual(await server.says(ended), 200);
        await server.until(503, kept);
        assert.ok(Date.now() - broken < LEASE + 1000, "it answers from memory for longer than its lease");
        assert.equal(await server.says(await signIn()), 503);
        cable.mend();
        await server.until(200, kept);
        assert.equal(await server.says(ended), 401);
      });
    }

    test("its lease counts from before it asked, however long the answer was under way", async () => {
      const [ended, kept] = [await signIn(), await signIn("bob")];
      cable.delay = LEASE / 6;
      await server.until(200, ended);
      // It ends while the last answer that does not tell of it is under way.
      await new Promise((resolve) => {
        cable.departs = () => {
          Object.assign(cable, { departs: () => {}, isLast: true });
          resolve(signOut(ended));
        };
      });
      assert.notEqual(await server.says(ended), 200);
      cable.mend();
      await server.until(200, kept);
      assert.equal(await server.says(ended), 401);
    });

    test("when it stood still, it does not answer from old memory", async () => {
      const [ended, kept] = [await signIn(), await signIn("bob")];
      for (const one of [ended, kept]) assert.equal(await server.says(one), 200);
      server.process.kill("SIGSTOP");
      await signOut(ended);
      const asked = server.says(ended);
      server.process.kill("SIGCONT");
      assert.notEqual(await asked, 200);
      await server.until(200, kept);
      assert.equal(await server.says(ended), 401);
    });

    test("what it missed of a server that was killed is ended all the same", async () => {
      const [ended, kept] = [await signIn(), await signIn("bob")];
      for (const one of [ended, kept]) assert.equal(await server.says(one), 200);
      const fresh = await ResourceServer.start(command, [cable.origin]);
      cable.is("cut");
      await signOut(ended);
      const gone = once(kerria.process, "exit");
      kerria.process.kill("SIGKILL");
      await gone;
      assert.equal(await fresh.says(kept), 503, "it has no keys, and cannot fetch them");
      await kerria.serve();
      cable.mend();
      await server.until(200, await signIn());
      assert.deepEqual([await server.says(ended), await server.says(kept)], [401, 200]);
      await signOut(kept);
      assert.equal(await server.says(kept), 401);
      await fresh.stop();
    });

    test("it turns to another node when its own keeps silent", async () => {
      const second = await Cable.to(kerria.origin);
      const other = await ResourceServer.start(command, [cable.origin, second.origin]);
      const tokens = await signIn();
      await other.until(200, tokens);
      cable.is("silent");
      await server.until(503, tokens);
      await other.until(200, tokens);
      await signOut(tokens);
      assert.equal(await other.says(tokens), 401);
      await other.stop();
    });

    test("it leaves, so that nobody waits for it, and knows at its next start what was ended", async () => {
      await server.until(200, await signIn());
      const [before, meanwhile, kept] = [await signIn(), await signIn(), await signIn("bob")];
      await signOut(before);
      const [code] = await server.stop();
      assert.equal(code, 0);
      const followers = (await kerria.operate("cluster", "status")).nodes.map((node) => node.name);
      assert.ok(!followers.includes(language), `it has left: ${followers}`);
      await signOut(meanwhile);
      server = await ResourceServer.start(command, [cable.origin]);
      await server.until(200, kept);
      assert.deepEqual([await server.says(before), await server.says(meanwhile)], [401, 401]);
    });
  });
}

// As docs/forward-auth.md says: a connection is known by the session and the user that Remote-Jwt names.
test("an application behind a proxy knows which of its open connections are over", async () => {
  const feed = await Feed.follow([kerria.origin], CHECKERS_TOKEN, "sockets");
  const opened = async ({ access_token: token }) => {
    const { sid, sub } = decodeJwt(token);
    const { found } = await (await post("/api/v1/checker/session", { session: sid }, CHECKERS_TOKEN)).json();
    return found && { sid, sub, as_of: found.as_of };
  };
  const [alice, kept] = [await signIn(), await signIn("bob")];
  const [connection, other] = [await opened(alice), await opened(kept)];
  const patience = Date.now() + PATIENCE;
  while (feed.verdict(connection) !== "good") {
    assert.ok(Date.now() < patience, "it never has a lease");
    await pause(10);
  }
  await signOut(alice);
  assert.deepEqual([feed.verdict(connection), feed.verdict(other)], ["ended", "good"]);
  assert.equal(await opened(alice), null, "what was ended before it was opened is not found");
  await end("--user", "bob");
  assert.equal(feed.verdict(other), "ended");
  assert.equal(feed.verdict(await opened(await signIn("bob"))), "good");
  await feed.leave();
});
