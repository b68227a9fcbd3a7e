// The engine as wasm-bindgen exports it (Rust: src/wasm). Written by hand: the agreement between the two sides.
// At run time this is dist/wasm/haversack.js, which pkg-scripts/build-wasm makes.

/** Fetches (by default the module beside the glue) or takes, compiles and starts the wasm module; once for all callers. */
export default function init(options?: { module_or_path: unknown }): Promise<unknown>;

/** Loads or creates the database and starts its engine. Rejects with an `Error` whose name says what is wrong. */
export function openServer(name: string, options: StoreOptions): Promise<Server>;

/** Calls `callback` with the reason if the instance panics. It must not call into the instance. */
export function onstop(callback: (reason: string) => void): void;

/** Throws the instance away and starts a new one of the same module. Objects of the old one throw from then on. */
export function __wbg_reset_state(): void;

export interface StoreOptions {
  storage: "indexeddb" | "memory";
  appendfsync: "always" | "everysec" | "no";
  damaged: "quarantine" | "refuse";
}

/** One engine and its storage. Connections are small numbers. */
export class Server {
  /** A new connection; undefined once the server was shut down or closed. */
  connect(): number | undefined;
  /** Gives bytes of a client to the engine and runs it. Never calls `onwake`'s callback itself. */
  send(connection: number, bytes: Uint8Array): void;
  /** The reply bytes ready for the client, empty if none; undefined once the server has closed the connection and all is taken. */
  take(connection: number): Uint8Array | undefined;
  disconnect(connection: number): void;
  /** Called on a later microtask when some connection has bytes to take or was closed. */
  onwake(callback: () => void): void;
  /** Called on a later microtask when `status()` has changed in more than its sizes. */
  onstatus(callback: () => void): void;
  /** Resolves when all writes so far are stored. */
  flush(): Promise<void>;
  /** Stores everything in a transaction that is complete when this returns: for a page that is being hidden or left. */
  hide(): void;
  /** Begins to give all keys as the bytes of a `dump.rdb`. */
  beginExport(): Export;
  /** Begins to take a `dump.rdb` over; undefined when closed. */
  beginImport(): Import | undefined;
  /** JSON of `Status`. */
  status(): string;
  /** Stores everything, then closes the database and frees the engine's data. */
  close(): Promise<void>;
  /** Frees the engine's memory; the object is dead afterwards. */
  free(): void;
}

/** An export under way; freed before its end it is given up. */
export class Export {
  /** The next bytes after a few milliseconds of work, none while another snapshot is under way; undefined when closed. */
  next(): Uint8Array<ArrayBuffer> | undefined;
  readonly done: boolean;
  /** Keys given so far, and of all; 0 until it has begun. */
  readonly keys: number;
  readonly totalKeys: number;
  free(): void;
}

/** An import under way. What it throws or rejects with is an `Error` named `InvalidDumpError` or `StorageError`. */
export class Import {
  /** Takes the next bytes of the file; gives the number of keys so far. */
  feed(bytes: Uint8Array): number;
  /** The file has ended: its keys replace those of the database. Gives their number once they are stored. */
  finish(): Promise<number>;
  free(): void;
}
