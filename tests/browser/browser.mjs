// A Chromium of one's own with a profile of its own, and the playground in it.
// It is started here and not by playwright, because a crash test has to kill all of its processes at once.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before } from "node:test";
import { serve } from "../../www/playground/serve.mjs";

const require = createRequire(new URL("../../www/package/package.json", import.meta.url));
const { chromium } = require("playwright-core");

const EXECUTABLE = process.env.HAVERSACK_CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
  "--no-default-browser-check", "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--remote-debugging-port=0", "about:blank",
];

// Whatever ends this process ends the browsers it started.
const running = new Set();
process.on("exit", () => {
  for (const child of running) process.kill(-child.pid, "SIGKILL");
});
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

/** A profile folder and a server of the playground, for all browsers of one test file. */
export async function site() {
  const profile = await mkdtemp(join(tmpdir(), "haversack-browser-"));
  const server = await serve();
  return {
    url: server.url,
    profile,
    async close() {
      server.close();
      await rm(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    },
  };
}

/** Starts the browser on that profile. */
export async function launch({ profile, url }) {
  // The lock of a browser that was killed.
  for (const name of ["SingletonLock", "SingletonSocket", "SingletonCookie"]) await rm(join(profile, name), { force: true });
  const child = spawn(EXECUTABLE, [`--user-data-dir=${profile}`, ...FLAGS], {
    detached: true, // a process group, so that kill() reaches every process of it
    stdio: ["ignore", "ignore", "pipe"],
  });
  running.add(child);
  const exited = new Promise((resolve) => child.once("exit", resolve)).then(() => running.delete(child));
  const browser = await chromium.connectOverCDP(await devtoolsAddress(child));
  const context = browser.contexts()[0];
  context.setDefaultTimeout(15_000);
  const errors = [];
  return {
    context,
    /** A page with the playground, ready to use. */
    async open(search = "", expected = "true") {
      const page = await context.newPage();
      page.on("pageerror", (error) => errors.push(error));
      await page.goto(url + search);
      await ready(page, expected);
      return page;
    },
    /** Closes all pages, and fails if one of them had an error that it did not catch. */
    async closePages() {
      const [first, ...others] = context.pages(); // without a page the browser ends
      await first?.goto("about:blank");
      for (const page of others) await page.close();
      assert.deepEqual(errors.splice(0).map(String), []);
    },
    /** SIGKILL to all of its processes, as when the machine takes them. */
    async kill() {
      process.kill(-child.pid, "SIGKILL");
      await exited;
      await gone(child.pid);
      await browser.close().catch(() => {});
    },
    /** An orderly end. */
    async close() {
      const session = await browser.newBrowserCDPSession();
      await session.send("Browser.close").catch(() => {});
      await exited;
      assert.deepEqual(errors.map(String), []);
    },
  };
}

/**
 * The browser of a test file: it starts before the tests and ends after them, and none of them leaves a page open, unless
 * `pagesStay` from one to the next.
 */
export function testBrowser({ pagesStay = false } = {}) {
  let place;
  let browser;
  let started;
  const start = async () => {
    place = await site();
    browser = await launch(place);
  };
  // A file's hooks may run side by side: one that opens a page waits for it, too.
  const begun = () => (started ??= start());
  before(begun);
  if (!pagesStay) afterEach(() => browser?.closePages());
  after(async () => {
    await browser?.close();
    await place?.close();
  });
  return {
    async open(...args) {
      await begun();
      return browser.open(...args);
    },
    get context() {
      return browser.context;
    },
    get url() {
      return place.url;
    },
  };
}

// A process that waits for the disk dies later than the first of its group, and holds its files until then.
async function gone(group) {
  for (;;) {
    try {
      process.kill(-group, 0);
    } catch {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function devtoolsAddress(child) {
  return new Promise((resolve, reject) => {
    let text = "";
    child.once("error", (error) => reject(new Error(`cannot start ${EXECUTABLE}: ${error.message}`)));
    child.once("exit", (code) => reject(new Error(`${EXECUTABLE} ended with ${code}:\n${text}`)));
    child.stderr.setEncoding("utf8").on("data", (chunk) => {
      text = (text + chunk).slice(-20_000);
      const address = /DevTools listening on (ws:\/\/\S+)/.exec(text)?.[1];
      if (address !== undefined) resolve(address);
    });
  });
}

/** Waits until the playground says that its database is open, or that it `failed`. */
export async function ready(page, expected = "true") {
  await page.waitForSelector("body[data-ready]", { state: "attached" });
  const [state, text] = await page.evaluate(() => [document.body.dataset.ready, document.querySelector("#output").innerText]);
  assert.equal(state, expected, `the playground's state is "${state}"; it says: ${text}`);
}

/** Types a command into the terminal and returns what it printed, one string a reply, once `count` of them are there. */
export async function command(page, text, count = 1) {
  await page.fill("#line", text);
  await page.press("#line", "Enter");
  return replies(page, count);
}

/** What stands below the last command, once there are `count` entries. */
export async function replies(page, count = 1) {
  const below = () => {
    const entries = [...document.querySelectorAll("#output > div")];
    const last = entries.findLastIndex((entry) => entry.classList.contains("command"));
    return entries.slice(last + 1).map((entry) => entry.textContent);
  };
  await page.waitForFunction(`(${below})().length >= ${count}`);
  return page.evaluate(below);
}

/** The typed client inside the page: one command, awaited. */
export function call(page, ...args) {
  return page.evaluate((words) => globalThis.haversack.call(words), args);
}

/** Waits until the page says that all is stored. */
export async function stored(page) {
  await page.evaluate(() => globalThis.haversack.flush());
  await page.waitForSelector("body[data-durable=true]", { state: "attached" });
}
