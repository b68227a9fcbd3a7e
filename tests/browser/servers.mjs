// Real servers for the browser tests: started on loopback, asked a few things, ended by their id.
import { execFileSync, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { binaryReplies, Decoder, encodeCommand, ReplyError, textReplies } from "../../www/package/dist/index.js";

/** The path of a server, from the environment or from pkg-scripts/servers, which installs what is missing. */
export function server(name) {
  if (process.env[name]) return process.env[name];
  const script = fileURLToPath(new URL("../../pkg-scripts/servers", import.meta.url));
  return new RegExp(`^${name}=(.*)$`, "m").exec(execFileSync(script, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] }))[1];
}

function freePort() {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

/** Starts a server in a folder of its own, which `prepare` may put files into. */
export async function start(executable, prepare = async () => {}) {
  const dir = await mkdtemp(join(tmpdir(), "haversack-server-"));
  await prepare(dir);
  const port = await freePort();
  const options = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", dir, "--enable-debug-command", "yes"];
  const child = spawn(executable, options.map(String), { stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  const ready = new Promise((resolve, reject) => {
    child.stdout.setEncoding("utf8").on("data", (text) => (log += text).includes("Ready to accept connections") && resolve());
    child.once("exit", (code) => reject(new Error(`${executable} ended with ${code}:\n${log}`)));
  });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  await ready;
  const socket = connect(port, "127.0.0.1");
  const waiting = [];
  const text = new Decoder({
    scalar: (...args) => (waiting[0]?.binary ? binaryReplies : textReplies).scalar(...args),
    aggregate: textReplies.aggregate,
  });
  socket.on("data", (bytes) =>
    text.feed(bytes, (reply) => {
      const { resolve, reject } = waiting.shift();
      if (reply instanceof ReplyError) reject(reply);
      else resolve(reply);
    }),
  );
  return {
    dir,
    call: (args, { binary = false } = {}) =>
      new Promise((resolve, reject) => {
        waiting.push({ resolve, reject, binary });
        socket.write(encodeCommand(args));
      }),
    async stop() {
      socket.destroy();
      child.kill("SIGKILL");
      await exited;
      await rm(dir, { recursive: true, force: true });
    },
  };
}
