// The wire protocol of Redis: commands to bytes, and bytes to replies (RESP2 and RESP3), in any chunking.

/** One argument of a command. Strings are sent as UTF-8, numbers in decimal. */
export type Argument = string | Uint8Array | number | bigint;

const encoder = new TextEncoder();
const CR = 13;
const LF = 10;

/** Encodes one command as an array of bulk strings. */
export function encodeCommand(args: readonly Argument[]): Uint8Array {
  const parts: Uint8Array[] = [encoder.encode(`*${args.length}\r\n`)];
  for (const arg of args) {
    const bytes = arg instanceof Uint8Array ? arg : encoder.encode(String(arg));
    parts.push(encoder.encode(`$${bytes.length}\r\n`), bytes, encoder.encode("\r\n"));
  }
  return concat(parts);
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Bytes that are not RESP: the connection cannot go on. */
export class ProtocolError extends Error {
  override name = "ProtocolError";
}

/**
 * The types that carry bytes, by their first byte on the wire. `_` also stands for the null bulk and array of RESP2:
 * its bytes are `$` or `*` then, and empty in RESP3.
 */
export type Scalar = "+" | "-" | ":" | "$" | "_" | "#" | "," | "(" | "!" | "=";
/** The types that carry elements. A map's are key, value, key, value. */
export type Aggregate = "*" | "%" | "~" | ">";

/** Makes values of what the decoder reads; so one decoder serves typed replies and a terminal. */
export interface Shape<T> {
  /** `bytes` is a view of the decoder's buffer: copy what shall outlive the call. */
  scalar(type: Scalar, bytes: Uint8Array): T;
  aggregate(type: Aggregate, items: T[]): T;
}

interface Frame<T> {
  type: Aggregate | "|";
  missing: number;
  items: T[];
}

const SCALARS = "+-:$_#,(!=";
const AGGREGATES = "*%~>|";
const MAX_DEPTH = 512;
const KEPT_BYTES = 1 << 20;
const EMPTY = new Uint8Array(0);
const NULL_BULK = Uint8Array.of(0x24);
const NULL_ARRAY = Uint8Array.of(0x2a);

/** Turns chunks of bytes into values. Attributes (RESP3 `|`) are read and dropped. */
export class Decoder<T> {
  #shape: Shape<T>;
  #buffer = EMPTY;
  #start = 0;
  #end = 0;
  #open: Frame<T>[] = [];

  constructor(shape: Shape<T>) {
    this.#shape = shape;
  }

  /** Takes the next bytes of the connection and gives each value they complete to `each`. Throws `ProtocolError`. */
  feed(bytes: Uint8Array, each: (value: T) => void): void {
    this.#append(bytes);
    for (let whole = this.#next(); whole !== undefined; whole = this.#next()) each(whole.value);
    if (this.#start === this.#end && this.#buffer.length > KEPT_BYTES) this.#buffer = EMPTY;
    if (this.#start === this.#end) this.#start = this.#end = 0;
  }

  #append(bytes: Uint8Array): void {
    const kept = this.#end - this.#start;
    if (this.#end + bytes.length > this.#buffer.length) {
      const size = Math.max(1024, kept + bytes.length, kept * 2);
      const target = size > this.#buffer.length ? new Uint8Array(size) : this.#buffer;
      target.set(this.#buffer.subarray(this.#start, this.#end));
      this.#buffer = target;
      this.#start = 0;
      this.#end = kept;
    }
    this.#buffer.set(bytes, this.#end);
    this.#end += bytes.length;
  }

  // The next whole top-level value, if its bytes are here. Elements of unfinished aggregates stay in #open.
  #next(): { value: T } | undefined {
    for (;;) {
      const line = this.#line();
      if (line === undefined) return undefined;
      const type = String.fromCharCode(this.#buffer[this.#start]!);
      let whole: { value: T } | undefined;
      if (AGGREGATES.includes(type)) {
        whole = this.#header(type as Frame<T>["type"], line.text, line.next);
      } else if (SCALARS.includes(type)) {
        const scalar = this.#scalar(type as Scalar, line.text, line.next);
        if (scalar === undefined) return undefined;
        whole = this.#close(scalar.value);
      } else {
        throw new ProtocolError(`unknown reply type ${JSON.stringify(type)}`);
      }
      if (whole !== undefined) return whole;
    }
  }

  // The line at #start without its type byte and line end, and where the next one begins.
  #line(): { text: Uint8Array; next: number } | undefined {
    const end = this.#buffer.subarray(0, this.#end).indexOf(LF, this.#start);
    if (end < 0) return undefined;
    if (end <= this.#start || this.#buffer[end - 1] !== CR) throw new ProtocolError("a line does not end with CRLF");
    return { text: this.#buffer.subarray(this.#start + 1, end - 1), next: end + 1 };
  }

  #scalar(type: Scalar, text: Uint8Array, next: number): { value: T } | undefined {
    if (type !== "$" && type !== "!" && type !== "=") {
      this.#start = next;
      return { value: this.#shape.scalar(type, text) };
    }
    const length = count(text);
    if (length < 0) {
      this.#start = next;
      return { value: this.#shape.scalar("_", NULL_BULK) };
    }
    if (this.#end < next + length + 2) return undefined;
    if (this.#buffer[next + length] !== CR || this.#buffer[next + length + 1] !== LF) {
      throw new ProtocolError("a bulk string does not end with CRLF");
    }
    this.#start = next + length + 2;
    return { value: this.#shape.scalar(type, this.#buffer.subarray(next, next + length)) };
  }

  #header(type: Frame<T>["type"], text: Uint8Array, next: number): { value: T } | undefined {
    const length = count(text);
    this.#start = next;
    if (length < 0) return this.#close(this.#shape.scalar("_", NULL_ARRAY));
    if (this.#open.length >= MAX_DEPTH) throw new ProtocolError("replies nest too deeply");
    const missing = type === "%" || type === "|" ? length * 2 : length;
    if (missing > 0) {
      this.#open.push({ type, missing, items: [] });
      return undefined;
    }
    return type === "|" ? undefined : this.#close(this.#shape.aggregate(type, []));
  }

  // Puts a finished value into the aggregate that waits for it, and that one into its own: until one is top-level.
  #close(value: T): { value: T } | undefined {
    for (;;) {
      const frame = this.#open[this.#open.length - 1];
      if (frame === undefined) return { value };
      frame.items.push(value);
      frame.missing -= 1;
      if (frame.missing > 0) return undefined;
      this.#open.pop();
      if (frame.type === "|") return undefined;
      value = this.#shape.aggregate(frame.type, frame.items);
    }
  }
}

// A length: decimal digits, or -1 for null.
function count(text: Uint8Array): number {
  const digits = latin1(text);
  if (digits === "-1") return -1;
  if (!/^[0-9]{1,15}$/.test(digits)) throw new ProtocolError(`invalid length ${JSON.stringify(digits)}`);
  return Number(digits);
}

/** Bytes as a string of the same length, one character each. For protocol text, which is ASCII. */
export function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
