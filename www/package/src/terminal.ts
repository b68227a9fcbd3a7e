// What a console for Redis needs besides a connection: lines to arguments, replies to text, as redis-cli does them.

import { latin1, type Aggregate, type Scalar, type Shape } from "./resp.js";

const ESCAPES: Record<string, number> = { n: 10, r: 13, t: 9, b: 8, a: 7 };
const SPACE = /[\s\0]/;

/**
 * Splits a line into arguments. "…" knows \n \r \t \b \a \xHH and \ before any character, '…' only \'.
 * Returns undefined when a quote is open at the end, or something follows a closing quote.
 */
export function splitArguments(line: string): Uint8Array[] | undefined {
  const args: Uint8Array[] = [];
  let at = 0;
  for (;;) {
    while (at < line.length && SPACE.test(line[at]!)) at += 1;
    if (at >= line.length) return args;
    const word = readWord(line, at);
    if (word === undefined) return undefined;
    args.push(word.bytes);
    at = word.end;
  }
}

function readWord(line: string, start: number): { bytes: Uint8Array; end: number } | undefined {
  const bytes: number[] = [];
  let at = start;
  let quote = "";
  for (;;) {
    const character = at < line.length ? String.fromCodePoint(line.codePointAt(at)!) : "";
    if (quote === "") {
      if (character === "" || SPACE.test(character)) return { bytes: Uint8Array.from(bytes), end: at };
      if (character === '"' || character === "'") quote = character;
      else pushText(bytes, character);
    } else if (character === "") {
      return undefined;
    } else if (character === quote) {
      const after = line[at + 1];
      if (after !== undefined && !SPACE.test(after)) return undefined;
      return { bytes: Uint8Array.from(bytes), end: at + 1 };
    } else if (character === "\\") {
      at += readEscape(line.slice(at, at + 4), quote, bytes);
      continue;
    } else {
      pushText(bytes, character);
    }
    at += character.length;
  }
}

// Reads what begins with a backslash and returns how many characters that was.
function readEscape(text: string, quote: string, bytes: number[]): number {
  const next = text[1] ?? "";
  if (quote === "'") {
    bytes.push(next === "'" ? 0x27 : 0x5c);
    return next === "'" ? 2 : 1;
  }
  const hex = /^\\x([0-9a-fA-F]{2})/.exec(text);
  if (hex !== null) {
    bytes.push(parseInt(hex[1]!, 16));
    return 4;
  }
  if (next === "") {
    bytes.push(0x5c);
    return 1;
  }
  const escape = ESCAPES[next];
  if (escape !== undefined) {
    bytes.push(escape);
    return 2;
  }
  const character = String.fromCodePoint(text.codePointAt(1)!);
  pushText(bytes, character);
  return 1 + character.length;
}

function pushText(bytes: number[], text: string): void {
  bytes.push(...new TextEncoder().encode(text));
}

/** Bytes in double quotes, with escapes for what is not printable ASCII. */
export function quote(bytes: Uint8Array): string {
  let text = '"';
  for (const byte of bytes) {
    const named = Object.entries(ESCAPES).find(([, value]) => value === byte);
    if (named !== undefined) text += `\\${named[0]}`;
    else if (byte === 0x22 || byte === 0x5c) text += `\\${String.fromCharCode(byte)}`;
    else if (byte < 0x20 || byte > 0x7e) text += `\\x${byte.toString(16).padStart(2, "0")}`;
    else text += String.fromCharCode(byte);
  }
  return `${text}"`;
}

/** A reply with the types it had on the wire. */
export type Node =
  | { type: Scalar; bytes: Uint8Array }
  | { type: Aggregate; items: Node[] };

/** Makes `Node`s. */
export const nodes: Shape<Node> = {
  scalar: (type, bytes) => ({ type, bytes: bytes.slice() }),
  aggregate: (type, items) => ({ type, items }),
};

/** The reply as redis-cli prints it on a terminal; `raw` prints a text reply as it is, as redis-cli does for INFO. */
export function formatReply(node: Node, raw = false): string {
  if (raw && !("items" in node) && (node.type === "$" || node.type === "=")) return verbatim(node.type, node.bytes);
  return format(node, "");
}

function format(node: Node, indent: string): string {
  if ("items" in node) return formatItems(node.type, node.items, indent);
  switch (node.type) {
    case "-":
    case "!":
      return `(error) ${utf8(node.bytes)}`;
    case ":":
      return `(integer) ${latin1(node.bytes)}`;
    case ",":
      return `(double) ${latin1(node.bytes)}`;
    case "(":
      return `(big number) ${latin1(node.bytes)}`;
    case "_":
      return "(nil)";
    case "#":
      return latin1(node.bytes) === "t" ? "(true)" : "(false)";
    case "$":
      return quote(node.bytes);
    case "=":
      return verbatim(node.type, node.bytes);
    case "+":
      return utf8(node.bytes);
  }
}

const EMPTY = { "*": "(empty array)", "%": "(empty hash)", "~": "(empty set)", ">": "(empty push)" };
const MARK = { "*": ")", "%": "#", "~": "~", ">": ")" };

function formatItems(type: Aggregate, items: Node[], indent: string): string {
  if (items.length === 0) return EMPTY[type];
  const step = type === "%" ? 2 : 1;
  const width = String(items.length / step).length;
  const inner = indent + " ".repeat(width + 2);
  const lines: string[] = [];
  for (let i = 0; i < items.length; i += step) {
    const number = String(i / step + 1).padStart(width);
    const line = `${i === 0 ? "" : indent}${number}${MARK[type]} ${format(items[i]!, inner)}`;
    lines.push(type === "%" ? `${line} => ${formatValue(items[i + 1]!, inner)}` : line);
  }
  return lines.join("\n");
}

// The value of a map: one that spans lines begins on a line of its own.
function formatValue(node: Node, indent: string): string {
  const text = format(node, indent);
  return "items" in node && node.items.length > 0 ? `\n${indent}${text}` : text;
}

function verbatim(type: "$" | "=", bytes: Uint8Array): string {
  return utf8(type === "=" ? bytes.subarray(4) : bytes);
}

function utf8(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

const RAW = [
  "info", "lolwut", "debug htstats", "debug htstats-key", "debug client-eviction", "memory malloc-stats", "memory doctor",
  "cluster nodes", "cluster info", "client list", "client info", "latency graph", "latency doctor", "proxy info",
];

/** Does this command reply with text to be printed as it is? */
export function repliesWithText(args: readonly Uint8Array[]): boolean {
  const words = args.slice(0, 2).map((arg) => latin1(arg).toLowerCase());
  return RAW.includes(words[0] ?? "") || RAW.includes(words.join(" "));
}
