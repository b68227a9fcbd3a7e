// The playground as its visitors meet it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { call, command, ready, replies, stored, testBrowser } from "./browser.mjs";

const browser = testBrowser();

test("runs commands and prints their replies as redis-cli does", async () => {
  const page = await browser.open("?db=print");
  assert.deepEqual(await command(page, 'set greeting "hello, world"'), ["OK"]);
  assert.deepEqual(await command(page, "GET greeting"), ['"hello, world"']);
  assert.deepEqual(await command(page, "GET nothing"), ["(nil)"]);
  assert.deepEqual(await command(page, "RPUSH list a b c"), ["(integer) 3"]);
  assert.deepEqual(await command(page, "LRANGE list 0 -1"), ['1) "a"\n2) "b"\n3) "c"']);
  assert.deepEqual(await command(page, "INCR greeting"), ["(error) ERR value is not an integer or out of range"]);
  assert.deepEqual(await command(page, "LPUSH greeting x"), [
    "(error) WRONGTYPE Operation against a key holding the wrong kind of value",
  ]);
  assert.match((await command(page, "INFO server"))[0], /^# Server\r?\n/);
});

test("reads quotes and escapes as redis-cli does", async () => {
  const page = await browser.open("?db=quotes");
  assert.deepEqual(await command(page, String.raw`SET k "a\x00\xff\n\"b"`), ["OK"]);
  assert.deepEqual(await command(page, "GET k"), [String.raw`"a\x00\xff\n\"b"`]);
  assert.deepEqual(await command(page, "STRLEN k"), ["(integer) 6"]);
  assert.deepEqual(await command(page, "SET k 'open"), ["Invalid argument(s)"]);
});

test("keeps its data over a reload, and says where they are, how much, how safe", async () => {
  const page = await browser.open("?db=reload");
  await command(page, "HSET user name Ada born 1815");
  await command(page, "ZADD scores 1.5 a 2.5 b");
  await stored(page);
  assert.match(await page.textContent("#where"), /IndexedDB.*haversack:reload/);
  assert.match(await page.textContent("#safe"), /stored/);
  assert.match(await page.textContent("#size"), /^[1-9][0-9.]* (bytes|KB)$/);
  await page.reload();
  await ready(page);
  assert.deepEqual(await command(page, "HGET user name"), ['"Ada"']);
  assert.deepEqual(await command(page, "ZSCORE scores b"), ['"2.5"']);
  assert.deepEqual(await command(page, "DBSIZE"), ["(integer) 2"]);
});

test("stores what a page wrote right before it is left", async () => {
  const page = await browser.open("?db=leave");
  await page.evaluate(() => {
    globalThis.haversack.call(["SET", "last", "word"]);
    location.href = "about:blank";
  });
  await page.waitForURL("about:blank");
  await page.close();
  const again = await browser.open("?db=leave");
  assert.equal(await call(again, "GET", "last"), "word");
});

test("keeps large data over a reload", async () => {
  const page = await browser.open("?db=large");
  await page.evaluate(async () => {
    const value = "0123456789abcdef".repeat(64);
    const calls = [];
    for (let i = 0; i < 10_000; i += 1) calls.push(globalThis.haversack.call(["SET", `key:${i}`, value + i]));
    await Promise.all(calls);
  });
  await stored(page);
  await page.reload();
  await ready(page);
  assert.equal(await call(page, "DBSIZE"), 10_000);
  for (const i of [0, 1234, 9999]) assert.equal(await call(page, "GET", `key:${i}`), "0123456789abcdef".repeat(64) + i);
});

test("says that a database in memory is not kept, and forgets it", async () => {
  const page = await browser.open("?memory");
  await command(page, "SET k v");
  assert.match(await page.textContent("#where"), /memory/);
  assert.match(await page.textContent("#safe"), /gone/);
  await page.reload();
  await ready(page);
  assert.deepEqual(await command(page, "GET k"), ["(nil)"]);
});

test("walks through earlier commands with the arrow keys, after a reload too", async () => {
  const page = await browser.open("?memory");
  await command(page, "SET one 1");
  await command(page, "SET two 2");
  await page.reload();
  await ready(page);
  await page.fill("#line", "half a comm");
  const shown = [];
  for (const key of ["ArrowUp", "ArrowUp", "ArrowDown", "ArrowDown"]) {
    await page.press("#line", key);
    shown.push(await page.inputValue("#line"));
  }
  assert.deepEqual(shown, ["SET two 2", "SET one 1", "SET two 2", "half a comm"]);
});

test("shows messages as they come, and Ctrl-C leaves a subscription", async () => {
  const page = await browser.open("?db=messages");
  assert.deepEqual(await command(page, "SUBSCRIBE news"), ['1) "subscribe"\n2) "news"\n3) (integer) 1']);
  assert.equal(await call(page, "PUBLISH", "news", "hello"), 1);
  assert.deepEqual((await replies(page, 2))[1], '1) "message"\n2) "news"\n3) "hello"');
  await page.press("#line", "Control+c");
  await replies(page, 3);
  assert.deepEqual(await command(page, "SET k v"), ["OK"]);
  assert.equal(await call(page, "PUBLISH", "news", "hello"), 0);
});

test("a blocked command waits without freezing the page", async () => {
  const page = await browser.open("?db=blocked");
  await page.fill("#line", "BLPOP queue 0");
  await page.press("#line", "Enter");
  assert.equal(await call(page, "PING"), "PONG");
  assert.equal(await call(page, "RPUSH", "queue", "job"), 1);
  assert.deepEqual((await replies(page, 1))[0], '1) "queue"\n2) "job"');
});

test("a second tab is told that the database is open elsewhere, and can have it afterwards", async () => {
  const first = await browser.open("?db=shared");
  await call(first, "SET", "k", "v");
  const second = await browser.open("?db=shared", "failed");
  assert.match((await second.textContent("#output")) ?? "", /open in another tab/);
  await browser.open("?db=another"); // other names are free
  await first.close();
  await second.reload();
  await ready(second);
  assert.equal(await call(second, "GET", "k"), "v");
});

test("talks to nobody but the server of its own files", async () => {
  const page = await browser.context.newPage();
  const hosts = new Set();
  page.on("request", (request) => hosts.add(new URL(request.url()).origin));
  await page.goto(browser.url);
  await ready(page);
  await command(page, "PING");
  assert.deepEqual([...hosts], [new URL(browser.url).origin]);
});

test("fits a phone", async () => {
  const page = await browser.open("?memory");
  await page.setViewportSize({ width: 320, height: 568 });
  await command(page, `ECHO ${"long".repeat(1000)}`);
  const fit = await page.evaluate(() => ({
    wide: document.documentElement.scrollWidth <= innerWidth,
    tall: document.documentElement.scrollHeight <= innerHeight,
    end: document.querySelector("#output > :last-child").getBoundingClientRect().bottom <=
      document.querySelector("#output").getBoundingClientRect().bottom,
    prompt: document.querySelector("#prompt").getBoundingClientRect().bottom <= innerHeight,
  }));
  assert.deepEqual(fit, { wide: true, tall: true, end: true, prompt: true });
});
