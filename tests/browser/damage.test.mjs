// Records flipped, dropped and swapped, one after the other; room that ends in the middle of a rewrite, by the browser's
// own tools; and the events that tell of it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { launch, site, testBrowser } from "./browser.mjs";

const browser = testBrowser();

/** Runs in the page: stores a database, spoils it in every way, and says what becomes of each. */
async function spoil([store, count]) {
  const { open } = await import("haversack");
  const promised = (request) => new Promise((resolve, reject) => ([request.onsuccess, request.onerror] = [() => resolve(request.result), () => reject(request.error)]));
  const within = async (name, act) => {
    const database = await promised(indexedDB.open(`haversack:${name}`));
    const transaction = database.transaction(["meta", "base", "incr", "quarantine"], "readwrite");
    const ended = new Promise((resolve) => (transaction.oncomplete = resolve));
    const result = await act((store) => transaction.objectStore(store));
    await ended;
    database.close();
    return result;
  };
  const all = (name) =>
    within(name, async (of) => {
      const found = [];
      for (const store of ["meta", "base", "incr", "quarantine"]) {
        for (const key of await promised(of(store).getAllKeys())) found.push([store, String(key), String(await promised(of(store).get(key)))]);
      }
      return JSON.stringify(found);
    });
  const name = `spoilt-${store}`;
  const noise = new Uint8Array(900_000);
  for (let at = 0; at < noise.length; at += 65_536) crypto.getRandomValues(noise.subarray(at, at + 65_536));
  const db = await open(`idb://${name}`);
  for (let i = 0; i < count; i += 1) {
    await db.call(["SET", `k:${i}`, store === "base" ? noise : String(i)]);
    await db.flush();
  }
  if (store === "base") {
    await db.call(["BGREWRITEAOF"]);
    while (db.status().generation === 1) await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await db.close();
  const keys = await within(name, (of) => promised(of(store).getAllKeys()));
  const records = await within(name, (of) => promised(of(store).getAll()));
  const flip = (at) => (record) => {
    const bad = record.slice();
    bad[at < 0 ? bad.length + at : at] ^= 0x10;
    return bad;
  };
  // What each does to the records: [index, its new content, or null for none].
  const ways = {
    "payload flipped": [[0, flip(-5)(records[0])]],
    "head flipped": [[0, flip(6)(records[0])]],
    "header flipped": [[1, flip(12)(records[1])]],
    "cut short": [[0, records[0].slice(0, -7)]],
    "zeroed behind": [[1, records[1].map((byte, i) => (i * 2 < records[1].length ? byte : 0))]],
    "first dropped": [[0, null]],
    "middle dropped": [[1, null]],
    swapped: [[0, records[1]], [1, records[0]]],
    "said twice": [[1, records[0]]],
    "no bytes": [[0, "text"]],
  };
  const last = keys.length - 1;
  ways["last dropped"] = [[last, null]];
  ways["last flipped"] = [[last, flip(-5)(records[last])]];
  ways["last zeroed behind"] = [[last, records[last].map((byte, i) => (i * 2 < records[last].length ? byte : 0))]];
  ways["all dropped"] = keys.map((_, i) => [i, null]);
  const results = {};
  for (const [way, changes] of Object.entries(ways)) {
    await within(name, (of) => changes.forEach(([i, record]) => (record === null ? of(store).delete(keys[i]) : of(store).put(record, keys[i]))));
    const before = await all(name);
    const refused = await open(`idb://${name}`, { damaged: "refuse" }).then((db) => db.close().then(() => "opened"), (error) => `${error.name}: ${error.message}`);
    results[way] = { refused, untouched: before === (await all(name)) };
    await within(name, (of) => keys.forEach((key, i) => of(store).put(records[i], key)));
  }
  const again = await open(`idb://${name}`, { damaged: "refuse" });
  const size = await again.call(["DBSIZE"]);
  await again.close();
  return { keys: keys.length, results, size };
}

for (const [store, count] of [["incr", 4], ["base", 4]]) {
  test(`${store}: every damage is found, refused, and nothing is changed`, async () => {
    const page = await browser.open("?memory");
    const got = await page.evaluate(spoil, [store, count]);
    assert.ok(got.keys >= 4, String(got.keys));
    for (const [way, { refused, untouched }] of Object.entries(got.results)) {
      assert.match(refused, /^DamagedDatabaseError: the database is damaged: .*(record|part|base)/, way);
      assert.ok(untouched, `${way}: storage was changed`);
    }
    assert.equal(got.size, count);
  });
}

test("without `refuse`, what is spoilt at the end is put aside and told, and what is missing is told", async () => {
  const page = await browser.open("?memory");
  const got = await page.evaluate(async () => {
    const { open } = await import("haversack");
    const promised = (request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
    const change = async (name, act) => {
      const database = await promised(indexedDB.open(`haversack:${name}`));
      const transaction = database.transaction(["incr", "quarantine"], "readwrite");
      const result = await act(transaction.objectStore("incr"), transaction.objectStore("quarantine"));
      database.close();
      return result;
    };
    const results = {};
    for (const [name, spoil] of Object.entries({
      flipped: async (incr) => {
        const record = await promised(incr.get([1, 2]));
        record[record.length - 5] ^= 1;
        return promised(incr.put(record, [1, 2]));
      },
      dropped: (incr) => promised(incr.delete([1, 2])),
    })) {
      const db = await open(`idb://end-${name}`, { appendfsync: "always" });
      for (const key of "abc") await db.call(["SET", key, "1"]);
      await db.close();
      await change(`end-${name}`, spoil);
      const seen = [];
      for (const key of "de") {
        const again = await open(`idb://end-${name}`);
        seen.push(await again.call(["DBSIZE"]), again.status().recovered);
        await again.call(["SET", key, "1"]);
        await again.close();
      }
      results[name] = [...seen, await change(`end-${name}`, (_, aside) => promised(aside.getAllKeys()))];
    }
    return results;
  });
  const { flipped, dropped } = got;
  assert.match(flipped.splice(1, 1)[0], /1 records were put into quarantine, from record 2 of the log: its checksum/);
  assert.match(dropped.splice(1, 1)[0], /the log ends before record 2, records up to 2 are missing/);
  assert.deepEqual(got, { flipped: [2, 3, null, [[[1, 2], 2]]], dropped: [2, 3, null, []] });
});

test("what is put aside stays when the record in its place is put aside, too", async () => {
  const page = await browser.open("?memory");
  const got = await page.evaluate(async () => {
    const { open } = await import("haversack");
    const promised = (request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
    const told = [];
    for (const key of ["first", "second", "third"]) {
      const db = await open("idb://twice", { appendfsync: "always" });
      told.push([await db.call(["DBSIZE"]), db.status().recovered !== null]);
      await db.call(["SET", key, "1"]);
      await db.close();
      const database = await promised(indexedDB.open("haversack:twice"));
      const incr = database.transaction("incr", "readwrite").objectStore("incr");
      const record = await promised(incr.get([1, 0]));
      record[record.length - 5] ^= 1;
      await promised(incr.put(record, [1, 0]));
      database.close();
    }
    const db = await open("idb://twice");
    await db.close();
    const database = await promised(indexedDB.open("haversack:twice"));
    const aside = await promised(database.transaction("quarantine").objectStore("quarantine").getAll());
    database.close();
    const text = new TextDecoder();
    return [told, aside.map((record) => text.decode(record).match(/first|second|third/)[0])];
  });
  assert.deepEqual(got, [[[0, false], [0, true], [0, true]], ["first", "second", "third"]]);
});

test("a transaction that fails while the page is hidden leaves no gap", async () => {
  const page = await browser.open("?memory");
  const got = await page.evaluate(async () => {
    const { open } = await import("haversack");
    const promised = (request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
    const db = await open("idb://gap", { appendfsync: "always" });
    await db.call(["SET", "before", "1"]);
    const database = await promised(indexedDB.open("haversack:gap"));
    const { commit } = IDBTransaction.prototype;
    let failing;
    IDBTransaction.prototype.commit = function () {
      IDBTransaction.prototype.commit = commit;
      failing = this; // stays open, to be ended
    };
    const writes = [db.call(["SET", "a", "1"])];
    while (!failing) await null;
    writes.push(db.call(["SET", "b", "1"]));
    dispatchEvent(new Event("pagehide"));
    failing.abort();
    // Begun now, this sees what a page that is gone leaves: nothing that is tried again comes before it.
    const keys = await promised(database.transaction("incr").objectStore("incr").getAllKeys());
    database.close();
    await Promise.allSettled(writes);
    await db.close();
    const again = await open("idb://gap", { damaged: "refuse" });
    const size = await again.call(["DBSIZE"]);
    await again.close();
    return { keys, size };
  });
  assert.deepEqual(got.keys, [[1, 0], [1, 1], [1, 2]]);
  assert.equal(got.size, 3);
});

test("whatever stands where the owner's number was, the next owner can store", async () => {
  const page = await browser.open("?memory");
  const got = await page.evaluate(async () => {
    const { open } = await import("haversack");
    const ended = (request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
    const results = [];
    for (const owner of [undefined, null, "text", 0, 1, 1.5, -1, NaN, Infinity, 1e300]) {
      for (let visit = 0; visit < 3; visit += 1) {
        const db = await open("idb://owner", { damaged: "refuse", appendfsync: "always" });
        await db.call(["INCR", "visits"]);
        await db.close();
      }
      const database = await ended(indexedDB.open("haversack:owner"));
      const meta = database.transaction("meta", "readwrite").objectStore("meta");
      await ended(owner === undefined ? meta.delete("owner") : meta.put(owner, "owner"));
      database.close();
      const db = await open("idb://owner", { damaged: "refuse", appendfsync: "always" });
      results.push(await db.call(["INCR", "visits"]).catch((error) => `${owner}: ${error.message}`));
      await db.close();
    }
    return results;
  });
  assert.deepEqual(got, [4, 8, 12, 16, 20, 24, 28, 32, 36, 40]);
});

test("onstatus tells when something is not stored yet, when it is, and when storing fails", async () => {
  const page = await browser.open("?memory");
  const got = await page.evaluate(async () => {
    const { open } = await import("haversack");
    const db = await open("idb://events");
    const told = [];
    const started = db.status().durable;
    db.onstatus = ({ durable, lastError, state, generation, fsync }) => told.push([durable, lastError && lastError.split(":")[0], state, generation, fsync].join(" "));
    const settled = async () => {
      await db.flush().catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, 50));
      return told.splice(0);
    };
    const inSync = [];
    const seen = { started };
    const set = db.call(["SET", "k", "v"]);
    inSync.push(told.length);
    await set;
    seen.write = await settled();
    await db.call(["GET", "k"]);
    seen.read = await settled();
    await db.call(["CONFIG", "SET", "appendfsync", "always"]);
    seen.policy = await settled();
    await db.call(["BGREWRITEAOF"]);
    while (db.status().generation === 1) await new Promise((resolve) => setTimeout(resolve, 5));
    seen.rewrite = await settled();
    const put = IDBObjectStore.prototype.put;
    IDBObjectStore.prototype.put = function () {
      throw new DOMException("no room", "QuotaExceededError");
    };
    // With `always` its answer comes once there is room again.
    const late = db.call(["SET", "k", "w"]);
    seen.flushed = await db.flush().catch((error) => error.message);
    seen.full = db.status().lastError;
    IDBObjectStore.prototype.put = put;
    const patience = Date.now() + 10_000;
    while (db.status().lastError !== null && Date.now() < patience) await new Promise((resolve) => setTimeout(resolve, 10));
    seen.late = await late;
    seen.again = (await settled()).at(-1);
    await db.close();
    await new Promise((resolve) => setTimeout(resolve, 0));
    seen.closed = told.at(-1);
    return { seen, inSync };
  });
  const { seen } = got;
  assert.deepEqual(got.inSync, [0]);
  assert.equal(seen.started, true);
  assert.deepEqual(seen.write, ["false  open 1 everysec", "true  open 1 everysec"]);
  assert.deepEqual(seen.read, []);
  assert.deepEqual(seen.policy, ["true  open 1 always"]);
  assert.equal(seen.rewrite.at(-1), "true  open 2 always");
  assert.match(seen.full, /QuotaExceededError/);
  assert.match(seen.flushed, /QuotaExceededError/);
  assert.equal(seen.late, "OK");
  assert.match(seen.again, /^true {2}open \d+ always$/);
  assert.match(seen.closed, /^false .* closed /);
});

test("room that ends in the middle of a rewrite costs nothing: the log goes on, and the rewrite comes later", async (t) => {
  // A browser of its own: one that has used a site's storage before remembers for a while how much was left.
  const place = await site();
  t.after(() => place.close());
  const browser = await launch(place);
  t.after(() => browser.close());
  const page = await browser.open("?memory");
  const session = await page.context().newCDPSession(page);
  const quota = (more) => session.send("Storage.overrideQuotaForOrigin", { origin: new URL(page.url()).origin, ...more });
  await quota({ quotaSize: 5_500_000 }); // for the log and a part of the base, not for all of it
  await page.evaluate(async () => {
    const { open } = await import("haversack");
    globalThis.db = await open("idb://half");
    await db.call(["CONFIG", "SET", "auto-aof-rewrite-percentage", 0]);
    for (let i = 0; i < 60; i += 1) await db.call(["SET", `big:${i}`, crypto.getRandomValues(new Uint8Array(60_000))]);
    await db.flush();
  });
  const full = await page.evaluate(async () => {
    const before = db.status().generation;
    const status = async () => /aof_last_bgrewrite_status:(\w+)/.exec(await db.call(["INFO", "persistence"]))[1];
    await db.call(["BGREWRITEAOF"]);
    const patience = Date.now() + 10_000;
    while ((await status()) === "ok" && db.status().generation === before && Date.now() < patience) await new Promise((resolve) => setTimeout(resolve, 20));
    const answer = [await status(), db.status().generation - before];
    const read = (await db.call(["STRLEN", "big:39"]));
    const size = await db.call(["DBSIZE"]);
    return { answer, read, size };
  });
  await quota({});
  const got = await page.evaluate(async () => {
    const patience = Date.now() + 20_000;
    const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    let accepted = "";
    while (accepted !== "OK" && Date.now() < patience) accepted = await db.call(["SET", "after", "1"]).catch((error) => wait(50).then(() => error.message));
    await db.flush();
    const { generation } = db.status();
    await db.call(["BGREWRITEAOF"]);
    while (db.status().generation === generation && Date.now() < patience) await wait(20);
    const rewritten = db.status().generation > generation;
    await db.close();
    const { open } = await import("haversack");
    const again = await open("idb://half", { damaged: "refuse" });
    const loaded = [await again.call(["DBSIZE"]), await again.call(["STRLEN", "big:0"]), again.status().recovered];
    await again.close();
    return { accepted, rewritten, loaded };
  });
  assert.deepEqual(full, { answer: ["err", 0], read: 60_000, size: 60 });
  assert.deepEqual(got, { accepted: "OK", rewritten: true, loaded: [61, 60_000, null] });
});

test("a database that the browser closes, and whose owner's number is lost, goes on with its manifest and its log", async () => {
  const page = await browser.open("?memory");
  const got = await page.evaluate(async () => {
    const { open } = await import("haversack");
    const promised = (request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
    const { transaction } = IDBDatabase.prototype;
    let held;
    IDBDatabase.prototype.transaction = function (...args) {
      held = this;
      return transaction.apply(this, args);
    };
    const db = await open("idb://ownerless", { appendfsync: "always" });
    await db.call(["SET", "before", "1"]);
    IDBDatabase.prototype.transaction = transaction;
    const look = async (act) => {
      const database = await promised(indexedDB.open("haversack:ownerless"));
      const meta = database.transaction("meta", "readwrite").objectStore("meta");
      await act?.(meta);
      const found = [Array.from(await promised(meta.get("manifest"))), await promised(meta.get("owner"))];
      database.close();
      return found;
    };
    const before = await look();
    await look((meta) => promised(meta.delete("owner")));
    held.close();
    held.dispatchEvent(new Event("close"));
    const closed = db.status().lastError;
    const patience = Date.now() + 10_000;
    while (db.status().lastError !== null && Date.now() < patience) await new Promise((resolve) => setTimeout(resolve, 20));
    await db.call(["SET", "after", "1"]);
    const after = await look();
    await db.close();
    const again = await open("idb://ownerless", { damaged: "refuse" });
    const size = await again.call(["DBSIZE"]);
    await again.close();
    return { closed, before, after, size };
  });
  assert.match(got.closed, /the browser has closed the database/);
  assert.deepEqual(got.after, got.before);
  assert.equal(got.size, 2);
});
