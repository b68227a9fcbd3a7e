// The wasm module: one instance for all databases of this page, worker or process; a new one after it has stopped.

import type { Server, StoreOptions } from "./wasm/haversack.js";

/** The engine has stopped: a bug in it, or memory that ran out. What was stored is not touched; `reopen()` goes on from there. */
export class EngineStoppedError extends Error {
  override name = "EngineStoppedError";

  constructor(reason: string, cause?: unknown) {
    super(`the engine stopped: ${reason}; reopen() starts it again from what is stored`, { cause });
  }
}

export type WasmSource = BufferSource | WebAssembly.Module | URL | Response | Promise<Response>;

const listeners = new Set<(error: EngineStoppedError) => void>();
let stopped: EngineStoppedError | undefined;

/** Calls `listener` when the instance stops that runs now. Returns what takes it back. */
export function onStop(listener: (error: EngineStoppedError) => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** The instance has trapped or panicked: nothing that it holds can be trusted or used again. */
export function stop(reason: string, cause?: unknown): EngineStoppedError {
  if (stopped !== undefined) return stopped;
  const error = (stopped = new EngineStoppedError(reason, cause));
  const told = [...listeners];
  listeners.clear();
  // Later, because the instance may be what is running now.
  queueMicrotask(() => {
    for (const listener of told) listener(error);
  });
  return error;
}

/** Resolves as `promise` does, and rejects if the instance stops before. */
export async function unlessStopped<T>(promise: Promise<T>): Promise<T> {
  let forget = () => {};
  const end = new Promise<never>((_, reject) => (forget = onStop(reject)));
  try {
    return await Promise.race([promise, end]);
  } finally {
    forget();
  }
}

/** Opens a database in the instance, which is compiled by the first that asks, and started anew if it has stopped. */
export async function openServer(name: string, options: StoreOptions, wasm: WasmSource | undefined): Promise<Server> {
  const module = await import("./wasm/haversack.js");
  await module.default(wasm === undefined ? undefined : { module_or_path: wasm });
  if (stopped !== undefined) {
    module.__wbg_reset_state();
    stopped = undefined;
    listening = false;
  }
  if (!listening) {
    listening = true;
    module.onstop((reason) => void stop(reason));
  }
  return await unlessStopped(module.openServer(name, options));
}

let listening = false;
