// The whole browser is killed while it writes: what was promised is there afterwards, and nothing is torn.
import assert from "node:assert/strict";
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
    const status = await page.evaluate(() => JSON.stringify(globalThis.haversack.status()));
    for (let number = 1; number <= promised; number += 1) {
      const value = await call(page, "GET", `a:${number}`);
      assert.ok(value?.startsWith(`${number}x`) && value.length > 2000, `a:${number} of ${promised} promised; ${status}`);
    }
    // What was not promised may be there, but only as whole commands and without gaps.
    const size = await call(page, "DBSIZE");
    assert.ok(size >= promised * 2 && size % 2 === 0, `${size} keys for ${promised} promised pairs`);
    assert.equal(await call(page, "EXISTS", ...pairs(size / 2)), size);
  } finally {
    await browser.close();
  }
}

function pairs(count) {
  return Array.from({ length: count }, (_, i) => [`a:${i + 1}`, `b:${i + 1}`]).flat();
}
