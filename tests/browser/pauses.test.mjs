// A page stays responsive while the engine works on much: rewrites, exports, imports and loading go in slices.
// HAVERSACK_PAUSES_FULL=1 takes 200,000 keys and a hash of 500,000 fields, and prints what it measures.
import assert from "node:assert/strict";
import { test } from "node:test";
import { testBrowser } from "./browser.mjs";

const FULL = process.env.HAVERSACK_PAUSES_FULL === "1";
const [KEYS, FIELDS] = FULL ? [200_000, 500_000] : [20_000, 100_000];
/** A slice is 4 ms; the tables' growth and other work on the machine count too. In one piece each takes many times as long. */
const LIMIT_MS = FULL ? 100 : 50;

const browser = testBrowser();

/** Runs in the page. */
async function measure([keys, fields]) {
  const { open } = await import("haversack");
  // The longest time between two turns of the page: a message to itself comes back once every task before it is done.
  const watch = async (act) => {
    const { port1, port2 } = new MessageChannel();
    const gaps = [];
    let last = performance.now();
    port1.onmessage = () => {
      const now = performance.now();
      gaps.push(now - last);
      last = now;
      port2.postMessage(null);
    };
    port2.postMessage(null);
    const began = last;
    const result = await act();
    await new Promise((resolve) => setTimeout(resolve, 0));
    port1.close();
    gaps.sort((a, b) => b - a);
    return { result, took_ms: performance.now() - began, longest_ms: gaps[0], next_ms: gaps.slice(1, 5) };
  };
  const until = async (holds) => {
    while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  const fill = async (db) => {
    for (let at = 0; at < keys; at += 500) {
      await db.call(["MSET", ...Array.from({ length: 500 }, (_, i) => [`key:${at + i}`, `value:${at + i}`]).flat()]);
    }
    for (let at = 0; at < fields; at += 500) {
      await db.call(["HSET", "hash", ...Array.from({ length: 500 }, (_, i) => [`field:${at + i}`, `value:${at + i}`]).flat()]);
    }
  };
  const db = await open("idb://pauses");
  await db.call(["CONFIG", "SET", "auto-aof-rewrite-percentage", 0]);
  await fill(db);
  await db.flush();
  const { generation } = db.status();
  const rewrite = await watch(async () => {
    await db.call(["BGREWRITEAOF"]);
    await until(() => db.status().generation > generation);
  });
  const digest = await db.call(["DEBUG", "DIGEST"]);
  let steps = [];
  let seen = 0;
  const exported = await watch(async () => {
    const dump = db.exportRdb({ onprogress: (progress) => steps.push(progress) });
    // Commands go on; what they change is not in the picture.
    for (let i = 0; steps.length === 0 || steps.at(-1).keys < steps.at(-1).totalKeys; i += 1) {
      await db.call(["HSET", "hash", `field:${i}`, "changed", `new:${i}`, "1"]);
      await db.call(["SET", `key:${i}`, "changed"]);
      seen += 1;
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    return dump;
  });
  const dump = exported.result;
  const progress = { steps: steps.length, last: steps.at(-1), bytes: dump.length, rising: steps.every((step, i) => i === 0 || step.bytes >= steps[i - 1].bytes) };
  const imported = await watch(() => db.importRdb(dump));
  const again = await db.call(["DEBUG", "DIGEST"]);
  await db.close();
  const opened = await watch(() => open("idb://pauses"));
  const loaded = await opened.result.call(["DEBUG", "DIGEST"]);
  await opened.result.close();
  const brief = ({ took_ms, longest_ms, next_ms }) => ({ took_ms, longest_ms, next_ms });
  return {
    digest, again, loaded, seen, progress, keys: imported.result,
    pauses: { rewrite: brief(rewrite), export: brief(exported), import: brief(imported), load: brief(opened) },
  };
}

test("rewrites, exports, imports and loading leave the page its turns", { timeout: 300_000 }, async (t) => {
  const page = await browser.open("?memory");
  const got = await page.evaluate(measure, [KEYS, FIELDS]);
  t.diagnostic(JSON.stringify({ ...got.pauses, commandsMeanwhile: got.seen }));
  if (FULL) console.log(JSON.stringify(got, null, 1));
  assert.deepEqual([got.again, got.loaded], [got.digest, got.digest]);
  assert.equal(got.keys, KEYS + 1);
  assert.deepEqual(got.progress.last, { bytes: got.progress.bytes, keys: KEYS + 1, totalKeys: KEYS + 1 });
  assert.ok(got.progress.rising && got.progress.steps > 3 && got.seen > 0, JSON.stringify([got.progress, got.seen]));
  for (const [what, { longest_ms }] of Object.entries(got.pauses)) assert.ok(longest_ms < LIMIT_MS, `${what}: ${longest_ms} ms`);
});

test("an export waits for a rewrite, a rewrite for an export, and what is asked for comes", async () => {
  const page = await browser.open("?memory");
  const got = await page.evaluate(async () => {
    const { open } = await import("haversack");
    const db = await open("idb://both");
    for (let i = 0; i < 40; i += 1) await db.call(["SET", `key:${i}`, crypto.getRandomValues(new Uint8Array(60_000))]);
    const digest = await db.call(["DEBUG", "DIGEST"]);
    const start = db.status().generation;
    await db.call(["BGREWRITEAOF"]);
    const dumps = [db.exportRdb(), db.exportRdb()]; // one after the other
    await db.call(["SET", "late", "1"]);
    const late = await db.call(["DEBUG", "DIGEST"]);
    const digests = [];
    for (const dump of await Promise.all(dumps)) {
      const copy = await open("memory://");
      await copy.importRdb(dump);
      digests.push(await copy.call(["DEBUG", "DIGEST"]));
      await copy.close();
    }
    const half = db.exportRdb();
    await db.call(["BGREWRITEAOF"]);
    const saved = await db.call(["SAVE"]).catch((error) => error.message);
    await half;
    const patience = Date.now() + 10_000;
    while (db.status().generation < start + 2 && Date.now() < patience) await new Promise((resolve) => setTimeout(resolve, 10));
    const generations = db.status().generation - start;
    const closed = db.exportRdb().catch((error) => error.message);
    await db.close();
    const again = await open("idb://both");
    const loaded = await again.call(["DEBUG", "DIGEST"]);
    await again.close();
    return { digest, late, digests, saved, generations, closed: await closed, loaded };
  });
  for (const digest of got.digests) assert.ok([got.digest, got.late].includes(digest));
  assert.equal(got.generations, 2, JSON.stringify(got));
  assert.match(got.closed, /closed/);
  assert.equal(got.loaded, got.late);
});

// A loop that awaits each reply lives on microtasks: without a limit a snapshot gets no turn until it ends.
for (const what of ["rewrite", "export"]) {
  test(`${what}: a page that writes without a pause has no more put aside than snapshot-memory-limit says`, async () => {
    const page = await browser.open("?memory");
    const got = await page.evaluate(async (what) => {
      const { open } = await import("haversack");
      const KEYS = 2000;
      const BYTES = 10_000;
      const noise = crypto.getRandomValues(new Uint8Array(60_000));
      const value = (n) => noise.subarray(n % 50_000, (n % 50_000) + BYTES);
      const run = async (limit) => {
        const db = await open(`idb://aside-${what}-${limit}`, { appendfsync: "no" });
        await db.call(["CONFIG", "SET", "auto-aof-rewrite-percentage", 0, "snapshot-memory-limit", limit]);
        for (let i = 0; i < KEYS; i += 1) await db.call(["SET", `key:${i}`, value(i)]);
        await db.flush();
        const digest = await db.call(["DEBUG", "DIGEST"]);
        const { generation } = db.status();
        const exported = what === "export" ? db.exportRdb() : db.call(["BGREWRITEAOF"]);
        if (what === "rewrite") await exported;
        let peak = 0;
        for (let i = 1; i <= KEYS; i += 1) {
          await db.call(["SET", `key:${(i * 7919) % KEYS}`, value(i * 31)]);
          if (i % 20 > 0) continue;
          const info = await db.call(["INFO", "persistence"]);
          peak = Math.max(peak, Number(/current_cow_peak:(\d+)/.exec(info)[1]));
        }
        const dump = await exported;
        const patience = Date.now() + 10_000;
        while (what === "rewrite" && db.status().generation === generation && Date.now() < patience) {
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
        const last = await db.call(["DEBUG", "DIGEST"]);
        await db.close();
        if (what === "export") {
          const copy = await open("memory://");
          await copy.importRdb(dump);
          const same = digest === (await copy.call(["DEBUG", "DIGEST"]));
          await copy.close();
          return { peak, same };
        }
        const again = await open(`idb://aside-${what}-${limit}`);
        const same = last === (await again.call(["DEBUG", "DIGEST"])) && again.status().generation > generation;
        await again.close();
        return { peak, same };
      };
      return { all: KEYS * BYTES, unlimited: await run("0"), limited: await run("1mb") };
    }, what);
    assert.deepEqual([got.unlimited.same, got.limited.same], [true, true], JSON.stringify(got));
    assert.ok(got.unlimited.peak > got.all / 2, JSON.stringify(got));
    assert.ok(got.limited.peak < 1.5 * (1 << 20), JSON.stringify(got));
  });
}
