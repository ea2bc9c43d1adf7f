// Real browsers for the tests.

import { chromium } from "playwright-core";

let shared;

// A browser with nothing in it: a context of its own. `javaScriptEnabled`, `colorScheme`, `viewport` as Playwright has them.
export const browser = async (options = {}) => {
  shared ??= await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
      // Hosts of several domains, all of them here.
      "--host-resolver-rules=MAP *.test 127.0.0.1",
    ],
  });
  return shared.newContext(options);
};

export const closeBrowsers = async () => shared?.close();
