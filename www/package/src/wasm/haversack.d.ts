// The engine as wasm-bindgen exports it (Rust: src/wasm). Written by hand: the agreement between the two sides.
// At run time this is dist/wasm/haversack.js, which pkg-scripts/build-wasm makes.

/** Fetches (by default the module beside the glue) or takes, compiles and starts the wasm module; once for all callers. */
export default function init(options?: { module_or_path: unknown }): Promise<unknown>;

export class Store {
  /** Loads or creates the database and starts its engine. Rejects with an `Error` that says why it cannot. */
  static open(name: string, options: StoreOptions): Promise<Server>;
}

export interface StoreOptions {
  storage: "indexeddb" | "memory";
  appendfsync: "always" | "everysec" | "no";
}

/** One engine and its storage. Connections are small numbers. */
export class Server {
  connect(): number;
  /** Gives bytes of a client to the engine and runs it. Never calls `onwake`'s callback itself. */
  send(connection: number, bytes: Uint8Array): void;
  /** The reply bytes ready for the client, empty if none; undefined once the server has closed the connection and all is taken. */
  take(connection: number): Uint8Array | undefined;
  disconnect(connection: number): void;
  /** Called on a later microtask when some connection has bytes to take or was closed. */
  onwake(callback: () => void): void;
  /** Starts its IndexedDB transaction (put and commit) before it returns, so that a page may call it while it is hidden. */
  flush(): Promise<void>;
  /** JSON of `Status`. */
  status(): string;
  /** Flushes, then closes storage and engine. */
  close(): Promise<void>;
  /** Frees the engine's memory; the object is dead afterwards. */
  free(): void;
}
