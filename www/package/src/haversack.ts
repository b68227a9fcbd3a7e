// A database in this page, worker or process: opening it, and what one can do with it.

import { Client, type CallOptions } from "./client.js";
import { Hub, type Connection } from "./connection.js";
import { openServer, stop, unlessStopped, type EngineStoppedError, type WasmSource } from "./engine.js";
import { takeOwnership } from "./owner.js";
import type { Push, Reply } from "./reply.js";
import type { Argument } from "./resp.js";
import type { Server } from "./wasm/haversack.js";

/** When a write is stored, with Redis' words. */
export type Fsync = "always" | "everysec" | "no";

export interface OpenOptions {
  /**
   * `always`: a reply comes after its write is stored, or rejects with the code `UNSTORED` if storing fails. `everysec` (the default): replies come at once, writes are stored
   * at the end of the task after a pause, within 100 ms otherwise, and when the page is hidden. `no`: only on `flush()`, `close()` and hiding.
   */
  appendfsync?: Fsync;
  /**
   * What to do when the stored log is damaged, or shorter than it was: `quarantine` (the default) puts everything from there on aside,
   * opens with what is good and says so in `status().recovered`; `refuse` rejects and changes nothing.
   */
  damaged?: "quarantine" | "refuse";
  /** The wasm module, where the one beside this package shall not be fetched: its bytes, a compiled module, a URL or a response. */
  wasm?: WasmSource;
}

/** Where the data are, and how safe. */
export interface Status {
  /** `stopped`: the engine has died of a bug, `reopen()` starts it again. `closed`: `close()` was called. */
  state: "open" | "stopped" | "closed";
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
   * browser keeps no database here. With state "stopped": what stopped the engine.
   */
  lastError: string | null;
  /** What had to be cut off or put aside when the database was opened, or what the browser itself has lost, or null. */
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
  const start = () => openServer(name, { storage, appendfsync: fsync, damaged }, options.wasm);
  try {
    return await Haversack.over(await start(), release, start);
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

/** How far an import is. */
export interface ImportProgress {
  /** Bytes of the dump read, and of all of it. */
  bytes: number;
  totalBytes: number;
  /** Keys found so far. */
  keys: number;
}

/** How far an export is. */
export interface ExportProgress {
  /** Bytes so far. */
  bytes: number;
  /** Keys so far, and of all. */
  keys: number;
  totalKeys: number;
}

/** A dump is read in pieces of this size, and fed to the engine in smaller ones. */
const READ_BYTES = 512 * 1024;
const FEED_BYTES = 32 * 1024;
/** The page has its turn after so long. */
const SLICE_MS = 4;
/** How long to wait before looking again whether a snapshot has ended. */
const PAUSE_MS = 10;

// Not a timer: those come at least 4 ms apart after a while, and far less often where nobody looks at the page.
function turn(): Promise<void> {
  const { port1, port2 } = new MessageChannel();
  return new Promise<void>((resolve) => {
    port1.onmessage = () => resolve();
    port2.postMessage(null);
  }).finally(() => port1.close());
}

/** An open database. */
export class Haversack {
  /** Called when the engine has died of a bug or of a lack of memory. All pending calls reject with the same error. */
  onstop: (error: EngineStoppedError) => void = () => {};

  /**
   * Called with the status when what it says of safety has changed: `durable`, `lastError`, `state`, `generation`, `fsync`.
   * Changes that follow each other closely may come as one. Never called within another call.
   */
  onstatus: (status: Status) => void = () => {};

  #server: Server;
  #hub: Hub;
  #client: Client;
  #greeted: Promise<Reply> = Promise.resolve(null);
  #start: () => Promise<Server>;
  #release: () => void;
  #onpush: (push: Push) => void = () => {};
  #reopening: Promise<void> | undefined;
  #closed: Promise<void> | undefined;

  private constructor(server: Server, release: () => void, start: () => Promise<Server>) {
    this.#release = release;
    this.#start = start;
    this.#server = server;
    this.#hub = this.#serve();
    this.#client = this.#login();
  }

  /**
   * @internal Wraps an engine that is already open; `release` gives up the ownership of its storage, `start` opens it
   * once more.
   */
  static async over(
    server: Server,
    release: () => void,
    start: () => Promise<Server> = () => Promise.reject(new Error("it cannot be opened again")),
  ): Promise<Haversack> {
    const haversack = new Haversack(server, release, start);
    await haversack.#greeted;
    haversack.#watchPage();
    return haversack;
  }

  #serve(): Hub {
    const hub = new Hub(this.#server);
    hub.onstop = (error) => {
      this.onstop(error);
      this.onstatus(this.status());
    };
    hub.run(() => this.#server.onstatus(() => this.#hub === hub && hub.ended === undefined && this.onstatus(this.status())));
    return hub;
  }

  #login(): Client {
    const client = new Client(this.#hub.connect());
    client.onpush = this.#onpush;
    this.#greeted = client.call(["HELLO", 3]);
    this.#greeted.catch(() => {}); // the calls behind it tell why
    return client;
  }

  /**
   * Runs a command: `await db.call(["SET", "key", "value"])`. An error reply rejects with `ReplyError`. Two of them tell that
   * nothing can be stored now, and `status().lastError` says why. Code `MISCONF`: the write was refused, nothing was changed.
   * Code `UNSTORED` (only with `always`): it is done in memory, where it can be read, but not known to be stored; it will be
   * once storing works again, unless the page ends before. Such a call waits for two seconds first.
   */
  async call(args: readonly Argument[], options?: CallOptions): Promise<Reply> {
    // The server may have ended its connection: QUIT by another name, CLIENT KILL.
    if (this.#client.ended) this.#client = this.#login();
    return this.#client.call(args, options);
  }

  /** Called with every message of the channels that `call(["SUBSCRIBE", …])` listens to, and every invalidation. */
  set onpush(handler: (push: Push) => void) {
    this.#onpush = handler;
    this.#client.onpush = handler;
  }

  /** A connection of its own, with a client state of its own. */
  connection(): Connection {
    return this.#hub.connect();
  }

  status(): Status {
    const ended = this.#hub.ended;
    const state = ended === undefined ? "open" : this.#closed !== undefined ? "closed" : "stopped";
    if (ended !== undefined) return { ...NOTHING, state, lastError: ended.message };
    return { state, ...(JSON.parse(this.#hub.run(() => this.#server.status())) as Omit<Status, "state">) };
  }

  /** Resolves when all writes so far are stored. */
  async flush(): Promise<void> {
    await unlessStopped(this.#hub.run(() => this.#server.flush()));
  }

  /**
   * All keys as a snapshot: the bytes of a `dump.rdb` that a Redis server loads. It is the picture of one moment; the
   * page and the database go on meanwhile.
   */
  async exportRdb({ onprogress }: { onprogress?: (progress: ExportProgress) => void } = {}): Promise<Uint8Array<ArrayBuffer>> {
    const hub = this.#hub; // another one after reopen()
    const begun = hub.run(() => this.#server.beginExport());
    const parts: Uint8Array<ArrayBuffer>[] = [];
    let size = 0;
    try {
      for (let done = false; !done; ) {
        const bytes = hub.run(() => begun.next());
        if (bytes === undefined) throw new Error("the database is closed");
        if (bytes.length > 0) parts.push(bytes);
        size += bytes.length;
        const { keys, totalKeys } = begun;
        done = begun.done;
        if (size > 0) onprogress?.({ bytes: size, keys, totalKeys });
        if (size === 0) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
        else if (!done) await turn();
      }
    } finally {
      if (hub.ended === undefined) begun.free();
    }
    // A blob is put together without holding up the page.
    return new Uint8Array(await new Blob(parts).arrayBuffer());
  }

  /**
   * Replaces all data by those of a `dump.rdb`. It is read and checked to its end first, while the database goes on; a
   * bad one rejects with an error named `InvalidDumpError` and changes nothing. Resolves with the number of keys once they
   * are stored.
   */
  async importRdb(dump: Blob | BufferSource, { onprogress }: { onprogress?: (progress: ImportProgress) => void } = {}): Promise<number> {
    const blob = dump instanceof Blob ? dump : new Blob([dump]);
    const hub = this.#hub; // another one after reopen()
    const begun = hub.run(() => this.#server.beginImport());
    if (begun === undefined) throw new Error("the database is closed");
    const check = () => {
      if (hub.ended !== undefined) throw hub.ended;
    };
    try {
      let keys = 0;
      let until = performance.now() + SLICE_MS;
      for (let at = 0; at < blob.size; at += READ_BYTES) {
        const read = new Uint8Array(await blob.slice(at, at + READ_BYTES).arrayBuffer());
        for (let from = 0; from < read.length; from += FEED_BYTES) {
          check();
          keys = begun.feed(read.subarray(from, from + FEED_BYTES));
          if (performance.now() < until) continue;
          onprogress?.({ bytes: at + Math.min(from + FEED_BYTES, read.length), totalBytes: blob.size, keys });
          await turn();
          until = performance.now() + SLICE_MS;
        }
      }
      onprogress?.({ bytes: blob.size, totalBytes: blob.size, keys });
      check();
    } catch (error) {
      if (error instanceof WebAssembly.RuntimeError) throw stop(String(error), error);
      if (hub.ended === undefined) begun.free();
      throw error;
    }
    return await unlessStopped(begun.finish());
  }

  /**
   * Starts the engine again from what is stored: after it stopped, or after another page has taken the database over,
   * deleted it and gone. All connections end. What was not stored yet is lost, if the engine cannot store it any more.
   */
  reopen(): Promise<void> {
    if (this.#closed !== undefined) return Promise.reject(new Error("the database is closed: open() it"));
    this.#reopening ??= this.#reopen().finally(() => (this.#reopening = undefined));
    return this.#reopening;
  }

  async #reopen(): Promise<void> {
    this.#unwatchPage();
    if (this.#hub.ended === undefined) {
      await unlessStopped(this.#hub.run(() => this.#server.close())).catch(() => {});
      this.#hub.end(new Error("the database is being opened again"));
    }
    this.#server = await this.#start();
    this.#hub = this.#serve();
    this.#client = this.#login();
    await this.#greeted;
    this.#watchPage();
    this.onstatus(this.status());
  }

  /** Stores everything, ends all connections and lets others open the database. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#unwatchPage();
    try {
      await this.#reopening?.catch(() => {});
      if (this.#hub.ended === undefined) await unlessStopped(this.#hub.run(() => this.#server.close()));
    } finally {
      this.#hub.end();
      this.#release();
      queueMicrotask(() => this.onstatus(this.status()));
    }
  }

  // A hidden page may be killed without another event.
  #onhide = (event: Event): void => {
    if (event.type !== "pagehide" && document.visibilityState !== "hidden") return;
    if (this.#hub.ended === undefined) this.#hub.run(() => this.#server.hide());
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

// The status of a database without an engine.
const NOTHING: Omit<Status, "state"> = {
  storage: "memory",
  name: "",
  durable: false,
  pendingBytes: 0,
  generation: 0,
  baseBytes: 0,
  incrBytes: 0,
  lastError: null,
  recovered: null,
  fsync: "no",
};
