// Kerria as a person meets it: in Chromium, with and without JavaScript.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { Kerria, OTHER_PASSWORD, PASSWORD } from "../kerria.mjs";
import { browser, closeBrowsers } from "./chromium.mjs";

const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const pictures = new URL("../../target/screenshots/", import.meta.url).pathname;

const IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 26_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Mobile/15E148 Safari/604.1";
const FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0";

let kerria;

before(async () => {
  await mkdir(pictures, { recursive: true });
  kerria = await Kerria.start({ "sign_up.mode": "open" });
  const page = await (await browser()).newPage();
  await kerria.createFirstAccount(page);
});

after(async () => {
  await closeBrowsers();
  assert.equal(await kerria.end(), 0, "it stops in good order");
});

const heading = (page) => page.locator("h1").innerText();

// A page on which nothing complains: no error in the console, no refused resource.
const quietPage = async (context) => {
  const page = await context.newPage();
  page.complaints = [];
  page.on("console", (message) => { if (message.type() === "error") page.complaints.push(message.text()); });
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  return page;
};

test("a person signs up, is recognised, and signs out", async () => {
  const context = await browser();
  const page = await quietPage(context);
  await page.goto(kerria.origin);
  assert.match(page.url(), /\/sign-in$/);
  await page.goto(`${kerria.origin}/sign-up`);
  await page.getByLabel("Name", { exact: true }).fill("Zoë O’Hara".replace("’", "'"));
  await page.locator("#password").fill(PASSWORD);
  await page.locator("main form button").click();
  await page.waitForURL("**/sessions");
  assert.equal(await heading(page), "Your sessions");
  const [cookie] = (await context.cookies()).filter(({ name }) => name === "kerria");
  assert.equal(cookie.expires, -1, "it dies with the browser");
  assert.ok(cookie.httpOnly && cookie.sameSite === "Lax");
  await page.goto(kerria.origin);
  assert.match(page.url(), /\/sessions$/);
  await page.getByRole("button", { name: "Sign out", exact: true }).click();
  await page.waitForURL("**/signed-out");
  assert.equal((await context.cookies()).filter(({ name }) => name === "kerria").length, 0);
  assert.deepEqual(page.complaints, []);
});

test("a wrong password is told kindly and the name stays", async () => {
  const page = await (await browser()).newPage();
  await kerria.signIn(page, { password: OTHER_PASSWORD });
  assert.match(await page.getByRole("alert").innerText(), /do not belong together/);
  assert.equal(await page.locator("#login").inputValue(), "alice");
  assert.equal(await page.locator("#password").inputValue(), "");
});

test("whoever was on the way somewhere gets there after signing in", async () => {
  const page = await (await browser()).newPage();
  await page.goto(`${kerria.origin}/account/password`);
  await page.locator("#login").fill("alice");
  await page.locator("#password").fill(PASSWORD);
  await page.locator("main form button").click();
  await page.waitForURL("**/account/password");
});

test("a remembered session survives the browser, in a cookie that ends when the session does", async () => {
  const context = await browser();
  const page = await context.newPage();
  await kerria.signIn(page, { remember: true });
  await page.waitForURL("**/sessions");
  const [cookie] = (await context.cookies()).filter(({ name }) => name === "kerria");
  const days = (cookie.expires - Date.now() / 1_000) / 86_400;
  assert.ok(days > 29.9 && days < 30.1, `${days} days`);
});

test("ending another device is noticed by its open tabs within a second", async () => {
  const [laptop, phone] = await Promise.all([browser(), browser({ viewport: { width: 390, height: 844 } })]);
  const [mine, first, second] = await Promise.all([laptop.newPage(), phone.newPage(), phone.newPage()]);
  await kerria.signIn(mine);
  await kerria.signIn(first);
  await first.waitForURL("**/sessions");
  await second.goto(`${kerria.origin}/account`);
  await mine.goto(`${kerria.origin}/sessions`);
  const others = mine.getByRole("button", { name: "End all other sessions" });
  const ended = Promise.all([first, second].map((tab) => tab.getByRole("alertdialog").waitFor({ timeout: 5_000 })));
  const start = Date.now();
  await others.click();
  await ended;
  const took = Date.now() - start;
  assert.ok(took < 1_000, `it took ${took} ms`);
  assert.match(await mine.locator("main").innerText(), /Ended \d+ session/);
  await first.screenshot({ path: `${pictures}ended-tab.png` });
  await first.getByRole("alertdialog").getByRole("link").click();
  await first.waitForURL(/\/sign-in\?return_to=/);
});

test("everything works without JavaScript", async () => {
  const [context, other] = await Promise.all([browser({ javaScriptEnabled: false }), browser()]);
  const [page, elsewhere] = await Promise.all([context.newPage(), other.newPage()]);
  await page.goto(`${kerria.origin}/sign-up`);
  await page.getByLabel("Name", { exact: true }).fill("nora");
  await page.locator("#password").fill(PASSWORD);
  await page.locator("main form button").click();
  await page.waitForURL("**/sessions");
  await kerria.signIn(elsewhere, { name: "nora" });
  await elsewhere.waitForURL("**/sessions");
  await page.reload();
  assert.equal(await page.locator(".sessions li").count(), 2);
  await page.locator(".sessions li").nth(1).getByRole("button").click();
  await page.waitForURL("**/sessions?ended=1");
  await elsewhere.reload();
  assert.match(elsewhere.url(), /\/sign-in/);
  await page.goto(`${kerria.origin}/account/password`);
  await page.locator("#current-password").fill(PASSWORD);
  await page.locator("#new-password").fill(OTHER_PASSWORD);
  await page.locator("main form button").click();
  await page.waitForURL("**/account?saved=password*");
  await page.goto(`${kerria.origin}/account`);
  await page.getByLabel("Name", { exact: true }).fill("nora two");
  await page.locator("main form button").first().click();
  await page.waitForURL("**/account?saved=name");
  await page.goto(`${kerria.origin}/account/delete`);
  await page.getByRole("checkbox").check();
  await page.locator("main form button").click();
  await page.waitForURL("**/signed-out");
  await kerria.signIn(page, { name: "nora two", password: OTHER_PASSWORD });
  assert.match(await page.getByRole("alert").innerText(), /do not belong together/);
});

test("what is sensitive asks for the password again", async () => {
  const strict = await Kerria.start({ "session.fresh_for": "1s" });
  try {
    const page = await (await browser()).newPage();
    await strict.createFirstAccount(page);
    await page.waitForTimeout(1_100);
    await page.getByRole("button", { name: "Sign out everywhere" }).click();
    await page.waitForURL(/\/confirm\?return_to=/);
    assert.match(await heading(page), /Confirm/);
    await page.locator("#password").fill(OTHER_PASSWORD);
    await page.locator("main form button").click();
    assert.match(await page.getByRole("alert").innerText(), /not your password/);
    await page.locator("#password").fill(PASSWORD);
    await page.locator("main form button").click();
    await page.waitForURL("**/sessions");
    await page.getByRole("button", { name: "Sign out everywhere" }).click();
    await page.waitForURL("**/signed-out");
  } finally {
    await strict.end();
  }
});

test("a restart signs nobody out, and open tabs live through it", async () => {
  const page = await (await browser()).newPage();
  await kerria.signIn(page);
  await page.waitForURL("**/sessions");
  await kerria.restart();
  await page.reload();
  assert.equal(await heading(page), "Your sessions");
  assert.equal(await page.getByRole("alertdialog").count(), 0);
});

test("the pages are accessible, and look as they should, in light, dark and on a phone", async () => {
  const laptop = { viewport: { width: 1_100, height: 760 } };
  for (const [name, options] of Object.entries({
    light: { ...laptop, colorScheme: "light" },
    dark: { ...laptop, colorScheme: "dark" },
    phone: { viewport: { width: 390, height: 844 }, colorScheme: "light" },
  })) {
    const context = await browser(options);
    const page = await quietPage(context);
    const look = async (path, file) => {
      await page.goto(`${kerria.origin}${path}`);
      await page.screenshot({ path: `${pictures}${file}-${name}.png`, fullPage: true });
      const width = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(width <= 0, `${path} scrolls sideways by ${width} pixels`);
      // The page's own policy keeps the checker out; it runs in a world of its own.
      const session = await context.newCDPSession(page);
      const source = `${await (await import("node:fs/promises")).readFile(axe, "utf8")}; axe.run().then((r) => JSON.stringify(r.violations.map((v) => [v.id, v.nodes.map((n) => n.html)])))`;
      const { result } = await session.send("Runtime.evaluate", { expression: source, awaitPromise: true });
      assert.equal(result.value, "[]", `${path} in ${name}`);
    };
    for (const [path, file] of [["/sign-in", "sign-in"], ["/sign-up", "sign-up"], ["/signed-out", "signed-out"]]) await look(path, file);
    await kerria.signIn(page, { remember: true });
    await page.waitForURL("**/sessions");
    await page.getByRole("button", { name: "End all other sessions" }).click();
    await page.waitForURL("**/sessions?ended=*");
    for (const userAgent of [IPHONE, FIREFOX]) {
      const other = await (await browser({ userAgent })).newPage();
      await kerria.signIn(other, { remember: userAgent === IPHONE });
      await other.waitForURL("**/sessions");
    }
    for (const [path, file] of [
      ["/sessions", "sessions"], ["/account", "account"], ["/account/password", "password"], ["/confirm", "confirm"],
      ["/account/delete", "delete"],
    ]) await look(path, file);
    assert.deepEqual(page.complaints, []);
    await look("/no-such-page", "not-found");
  }
});
