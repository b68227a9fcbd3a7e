// Reads and runs the transcripts of tests/transcripts, whose format tests/transcripts.rs describes, from JavaScript.
import { readdir, readFile } from "node:fs/promises";
import { Decoder, encodeCommand, latin1 } from "../../www/package/dist/resp.js";
import { splitArguments } from "../../www/package/dist/terminal.js";

const FOLDER = new URL("../transcripts/", import.meta.url);

/** All sections of all transcripts: `{ file, name, config, steps }`. */
export async function sections() {
  const files = (await readdir(FOLDER)).filter((file) => file.endsWith(".txt")).sort();
  const all = await Promise.all(files.map(async (file) => parse(file, await readFile(new URL(file, FOLDER), "utf8"))));
  return all.flat();
}

function parse(file, text) {
  const found = [];
  let lastClient = "main";
  text.split("\n").forEach((line, index) => {
    const where = `${file}:${index + 1}`;
    const section = found.at(-1);
    const directed = /^([a-z0-9]{0,12})([<>]) (.*)$/.exec(line);
    const [, directive, rest] = /^@(sleep|config|only ours)\b ?(.*)$/.exec(line) ?? [];
    if (line.startsWith("== ")) found.push({ file, name: line.slice(3), config: [], steps: [] });
    else if (line.trim() === "" || line === "#" || line.startsWith("# ")) return;
    else if (section === undefined) throw new Error(`${where}: no section yet`);
    else if (directive === "sleep") section.steps.push({ where, sleep: Number(rest) });
    else if (directive === "config") section.config.push(/^(\S+) ?(.*)$/.exec(rest).slice(1));
    else if (directive === "only ours") return;
    else if (directed?.[2] === ">") {
      lastClient = directed[1] || "main";
      section.steps.push({ where, client: lastClient, send: directed[3] });
    } else section.steps.push({ where, client: directed ? directed[1] || "main" : lastClient, expect: directed?.[3] ?? line });
  });
  return found;
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
