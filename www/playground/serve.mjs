// Serves the playground and the built npm package on loopback. No caching, so that a reload shows the last build.
//   node serve.mjs [PORT]      prints the address; port 0 or none takes a free one
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const page = fileURLToPath(new URL(".", import.meta.url));
const library = fileURLToPath(new URL("../package/dist/", import.meta.url));
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".wasm": "application/wasm",
  ".svg": "image/svg+xml",
};

// The file behind a path: the package under /haversack/, the page anywhere else.
function fileOf(path) {
  const clean = normalize(decodeURIComponent(path));
  if (clean.includes("\0") || clean.includes("..")) return undefined;
  if (clean.startsWith("/haversack/")) return join(library, clean.slice("/haversack/".length));
  return join(page, clean.endsWith("/") ? `${clean}index.html` : clean);
}

async function answer(request, response) {
  const file = fileOf(new URL(request.url, "http://localhost").pathname);
  const type = file && TYPES[extname(file)];
  const found = type && (await stat(file).catch(() => undefined));
  if (!found?.isFile()) {
    response.writeHead(404, { "content-type": "text/plain" }).end("not found\n");
    return;
  }
  response.writeHead(200, { "content-type": type, "content-length": found.size, "cache-control": "no-store" });
  if (request.method === "HEAD") response.end();
  else createReadStream(file).on("error", () => response.destroy()).pipe(response);
}

/** Starts serving; resolves with `{ url, close }`. */
export function serve(port = 0) {
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.writeHead(400).end());
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => {
      resolve({
        url: `http://localhost:${server.address().port}/`,
        close: () => {
          server.closeAllConnections();
          server.close();
        },
      });
    });
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { url } = await serve(Number(process.argv[2] ?? 0));
  console.log(url);
}
