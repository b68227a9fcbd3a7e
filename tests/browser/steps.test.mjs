// The tab, or the whole browser, is killed by process id at each step of flushes and of a rewrite: before a record is
// put, when a transaction is handed over, and when it is complete. Nothing acknowledged is missing then, and a rewrite
// has either not happened or happened as a whole.
import assert from "node:assert/strict";
import { test } from "node:test";
import { launch, site } from "./browser.mjs";

const KEYS = 60; // of 50 KB that nothing compresses: a base of three parts

/**
 * Runs in the page: fills the database, then rewrites its log while it writes on. Calls `reached(step, acknowledged)` at
 * each step of storage from the rewrite on; at step number `stopAt` nothing of the page runs any more.
 */
async function work([name, keys, stopAt]) {
  const { open } = await import("haversack");
  const db = await open(`idb://${name}`, { appendfsync: "always" });
  const bytes = () => crypto.getRandomValues(new Uint8Array(50_000));
  await Promise.all(Array.from({ length: keys }, (_, i) => db.call(["SET", `key:${i}`, bytes()])));
  let acknowledged = 0;
  let number = 0;
  const step = (what) => {
    number += 1;
    globalThis.reached(JSON.stringify({ number, what, acknowledged, generation: db.status().generation }));
    if (number !== stopAt) return;
    for (const end = Date.now() + 60_000; Date.now() < end; );
  };
  const { put } = IDBObjectStore.prototype;
  const { commit } = IDBTransaction.prototype;
  IDBObjectStore.prototype.put = function (value, key) {
    step(`before put in ${this.name}`);
    return put.call(this, value, key);
  };
  IDBTransaction.prototype.commit = function () {
    this.addEventListener("complete", () => step("complete"));
    step("before commit");
    commit.call(this);
    step("after commit");
  };
  const rewritten = db.call(["BGREWRITEAOF"]);
  const { generation } = db.status();
  for (let i = 1; i <= 3 || db.status().generation === generation; i += 1) {
    await db.call(["MSET", `a:${i}`, i, `b:${i}`, i]);
    acknowledged = i;
  }
  await rewritten;
  globalThis.reached(JSON.stringify({ number: 0, what: "end", acknowledged, steps: number }));
}

/** What the database holds, and whether it goes on. */
async function look([name, keys]) {
  const { open } = await import("haversack");
  const db = await open(`idb://${name}`, { appendfsync: "always", damaged: "refuse" });
  const lengths = await Promise.all(Array.from({ length: keys }, (_, i) => db.call(["STRLEN", `key:${i}`])));
  const status = db.status();
  const pairs = [];
  for (let i = 1; ; i += 1) {
    const pair = await db.call(["MGET", `a:${i}`, `b:${i}`]);
    if (pair[0] === null && pair[1] === null) break;
    pairs.push(pair.every((value) => value === String(i)));
  }
  const size = await db.call(["DBSIZE"]);
  await db.call(["BGREWRITEAOF"]);
  const patience = Date.now() + 10_000;
  while (db.status().generation === status.generation && Date.now() < patience) await new Promise((resolve) => setTimeout(resolve, 10));
  const after = db.status();
  await db.close();
  return { lengths, pairs, size, status, after };
}

/** The processes that pages run in. */
async function tabs(context) {
  const session = await context.browser().newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  return processInfo.filter(({ type }) => type === "renderer").map(({ id }) => id);
}

/** Lets a page work until it is killed at this step, or has come to its end. */
async function killAt(browser, target, name, stopAt) {
  const page = await browser.open("?memory");
  const last = await new Promise((resolve, reject) => {
    page
      .exposeFunction("reached", (text) => {
        const told = JSON.parse(text);
        if (told.number === stopAt || told.what === "end") resolve(told);
      })
      .then(() => page.evaluate(work, [name, KEYS, stopAt]))
      .catch(reject); // once it is killed nobody hears it
  });
  if (target === "browser") {
    await browser.kill();
  } else if (last.what !== "end") {
    const crashed = new Promise((resolve) => page.once("crash", resolve));
    for (const process_id of await tabs(browser.context)) process.kill(process_id, "SIGKILL");
    await crashed;
  }
  if (target === "tab") await page.close();
  return last;
}

async function check(browser, name, last) {
  const page = await browser.open("?memory");
  const got = await page.evaluate(look, [name, KEYS]);
  const where = `killed at ${JSON.stringify(last)}; ${JSON.stringify(got.status)}`;
  assert.deepEqual(got.lengths, Array(KEYS).fill(50_000), where);
  assert.ok(got.pairs.length >= last.acknowledged && got.pairs.every((whole) => whole), `${got.pairs.length} pairs; ${where}`);
  assert.equal(got.size, KEYS + 2 * got.pairs.length, where);
  assert.equal(got.status.recovered, null, where);
  assert.ok(got.after.generation > got.status.generation, `no rewrite after that; ${where}`);
  await page.evaluate((name) => new Promise((resolve) => (indexedDB.deleteDatabase(`haversack:${name}`).onsuccess = resolve)), name);
  await page.close();
  return got.status.generation;
}

// What happens each time. A record in `meta` is written only when the database comes to rest, which it may not.
const KINDS = ["before put in base", "before put in incr", "before commit", "after commit", "complete"];

for (const target of ["tab", "browser"]) {
  // A tab is quickly killed, so it is at every step; a browser at every few. HAVERSACK_KILL_STRIDE=1: at every step.
  const stride = Number(process.env.HAVERSACK_KILL_STRIDE ?? (target === "tab" ? 1 : 5));
  test(`the ${target} killed at each step of flushes and a rewrite: nothing acknowledged is lost`, { timeout: 600_000 }, async (t) => {
    const place = await site();
    t.after(() => place.close());
    let browser = await launch(place);
    t.after(() => browser.close());
    const seen = new Set();
    const generations = new Set();
    for (let stopAt = 1; ; stopAt += stride) {
      const name = `${target}-${stopAt}`;
      const last = await killAt(browser, target, name, stopAt);
      if (target === "browser") browser = await launch(place);
      generations.add(await check(browser, name, last));
      if (last.what === "end") break;
      seen.add(last.what);
    }
    t.diagnostic(`killed at ${[...seen].join(", ")}`);
    if (stride === 1) assert.deepEqual(KINDS.filter((what) => !seen.has(what)), [], "steps it was never killed at");
    assert.deepEqual([...generations].sort(), [1, 2]);
  });
}
