// What the JavaScript sessions share: a server of their own, and a runner that counts.
import { spawn } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PATIENCE_MS = 30_000;

/** Polls until `holds` gives something true, and gives that. */
export async function waitUntil(what, holds) {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const found = await holds();
    if (found) return found;
    if (performance.now() > deadline) throw new Error(`${what} does not happen`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = createConnection(port, "127.0.0.1", () => socket.write("PING\r\n"));
    socket.on("data", (bytes) => {
      resolve(bytes.toString() === "+PONG\r\n");
      socket.destroy();
    });
    socket.on("error", () => resolve(false));
    socket.on("close", () => resolve(false));
  });
}

/** Our server with a folder of its own; it can be started again with what it has stored. */
export class Server {
  static async start(...options) {
    const server = new Server();
    server.folder = mkdtempSync(join(tmpdir(), "haversack-clients-"));
    server.port = await freePort();
    const threads = process.env.HAVERSACK_IO_THREADS;
    server.options = [...(threads ? ["--io-threads", threads] : []), ...options];
    await server.start();
    return server;
  }

  async start() {
    const path = join(this.folder, "server.log");
    const log = openSync(path, "a");
    const args = ["--port", this.port, "--dir", this.folder, ...this.options].map(String);
    this.process = spawn(process.env.HAVERSACK_SERVER, args, { stdio: ["ignore", log, log] });
    this.ended = new Promise((resolve) => this.process.on("exit", resolve));
    await waitUntil("the listening", () => {
      if (this.process.exitCode !== null) throw new Error(`the server went away:\n${readFileSync(path)}`);
      return answers(this.port);
    });
  }

  async kill() {
    this.process.kill("SIGKILL");
    await this.ended;
  }

  async remove() {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Rejects when a test takes too long. */
function inTime(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("the test takes too long")), 2 * PATIENCE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Runs [name, test] pairs, prints what failed, and the count as the last line. */
export async function run(tests) {
  let passed = 0;
  let failed = 0;
  for (const [name, test] of tests) {
    try {
      await inTime(test());
      passed += 1;
      console.log(`ok ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED ${name}\n${error.stack ?? error}`);
    }
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed === 0 ? 0 : 1);
}
