// The npm package's own interface, inside a page.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { testBrowser } from "./browser.mjs";

const browser = testBrowser({ pagesStay: true });
let page;
before(async () => {
  page = await browser.open("?memory");
});

test("decodes replies to JavaScript values", async () => {
  const got = await page.evaluate(async () => {
    const { open } = await import("haversack");
    const db = await open("memory://");
    await db.call(["HSET", "h", "field", 1]);
    await db.call(["SADD", "s", "x", "y"]);
    await db.call(["ZADD", "z", 1.5, "m"]);
    await db.call(["SET", "bytes", new Uint8Array([0, 255])]);
    const result = {
      map: [...(await db.call(["HGETALL", "h"]))],
      set: [...(await db.call(["SMEMBERS", "s"]))].sort(),
      double: await db.call(["ZSCORE", "z", "m"]),
      nothing: await db.call(["GET", "nothing"]),
      bytes: [...(await db.call(["GET", "bytes"], { binary: true }))],
      error: await db.call(["INCR", "bytes"]).catch((error) => [error.name, error.code]),
      status: db.status().storage,
    };
    await db.close();
    return result;
  });
  assert.deepEqual(got, {
    map: [["field", "1"]],
    set: ["x", "y"],
    double: 1.5,
    nothing: null,
    bytes: [0, 255],
    error: ["ReplyError", "ERR"],
    status: "memory",
  });
});

test("connections have a client state of their own, and replies come later than the write", async () => {
  const got = await page.evaluate(async () => {
    const { open } = await import("haversack");
    const db = await open("memory://");
    const connection = db.connection();
    let text = "";
    const whole = new Promise((resolve) => {
      connection.ondata = (bytes) => {
        text += new TextDecoder().decode(bytes);
        if (text.endsWith("$1\r\n1\r\n")) resolve(text);
      };
    });
    const bytes = new TextEncoder().encode("SELECT 5\r\nMULTI\r\nSET k 1\r\nEXEC\r\nGET k\r\n");
    // Byte by byte: the server must not depend on chunks.
    for (const byte of bytes) connection.write(Uint8Array.of(byte));
    const atOnce = text;
    const all = await whole;
    const elsewhere = await db.call(["GET", "k"]);
    await db.close();
    return { atOnce, all, elsewhere };
  });
  assert.deepEqual(got, { atOnce: "", all: "+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n$1\r\n1\r\n", elsewhere: null });
});

test("QUIT ends a connection after its reply", async () => {
  const got = await page.evaluate(async () => {
    const { open } = await import("haversack");
    const db = await open("memory://");
    const connection = db.connection();
    let text = "";
    connection.ondata = (bytes) => (text += new TextDecoder().decode(bytes));
    const ended = new Promise((resolve) => (connection.onclose = resolve));
    connection.writeCommand(["QUIT"]);
    await ended;
    await db.close();
    return text;
  });
  assert.equal(got, "+OK\r\n");
});

test("subscriptions push, expiry runs on the page's own timers", async () => {
  const got = await page.evaluate(async () => {
    const { open } = await import("haversack");
    const db = await open("memory://");
    await db.call(["CONFIG", "SET", "notify-keyspace-events", "Ex"]);
    const expired = new Promise((resolve) => (db.onpush = (push) => resolve(push.items)));
    await db.call(["SUBSCRIBE", "__keyevent@0__:expired"]);
    await db.call(["SET", "k", "v", "PX", 30]);
    const items = await expired;
    await db.close();
    return items;
  });
  assert.deepEqual(got, ["message", "__keyevent@0__:expired", "k"]);
});

test("databases in one page are separate", async () => {
  const got = await page.evaluate(async () => {
    const { open } = await import("haversack");
    const [one, two] = await Promise.all([open("idb://one"), open("idb://two")]);
    await one.call(["SET", "k", "one"]);
    await two.call(["SET", "k", "two"]);
    await Promise.all([one.close(), two.close()]);
    const again = await open("idb://one");
    const value = await again.call(["GET", "k"]);
    await again.close();
    return value;
  });
  assert.equal(got, "one");
});

test("flush leaves nothing pending", async () => {
  const got = await page.evaluate(async () => {
    const { open } = await import("haversack");
    const db = await open("idb://pending", { appendfsync: "no" });
    await db.call(["SET", "k", "v"]);
    const before = db.status();
    await db.flush();
    const after = db.status();
    await db.close();
    return { before: [before.durable, before.pendingBytes > 0], after: [after.durable, after.pendingBytes] };
  });
  assert.deepEqual(got, { before: [false, true], after: [true, 0] });
});
