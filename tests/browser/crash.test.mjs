// The whole browser is killed while it writes: what was promised is there afterwards, and nothing is torn.
import assert from "node:assert/strict";
import { appendFileSync, readdirSync, readFileSync, rmSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { call, launch, site } from "./browser.mjs";

// Each round kills at another moment: after this many promises, in the middle of what follows.
const ROUNDS = [1, 7, 40];

for (const fsync of ["always", "everysec"]) {
  test(`appendfsync ${fsync}: every promised write survives SIGKILL`, async (t) => {
    const place = await site();
    t.after(() => place.close());
    let promised = 0;
    for (const after of ROUNDS) {
      const goal = promised + after;
      promised = await writeUntilKilled(place, fsync, promised, goal);
      await check(place, fsync, promised);
    }
  });
}

// Writes pairs of keys in single commands until `goal` is promised, then kills. Returns how many were promised.
async function writeUntilKilled(place, fsync, from, goal) {
  const browser = await launch(place);
  try {
    const page = await browser.open(`?db=crash-${fsync}&fsync=${fsync}`);
    let promised = from;
    await new Promise((resolve, reject) => {
      page
        .exposeFunction("promise", (number) => {
          promised = Math.max(promised, number);
          if (promised >= goal) resolve();
        })
        .then(() => page.evaluate(writeForever, [fsync, from]))
        .catch(reject); // once the browser is killed nobody hears it
    });
    return promised;
  } finally {
    await browser.kill();
  }
}

// Runs in the page. With `always` a reply is the promise, otherwise flush() is.
async function writeForever([fsync, from]) {
  const filler = "x".repeat(2000);
  for (let number = from + 1; ; number += 1) {
    const value = `${number}${filler}`;
    await globalThis.haversack.call(["MSET", `a:${number}`, value, `b:${number}`, value]);
    if (fsync !== "always") {
      if (number % 5 !== 0) continue;
      await globalThis.haversack.flush();
    }
    globalThis.promise(number);
  }
}

async function check(place, fsync, promised) {
  const browser = await launch(place);
  try {
    const page = await browser.open(`?db=crash-${fsync}&fsync=${fsync}`);
    const missing = [];
    for (let number = 1; number <= promised; number += 1) {
      const value = await call(page, "GET", `a:${number}`);
      if (!value?.startsWith(`${number}x`) || value.length <= 2000) missing.push(number);
    }
    const size = await call(page, "DBSIZE");
    const status = await page.evaluate(() => JSON.stringify(globalThis.haversack.status()));
    assert.deepEqual(missing, [], `of ${promised} promised, with ${size} keys there; ${status}\n${leveldbLog(place)}`);
    // What was not promised may be there, but only as whole commands and without gaps.
    assert.ok(size >= promised * 2 && size % 2 === 0, `${size} keys for ${promised} promised pairs`);
    assert.equal(await call(page, "EXISTS", ...pairs(size / 2)), size);
  } finally {
    await browser.close();
  }
}

function pairs(count) {
  return Array.from({ length: count }, (_, i) => [`a:${i + 1}`, `b:${i + 1}`]).flat();
}

// ---- What lies below IndexedDB in Chromium ----

const folder = (place) => join(place.profile, "Default", "IndexedDB");
const filesOf = (place) => readdirSync(folder(place), { recursive: true }).filter((name) => name.includes("leveldb"));

// What LevelDB says of its last visits. "Creating DB" where there was one: it was found corrupt and deleted.
function leveldbLog(place) {
  const logs = filesOf(place).filter((name) => /LOG(\.old)?$/.test(name));
  return logs.map((name) => `${name}:\n${readFileSync(join(folder(place), name), "utf8").slice(-1000)}`).join("\n");
}

/** What a kill between LevelDB's two writes of a record leaves behind: a head, and no body; or a wrong one. */
function tear(place, body = []) {
  const logs = filesOf(place).filter((name) => name.endsWith(".log"));
  assert.equal(logs.length, 1, `LevelDB has one log: ${filesOf(place)}`);
  const [checksum, length, full] = [[1, 2, 3, 4], [0x00, 0x02], [1]];
  appendFileSync(join(folder(place), logs[0]), Uint8Array.from([...checksum, ...length, ...full, ...body]));
}

/** One visit to a database, which ends with SIGKILL. */
async function visit(place, act) {
  const browser = await launch(place);
  try {
    return await act(await browser.open("?db=torn&fsync=always"));
  } finally {
    await browser.kill();
  }
}

const fill = (page, from, to) =>
  page.evaluate(async ([from, to]) => {
    for (let i = from; i < to; i += 1) await globalThis.haversack.call(["SET", `a:${i}`, "x".repeat(500)]);
  }, [from, to]);

test("a record torn inside Chromium's own storage costs nothing, however often it is opened after that", async (t) => {
  const place = await site();
  t.after(() => place.close());
  await visit(place, (page) => fill(page, 0, 3));
  for (let round = 1; round <= 3; round += 1) {
    tear(place);
    const size = await visit(place, async (page) => {
      const size = await call(page, "DBSIZE");
      await fill(page, round * 3, round * 3 + 3);
      return size;
    });
    assert.equal(size, round * 3, `round ${round}\n${leveldbLog(place)}`);
  }
  assert.equal(await visit(place, (page) => call(page, "DBSIZE")), 12);
});

test("a database that Chromium itself has lost is reported", async (t) => {
  const place = await site();
  t.after(() => place.close());
  await visit(place, (page) => fill(page, 0, 3));
  tear(place, new Array(1000).fill(0));
  const [size, recovered] = await visit(place, async (page) => [
    await call(page, "DBSIZE"),
    await page.evaluate(() => globalThis.haversack.status().recovered),
  ]);
  assert.equal(size, 0, "it was not damaged enough");
  assert.match(recovered, /the browser found its storage damaged and emptied this database/);
});

// Values above 64 KB lie in files of their own, which a power cut can take or cut short, though LevelDB knows of them.
const filesOfValues = (place) =>
  readdirSync(folder(place), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.parentPath.includes(".blob"))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort((a, b) => parseInt(a.split("/").at(-1), 16) - parseInt(b.split("/").at(-1), 16));

test("a record that Chromium cannot read any more is named; the last one is cut off, others are put aside or refused", async (t) => {
  const place = await site();
  t.after(() => place.close());
  const session = async (act) => {
    const browser = await launch(place);
    try {
      return await act(await browser.open("?memory"));
    } finally {
      await browser.close();
    }
  };
  const use = (page, damaged, keys) =>
    page.evaluate(async ([damaged, keys]) => {
      const { open } = await import("haversack");
      try {
        const db = await open("idb://values", { damaged });
        const size = await db.call(["DBSIZE"]);
        for (const key of keys) {
          // Noise, because Chromium squeezes what it can.
          const noise = new Uint8Array(200_000);
          for (let at = 0; at < noise.length; at += 50_000) crypto.getRandomValues(noise.subarray(at, at + 50_000));
          await db.call(["SET", key, noise]);
          await db.flush();
        }
        const { recovered } = db.status();
        await db.close();
        return [size, recovered];
      } catch (error) {
        return [error.name, error.message];
      }
    }, [damaged, keys]);
  await session((page) => use(page, "refuse", ["a", "b", "c", "d"]));
  const files = filesOfValues(place);
  assert.equal(files.length, 4, String(files));
  rmSync(files[3]);
  const [size, recovered] = await session((page) => use(page, "refuse", []));
  assert.equal(size, 3);
  assert.match(recovered, /the last record was torn and has been cut off.*record 3 of the log: the browser cannot read it \(NotReadableError/);
  truncateSync(files[1], 1000);
  const [name, message] = await session((page) => use(page, "refuse", []));
  assert.equal(name, "DamagedDatabaseError");
  assert.match(message, /record 1 of the log: the browser cannot read it .*; 2 records from there on/);
  const [left, aside] = await session((page) => use(page, "quarantine", ["e"]));
  assert.equal(left, 1);
  assert.match(aside, /2 records were put into quarantine, from record 1 of the log/);
  assert.deepEqual(await session((page) => use(page, "refuse", [])), [2, null]);
});
