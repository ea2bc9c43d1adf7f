// Follows the ends of sessions and tokens at a Kerria server, after docs/checker-protocol.md, and says of access tokens
// whether they were ended. Nothing but Node.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";

const HOUR = 3_600_000;
const KINDS = ["session", "user", "user_except", "token", "client", "everyone"];

// Milliseconds on a clock that goes on while the machine is suspended and never jumps. Node has none, and Linux tells this
// one in hundredths of a second.
const clock = () => 1000 * Number(readFileSync("/proc/uptime", "latin1").split(" ")[0]);
const TICK = 10;

export class Feed {
  #id = randomUUID();
  #applied = null;
  #until = 0;
  #ends = new Map(); // what an end is about -> the ends, in order
  #order = [];
  #floor = 0;
  #asked = 0;
  #leaving = false;

  static async follow(nodes, token, name) {
    const feed = new Feed();
    Object.assign(feed, { nodes, token, name });
    feed.settings = await feed.#ask("settings", undefined, 2000);
    feed.renewing = feed.#renewAlways();
    return feed;
  }

  // Of a token whose signature and claims are right: "good", "ended", or "unknown". To be asked when the answer is ready.
  verdict({ jti, sid, sub, client_id: client, as_of: asOf }) {
    const isAboutIt = (end) => end.number > asOf && (end.except === undefined || end.except !== sid);
    const selectors = [`token ${jti}`, `session ${sid}`, `user ${sub}`, `client ${client}`, "everyone"];
    if (selectors.some((selector) => this.#ends.get(selector)?.some(isAboutIt))) return "ended";
    if (clock() + TICK >= this.#until) return "unknown";
    // What was ended before the floor is not known here. Its client refreshes, and gets a younger one.
    return asOf >= this.#floor ? "good" : "ended";
  }

  // Nobody has to wait for this process any more.
  async leave() {
    this.#leaving = true;
    await this.renewing;
    this.#until = 0;
    await this.#ask("leave", { checker: this.#id }, 2000);
  }

  async #renewAlways() {
    const { lease } = this.settings;
    let wait = 0;
    while (!this.#leaving) {
      // The lease counts from before the request is sent.
      const sent = clock();
      const renewal = { checker: this.#id, name: this.name, applied: this.#applied, wait };
      wait = 0;
      try {
        // With a node that keeps silent, there is time for the next one within the lease.
        const answer = await this.#ask("renew", renewal, lease / 2, 1);
        if (answer.answer === "start_over" || (answer.answer === "registered" && this.#applied === null)) {
          await this.#begin(answer.head);
        } else if (answer.answer === "entries") {
          for (const entry of answer.entries) if (entry.number > this.#applied) this.#apply(entry);
          if (answer.complete) this.#until = Math.max(this.#until, sent + lease);
          // Whoever waits for us to say what we have applied does not wait any longer than it takes to ask again.
          if (answer.complete && answer.entries.length === 0) wait = Math.floor(lease / 4);
        }
      } catch {
        await pause(lease / 20);
      }
      this.#forgetWhatIsOver();
    }
  }

  async #begin(head) {
    this.#forgetAll(head);
    // Tokens from before are good, too, if it can be known what was ended since. Without that, they are refused.
    for (let limit = Math.min(head, 10_000); limit > 0; limit = Math.floor(limit / 4)) {
      const after = head - limit;
      const { entries } = await this.#ask("log", { after, limit }, 2000);
      if (entries?.at(-1)?.number !== head) continue;
      this.#floor = after;
      entries.forEach((entry) => this.#apply(entry));
      return;
    }
  }

  #apply({ number, at, selector, event: { event } }) {
    this.#applied = number;
    const { kind } = selector;
    if (!KINDS.includes(kind) || !["ended", "changed"].includes(event)) return this.#forgetAll(number);
    // What has changed of a session is not in its access tokens.
    if (event === "changed") return;
    const about = kind === "everyone" ? kind : kind === "user_except" ? `user ${selector.user}` : `${kind} ${selector[kind]}`;
    if (!this.#ends.has(about)) this.#ends.set(about, []);
    this.#ends.get(about).push({ number, except: selector.except });
    this.#order.push({ number, at, about });
  }

  #forgetAll(head) {
    [this.#until, this.#applied, this.#floor, this.#ends, this.#order] = [0, head, head, new Map(), []];
  }

  // After an hour, no access token is left that an end could be about.
  #forgetWhatIsOver() {
    while (this.#order[0]?.at < Date.now() - HOUR) {
      const { number, about } = this.#order.shift();
      this.#ends.get(about).shift();
      if (this.#ends.get(about).length === 0) this.#ends.delete(about);
      this.#floor = Math.max(this.#floor, number);
    }
  }

  // Asks the node that answered last, and then the others.
  async #ask(what, question, timeout, tries = this.nodes.length) {
    let failure;
    for (; tries > 0; tries -= 1) {
      const node = this.nodes[this.#asked % this.nodes.length];
      try {
        const answer = await fetch(`${node}/api/v1/checker/${what}`, {
          method: question ? "POST" : "GET",
          headers: { authorization: `Bearer ${this.token}`, "content-type": "application/json" },
          body: question && JSON.stringify(question),
          signal: AbortSignal.timeout(timeout),
        });
        if (!answer.ok) throw new Error(`${node} answers ${answer.status}: ${await answer.text()}`);
        return answer.status === 204 ? null : await answer.json();
      } catch (error) {
        failure = error;
        this.#asked += 1;
      }
    }
    throw failure;
  }
}
