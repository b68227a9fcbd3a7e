// Connections to the engine: RESP bytes in, RESP bytes out, as over a socket.

import { encodeCommand, type Argument } from "./resp.js";
import { onStop, stop, type EngineStoppedError } from "./engine.js";
import type { Server } from "./wasm/haversack.js";

/** A connection as a socket would be: any client library that speaks RESP can sit on it. */
export class Connection {
  /** Bytes of the server. Never called inside `write`. Set it before the first `write`. */
  ondata: (bytes: Uint8Array) => void = () => {};
  /** The connection has ended: closed by either side (no error), or the engine died (its error). Called once. */
  onclose: (error?: Error) => void = () => {};

  #hub: Hub;
  #id: number;

  /** @internal */
  constructor(hub: Hub, id: number) {
    this.#hub = hub;
    this.#id = id;
  }

  /** Sends bytes of the client, in any chunking. */
  write(bytes: Uint8Array): void {
    this.#hub.send(this, this.#id, bytes);
  }

  /** Sends one command. */
  writeCommand(args: readonly Argument[]): void {
    this.write(encodeCommand(args));
  }

  /** Closes the connection; replies that are still due are lost. */
  close(): void {
    this.#hub.close(this.#id);
  }
}

/** All connections of one engine: carries bytes between them and it. */
export class Hub {
  #server: Server;
  #open = new Map<number, Connection>();
  #ended: Error | undefined;
  #forget: () => void;
  /** Called once if it is the engine's death that ends it. */
  onstop: (error: EngineStoppedError) => void = () => {};

  constructor(server: Server) {
    this.#server = server;
    this.#forget = onStop((error) => {
      this.end(error);
      this.onstop(error);
    });
    this.run(() => server.onwake(() => this.#deliver()));
  }

  /** Why there are no connections any more, if so. */
  get ended(): Error | undefined {
    return this.#ended;
  }

  connect(): Connection {
    if (this.#ended !== undefined) throw this.#ended;
    const id = this.run(() => this.#server.connect());
    if (id === undefined) throw new Error("the server was shut down, its connections are closed");
    const connection = new Connection(this, id);
    this.#open.set(id, connection);
    return connection;
  }

  send(connection: Connection, id: number, bytes: Uint8Array): void {
    if (this.#open.get(id) !== connection) throw this.#ended ?? new Error("the connection is closed");
    this.run(() => this.#server.send(id, bytes));
  }

  close(id: number): void {
    const connection = this.#open.get(id);
    if (connection === undefined) return;
    this.#open.delete(id);
    this.run(() => this.#server.disconnect(id));
    queueMicrotask(() => connection.onclose());
  }

  /** Ends every connection, with the reason if there is one. */
  end(reason?: Error): void {
    this.#forget();
    this.#ended ??= reason ?? new Error("the database is closed");
    const connections = [...this.#open.values()];
    this.#open.clear();
    for (const connection of connections) connection.onclose(reason);
  }

  #deliver(): void {
    for (const [id, connection] of [...this.#open]) {
      // A handler of an earlier connection may have closed this one.
      if (!this.#open.has(id)) continue;
      const bytes = this.run(() => this.#server.take(id));
      if (bytes === undefined) {
        this.#open.delete(id);
        connection.onclose();
      } else if (bytes.length > 0) {
        connection.ondata(bytes);
      }
    }
  }

  /** Calls the engine. Whatever it throws is a trap: the end of its instance. */
  run<T>(call: () => T): T {
    if (this.#ended !== undefined) throw this.#ended;
    try {
      return call();
    } catch (cause) {
      throw stop(String(cause), cause);
    }
  }
}
