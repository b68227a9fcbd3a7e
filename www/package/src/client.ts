// The typed client: one RESP3 connection whose replies are matched with the calls that wait for them.

import type { Connection } from "./connection.js";
import { binaryReplies, Push, ReplyError, textReplies, type Reply } from "./reply.js";
import { Decoder, latin1, type Argument } from "./resp.js";

/** How a call wants its reply. */
export interface CallOptions {
  /** Bulk strings as `Uint8Array` instead of string. */
  binary?: boolean;
}

interface Waiting {
  binary: boolean;
  /** For SUBSCRIBE and its kin: the confirmation it waits for, and how many. */
  confirmation: string | undefined;
  missing: number;
  resolve(reply: Reply): void;
  reject(error: Error): void;
}

// Which table each (un)subscription belongs to. Confirmations come as pushes, one for each channel.
const SUBSCRIPTIONS: Record<string, "channels" | "patterns" | "shardChannels"> = {
  subscribe: "channels",
  unsubscribe: "channels",
  psubscribe: "patterns",
  punsubscribe: "patterns",
  ssubscribe: "shardChannels",
  sunsubscribe: "shardChannels",
};

export class Client {
  /** What the server pushes: messages, invalidations. */
  onpush: (push: Push) => void = () => {};

  #connection: Connection;
  #ended = false;
  #waiting: Waiting[] = [];
  #decoder: Decoder<Reply>;
  #subscribed = { channels: new Set<Reply>(), patterns: new Set<Reply>(), shardChannels: new Set<Reply>() };

  constructor(connection: Connection) {
    this.#connection = connection;
    const shape = () => (this.#waiting[0]?.binary ? binaryReplies : textReplies);
    this.#decoder = new Decoder<Reply>({
      scalar: (type, bytes) => shape().scalar(type, bytes),
      aggregate: (type, items) => shape().aggregate(type, items),
    });
    connection.ondata = (bytes) => this.#receive(bytes);
    connection.onclose = (error) => this.#fail(error ?? new Error("the connection was closed"));
  }

  /** Its connection is there no more. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Sends one command. Calls may overlap; replies come in their order. */
  call(args: readonly Argument[], options: CallOptions = {}): Promise<Reply> {
    const words = args.slice(0, 3).map((arg) => (arg instanceof Uint8Array ? latin1(arg) : String(arg)).toLowerCase());
    const name = words[0];
    if (name === undefined) return Promise.reject(new TypeError("a command needs a name"));
    const refusal = unsuited(words);
    if (refusal !== undefined) return Promise.reject(new Error(refusal));
    return new Promise((resolve, reject) => {
      this.#connection.writeCommand(args);
      const confirmation = name in SUBSCRIPTIONS ? name : undefined;
      // Inside its promise, so that a write that throws leaves nobody waiting.
      this.#waiting.push({ binary: options.binary === true, confirmation, missing: -1, resolve, reject });
      if (confirmation !== undefined) this.#waiting[this.#waiting.length - 1]!.missing = args.length - 1;
    });
  }

  #receive(bytes: Uint8Array): void {
    try {
      this.#decoder.feed(bytes, (reply) => this.#settle(reply));
    } catch (error) {
      this.#fail(error as Error);
      this.#connection.close();
    }
  }

  #settle(reply: Reply): void {
    if (reply instanceof Push) {
      this.#push(reply);
      return;
    }
    const waiting = this.#waiting.shift();
    if (waiting === undefined) throw new Error("a reply that nobody waits for");
    if (reply instanceof ReplyError) waiting.reject(reply);
    else waiting.resolve(reply);
  }

  #push(push: Push): void {
    const text = this.#waiting[0]?.binary ? new Push(push.items.map(asText)) : push;
    const table = SUBSCRIPTIONS[text.kind];
    if (table === undefined) {
      this.onpush(text);
      return;
    }
    const channels = this.#subscribed[table];
    const waiting = this.#waiting[0];
    const confirms = waiting?.confirmation === text.kind;
    // Without arguments it leaves all channels: the answers are as many as those, or one if there are none.
    if (confirms && waiting.missing === 0) waiting.missing = Math.max(1, channels.size);
    if (text.kind.includes("unsubscribe")) channels.delete(text.items[1] ?? null);
    else channels.add(text.items[1] ?? null);
    if (!confirms) {
      this.onpush(text); // the server's doing: a slot moved away, or EXEC ran it
      return;
    }
    waiting.missing -= 1;
    if (waiting.missing > 0) return;
    this.#waiting.shift();
    waiting.resolve(text.items);
  }

  #fail(error: Error): void {
    this.#ended = true;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { reject } of waiting) reject(error);
  }
}

function asText(item: Reply): Reply {
  return item instanceof Uint8Array ? new TextDecoder().decode(item) : item;
}

// Why a command cannot be matched with its reply here. A connection of one's own can run it.
function unsuited([name, second, third]: string[]): string | undefined {
  const streams =
    name === "monitor" || name === "sync" || name === "psync" || name === "reset" || name === "quit" ||
    (name === "client" && second === "reply" && third !== "on") ||
    (name === "hello" && second !== undefined && second !== "3");
  return streams ? `${name!.toUpperCase()} changes the protocol of its connection: use connection() for it` : undefined;
}
