// A real Kerria for the tests.

import { execFile, spawn, spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import { promisify } from "node:util";

export const PASSWORD = "correct horse battery staple";
export const OTHER_PASSWORD = "several unrelated words here";

const binary = process.env.KERRIA ?? new URL("../target/debug/kerria", import.meta.url).pathname;

export const freePort = () => new Promise((resolve) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});

// A Kerria on an empty folder. Settings as `session.fresh_for: "2s"`; `file` is the text of its kerria.toml, if it has one.
export class Kerria {
  static async start(settings = {}, file = undefined) {
    const kerria = new Kerria();
    kerria.folder = await mkdtemp(join(tmpdir(), "kerria-"));
    kerria.port = await freePort();
    kerria.origin = `http://localhost:${kerria.port}`;
    kerria.settings = { "password.memory_kib": "64", "password.iterations": "1", ...settings };
    if (file) await writeFile(join(kerria.folder, "kerria.toml"), file);
    await kerria.serve();
    return kerria;
  }

  async serve() {
    const set = Object.entries(this.settings).flatMap(([key, value]) => ["--set", `${key}=${value}`]);
    const args = ["serve", "--data-dir", join(this.folder, "data"), "--listen", `127.0.0.1:${this.port}`, ...set];
    this.process = spawn(binary, args, { cwd: this.folder, stdio: ["ignore", "inherit", "pipe"] });
    this.log = "";
    this.process.stderr.setEncoding("utf8");
    const started = new Promise((resolve, reject) => {
      this.process.stderr.on("data", (text) => {
        this.log += text;
        if (this.log.includes("listening on")) resolve();
      });
      this.process.once("exit", () => reject(new Error(`kerria did not start:\n${this.log}`)));
    });
    await started;
    await this.answers();
  }

  // The link is printed after the line that says where it listens.
  async answers() {
    const ready = await fetch(`${this.origin}/health/ready`);
    if (!ready.ok) throw new Error(`not ready: ${await ready.text()}`);
  }

  async firstAccountLink() {
    const find = () => this.log.match(/http:\S+\/join\?invitation=\S+/)?.[0];
    while (!find()) await once(this.process.stderr, "data");
    return find();
  }

  // A command line of the operator, asked for JSON. `input` is its standard input.
  cli(args, input = "") {
    const line = [...args, "--json", "--data-dir", join(this.folder, "data")];
    const { status, stdout, stderr } = spawnSync(binary, line, { input, encoding: "utf8" });
    if (status !== 0) throw new Error(`kerria ${args.join(" ")}: ${stderr}`);
    return stdout.trim() === "" ? null : JSON.parse(stdout);
  }

  // The same while this process goes on with something else, as carrying what others say.
  async operate(...args) {
    const { stdout } = await promisify(execFile)(binary, [...args, "--json", "--data-dir", join(this.folder, "data")]);
    return stdout.trim() === "" ? null : JSON.parse(stdout);
  }

  async stop() {
    const gone = once(this.process, "exit");
    this.process.kill("SIGTERM");
    const [code] = await gone;
    return code;
  }

  async restart() {
    await this.stop();
    await this.serve();
  }

  async end() {
    const code = await this.stop();
    await rm(this.folder, { recursive: true });
    return code;
  }

  // The first account, created through its link, in `page`.
  async createFirstAccount(page, name = "alice") {
    await page.goto(await this.firstAccountLink());
    await page.getByLabel("Name", { exact: true }).fill(name);
    await page.locator("#password").fill(PASSWORD);
    await page.locator("main form button").click();
    await page.waitForURL("**/sessions");
  }

  async signIn(page, { name = "alice", password = PASSWORD, remember = false, path = "/sign-in" } = {}) {
    await page.goto(`${this.origin}${path}`);
    await page.locator("#login").fill(name);
    await page.locator("#password").fill(password);
    if (remember) await page.getByLabel(/stay signed in/i).check();
    await page.locator("main form button").click();
  }
}
