// Replies as JavaScript values.

import { latin1, type Aggregate, type Scalar, type Shape } from "./resp.js";

/**
 * A decoded reply. Integers are numbers, or bigints where a number would round; maps are `Map`s, sets are `Set`s;
 * bulk strings are strings, or `Uint8Array`s if asked for; an error inside an array is a `ReplyError`.
 */
export type Reply =
  | string
  | number
  | bigint
  | boolean
  | null
  | Uint8Array
  | ReplyError
  | Push
  | Reply[]
  | Set<Reply>
  | Map<Reply, Reply>;

/** An error that the server replied with. `message` is its text, `code` its first word: `ERR`, `WRONGTYPE`, `MISCONF`, … */
export class ReplyError extends Error {
  override name = "ReplyError";
  readonly code: string;

  constructor(message: string) {
    super(message);
    this.code = message.split(" ", 1)[0] ?? "";
  }
}

/** What the server sends of its own accord: messages of channels, invalidations. */
export class Push {
  /** `message`, `pmessage`, `smessage`, `invalidate`, … */
  readonly kind: string;

  constructor(
    /** All of it, the kind first. Bulk strings are strings. */
    readonly items: Reply[],
  ) {
    this.kind = String(items[0]);
  }
}

const utf8 = new TextDecoder();

/** Replies with bulk strings as text. */
export const textReplies: Shape<Reply> = {
  scalar: (type, bytes) => (type === "$" ? utf8.decode(bytes) : scalar(type, bytes)),
  aggregate,
};

/** Replies with bulk strings as bytes. */
export const binaryReplies: Shape<Reply> = {
  scalar: (type, bytes) => (type === "$" ? bytes.slice() : scalar(type, bytes)),
  aggregate,
};

function scalar(type: Scalar, bytes: Uint8Array): Reply {
  switch (type) {
    case "_":
      return null;
    case "#":
      return bytes[0] === 0x74; // t
    case ":": {
      const value = Number(latin1(bytes));
      return Number.isSafeInteger(value) ? value : BigInt(latin1(bytes));
    }
    case "(":
      return BigInt(latin1(bytes));
    case ",":
      return double(latin1(bytes));
    case "-":
    case "!":
      return new ReplyError(utf8.decode(bytes));
    case "=":
      return utf8.decode(bytes.subarray(4)); // after "txt:"
    default:
      return utf8.decode(bytes);
  }
}

function double(text: string): number {
  if (text === "inf") return Infinity;
  if (text === "-inf") return -Infinity;
  return Number(text); // "nan" becomes NaN
}

function aggregate(type: Aggregate, items: Reply[]): Reply {
  switch (type) {
    case "*":
      return items;
    case "~":
      return new Set(items);
    case ">":
      return new Push(items);
    case "%": {
      const map = new Map<Reply, Reply>();
      for (let i = 0; i + 1 < items.length; i += 2) map.set(items[i]!, items[i + 1]!);
      return map;
    }
  }
}
