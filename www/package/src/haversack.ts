// A database in this page, worker or process: opening it, and what one can do with it.

import { Client, type CallOptions } from "./client.js";
import { Hub, type Connection } from "./connection.js";
import { takeOwnership } from "./owner.js";
import type { Push, Reply } from "./reply.js";
import type { Argument } from "./resp.js";
import type { Server } from "./wasm/haversack.js";

/** When a write is stored, with Redis' words. */
export type Fsync = "always" | "everysec" | "no";

export interface OpenOptions {
  /**
   * `always`: a reply comes after its write is stored. `everysec` (the default): replies come at once, writes are stored
   * when idle, at least every second, and when the page is hidden. `no`: only on `flush()`, `close()` and hiding.
   */
  appendfsync?: Fsync;
  /**
   * What to do when the stored log is damaged before its end: `quarantine` (the default) puts everything from there on aside,
   * opens with what is good and says so in `status().recovered`; `refuse` rejects and changes nothing.
   */
  damaged?: "quarantine" | "refuse";
  /** The wasm module, where the one beside this package shall not be fetched: its bytes, a compiled module, a URL or a response. */
  wasm?: BufferSource | WebAssembly.Module | URL | Response | Promise<Response>;
}

/** Where the data are, and how safe. */
export interface Status {
  storage: "indexeddb" | "memory";
  /** The database's name; empty for one in memory. */
  name: string;
  /** Everything acknowledged so far is stored. Always false in memory. */
  durable: boolean;
  /** Bytes of the log that are not yet stored. */
  pendingBytes: number;
  /** Counts the rewrites of the base snapshot. */
  generation: number;
  /** Bytes of the base snapshot, and of the log since. */
  baseBytes: number;
  incrBytes: number;
  /**
   * Why storing failed, or null. Writes are refused (MISCONF) until it works again. With storage "memory": why the
   * browser keeps no database here, or what stopped the engine.
   */
  lastError: string | null;
  /** What had to be cut off or put aside when the database was opened, or null. */
  recovered: string | null;
  fsync: Fsync;
}

/**
 * Opens `idb://name` (kept in IndexedDB) or `memory://` (gone with the page), and starts an engine for it.
 * One page or worker owns a database at a time: others get a `DatabaseInUseError`.
 */
export async function open(url: string, options: OpenOptions = {}): Promise<Haversack> {
  const { storage, name } = parse(url);
  const fsync = options.appendfsync ?? "everysec";
  if (!["always", "everysec", "no"].includes(fsync)) throw new TypeError(`appendfsync cannot be ${JSON.stringify(fsync)}`);
  const damaged = options.damaged ?? "quarantine";
  if (!["quarantine", "refuse"].includes(damaged)) throw new TypeError(`damaged cannot be ${JSON.stringify(damaged)}`);
  const release = storage === "memory" ? () => {} : await takeOwnership(name);
  try {
    const { default: init, openServer } = await import("./wasm/haversack.js");
    await init(options.wasm === undefined ? undefined : { module_or_path: options.wasm });
    return await Haversack.over(await openServer(name, { storage, appendfsync: fsync, damaged }), release);
  } catch (error) {
    release();
    throw error;
  }
}

function parse(url: string): { storage: "indexeddb" | "memory"; name: string } {
  if (url === "memory://") return { storage: "memory", name: "" };
  const name = /^idb:\/\/([^/?#]{1,200})$/.exec(url)?.[1];
  if (name === undefined) throw new TypeError(`not a database: ${JSON.stringify(url)}; say idb://name or memory://`);
  return { storage: "indexeddb", name };
}

/** An open database. */
export class Haversack {
  #server: Server;
  #hub: Hub;
  #client: Client;
  #release: () => void;
  #closed: Promise<void> | undefined;

  private constructor(server: Server, release: () => void) {
    this.#server = server;
    this.#hub = new Hub(server);
    this.#client = new Client(this.#hub.connect());
    this.#release = release;
  }

  /** @internal Wraps an engine that is already open; `release` gives up the ownership of its storage. */
  static async over(server: Server, release: () => void): Promise<Haversack> {
    const haversack = new Haversack(server, release);
    await haversack.call(["HELLO", 3]);
    haversack.#watchPage();
    return haversack;
  }

  /** Runs a command: `await db.call(["SET", "key", "value"])`. An error reply rejects with `ReplyError`. */
  call(args: readonly Argument[], options?: CallOptions): Promise<Reply> {
    return this.#client.call(args, options);
  }

  /** Called with every message of the channels that `call(["SUBSCRIBE", …])` listens to, and every invalidation. */
  set onpush(handler: (push: Push) => void) {
    this.#client.onpush = handler;
  }

  /** A connection of its own, with a client state of its own. */
  connection(): Connection {
    return this.#hub.connect();
  }

  status(): Status {
    return JSON.parse(this.#server.status()) as Status;
  }

  /** Resolves when all writes so far are stored. */
  flush(): Promise<void> {
    return this.#server.flush();
  }

  /** All keys as a snapshot: the bytes of a `dump.rdb` that a Redis server loads. */
  export(): Uint8Array {
    const bytes = this.#server.export();
    if (bytes === undefined) throw new Error("the database is closed");
    return bytes;
  }

  /** Stores everything, ends all connections and lets others open the database. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#unwatchPage();
    try {
      await this.#server.close();
    } finally {
      this.#hub.end();
      this.#release();
    }
  }

  // A hidden page may be killed without another event.
  #onhide = (event: Event): void => {
    if (event.type === "pagehide" || document.visibilityState === "hidden") this.#server.hide();
  };

  #watchPage(): void {
    if (typeof document === "undefined") return;
    document.addEventListener("visibilitychange", this.#onhide);
    addEventListener("pagehide", this.#onhide);
  }

  #unwatchPage(): void {
    if (typeof document === "undefined") return;
    document.removeEventListener("visibilitychange", this.#onhide);
    removeEventListener("pagehide", this.#onhide);
  }
}
