// Sessions of ioredis (RESP2) and node-redis (RESP2 and RESP3) with our server.
import assert from "node:assert/strict";
import { Redis } from "ioredis";
import { createClient, RESP_TYPES, WatchError } from "redis";

import { run, Server, waitUntil } from "./server.mjs";

const NASTY = Buffer.concat([Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)), Buffer.from("\r\n$-1\r\n")]);
const range = (count) => Array.from({ length: count }, (_, number) => number);

/** Runs a test with a server and a way to connect to it; all connections are closed behind it. */
function session(test, open, close, options = ["--save", ""]) {
  return async () => {
    const server = await Server.start(...options);
    const clients = [];
    const connect = async (more) => {
      const client = await open(server.port, more);
      clients.push(client);
      return client;
    };
    try {
      await test(connect, server);
    } finally {
      clients.forEach(close);
      await server.remove();
    }
  };
}

// ---- ioredis ----

async function openIoredis(port, options = {}) {
  const client = new Redis({ port, host: "127.0.0.1", lazyConnect: true, ...options });
  client.on("error", () => {});
  await client.connect();
  return client;
}

const ioredis = {
  async basics(connect) {
    const r = await connect();
    assert.equal(await r.ping(), "PONG");
    assert.equal(await r.set("a", "1", "EX", 100), "OK");
    assert.equal(await r.incr("a"), 2);
    assert.equal(await r.get("none"), null);
    assert.equal(await r.rpush("l", "x", "y"), 2);
    assert.deepEqual(await r.lrange("l", 0, -1), ["x", "y"]);
    assert.equal(await r.hset("h", { f: "v", n: 1 }), 2);
    assert.deepEqual(await r.hgetall("h"), { f: "v", n: "1" });
    assert.deepEqual(await r.zadd("z", 1, "one", 2.5, "two"), 2);
    assert.deepEqual(await r.zrange("z", 0, -1, "WITHSCORES"), ["one", "1", "two", "2.5"]);
    assert.equal(await r.sadd("s", "a", "b"), 2);
    assert.deepEqual((await r.smembers("s")).sort(), ["a", "b"]);
  },

  async "binary safety"(connect) {
    const r = await connect();
    await r.set(NASTY, NASTY);
    assert.deepEqual(await r.getBuffer(NASTY), NASTY);
    const large = Buffer.alloc(5_000_000, 7);
    await r.set("large", large);
    assert.deepEqual(await r.getBuffer("large"), large);
  },

  async pipelines(connect) {
    const r = await connect();
    const pipeline = r.pipeline();
    range(3000).forEach((n) => pipeline.set(`k${n}`, n).incr(`k${n}`));
    const results = await pipeline.exec();
    assert.deepEqual(results, range(3000).flatMap((n) => [[null, "OK"], [null, n + 1]]));
    const [[, ok], [error], [, value]] = await r.pipeline().set("t", "x").incr("t").get("t").exec();
    assert.deepEqual([ok, error.message, value], ["OK", "ERR value is not an integer or out of range", "x"]);
    const auto = await connect({ enableAutoPipelining: true });
    assert.deepEqual(await Promise.all(range(500).map((n) => auto.get(`k${n}`))), range(500).map((n) => `${n + 1}`));
  },

  async transactions(connect) {
    const r = await connect();
    assert.deepEqual(await r.multi().set("a", 1).incr("a").exec(), [[null, "OK"], [null, 2]]);
    await r.watch("a");
    await (await connect()).set("a", 5);
    assert.equal(await r.multi().set("a", 3).exec(), null);
    await assert.rejects(r.multi().set("a", 1).call("GET").exec(), /EXECABORT/);
    assert.equal(await r.get("a"), "5");
  },

  async "pub/sub"(connect) {
    const r = await connect();
    const sub = await connect();
    const heard = [];
    sub.on("messageBuffer", (channel, message) => heard.push([channel.toString(), message]));
    sub.on("pmessage", (pattern, channel, message) => heard.push([pattern, channel, message]));
    assert.equal(await sub.subscribe("news"), 1);
    assert.equal(await sub.psubscribe("o*"), 2);
    assert.equal(await r.publish("news", NASTY), 1);
    assert.equal(await r.publish("other", "x"), 1);
    await waitUntil("the messages", () => heard.length === 2);
    assert.deepEqual(heard, [["news", NASTY], ["o*", "other", "x"]]);
    assert.equal(await sub.unsubscribe("news"), 1);
    assert.equal(await sub.punsubscribe("o*"), 0);
    assert.equal(await sub.ping(), "PONG");
  },

  async "blocking pops"(connect) {
    const r = await connect();
    const pops = [];
    for (const n of range(4)) {
      const waiting = await connect();
      pops.push(waiting.blpop("jobs", 30));
      await waitUntil("the block", async () => (await r.info("clients")).includes(`blocked_clients:${n + 1}\r\n`));
    }
    await r.rpush("jobs", ...range(4));
    assert.deepEqual(await Promise.all(pops), range(4).map((n) => ["jobs", String(n)]));
    assert.equal(await r.blpop("jobs", 0.05), null);
  },

  async scans(connect) {
    const r = await connect();
    await r.mset(Object.fromEntries(range(1000).map((n) => [`key:${n}`, n])));
    const found = new Set();
    for await (const keys of r.scanStream({ match: "key:*", count: 50 })) keys.forEach((key) => found.add(key));
    assert.equal(found.size, 1000);
  },

  async errors(connect) {
    const r = await connect();
    await r.lpush("l", 1);
    await assert.rejects(r.get("l"), { name: "ReplyError", message: /^WRONGTYPE/ });
    await assert.rejects(r.call("NOPE", "x"), { name: "ReplyError", message: /^ERR unknown command 'NOPE'/ });
    await r.config("SET", "requirepass", "secret");
    await assert.rejects((await connect({ enableReadyCheck: false })).get("a"), { message: /^NOAUTH/ });
    assert.equal(await (await connect({ password: "secret" })).ping(), "PONG");
  },

  async "answers about the server"(connect) {
    const r = await connect({ connectionName: "tester" });
    assert.match(await r.info("server"), /redis_version:8\./);
    assert.deepEqual(await r.config("GET", "maxclients"), ["maxclients", "10000"]);
    assert.match(await r.client("LIST"), /name=tester .*lib-name=ioredis/);
  },

  async "a restart"(connect, server) {
    const r = await connect();
    const sub = await connect();
    const heard = [];
    sub.on("message", (_, message) => heard.push(message));
    await sub.subscribe("news");
    await r.set("a", "kept");
    await server.kill();
    // Sent while nobody listens: the client keeps it until it is connected again.
    const pending = r.get("a");
    await server.start();
    assert.equal(await pending, "kept");
    await waitUntil("the subscription", async () => (await r.publish("news", "again")) === 1);
    await waitUntil("the message", () => heard.includes("again"));
  },
};

// ---- node-redis ----

async function openNodeRedis(port, { reconnectStrategy, ...options } = {}) {
  const client = createClient({ socket: { port, host: "127.0.0.1", reconnectStrategy }, ...options });
  client.on("error", () => {});
  await client.connect();
  return client;
}

const asBuffers = { [RESP_TYPES.BLOB_STRING]: Buffer };

const nodeRedis = {
  async basics(connect) {
    const r = await connect();
    assert.equal(await r.ping(), "PONG");
    assert.equal(await r.set("a", "1", { EX: 100 }), "OK");
    assert.equal(await r.incr("a"), 2);
    assert.equal(await r.get("none"), null);
    assert.equal(await r.rPush("l", ["x", "y"]), 2);
    assert.deepEqual(await r.lRange("l", 0, -1), ["x", "y"]);
    assert.equal(await r.hSet("h", { f: "v", n: 1 }), 2);
    assert.deepEqual({ ...(await r.hGetAll("h")) }, { f: "v", n: "1" });
    assert.equal(await r.zAdd("z", [{ value: "one", score: 1 }, { value: "two", score: 2.5 }]), 2);
    assert.deepEqual(
      (await r.zRangeWithScores("z", 0, -1)).map(({ value, score }) => [value, score]),
      [["one", 1], ["two", 2.5]],
    );
    assert.equal(await r.zScore("z", "two"), 2.5);
    assert.deepEqual((await r.sMembers("s")).length, 0);
    assert.deepEqual(await r.hExpire("h", "f", 100), [1]);
    assert.equal(await r.incrByFloat("x", 0.5), "0.5");
  },

  async "binary safety"(connect) {
    const r = (await connect()).withTypeMapping(asBuffers);
    await r.set(NASTY, NASTY);
    assert.deepEqual(await r.get(NASTY), NASTY);
    const large = Buffer.alloc(5_000_000, 7);
    await r.set("large", large);
    assert.deepEqual(await r.get("large"), large);
  },

  async pipelines(connect) {
    const r = await connect();
    // Commands of one tick go out in one write.
    const results = await Promise.all(range(3000).flatMap((n) => [r.set(`k${n}`, String(n)), r.incr(`k${n}`)]));
    assert.deepEqual(results, range(3000).flatMap((n) => ["OK", n + 1]));
    assert.deepEqual(await r.multi().set("t", "x").get("t").execAsPipeline(), ["OK", "x"]);
  },

  async transactions(connect) {
    const r = await connect();
    assert.deepEqual(await r.multi().set("a", "1").incr("a").exec(), ["OK", 2]);
    await r.watch("a");
    await (await connect()).set("a", "5");
    await assert.rejects(r.multi().set("a", "3").exec(), WatchError);
    await assert.rejects(r.multi().set("a", "3").addCommand(["GET"]).exec(), /EXECABORT|wrong number/);
    assert.equal(await r.get("a"), "5");
  },

  async "pub/sub"(connect) {
    const r = await connect();
    const sub = await connect();
    const heard = [];
    await sub.subscribe("news", (message, channel) => heard.push([channel.toString(), message]), true);
    await sub.pSubscribe("o*", (message, channel) => heard.push([channel, message]));
    await sub.sSubscribe("shard", (message) => heard.push(message));
    assert.equal(await r.publish("news", NASTY), 1);
    assert.equal(await r.publish("other", "x"), 1);
    assert.equal(await r.sPublish("shard", "y"), 1);
    await waitUntil("the messages", () => heard.length === 3);
    assert.deepEqual(heard, [["news", NASTY], ["other", "x"], "y"]);
    await sub.unsubscribe("news");
    await sub.pUnsubscribe("o*");
    await sub.sUnsubscribe("shard");
    assert.deepEqual(await r.pubSubChannels(), []);
    // In RESP2 this client gives bytes here, once it has been subscribed.
    assert.equal(String(await sub.ping()), "PONG");
  },

  async "blocking pops"(connect) {
    const r = await connect();
    const pops = [];
    for (const n of range(4)) {
      const waiting = await connect();
      pops.push(waiting.blPop("jobs", 30));
      await waitUntil("the block", async () => (await r.info("clients")).includes(`blocked_clients:${n + 1}\r\n`));
    }
    await r.rPush("jobs", range(4).map(String));
    assert.deepEqual((await Promise.all(pops)).map(({ key, element }) => [key, element]), range(4).map((n) => ["jobs", `${n}`]));
    assert.equal(await r.blPop("jobs", 0.05), null);
    await r.zAdd("z", { value: "m", score: 1.5 });
    assert.deepEqual({ ...(await r.bzPopMin("z", 1)) }, { key: "z", value: "m", score: 1.5 });
  },

  async scans(connect) {
    const r = await connect();
    await r.mSet(range(1000).map((n) => [`key:${n}`, `${n}`]));
    const found = new Set();
    for await (const keys of r.scanIterator({ MATCH: "key:*", COUNT: 50 })) keys.forEach((key) => found.add(key));
    assert.equal(found.size, 1000);
    await r.hSet("h", Object.fromEntries(range(1000).map((n) => [`f${n}`, `${n}`])));
    let fields = 0;
    for await (const entries of r.hScanIterator("h")) fields += entries.length;
    assert.equal(fields, 1000);
  },

  async errors(connect) {
    const r = await connect();
    await r.lPush("l", "1");
    await assert.rejects(r.get("l"), /^Error: WRONGTYPE|WRONGTYPE/);
    await assert.rejects(r.sendCommand(["NOPE"]), /unknown command 'NOPE'/);
    await r.configSet("requirepass", "secret");
    await assert.rejects(connect({ password: "wrong", reconnectStrategy: false }), /WRONGPASS/);
    assert.equal(await (await connect({ password: "secret" })).ping(), "PONG");
  },

  async "answers about the server"(connect) {
    const r = await connect({ name: "tester" });
    assert.match(await r.info("server"), /redis_version:8\./);
    assert.deepEqual({ ...(await r.configGet("maxclients")) }, { maxclients: "10000" });
    const list = await r.clientList();
    const mine = list.find(({ name }) => name === "tester");
    assert.equal(mine.id, await r.clientId());
    assert.equal(mine.cmd, "client|list");
    assert.match(mine.libName, /node-redis/);
    assert.equal(await r.clientGetName(), "tester");
    const commands = await r.command();
    assert.ok(commands.find(({ name }) => name === "get").arity === 2);
  },

  async "a restart"(connect, server) {
    const r = await connect();
    const sub = await connect();
    const heard = [];
    await sub.subscribe("news", (message) => heard.push(message));
    await r.set("a", "kept");
    await server.kill();
    // Commands under way are lost with the connection; those sent later wait for the next one.
    await waitUntil("the loss", () => !r.isReady);
    const pending = r.get("a").catch((error) => error.message);
    await server.start();
    // The server may still be loading when this client sends what it has kept.
    assert.match(await pending, /^kept$|^LOADING/);
    assert.equal(await r.get("a"), "kept");
    await waitUntil("the subscription", async () => (await r.publish("news", "again")) === 1);
    await waitUntil("the message", () => heard.includes("again"));
  },
};

const tests = [];
const persistent = ["--save", "", "--appendonly", "yes"];
for (const [name, test] of Object.entries(ioredis)) {
  const options = name === "a restart" ? persistent : undefined;
  tests.push([`ioredis ${name}`, session(test, openIoredis, (client) => client.disconnect(), options)]);
}
for (const RESP of [2, 3]) {
  const open = (port, options) => openNodeRedis(port, { RESP, ...options });
  for (const [name, test] of Object.entries(nodeRedis)) {
    const options = name === "a restart" ? persistent : undefined;
    tests.push([`node-redis RESP${RESP} ${name}`, session(test, open, (client) => client.destroy(), options)]);
  }
}
await run(tests);
