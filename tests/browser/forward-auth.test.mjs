// An application behind a real proxy that asks Kerria, as a person meets it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, open, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { Kerria, PASSWORD, freePort } from "../kerria.mjs";
import { browser, closeBrowsers } from "./chromium.mjs";

// Hosts of other domains than Kerria's.
const WIKI = "wiki.two.test";
const SHOP = "shop.three.test";
const elsewhere = `
[[forward_auth.rule]]
hosts = ["${WIKI}", "${SHOP}"]
allow = "signed-in"
`;

const examples = new URL("../../examples/forward-auth/", import.meta.url).pathname;

let kerria;
let application;

before(async () => {
  kerria = await Kerria.start({}, await readFile(`${examples}kerria.toml`, "utf8") + elsewhere);
  const page = await (await browser()).newPage();
  await kerria.createFirstAccount(page);
  application = createServer((request, response) => {
    response.setHeader("content-type", "text/html; charset=utf-8");
    response.end(`<h1>${request.url}</h1><p>Hello ${request.headers["remote-name"] || "stranger"}</p>`);
  }).listen(0, "127.0.0.1");
  await once(application, "listening");
});

after(async () => {
  await closeBrowsers();
  application.closeAllConnections();
  application.close();
  await kerria.end();
});

// How each proxy is started in a folder with its example.
const proxies = {
  nginx: (folder) => ["nginx", "-e", "stderr", "-p", folder, "-c", `${folder}/nginx.conf`, "-g", `daemon off; pid ${folder}/pid; error_log stderr;`],
  caddy: () => ["caddy", "run", "--adapter", "caddyfile", "--config", "Caddyfile"],
  haproxy: () => ["haproxy", "-db", "-f", "haproxy.cfg"],
  apache: (folder) => ["apache2", "-X", "-f", `${folder}/apache.conf`],
  envoy: () => [process.env.ENVOY, "--concurrency", "1", "--use-dynamic-base-id", "-c", "envoy.yaml"],
  traefik: () => [process.env.TRAEFIK, "--configFile=traefik.yml"],
};

// A file of an example, with the addresses of this test, and two more hosts in the words of its proxy.
const rewritten = (text, folder, port) => {
  const hosts = [WIKI, SHOP];
  const more = (write) => hosts.map(write).join("");
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${folder}/${kind};`);
  for (const [from, to] of [[8080, kerria.port], [3000, application.address().port], [8000, port]]) {
    text = text.replaceAll(`127.0.0.1:${from}`, `127.0.0.1:${to}`).replaceAll(`127.0.0.1, port_value: ${from}`, `127.0.0.1, port_value: ${to}`);
  }
  return text
    .replaceAll("localhost:8000", `localhost:${port}`)
    .replaceAll("{host}:8000", `{host}:${port}`)
    .replaceAll("port = 8000", `port = ${port}`)
    .replace("http {", `http { access_log off; ${temporary.join(" ")}`)
    .replace("server_name localhost;", `server_name localhost ${hosts.join(" ")};`)
    .replace(`http://localhost:${port} {`, `http://localhost:${port}${more((host) => `, http://${host}:${port}`)} {`)
    .replaceAll(`-m str localhost:${port} }`, `-m str localhost:${port}${more((host) => ` ${host}:${port}`)} }`)
    .replace("    ServerName localhost\n", `    ServerName localhost\n    ServerAlias ${hosts.join(" ")}\n`)
    .replaceAll(`["localhost:${port}"]`, `["localhost:${port}"${more((host) => `, "${host}:${port}"`)}]`)
    .replace("Host(`localhost`)", `Host(\`localhost\`)${more((host) => ` || Host(\`${host}\`)`)}`);
};

// Whether it answers, and knows of the application: some listen before they have read where requests go.
const isReady = (port) => new Promise((resolve) => {
  const asked = { host: "127.0.0.1", port, path: "/public/", headers: { host: `localhost:${port}` } };
  get(asked, (response) => resolve(response.resume().statusCode === 200)).on("error", () => resolve(false));
});

const start = async (name) => {
  const folder = await mkdtemp(join(tmpdir(), "proxy-"));
  await chmod(folder, 0o755);
  const port = await freePort();
  for (const file of await readdir(examples + name)) {
    await writeFile(join(folder, file), rewritten(await readFile(`${examples}${name}/${file}`, "utf8"), folder, port));
  }
  const [program, ...args] = proxies[name](folder);
  const path = `${process.env.PATH}:/usr/sbin`;
  const environment = { ...process.env, PATH: path, HERE: folder, HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder };
  // Apache opens it by its name, which a pipe does not have.
  const log = await open(join(folder, "log"), "w");
  const proxy = spawn(program, args, { cwd: folder, env: environment, stdio: ["ignore", log.fd, log.fd] });
  while (!(await isReady(port))) {
    assert.equal(proxy.exitCode, null, `${name} ended: ${await readFile(join(folder, "log"), "utf8")}`);
    await pause(20);
  }
  const end = async () => {
    const gone = once(proxy, "exit");
    proxy.kill("SIGTERM");
    await gone;
    await log.close();
    await rm(folder, { recursive: true });
  };
  return { port, origin: `http://localhost:${port}`, end };
};

const holds = async (proxy) => {
  const page = await (await browser()).newPage();
  await page.goto(`${proxy.origin}/public/`);
  assert.equal(await page.locator("p").innerText(), "Hello stranger");
  const wanted = `${proxy.origin}/reports?of=a&and=b%20c`;
  await page.goto(wanted);
  assert.ok(page.url().startsWith(`${kerria.origin}/sign-in?`), page.url());
  await page.locator("#login").fill("alice");
  await page.locator("#password").fill("a wrong password, of all");
  await page.locator("main form button").click();
  assert.match(await page.getByRole("alert").innerText(), /do not belong together/);
  await page.locator("#password").fill(PASSWORD);
  await page.locator("main form button").click();
  await page.waitForURL(wanted);
  assert.equal(await page.locator("p").innerText(), "Hello alice");
  const refused = await page.goto(`${proxy.origin}/admin/`);
  assert.equal(refused.status(), 403);
  kerria.cli(["session", "end", "--user", "alice"]);
  // A script that asks is told; it is not led to a page.
  await page.goto(`${proxy.origin}/public/`);
  const status = await page.evaluate(async () => (await fetch("/reports", { redirect: "manual" })).status);
  assert.equal(status, 401);
  await page.goto(wanted);
  assert.ok(page.url().startsWith(`${kerria.origin}/sign-in?`), page.url());
};

// One sign-in for hosts of three domains, and one sign-out.
const reachesAllDomains = async (proxy) => {
  const context = await browser();
  const page = await context.newPage();
  const wiki = `http://${WIKI}:${proxy.port}/page?of=a&and=b%20c`;
  const shop = `http://${SHOP}:${proxy.port}/`;
  let code;
  page.on("request", (request) => { if (request.url().includes("/.kerria/hand-over?")) code = request.url(); });
  await page.goto(wiki);
  assert.ok(page.url().startsWith(`${kerria.origin}/sign-in?`), page.url());
  await page.locator("#login").fill("alice");
  await page.locator("#password").fill(PASSWORD);
  await page.locator("main form button").click();
  await page.waitForURL(wiki);
  assert.equal(await page.locator("p").innerText(), "Hello alice");
  // Nothing to type and nothing to click, in a tab of its own, too.
  const tab = await context.newPage();
  await tab.goto(shop);
  assert.equal(tab.url(), shop);
  assert.equal(await tab.locator("p").innerText(), "Hello alice");
  const kept = async (url) => (await context.cookies(url)).map(({ name, httpOnly, sameSite }) => [name, httpOnly, sameSite]);
  assert.deepEqual(await kept(wiki), [["kerria-visit", true, "Lax"]]);
  assert.deepEqual(await kept(shop), [["kerria-visit", true, "Lax"]]);
  // Somebody who has seen the address gets nowhere with it, and its owner goes back through it without harm.
  const stranger = await (await browser()).newPage();
  assert.equal((await stranger.goto(code)).status(), 403);
  await stranger.goto(wiki);
  assert.ok(stranger.url().startsWith(`${kerria.origin}/sign-in?`), stranger.url());
  await page.goto(code);
  assert.equal(page.url(), wiki);
  await page.goto(`${kerria.origin}/sessions`);
  await page.getByRole("button", { name: "Sign out", exact: true }).first().click();
  await page.waitForURL("**/signed-out");
  for (const url of [wiki, shop]) {
    await tab.goto(url);
    assert.ok(tab.url().startsWith(`${kerria.origin}/sign-in?`), tab.url());
  }
};

for (const name of Object.keys(proxies)) {
  const is = "a person signs in, comes back, reaches hosts of other domains, and is out with the next page";
  test(`through ${name}, ${is}`, { timeout: 120_000 }, async () => {
    const proxy = await start(name);
    try {
      await holds(proxy);
      await reachesAllDomains(proxy);
    } finally {
      await proxy.end();
    }
  });
}
