// The whole browser is killed while it writes: what was promised is there afterwards, and nothing is torn.
import assert from "node:assert/strict";
import { appendFileSync, readdirSync, readFileSync } from "node:fs";
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
