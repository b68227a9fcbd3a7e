// Runs sections of transcripts, each against a database of its own. It lives in the page, because there time passes for real:
// between two commands there must be no way through the test's own process.
import { Decoder, encodeCommand, open } from "haversack";
import { splitArguments } from "haversack/terminal";

const PATIENCE_MS = 5000;

let count = 0;

// Most transcripts describe a server without a log, which a database in memory is; these need one that can store.
const STORES = /\b(SAVE|BGSAVE|BGREWRITEAOF|DEBUG RELOAD|DEBUG LOADAOF)\b/i;

/** Runs a section; throws what differs. */
export async function runSection(section) {
  const name = `transcript-${(count += 1)}`;
  const db = await open(section.steps.some(({ send }) => STORES.test(send ?? "")) ? `idb://${name}` : "memory://");
  try {
    await run(section, target(db));
  } finally {
    await db.close();
    indexedDB.deleteDatabase(`haversack:${name}`);
  }
}

const timeout = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function target(db) {
  const clients = new Map();
  const connect = () => {
    const client = { connection: db.connection(), inbox: [], wake: () => {} };
    client.connection.ondata = (bytes) => {
      client.inbox.push(...bytes);
      client.wake();
    };
    client.connection.onclose = () => client.wake();
    return client;
  };
  return {
    send(name, bytes) {
      if (!clients.has(name)) clients.set(name, connect());
      clients.get(name).connection.write(bytes);
    },
    async receive(name, wait) {
      const client = clients.get(name);
      if (client === undefined) return new Uint8Array(0);
      await timeout(0); // replies come on a later microtask
      if (client.inbox.length === 0 && wait) {
        await Promise.race([new Promise((resolve) => (client.wake = resolve)), timeout(PATIENCE_MS)]);
      }
      return Uint8Array.from(client.inbox.splice(0));
    },
    sleep: timeout,
  };
}

// ---- The notation of replies: that of `resp::Value` ----

function escape(bytes, quotes) {
  const named = { 9: "\\t", 10: "\\n", 13: "\\r", 0x5c: "\\\\" };
  let text = "";
  for (const byte of bytes) {
    const character = String.fromCharCode(byte);
    if (named[byte] !== undefined) text += named[byte];
    else if (quotes.includes(character)) text += `\\${character}`;
    else if (byte < 0x20 || byte > 0x7e) text += `\\x${byte.toString(16).padStart(2, "0")}`;
    else text += character;
  }
  return text;
}

const quoted = (bytes) => `"${escape(bytes, '"')}"`;
const NULLS = { "": "_", $: "(nil)", "*": "(nil array)" };
const OPENINGS = { "*": "[", "%": "%{", "~": "~[", ">": ">[" };

/** A shape of replies for the decoder: each as a line of a transcript. */
export const notation = {
  scalar(type, bytes) {
    if (type === "$") return quoted(bytes);
    if (type === "+") return `+${escape(bytes, "'\"")}`;
    if (type === "-" || type === "!") return `-${escape(bytes, "")}`;
    if (type === "_") return NULLS[latin1(bytes)];
    if (type === "=") return `(verbatim ${latin1(bytes.subarray(0, 3))} ${quoted(bytes.subarray(4))})`;
    if (type === "(") return `(big ${latin1(bytes)})`;
    return type + latin1(bytes);
  },
  aggregate: (type, items) => OPENINGS[type] + items.join(" ") + (type === "%" ? "}" : "]"),
};

/** Whether a reply is what an expected line says: `…` is any text, `{a|b}` either of two. */
export function fits(expected, got) {
  if (expected.startsWith("{") && expected.endsWith("}")) return expected.slice(1, -1).split("|").some((one) => fits(one, got));
  const pattern = expected.split("…").map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  return new RegExp(`^${pattern.join("[^]*")}$`).test(got);
}

// ---- Running ----

function latin1(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/**
 * Runs one section and throws with the first thing that differs. `target` has `send(client, bytes)`, which connects at need,
 * `receive(client, wait)`, the bytes that have come (or will, if it shall wait; empty when none do), and `sleep(ms)`.
 */
export async function run(section, target) {
  const inboxes = new Map();
  const next = async (client, wait) => {
    if (!inboxes.has(client)) inboxes.set(client, { decoder: new Decoder(notation), lines: [] });
    const { decoder, lines } = inboxes.get(client);
    while (lines.length === 0) {
      const bytes = await target.receive(client, wait);
      if (bytes.length === 0) return undefined;
      decoder.feed(bytes, (line) => lines.push(line));
    }
    return lines.shift();
  };
  const expect = async (where, client, expected) => {
    const got = await next(client, expected !== undefined);
    if (expected === undefined ? got === undefined : got !== undefined && fits(expected, got)) return;
    throw new Error(`${where}, client ${client}\n  expected ${expected ?? "nothing"}\n  got      ${got ?? "nothing"}`);
  };
  for (const [name, value] of section.config) {
    await target.send("config", encodeCommand(["CONFIG", "SET", name, value.replace(/^"|"$/g, "")]));
    await expect(`@config ${name}`, "config", "+OK");
  }
  for (const [index, { where, client, send, expect: expected, sleep }] of section.steps.entries()) {
    if (sleep !== undefined) await target.sleep(sleep);
    else if (send === undefined) await expect(where, client, expected);
    else {
      const args = splitArguments(send);
      if (args === undefined) throw new Error(`${where}: bad quotes in ${send}`);
      await target.send(client, encodeCommand(args));
      const after = section.steps[index + 1];
      if (after?.client !== client || after.expect === undefined) await expect(where, client, undefined);
    }
  }
  for (const client of inboxes.keys()) await expect("at the end", client, undefined);
}
