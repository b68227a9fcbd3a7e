// One owner for a database: a Web Lock, which the browser frees when its holder ends, however it ends.

/** Another tab or worker has the database open. */
export class DatabaseInUseError extends Error {
  override name = "DatabaseInUseError";

  constructor(database: string) {
    super(`the database ${JSON.stringify(database)} is open in another tab or worker; close it there first`);
  }
}

// A page that is just being reloaded or closed frees its lock a moment after its successor starts.
const PATIENCE_MS = 1500;

/** Takes the lock of a database and returns what frees it. Throws `DatabaseInUseError`. */
export async function takeOwnership(database: string): Promise<() => void> {
  const locks = globalThis.navigator?.locks;
  if (locks === undefined) {
    throw new Error("no Web Locks here, so a database cannot be kept safe from other tabs: serve the page over https or localhost");
  }
  return new Promise((resolve, reject) => {
    const options = { signal: AbortSignal.timeout(PATIENCE_MS) };
    locks
      .request(`haversack:${database}`, options, () => new Promise<void>((release) => resolve(release)))
      .catch((error: unknown) => {
        const late = error instanceof DOMException && error.name === "TimeoutError";
        reject(late ? new DatabaseInUseError(database) : error);
      });
  });
}
