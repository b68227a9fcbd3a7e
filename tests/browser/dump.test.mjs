// A dump.rdb goes from a real server into a page and back, with the same digest everywhere; a bad one changes nothing.
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { call, ready, stored, testBrowser } from "./browser.mjs";
import { server, start } from "./servers.mjs";

const EXPIRES_MS = Date.now() + 86_400_000;
// All forms of values: small and large collections, numbers, bytes that are no text, other databases, times.
const DATA = [
  ["SET", "text", "value"], ["SET", "number", "12345"], ["SET", "bytes", Buffer.from([0, 255, 10, 13])], ["SET", "long", "x".repeat(100_000)],
  ["SET", "soon", "gone", "PXAT", EXPIRES_MS],
  ["RPUSH", "list", "a", "1", "-70000"], ["RPUSH", "long list", ...Array.from({ length: 3000 }, (_, i) => `item:${i}`)],
  ["SADD", "ints", 1, 2, 70_000], ["SADD", "set", "a", "b"], ["SADD", "large set", ...Array.from({ length: 2000 }, (_, i) => `member:${i}`)],
  ["HSET", "hash", "f", "v", "n", 1], ["HSET", "large hash", ...Array.from({ length: 1500 }, (_, i) => [`f:${i}`, i]).flat()],
  ["HSET", "fields", "stays", 1, "goes", 2], ["HPEXPIREAT", "fields", EXPIRES_MS, "FIELDS", 1, "goes"],
  ["ZADD", "zset", 1.5, "m", "-inf", "low"], ["ZADD", "large zset", ...Array.from({ length: 1000 }, (_, i) => [i / 3, `m:${i}`]).flat()],
  ["SELECT", 3], ["SET", "elsewhere", "3"], ["SELECT", 0],
];

const browser = testBrowser();
let redis;
let dump;
let digest;
before(async () => {
  redis = await start(server("HAVERSACK_REDIS8"));
  for (const args of DATA) await redis.call(args);
  digest = await redis.call(["DEBUG", "DIGEST"]);
  await redis.call(["SAVE"]);
  dump = await readFile(join(redis.dir, "dump.rdb"));
});
after(() => redis?.stop());

/** Imports bytes in the page: the number of keys, or the error's name and message. */
const importRdb = (page, bytes) =>
  page.evaluate(async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    const steps = [];
    const result = await globalThis.haversack
      .importRdb(bytes, { onprogress: (progress) => steps.push(progress) })
      .catch((error) => [error.name, error.message]);
    return { result, steps };
  }, Buffer.from(bytes).toString("base64"));

test("a server's dump replaces what a page holds, and is there after a reload", async () => {
  const page = await browser.open("?db=import");
  await call(page, "SET", "before", "1");
  const { result, steps } = await importRdb(page, dump);
  assert.equal(result, DATA.length - 3); // two SELECTs, and an expire time
  assert.equal(steps.at(-1).bytes, dump.length);
  assert.equal(steps.at(-1).totalBytes, dump.length);
  assert.equal(steps.at(-1).keys, result);
  assert.equal(await call(page, "DEBUG", "DIGEST"), digest);
  await call(page, "INCR", "after"); // the log goes on behind the new base
  const later = await call(page, "DEBUG", "DIGEST");
  await stored(page);
  await page.reload();
  await ready(page);
  assert.equal(await call(page, "DEBUG", "DIGEST"), later);
  assert.equal(await call(page, "PEXPIRETIME", "soon"), EXPIRES_MS);
  assert.equal(await call(page, "EXISTS", "before"), 0);
  assert.equal(await page.evaluate(() => haversack.status().recovered), null);
});

test("a page's export starts a server", async () => {
  const page = await browser.open("?db=export");
  await importRdb(page, dump);
  await call(page, "LPUSH", "list", "of the page");
  const wanted = await call(page, "DEBUG", "DIGEST");
  const exported = await page.evaluate(async () => btoa(Array.from(await haversack.exportRdb(), (b) => String.fromCharCode(b)).join("")));
  const judge = await start(server("HAVERSACK_REDIS8"), (dir) => writeFile(join(dir, "dump.rdb"), Buffer.from(exported, "base64")));
  try {
    assert.equal(await judge.call(["DEBUG", "DIGEST"]), wanted);
    assert.equal(await judge.call(["PEXPIRETIME", "soon"]), EXPIRES_MS);
    assert.deepEqual(await judge.call(["HPEXPIRETIME", "fields", "FIELDS", 2, "stays", "goes"]), [-1, EXPIRES_MS]);
  } finally {
    await judge.stop();
  }
});

test("a bad dump changes nothing", async () => {
  const page = await browser.open("?db=bad");
  await call(page, "SET", "k", "v");
  const flipped = Buffer.from(dump);
  flipped[flipped.length >> 1] ^= 1;
  for (const bad of [flipped, dump.subarray(0, dump.length - 20), Buffer.from("REDIS0099nonsense"), Buffer.from("not a dump"), Buffer.alloc(0)]) {
    const { result } = await importRdb(page, bad);
    assert.equal(result[0], "InvalidDumpError", String(result));
    assert.match(result[1], /nothing was changed/);
    assert.deepEqual([await call(page, "GET", "k"), await call(page, "DBSIZE")], ["v", 1]);
  }
  await call(page, "INCR", "n");
  await stored(page);
  await page.reload();
  await ready(page);
  assert.deepEqual([await call(page, "GET", "k"), await call(page, "GET", "n"), await call(page, "DBSIZE")], ["v", "1", 2]);
});

test("an import that cannot be stored leaves what is stored as it was", async () => {
  const page = await browser.open("?db=no-room");
  await call(page, "SET", "k", "v");
  await stored(page);
  await page.evaluate(() => {
    const put = IDBObjectStore.prototype.put;
    IDBObjectStore.prototype.put = function (...args) {
      if (this.name === "base") throw new DOMException("no room", "QuotaExceededError");
      return put.apply(this, args);
    };
  });
  const { result } = await importRdb(page, dump);
  assert.match(String(result), /QuotaExceededError/);
  assert.match(await page.evaluate(() => haversack.call(["SET", "k", "w"]).catch((error) => error.message)), /^MISCONF/);
  assert.equal(await page.evaluate(() => haversack.status().durable), false);
  await page.reload();
  await ready(page);
  assert.deepEqual([await call(page, "GET", "k"), await call(page, "DBSIZE")], ["v", 1]);
});

test("clients notice an import: watched keys, blocked clients", async () => {
  const page = await browser.open("?memory");
  await call(page, "WATCH", "text");
  const popped = page.evaluate(
    () =>
      new Promise((resolve) => {
        const connection = globalThis.haversack.connection();
        connection.ondata = (bytes) => resolve(new TextDecoder().decode(bytes));
        connection.writeCommand(["BLPOP", "list", 0]);
      }),
  );
  await importRdb(page, dump);
  assert.equal(await popped, "*2\r\n$4\r\nlist\r\n$1\r\na\r\n");
  await call(page, "MULTI");
  await call(page, "PING");
  assert.equal(await call(page, "EXEC"), null);
});

test("the playground downloads a dump and loads one", async () => {
  const page = await browser.open("?db=buttons");
  page.on("dialog", (dialog) => dialog.accept());
  await call(page, "SET", "mine", "1");
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#export")]);
  assert.equal(download.suggestedFilename(), "dump.rdb");
  await page.setInputFiles("#dump", { name: "theirs.rdb", mimeType: "application/octet-stream", buffer: dump });
  await page.waitForFunction(() => document.querySelector("#output").innerText.includes("Loaded theirs.rdb"));
  assert.equal(await call(page, "DEBUG", "DIGEST"), digest);
  await page.setInputFiles("#dump", { name: "bad.rdb", mimeType: "application/octet-stream", buffer: Buffer.from("bad") });
  await page.waitForFunction(() => document.querySelector("#output").innerText.includes("nothing was changed"));
  assert.equal(await call(page, "DEBUG", "DIGEST"), digest);
});
