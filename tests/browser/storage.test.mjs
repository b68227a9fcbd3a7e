// What lies in IndexedDB, and what becomes of it: rewrites, damage, other versions, other owners, no room, no IndexedDB.
// Each test looks into the database with the browser's own interface, or breaks it there.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { call, launch, site, stored, testBrowser } from "./browser.mjs";

const browser = testBrowser();

/** Opens the package in a page without a database of its own; `idb` helps to look into IndexedDB. */
async function blank() {
  const page = await browser.open("?memory");
  await page.evaluate(async () => {
    const promised = (request) =>
      new Promise((resolve, reject) => {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
      });
    globalThis.idb = async (name, stores, act) => {
      const database = await promised(indexedDB.open(`haversack:${name}`));
      const transaction = database.transaction(stores, "readwrite");
      const ended = new Promise((resolve) => (transaction.oncomplete = resolve));
      const result = await act(Object.fromEntries(stores.map((store) => [store, transaction.objectStore(store)])), promised);
      await ended;
      database.close();
      return result;
    };
    globalThis.open = (await import("haversack")).open;
    globalThis.write = async (name, ...batches) => {
      const db = await globalThis.open(`idb://${name}`);
      for (const batch of batches) {
        for (const command of batch) await db.call(command);
        await db.flush();
      }
      await db.close();
    };
  });
  return page;
}

test("chunks carry their header, and their payloads are the log as Redis writes it", async () => {
  const page = await blank();
  const got = await page.evaluate(async () => {
    await write("chunks", [["SET", "k", "v"]], [["SELECT", 3], ["INCR", "n"]]);
    return idb("chunks", ["meta", "base", "incr"], async ({ meta, base, incr }, promised) => ({
      meta: await promised(meta.getAllKeys()),
      base: await promised(base.count()),
      keys: await promised(incr.getAllKeys()),
      text: (await promised(incr.getAll())).map((record) => String.fromCharCode(...record)),
    }));
  });
  assert.deepEqual(got.meta, ["end", "manifest", "owner", "rested"]);
  assert.equal(got.base, 0);
  assert.deepEqual(got.keys, [[1, 0], [1, 1]]);
  assert.ok(got.text[0].startsWith("HVCK") && got.text[0].endsWith("*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n"));
  assert.ok(got.text[1].endsWith("*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n"));
});

test("a rewrite leaves one base and no log, and loses nothing that was written meanwhile", async () => {
  const page = await blank();
  const got = await page.evaluate(async () => {
    const db = await open("idb://rewrite");
    await db.call(["CONFIG", "SET", "auto-aof-rewrite-percentage", 0]);
    const value = "x".repeat(1000);
    await Promise.all(Array.from({ length: 5000 }, (_, i) => db.call(["SET", `key:${i}`, value])));
    for (let round = 0; round < 20; round += 1) await db.call(["INCR", "counter"]);
    await db.flush();
    const before = db.status();
    await db.call(["BGREWRITEAOF"]);
    let written = 0;
    while (db.status().generation === before.generation) {
      await Promise.all([db.call(["INCR", "meanwhile"]), db.call(["SET", `key:${written}`, "changed"]), db.call(["DEL", `key:${4999 - written}`])]);
      written += 1;
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    await db.flush();
    const after = db.status();
    await db.close();
    const records = await idb("rewrite", ["base", "incr"], async ({ base, incr }, promised) => ({
      base: await promised(base.getAllKeys()),
      incr: await promised(incr.getAllKeys()),
    }));
    const again = await open("idb://rewrite");
    const loaded = {
      counter: await again.call(["GET", "counter"]),
      meanwhile: await again.call(["GET", "meanwhile"]),
      first: await again.call(["GET", "key:0"]),
      untouched: (await again.call(["GET", "key:2500"]))?.length,
      size: await again.call(["DBSIZE"]),
      recovered: again.status().recovered,
    };
    await again.close();
    return { before, after, written, records, loaded };
  });
  const { before, after, written, records, loaded } = got;
  assert.ok(before.incrBytes > 5_000_000 && before.baseBytes === 0, JSON.stringify(before));
  assert.equal(after.generation, before.generation + 1);
  assert.ok(after.baseBytes > 0 && after.incrBytes < before.incrBytes / 2, JSON.stringify(after));
  assert.ok(records.base.length > 0 && records.base.every(([generation]) => generation === after.generation));
  assert.ok(records.incr.every(([generation]) => generation === after.generation));
  assert.deepEqual(loaded, {
    counter: "20", meanwhile: String(written), first: written > 0 ? "changed" : "x".repeat(1000), untouched: 1000,
    size: 5002 - written, recovered: null,
  });
});

test("the log is rewritten by itself when it has grown", async () => {
  const page = await blank();
  const status = await page.evaluate(async () => {
    const db = await open("idb://grown");
    const value = "x".repeat(100_000);
    for (let i = 0; i < 60; i += 1) await db.call(["SET", "same", value + i]);
    const patience = Date.now() + 10_000;
    while (db.status().generation === 1 && Date.now() < patience) await new Promise((resolve) => setTimeout(resolve, 50));
    const status = db.status();
    await db.close();
    return status;
  });
  assert.equal(status.generation, 2);
  assert.ok(status.baseBytes + status.incrBytes < 1_000_000, JSON.stringify(status));
});

test("a log that grew over many short visits is rewritten when it is opened", async () => {
  const page = await blank();
  const got = await page.evaluate(async () => {
    const value = "x".repeat(500_000);
    // The ninth brings more than a log may have that nobody rewrites: the next one to open it does.
    for (let visit = 0; visit < 9; visit += 1) await write("visits", [["SET", "same", value + visit]]);
    const db = await open("idb://visits");
    const before = db.status();
    const patience = Date.now() + 10_000;
    while (db.status().generation === 1 && Date.now() < patience) await new Promise((resolve) => setTimeout(resolve, 20));
    const { generation, baseBytes, incrBytes } = db.status();
    const last = (await db.call(["GET", "same"])).at(-1);
    await db.close();
    return { before: [before.generation, before.baseBytes, before.incrBytes > 4 << 20], generation, bytes: baseBytes + incrBytes, last };
  });
  assert.deepEqual(got.before, [1, 0, true]);
  assert.equal(got.generation, 2);
  assert.ok(got.bytes < 600_000, JSON.stringify(got));
  assert.equal(got.last, "8");
});

test("a rewrite that is given up when the page closes loses nothing, and the next one takes another number", async () => {
  const page = await blank();
  const got = await page.evaluate(async () => {
    const db = await open("idb://given-up");
    for (let i = 0; i < 50; i += 1) await db.call(["SET", `key:${i}`, crypto.getRandomValues(new Uint8Array(60_000))]);
    await db.flush();
    // Its base has three parts, one stored after the other; to close waits for the log only.
    await db.call(["BGREWRITEAOF"]);
    await db.call(["SET", "meanwhile", "1"]);
    await db.close();
    const generations = () =>
      idb("given-up", ["base", "incr"], async (stores, promised) => {
        const of = async (store) => [...new Set((await promised(store.getAllKeys())).map(([generation]) => generation))];
        return { base: await of(stores.base), incr: await of(stores.incr) };
      });
    const left = await generations();
    const again = await open("idb://given-up");
    const opened = again.status();
    const loaded = [await again.call(["DBSIZE"]), await again.call(["GET", "meanwhile"]), opened.generation, opened.recovered];
    await again.call(["BGREWRITEAOF"]);
    while (again.status().generation === opened.generation) await new Promise((resolve) => setTimeout(resolve, 10));
    await again.call(["SET", "later", "2"]);
    await again.close();
    const rewritten = await generations();
    const last = await open("idb://given-up");
    const later = [await last.call(["DBSIZE"]), await last.call(["STRLEN", "key:49"]), last.status().generation, last.status().recovered];
    await last.close();
    return { left, loaded, rewritten, later };
  });
  // What was written behind the cut is in the log of a generation that has no base.
  assert.deepEqual(got.left.incr, [1, 2]);
  assert.deepEqual(got.loaded, [51, "1", 1, null]);
  assert.deepEqual(got.rewritten, { base: [3], incr: [3] });
  assert.deepEqual(got.later, [52, 60_000, 3, null]);
});

test("a torn last record is cut off before anything is written behind it", async () => {
  const page = await blank();
  const got = await page.evaluate(async () => {
    await write("torn", [["SET", "a", "1"]], [["SET", "b", "2"]], [["SET", "c", "3"]]);
    await idb("torn", ["incr"], async ({ incr }, promised) => {
      const record = await promised(incr.get([1, 2]));
      incr.put(record.slice(0, record.length - 4), [1, 2]);
    });
    const db = await open("idb://torn", { damaged: "refuse" });
    const first = { keys: await db.call(["DBSIZE"]), recovered: db.status().recovered };
    await db.call(["SET", "d", "4"]);
    await db.close();
    const again = await open("idb://torn");
    const second = { keys: await again.call(["DBSIZE"]), d: await again.call(["GET", "d"]), recovered: again.status().recovered };
    await again.close();
    return { first, second };
  });
  assert.equal(got.first.keys, 2);
  assert.match(got.first.recovered, /torn/);
  assert.deepEqual(got.second, { keys: 3, d: "4", recovered: null });
});

test("a transaction torn in its middle is as if it had never been", async () => {
  const page = await blank();
  const got = await page.evaluate(async () => {
    // More than a record holds: EXEC's unit is cut into several, and the last of them is torn.
    const db = await open("idb://unit", { appendfsync: "no" });
    await db.call(["SET", "before", "1"]);
    await db.flush();
    const half = "x".repeat(700_000);
    const connection = db.connection();
    const done = new Promise((resolve) => {
      let text = "";
      connection.ondata = (bytes) => (text += new TextDecoder().decode(bytes)).includes("*2\r\n+OK\r\n+OK\r\n") && resolve();
    });
    for (const command of [["MULTI"], ["SET", "one", half], ["SET", "two", half], ["EXEC"]]) connection.writeCommand(command);
    await done;
    await db.close();
    const records = await idb("unit", ["incr"], async ({ incr }, promised) => {
      const keys = await promised(incr.getAllKeys());
      const last = await promised(incr.get(keys.at(-1)));
      incr.put(last.slice(0, -1), keys.at(-1));
      return keys.length;
    });
    const again = await open("idb://unit");
    const first = { keys: await again.call(["KEYS", "*"]), recovered: again.status().recovered };
    await again.call(["SET", "after", "2"]);
    await again.close();
    const last = await open("idb://unit");
    const second = { keys: (await last.call(["KEYS", "*"])).sort(), recovered: last.status().recovered };
    await last.close();
    return { records, first, second };
  });
  assert.equal(got.records, 3);
  assert.deepEqual(got.first.keys, ["before"]);
  assert.match(got.first.recovered, /torn.*unfinished command/);
  assert.deepEqual(got.second, { keys: ["after", "before"], recovered: null });
});

test("a bad record in the middle goes to quarantine with all that follow, or stops the opening", async () => {
  const page = await blank();
  const got = await page.evaluate(async () => {
    await write("middle", [["SET", "a", "1"]], [["SET", "b", "2"]], [["SET", "c", "3"]], [["SET", "d", "4"]]);
    await idb("middle", ["incr"], async ({ incr }, promised) => {
      const record = await promised(incr.get([1, 1]));
      record[record.length - 3] ^= 0x40;
      incr.put(record, [1, 1]);
    });
    const keys = () =>
      idb("middle", ["incr", "quarantine"], async ({ incr, quarantine }, promised) => [
        await promised(incr.getAllKeys()),
        await promised(quarantine.getAllKeys()),
      ]);
    const refused = await open("idb://middle", { damaged: "refuse" }).catch((error) => [error.name, error.message]);
    const untouched = await keys();
    const db = await open("idb://middle");
    const opened = { a: await db.call(["GET", "a"]), size: await db.call(["DBSIZE"]), recovered: db.status().recovered };
    await db.call(["SET", "e", "5"]);
    await db.close();
    const aside = await keys();
    const again = await open("idb://middle");
    const later = [await again.call(["DBSIZE"]), again.status().recovered];
    await again.close();
    return { refused, untouched, opened, aside, later };
  });
  assert.equal(got.refused[0], "DamagedDatabaseError");
  assert.match(got.refused[1], /record 1 of the log.*checksum.*3 records/);
  assert.deepEqual(got.untouched, [[[1, 0], [1, 1], [1, 2], [1, 3]], []]);
  assert.equal(got.opened.size, 1);
  assert.match(got.opened.recovered, /3 records were put into quarantine/);
  // Put aside by the second owner: the first wrote them, and who refused them was none.
  assert.deepEqual(got.aside, [[[1, 0], [1, 1]], [[[1, 1], 2], [[1, 2], 2], [[1, 3], 2]]]);
  assert.deepEqual(got.later, [2, null]);
});

test("a missing record is found", async () => {
  const page = await blank();
  const recovered = await page.evaluate(async () => {
    await write("gap", [["SET", "a", "1"]], [["SET", "b", "2"]], [["SET", "c", "3"]]);
    await idb("gap", ["incr"], ({ incr }) => void incr.delete([1, 1]));
    const db = await open("idb://gap");
    const { recovered } = db.status();
    await db.close();
    return recovered;
  });
  assert.match(recovered, /1 records were put into quarantine, from record 1 of the log: record 1 is missing/);
});

test("a damaged base stops the opening, with storage as it was", async () => {
  const page = await blank();
  const got = await page.evaluate(async () => {
    const db = await open("idb://base");
    await db.call(["SET", "k", "v"]);
    await db.call(["BGREWRITEAOF"]);
    while (db.status().generation === 1) await new Promise((resolve) => setTimeout(resolve, 10));
    await db.close();
    const whole = await idb("base", ["base"], async ({ base }, promised) => {
      const record = await promised(base.get([2, 0]));
      const bad = record.slice();
      bad[bad.length - 12] ^= 1;
      base.put(bad, [2, 0]);
      return record;
    });
    const refused = await open("idb://base").catch((error) => [error.name, error.message]);
    await idb("base", ["base"], ({ base }) => void base.put(whole, [2, 0]));
    const again = await open("idb://base");
    const value = await again.call(["GET", "k"]);
    await again.close();
    return { refused, value };
  });
  assert.equal(got.refused[0], "DamagedDatabaseError");
  assert.match(got.refused[1], /part 0 of its base.*nothing was changed/);
  assert.equal(got.value, "v");
});

test("a database of a later version is refused and left alone", async () => {
  const page = await blank();
  const got = await page.evaluate(async () => {
    await write("newer", [["SET", "k", "v"]]);
    const all = () =>
      idb("newer", ["meta", "incr"], async ({ meta, incr }, promised) =>
        JSON.stringify([await promised(meta.getAll()), await promised(incr.getAll())]),
      );
    await idb("newer", ["meta"], async ({ meta }, promised) => {
      const manifest = await promised(meta.get("manifest"));
      manifest[4] = manifest[6] = 9;
      meta.put(manifest, "manifest");
    });
    const before = await all();
    const refused = await open("idb://newer").catch((error) => [error.name, error.message]);
    return { refused, same: before === (await all()) };
  });
  assert.deepEqual(got.refused[0], "NewerFormatError");
  assert.match(got.refused[1], /format 9/);
  assert.ok(got.same);
});

test("a database of format 1 is read, and goes on", async () => {
  const page = await blank();
  const golden = JSON.parse(await readFile(new URL("../golden/browser-format-1.json", import.meta.url), "utf8"));
  const got = await page.evaluate(async (golden) => {
    await (await open("idb://golden")).close(); // makes the stores
    await idb("golden", Object.keys(golden), (stores) => {
      for (const [name, records] of Object.entries(golden)) {
        stores[name].clear();
        for (const [key, value] of records) {
          stores[name].put(value.bytes === undefined ? value : Uint8Array.from(atob(value.bytes), (c) => c.charCodeAt(0)), key);
        }
      }
    });
    const db = await open("idb://golden", { damaged: "refuse" });
    const values = [];
    for (const command of ["LRANGE list 0 -1", "HGET hash f", "ZSCORE zset m", "SCARD set", "GET text", "PEXPIRETIME late", "INCR n"]) {
      values.push(await db.call(command.split(" ")));
    }
    await db.call(["SELECT", 2]);
    values.push(await db.call(["GET", "elsewhere"]), db.status().recovered);
    await db.close();
    const again = await open("idb://golden");
    values.push(await again.call(["GET", "n"]));
    await again.close();
    return values;
  }, golden);
  assert.deepEqual(got, [["a", "b", "c"], "v", 1.5, 3, "value", 4102444800000, 2, "2", null, "2"]);
});

test("a log that a later version has gone on with is refused and left alone", async () => {
  const page = await blank();
  const got = await page.evaluate(async () => {
    await write("newer-log", [["SET", "a", "1"]], [["SET", "b", "2"]]);
    const all = () => idb("newer-log", ["meta", "base", "incr", "quarantine"], async (stores, promised) =>
      JSON.stringify(await Promise.all(Object.values(stores).flatMap((store) => [promised(store.getAllKeys()), promised(store.getAll())]))));
    await idb("newer-log", ["incr"], async ({ incr }, promised) => {
      const record = await promised(incr.get([1, 1]));
      record[4] = 9;
      incr.put(record, [1, 1]);
    });
    const before = await all();
    const refused = await open("idb://newer-log").catch((error) => [error.name, error.message]);
    return { refused, same: before === (await all()) };
  });
  assert.equal(got.refused[0], "NewerFormatError");
  assert.ok(got.same);
});

test("SAVE answers when everything is stored, and the log's settings change while it runs", async () => {
  const page = await blank();
  const got = await page.evaluate(async () => {
    const db = await open("idb://save", { appendfsync: "no" });
    await db.call(["SET", "k", "v"]);
    const before = db.status().durable;
    const saved = await db.call(["SAVE"]);
    const after = db.status().durable;
    const policy = await db.call(["CONFIG", "SET", "appendfsync", "always"]);
    await db.call(["SET", "k", "w"]);
    const always = [db.status().durable, db.status().fsync];
    const refused = [];
    for (const args of [["appendonly", "no"], ["port", "7000"]]) {
      refused.push(await db.call(["CONFIG", "SET", ...args]).catch((error) => error.message));
    }
    const info = await db.call(["INFO", "persistence"]);
    await db.close();
    return { before, saved, after, policy, always, refused, info };
  });
  assert.deepEqual([got.before, got.saved, got.after, got.policy, got.always], [false, "OK", true, "OK", [true, "always"]]);
  assert.match(got.refused[0], /the log is where the data are/);
  assert.match(got.refused[1], /no sockets/);
  assert.match(got.info, /aof_enabled:1/);
  assert.match(got.info, /rdb_last_bgsave_status:ok/);
});

test("with `always` a reply comes only after its write is stored, and reads wait behind it", async () => {
  const page = await blank();
  const got = await page.evaluate(async () => {
    const db = await open("idb://always", { appendfsync: "always" });
    const other = await db.connection();
    const seen = [];
    other.ondata = () => seen.push(db.status().pendingBytes);
    const write = db.call(["SET", "k", "v"]).then(() => seen.push(db.status().pendingBytes));
    other.writeCommand(["GET", "k"]);
    await new Promise((resolve) => queueMicrotask(resolve));
    const early = seen.length;
    await write;
    await new Promise((resolve) => setTimeout(resolve, 50));
    await db.close();
    return { early, seen };
  });
  assert.deepEqual(got, { early: 0, seen: [0, 0] });
});

test("with `always` nothing that tells of a write leaves before it is stored: EXEC, woken clients, messages, expiry", async () => {
  const page = await blank();
  const got = await page.evaluate(async () => {
    const db = await open("idb://always-all", { appendfsync: "always" });
    // Transactions take their time here: what leaves too early is seen.
    const listen = Object.getOwnPropertyDescriptor(IDBTransaction.prototype, "oncomplete");
    Object.defineProperty(IDBTransaction.prototype, "oncomplete", {
      ...listen,
      set(handler) {
        if (this.mode !== "readwrite") return listen.set.call(this, handler);
        listen.set.call(this, (event) => setTimeout(() => handler(event), 20));
      },
    });
    const early = [];
    const texts = {};
    const client = (name) => {
      const connection = db.connection();
      texts[name] = "";
      connection.ondata = (bytes) => {
        const text = new TextDecoder().decode(bytes);
        texts[name] += text;
        const tells = !text.startsWith("+OK\r\n+QUEUED"); // MULTI's answers do not
        if (tells && db.status().pendingBytes !== 0) early.push([name, text]);
      };
      return (...args) => connection.writeCommand(args);
    };
    const [writer, blocked, listener, reader, other] = ["writer", "blocked", "listener", "reader", "other"].map(client);
    await db.call(["CONFIG", "SET", "notify-keyspace-events", "KEA"]);
    listener("PSUBSCRIBE", "__key*__:*");
    blocked("BLMOVE", "from", "to", "LEFT", "RIGHT", 0);
    await new Promise((resolve) => setTimeout(resolve, 50));
    writer("MULTI");
    writer("RPUSH", "from", "x");
    writer("SET", "short", "1", "PX", 30);
    writer("EXEC");
    reader("LRANGE", "to", 0, -1);
    other("PUBLISH", "channel", "text");
    await db.call(["INCR", "n"]);
    await new Promise((resolve) => setTimeout(resolve, 300));
    reader("EXISTS", "short");
    await db.flush();
    await db.call(["INCR", "n"]);
    Object.defineProperty(IDBTransaction.prototype, "oncomplete", listen);
    await db.close();
    return { early, texts };
  });
  assert.deepEqual(got.early, []);
  assert.match(got.texts.writer, /\*2\r\n:1\r\n\+OK/);
  assert.equal(got.texts.blocked, "$1\r\nx\r\n");
  assert.match(got.texts.reader, /x\r\n:0\r\n$/);
  assert.match(got.texts.listener, /expired/);
});

test("a page that is hidden stores at once what was just being stored", async () => {
  const page = await blank();
  const got = await page.evaluate(async () => {
    const db = await open("idb://hidden", { appendfsync: "always" });
    const writes = [];
    for (let i = 0; i < 5; i += 1) {
      writes.push(db.call(["INCR", "n"])); // begins a transaction, which looks who the owner is
      dispatchEvent(new Event("pagehide"));
      writes.push(db.call(["INCR", "n"]));
    }
    const replies = await Promise.all(writes);
    await db.close();
    const again = await open("idb://hidden");
    const result = [replies, await again.call(["GET", "n"]), again.status().recovered, again.status().lastError];
    await again.close();
    return result;
  });
  assert.deepEqual(got, [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "10", null, null]);
});

test("no room: one rewrite is tried, then writes are refused, and accepted again when there is room", async () => {
  const page = await blank();
  const got = await page.evaluate(async () => {
    // The quota of a browser cannot be set from here, so its error is made where the engine meets it.
    const put = IDBObjectStore.prototype.put;
    const db = await open("idb://quota");
    await db.call(["SET", "k", "v"]);
    await db.flush();
    let full = true;
    let refusals = 0;
    IDBObjectStore.prototype.put = function (...args) {
      if (full && ["incr", "base"].includes(this.name)) {
        refusals += 1;
        throw new DOMException("no room", "QuotaExceededError");
      }
      return put.apply(this, args);
    };
    const until = async (holds) => {
      const patience = Date.now() + 10_000;
      while (!(await holds()) && Date.now() < patience) await new Promise((resolve) => setTimeout(resolve, 20));
    };
    await db.call(["SET", "k", "kept"]);
    const flushed = await db.flush().catch((error) => error.message);
    const refused = await db.call(["SET", "k", "refused"]).catch((error) => error.message);
    const read = await db.call(["GET", "k"]);
    const status = db.status();
    full = false;
    await until(() => db.status().lastError === null);
    const accepted = await db.call(["SET", "k", "again"]);
    await db.flush();
    const after = db.status();
    await db.close();
    IDBObjectStore.prototype.put = put;
    const again = await open("idb://quota");
    const value = [await again.call(["GET", "k"]), again.status().recovered];
    await again.close();
    return { refusals, flushed, refused, read, status, accepted, after, value };
  });
  assert.ok(got.refusals >= 2, String(got.refusals));
  assert.match(got.flushed, /QuotaExceededError/);
  assert.match(got.refused, /^MISCONF .*QuotaExceededError/);
  assert.equal(got.read, "kept");
  assert.match(got.status.lastError, /QuotaExceededError/);
  assert.equal(got.status.durable, false);
  assert.equal(got.accepted, "OK");
  assert.deepEqual([got.after.lastError, got.after.durable], [null, true]);
  assert.deepEqual(got.value, ["again", null]);
});

test("an owner that was replaced stops storing and refuses writes", async () => {
  const page = await blank();
  const got = await page.evaluate(async () => {
    const db = await open("idb://owner");
    await db.call(["SET", "k", "mine"]);
    await db.flush();
    await idb("owner", ["meta"], async ({ meta }, promised) => {
      meta.put(true, ["ended", await promised(meta.get("owner"))]); // what a successor does
      meta.put(99, "owner");
    });
    await db.call(["SET", "k", "late"]);
    const flushed = await db.flush().catch((error) => error.message);
    const refused = await db.call(["SET", "k", "later"]).catch((error) => error.message);
    const records = await idb("owner", ["incr"], ({ incr }, promised) => promised(incr.count()));
    await db.close().catch(() => {});
    // Whoever waits for its write is told, too.
    const waiting = await open("idb://waiting", { appendfsync: "always" });
    await waiting.call(["SET", "k", "mine"]);
    await idb("waiting", ["meta"], async ({ meta }, promised) => void meta.put(true, ["ended", await promised(meta.get("owner"))]));
    const calls = [["SET", "k", "late"], ["GET", "k"]].map((args) => waiting.call(args).catch(({ code, message }) => [code, message]));
    const told = await Promise.all(calls);
    await waiting.close().catch(() => {});
    return { flushed, refused, records, told };
  });
  assert.match(got.flushed, /taken the database over/);
  assert.match(got.refused, /^MISCONF/);
  assert.equal(got.records, 1);
  assert.equal(got.told[0][0], "UNSTORED");
  assert.match(got.told[0][1], /taken the database over/);
  assert.equal(got.told[1], "late");
});

test("a database that another page deletes is closed here, and writes are refused", async () => {
  const page = await blank();
  const got = await page.evaluate(async () => {
    const db = await open("idb://deleted");
    await db.call(["SET", "k", "v"]);
    await db.flush();
    await new Promise((resolve, reject) => {
      const request = indexedDB.deleteDatabase("haversack:deleted");
      request.onsuccess = resolve;
      request.onerror = reject;
    });
    const refused = await db.call(["SET", "k", "w"]).catch((error) => error.message);
    const read = await db.call(["GET", "k"]);
    const { lastError, durable } = db.status();
    await db.close().catch(() => {});
    return { refused, read, lastError, durable };
  });
  assert.match(got.refused, /^MISCONF .*deletes/);
  assert.equal(got.read, "v");
  assert.match(got.lastError, /deletes/);
  assert.equal(got.durable, false);
});

test("without IndexedDB the data are in memory, and the status says so", async () => {
  const page = await blank();
  const status = await page.evaluate(async () => {
    Object.defineProperty(globalThis, "indexedDB", { value: undefined, configurable: true });
    const db = await open("idb://nowhere");
    await db.call(["SET", "k", "v"]);
    const status = db.status();
    await db.close();
    return status;
  });
  assert.deepEqual([status.storage, status.durable], ["memory", false]);
  assert.match(status.lastError, /no IndexedDB/);
});

test("SHUTDOWN stores everything and ends all connections", async () => {
  const page = await blank();
  const got = await page.evaluate(async () => {
    const db = await open("idb://shutdown", { appendfsync: "no" });
    await db.call(["SET", "k", "v"]);
    const ended = await db.call(["SHUTDOWN"]).catch((error) => error.message);
    const after = await db.call(["PING"]).catch((error) => error.message);
    await db.close();
    const again = await open("idb://shutdown");
    const value = await again.call(["GET", "k"]);
    await again.close();
    return { ended, after, value };
  });
  assert.match(got.ended, /closed/);
  assert.match(got.after, /closed/);
  assert.equal(got.value, "v");
});

test("the playground's database holds through many reloads", async () => {
  const page = await browser.open("?db=reloads");
  for (let round = 1; round <= 5; round += 1) {
    assert.equal(await call(page, "INCR", "visits"), round);
    await stored(page);
    await page.reload();
    await page.waitForSelector("body[data-ready=true]", { state: "attached" });
  }
  assert.equal(await call(page, "GET", "visits"), "5");
});

// ---- The engine dies ----

test("an engine that died says so, and is started again from what is stored", async () => {
  const page = await blank();
  const got = await page.evaluate(async () => {
    const db = await open("idb://reborn");
    const bystander = await open("memory://");
    const stops = [];
    db.onstop = (error) => stops.push(error.name);
    await db.call(["SET", "k", "v"]);
    await db.flush();
    const blocked = db.call(["BLPOP", "q", 0]).catch((error) => [error.name, error.message]);
    // There is no command that crashes: its memory is spoilt from outside.
    const instance = await (await import("/haversack/wasm/haversack.js")).default();
    new Uint8Array(instance.memory.buffer).fill(0xff);
    const dead = await db.call(["GET", "k"]).catch((error) => error.name);
    const pending = await blocked;
    const stopped = db.status();
    const later = await db.call(["PING"]).catch((error) => error.name);
    await db.reopen();
    const again = [await db.call(["GET", "k"]), db.status().state, db.status().storage];
    await db.call(["SET", "after", "1"]);
    const beside = await bystander.call(["PING"]).catch((error) => error.name);
    await bystander.reopen();
    const both = [await bystander.call(["DBSIZE"]), await db.call(["DBSIZE"])];
    await bystander.close();
    await db.close();
    const last = await open("idb://reborn");
    const size = await last.call(["DBSIZE"]);
    await last.close();
    return { dead, pending, stopped, later, stops, again, beside, both, size };
  });
  assert.equal(got.dead, "EngineStoppedError");
  assert.equal(got.pending[0], "EngineStoppedError");
  assert.match(got.pending[1], /reopen\(\)/);
  assert.equal(got.stopped.state, "stopped");
  assert.match(got.stopped.lastError, /the engine stopped/);
  assert.equal(got.later, "EngineStoppedError");
  assert.deepEqual(got.stops, ["EngineStoppedError"]);
  assert.deepEqual(got.again, ["v", "open", "indexeddb"]);
  assert.deepEqual([got.beside, got.both, got.size], ["EngineStoppedError", [0, 2], 2]);
});

test("an engine that panicked lets go of its database, and is started again", async () => {
  const page = await blank();
  const got = await page.evaluate(async () => {
    const db = await open("idb://panic");
    await db.call(["SET", "k", "v"]);
    await db.flush();
    // Entering the engine while it runs is what its own guard refuses, with a panic.
    const put = IDBObjectStore.prototype.put;
    let inner;
    IDBObjectStore.prototype.put = function (...args) {
      IDBObjectStore.prototype.put = put;
      inner = db.call(["PING"]).catch((error) => error.name);
      return put.apply(this, args);
    };
    await db.call(["SET", "k", "w"]).catch(() => {});
    await db.flush().catch(() => {});
    const stopped = [await inner, db.status().state, db.status().lastError];
    const flushed = await db.flush().catch((error) => error.name);
    await db.reopen();
    const value = await db.call(["GET", "k"]);
    await db.close();
    // Nobody holds the database open any more.
    const deleted = await new Promise((resolve) => {
      const request = indexedDB.deleteDatabase("haversack:panic");
      request.onsuccess = () => resolve("deleted");
      request.onblocked = () => resolve("blocked");
    });
    return { stopped, flushed, value, deleted };
  });
  assert.deepEqual(got.stopped.slice(0, 2), ["EngineStoppedError", "stopped"]);
  assert.match(got.stopped[2], /already/);
  assert.equal(got.flushed, "EngineStoppedError");
  assert.match(got.value, /^[vw]$/); // the second was written as it happened
  assert.equal(got.deleted, "deleted");
});

test("a database that another page deleted can be opened again", async () => {
  const page = await blank();
  const got = await page.evaluate(async () => {
    const db = await open("idb://reopened", { appendfsync: "always" });
    await db.call(["SET", "k", "v"]);
    await new Promise((resolve) => (indexedDB.deleteDatabase("haversack:reopened").onsuccess = resolve));
    const refused = await db.call(["SET", "k", "w"]).catch((error) => error.message);
    await db.reopen();
    const result = [await db.call(["DBSIZE"]), await db.call(["SET", "k", "x"]), db.status().durable];
    await db.close();
    return { refused, result };
  });
  assert.match(got.refused, /^MISCONF/);
  assert.deepEqual(got.result, [0, "OK", true]);
});

// ---- What only the browser's own tools can do ----

async function devtools(page) {
  const session = await page.context().newCDPSession(page);
  return (method, more) => session.send(method, { origin: new URL(page.url()).origin, ...more });
}

const until = async (holds, patience_ms = 10_000) => {
  const end = Date.now() + patience_ms;
  while (!(await holds()) && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
};

for (const fsync of ["always", "everysec"]) {
  test(`${fsync}: when the user clears the site's data, what is in memory is stored anew`, async () => {
    const page = await blank();
    const tools = await devtools(page);
    await page.evaluate(async (fsync) => {
      globalThis.db = await open(`idb://cleared-${fsync}`, { appendfsync: fsync });
      for (let i = 0; i < 100; i += 1) await db.call(["RPUSH", "list", i]);
      await db.flush();
      globalThis.seen = [];
      globalThis.watch = setInterval(async () => {
        const { lastError, durable } = db.status();
        if (lastError !== null && seen.length === 0) {
          seen.push(lastError, durable, await db.call(["SET", "refused", "1"]).catch((error) => error.message), await db.call(["LLEN", "list"]));
        }
      }, 5);
    }, fsync);
    await tools("Storage.clearDataForOrigin", { storageTypes: "indexeddb" });
    await until(() => page.evaluate(() => seen.length === 4 && db.status().durable && db.status().lastError === null));
    const got = await page.evaluate(async (fsync) => {
      clearInterval(watch);
      const accepted = await db.call(["RPUSH", "list", "new"]);
      await db.flush();
      const status = db.status();
      await db.close();
      const again = await open(`idb://cleared-${fsync}`);
      const loaded = [await again.call(["LLEN", "list"]), await again.call(["LINDEX", "list", -1]), again.status().recovered];
      await again.close();
      return { seen, accepted, status, loaded };
    }, fsync);
    assert.match(got.seen[0], /closed the database/);
    assert.equal(got.seen[1], false);
    assert.match(got.seen[2], /^MISCONF/);
    assert.equal(got.seen[3], 100);
    assert.equal(got.accepted, 101);
    assert.deepEqual([got.status.durable, got.status.lastError], [true, null]);
    assert.deepEqual(got.loaded, [101, "new", null]);
  });
}

/** The database `small` in a page that may store little; `grow` gives it room, and waits until it has noticed. */
async function little(t, options = {}) {
  // A browser of its own: one that has used a site's storage before remembers for a while how much was left.
  const place = await site();
  t.after(() => place.close());
  const browser = await launch(place);
  t.after(() => browser.close());
  const page = await browser.open("?memory");
  const tools = await devtools(page);
  await tools("Storage.overrideQuotaForOrigin", { quotaSize: 300_000 });
  await page.evaluate(async (options) => {
    globalThis.open = (await import("haversack")).open;
    globalThis.db = await open("idb://small", options);
  }, options);
  const grow = async () => {
    await tools("Storage.overrideQuotaForOrigin", {});
    await until(() => page.evaluate(() => db.status().lastError === null));
  };
  return { page, grow };
}

test("a quota that is used up refuses writes until it grows", async (t) => {
  const { page, grow } = await little(t);
  const full = await page.evaluate(async () => {
    await db.call(["SET", "k", "v"]);
    let flushed = "";
    for (let i = 0; i < 50 && flushed === ""; i += 1) {
      await db.call(["SET", `big:${i}`, crypto.getRandomValues(new Uint8Array(60_000))]);
      await db.flush().catch((error) => (flushed = error.message));
    }
    const refused = await db.call(["SET", "k", "w"]).catch((error) => error.message);
    return { flushed, refused, read: await db.call(["GET", "k"]), lastError: db.status().lastError, size: await db.call(["DBSIZE"]) };
  });
  await grow();
  const got = await page.evaluate(async () => {
    const accepted = await db.call(["SET", "k", "again"]);
    await db.close();
    const again = await open("idb://small");
    const loaded = [await again.call(["GET", "k"]), await again.call(["DBSIZE"]), again.status().recovered];
    await again.close();
    return { accepted, loaded };
  });
  assert.match(full.flushed, /Quota/);
  assert.match(full.refused, /^MISCONF .*Quota/);
  assert.equal(full.read, "v");
  assert.match(full.lastError, /Quota/);
  assert.equal(got.accepted, "OK");
  assert.deepEqual(got.loaded, ["again", full.size, null]);
});

test("always: a write that meets a used-up quota is rejected as not known to be stored, and nothing else is disturbed", async (t) => {
  const { page, grow } = await little(t, { appendfsync: "always" });
  const full = await page.evaluate(async () => {
    const told = (promise) => promise.catch(({ name, code, message }) => ({ name, code, message }));
    const pushes = [];
    db.onpush = (push) => pushes.push(push.items.join(" "));
    await db.call(["SUBSCRIBE", "__keyspace@1__:big"]);
    await db.call(["CONFIG", "SET", "notify-keyspace-events", "KA"]);
    await db.call(["SELECT", 1]);
    await db.call(["SET", "k", "v"]);
    // As soon as it is known that nothing can be stored, others read on.
    const beside = db.connection();
    let began;
    let waited_ms;
    let beside_ms;
    beside.ondata = () => (beside_ms = performance.now() - began);
    db.onstatus = ({ lastError, state }) => lastError !== null && state === "open" && beside.writeCommand(["PING"]);
    let written = 0;
    let got;
    for (; written < 50; written += 1) {
      pushes.length = 0;
      began = performance.now();
      const calls = [["APPEND", "big", crypto.getRandomValues(new Uint8Array(60_000))], ["GET", "k"], ["GET", "missing"], ["LPUSH", "k", "x"]];
      const replies = Promise.all(calls.map((call) => told(db.call(call))));
      const patience = new Promise((resolve) => setTimeout(() => resolve(["nothing"]), 10_000));
      got = await Promise.race([replies, patience]);
      if (typeof got[0] === "number") continue;
      waited_ms = performance.now() - began;
      break;
    }
    const refused = await told(db.call(["SET", "k", "w"]));
    const read = [await db.call(["GET", "k"]), await db.call(["STRLEN", "big"])];
    return { written, got, waited_ms, beside_ms, pushes, refused, read, status: db.status() };
  });
  await grow();
  const got = await page.evaluate(async () => {
    const accepted = await db.call(["SET", "k", "again"]);
    await db.close();
    const again = await open("idb://small");
    await again.call(["SELECT", 1]);
    const loaded = [await again.call(["GET", "k"]), await again.call(["STRLEN", "big"]), again.status().recovered];
    await again.close();
    return { accepted, loaded };
  });
  const [write, read, missing, wrong] = full.got;
  assert.deepEqual([write.name, write.code], ["ReplyError", "UNSTORED"], JSON.stringify(full));
  assert.match(write.message, /not known to be stored.*Quota/);
  assert.deepEqual([read, missing], ["v", null]);
  assert.match(wrong.code, /^(WRONGTYPE|MISCONF)$/);
  assert.ok(full.waited_ms > 1900 && full.waited_ms < 9000, `${full.waited_ms} ms`);
  assert.ok(full.beside_ms < full.waited_ms - 1000, `${full.beside_ms} of ${full.waited_ms} ms`);
  assert.deepEqual(full.pushes, ["message __keyspace@1__:big append"]);
  assert.match(full.refused.message, /^MISCONF .*Quota/);
  const bytes = 60_000 * (full.written + 1);
  assert.deepEqual(full.read, ["v", bytes]);
  assert.equal(full.status.durable, false);
  assert.equal(got.accepted, "OK");
  assert.deepEqual(got.loaded, ["again", bytes, null]);
});
