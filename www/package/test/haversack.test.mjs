// The typed client and the connections over a scripted engine: matching of replies, pushes, closing, a dying engine.
import assert from "node:assert/strict";
import { test } from "node:test";
import { DatabaseInUseError, Haversack, open, ReplyError } from "../dist/index.js";

// Stands in for the wasm engine: `answer` maps the latin-1 bytes a connection sent to the bytes it replies with.
class ScriptedServer {
  #out = new Map();
  #closed = new Set();
  #wake = () => {};
  #next = 1;
  sent = [];
  constructor(answer) {
    this.answer = answer;
  }
  connect() {
    this.#out.set(this.#next, "");
    return this.#next++;
  }
  send(id, bytes) {
    const text = Buffer.from(bytes).toString("latin1");
    this.sent.push([id, text]);
    this.reply(id, text.includes("HELLO") ? "%0\r\n" : this.answer(text, id));
  }
  reply(id, text) {
    this.#out.set(id, this.#out.get(id) + text);
    queueMicrotask(() => this.#wake());
  }
  closeFromServer(id) {
    this.#closed.add(id);
    queueMicrotask(() => this.#wake());
  }
  take(id) {
    const text = this.#out.get(id);
    if (text === "" && this.#closed.has(id)) return undefined;
    this.#out.set(id, "");
    return Buffer.from(text, "latin1");
  }
  disconnect(id) {
    this.#out.delete(id);
  }
  onwake(callback) {
    this.#wake = callback;
  }
  onstatus() {}
  hide() {}
  flush() {
    return Promise.resolve();
  }
  status() {
    return '{"storage":"memory"}';
  }
  close() {
    return Promise.resolve();
  }
}

async function start(answer) {
  const server = new ScriptedServer(answer);
  let released = 0;
  const db = await Haversack.over(server, () => (released += 1));
  return { server, db, released: () => released };
}

test("overlapping calls get their replies in order", async () => {
  const { db } = await start((text) => `$1\r\n${text.at(-3)}\r\n`);
  const replies = await Promise.all(["a", "b", "c"].map((word) => db.call(["ECHO", word])));
  assert.deepEqual(replies, ["a", "b", "c"]);
});

test("error replies reject, and the next call works", async () => {
  const { db } = await start((text) => (text.includes("BAD") ? "-WRONGTYPE no\r\n" : "+OK\r\n"));
  await assert.rejects(db.call(["BAD"]), (error) => error instanceof ReplyError && error.code === "WRONGTYPE");
  assert.equal(await db.call(["GOOD"]), "OK");
});

test("binary and text calls side by side", async () => {
  const { db } = await start(() => "*1\r\n$2\r\n\xc3\xa9\r\n");
  const [binary, text] = await Promise.all([db.call(["A"], { binary: true }), db.call(["A"])]);
  assert.deepEqual([...binary[0]], [0xc3, 0xa9]);
  assert.deepEqual(text, ["é"]);
});

test("SUBSCRIBE resolves with its last confirmation; messages come as pushes, between replies too", async () => {
  const push = (...words) => `>${words.length}\r\n${words.map((w) => (Number.isInteger(w) ? `:${w}\r\n` : `$${w.length}\r\n${w}\r\n`)).join("")}`;
  const { db, server } = await start((text) => {
    if (text.includes("UNSUBSCRIBE")) return push("unsubscribe", "a", 1) + push("unsubscribe", "b", 0);
    if (text.includes("SUBSCRIBE")) return push("subscribe", "a", 1) + push("message", "a", "early") + push("subscribe", "b", 2);
    return "+PONG\r\n";
  });
  const seen = [];
  db.onpush = ({ items }) => seen.push(items);
  assert.deepEqual(await db.call(["SUBSCRIBE", "a", "b"]), ["subscribe", "b", 2]);
  server.reply(1, push("message", "b", "late"));
  assert.equal(await db.call(["PING"]), "PONG");
  assert.deepEqual(await db.call(["UNSUBSCRIBE"]), ["unsubscribe", "b", 0]);
  assert.deepEqual(seen, [["message", "a", "early"], ["message", "b", "late"]]);
});

test("a refused SUBSCRIBE rejects", async () => {
  const { db } = await start(() => "-NOPERM no\r\n");
  await assert.rejects(db.call(["SUBSCRIBE", "a"]), { code: "NOPERM" });
});

test("commands that take over their connection are refused before they are sent", async () => {
  const { db, server } = await start(() => "+OK\r\n");
  const before = server.sent.length;
  for (const args of [["MONITOR"], ["client", "REPLY", "off"], ["HELLO", 2], ["RESET"]]) {
    await assert.rejects(db.call(args), /connection\(\)/);
  }
  await assert.rejects(db.call([]), TypeError);
  assert.equal(server.sent.length, before);
});

test("a connection of one's own carries raw bytes, later than the write", async () => {
  const { db } = await start((text) => text);
  const connection = db.connection();
  const got = [];
  connection.ondata = (bytes) => got.push(Buffer.from(bytes).toString());
  connection.write(Buffer.from("PING\r\n"));
  assert.deepEqual(got, []);
  await new Promise(setImmediate);
  assert.deepEqual(got, ["PING\r\n"]);
});

test("a connection that the server closes gets its last bytes, then the end", async () => {
  const { db, server } = await start(() => "+OK\r\n");
  const connection = db.connection();
  const events = [];
  connection.ondata = (bytes) => events.push(Buffer.from(bytes).toString());
  connection.onclose = (error) => events.push(error);
  connection.write(Buffer.from("QUIT\r\n"));
  server.closeFromServer(2);
  await new Promise(setImmediate);
  await new Promise(setImmediate);
  assert.deepEqual(events, ["+OK\r\n", undefined]);
  assert.throws(() => connection.write(Buffer.from("x")), /closed/);
});

test("close ends all connections, rejects calls that wait, and gives up ownership once", async () => {
  const { db, released } = await start((text) => (text.includes("BLPOP") ? "" : "+OK\r\n"));
  const blocked = db.call(["BLPOP", "q", 0]);
  const ended = assert.rejects(blocked, /closed/);
  await Promise.all([db.close(), db.close()]);
  await ended;
  await assert.rejects(db.call(["PING"]), /closed/);
  assert.throws(() => db.connection(), /closed/);
  assert.equal(released(), 1);
});

test("a trap ends everything with its reason", async () => {
  const { db } = await start((text) => {
    if (text.includes("BOOM")) throw new WebAssembly.RuntimeError("unreachable");
    return "";
  });
  const waiting = assert.rejects(db.call(["BLPOP", "q", 0]), /engine stopped.*unreachable/);
  await assert.rejects(db.call(["BOOM"]), /engine stopped/);
  await waiting;
  await assert.rejects(db.call(["PING"]), /engine stopped/);
});

test("open refuses what is no database or option", async () => {
  for (const url of ["", "idb://", "idb://a/b", "redis://localhost", "memory://x"]) {
    await assert.rejects(open(url), TypeError);
  }
  await assert.rejects(open("memory://", { appendfsync: "sometimes" }), TypeError);
});

test("open tells an owned database from other failures", async (t) => {
  const locks = { request: (_name, { signal }) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))) };
  const descriptor = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true });
  t.after(() => descriptor ? Object.defineProperty(globalThis, "navigator", descriptor) : delete globalThis.navigator);
  const alive = setTimeout(() => {}, 10_000); // AbortSignal.timeout alone does not keep Node running
  await assert.rejects(open("idb://taken"), DatabaseInUseError);
  clearTimeout(alive);
});
