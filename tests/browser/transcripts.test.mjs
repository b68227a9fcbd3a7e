// All transcripts, against the engine inside a page: every section in a database in memory of its own.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Decoder } from "../../www/package/dist/resp.js";
import { launch, site } from "./browser.mjs";
import { fits, notation, run, sections } from "./transcripts.mjs";

let place;
let browser;
let page;
before(async () => {
  place = await site();
  browser = await launch(place);
  page = await browser.open("?memory");
});
after(async () => {
  await browser?.close();
  await place?.close();
});

const PATIENCE_MS = 5000;

// The target lives in the page; bytes cross as latin-1 strings.
async function openTarget() {
  await page.evaluate(async (patience_ms) => {
    const { open } = await import("haversack");
    const db = await open("memory://");
    const clients = new Map();
    const connect = () => {
      const client = { connection: db.connection(), inbox: "", wake: () => {} };
      client.connection.ondata = (bytes) => {
        for (const byte of bytes) client.inbox += String.fromCharCode(byte);
        client.wake();
      };
      client.connection.onclose = () => client.wake();
      return client;
    };
    const timeout = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    globalThis.target = {
      send(name, text) {
        if (!clients.has(name)) clients.set(name, connect());
        const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
        clients.get(name).connection.write(bytes);
      },
      async receive(name, wait) {
        const client = clients.get(name);
        if (client === undefined) return "";
        await timeout(0); // replies come on a later microtask
        if (client.inbox === "" && wait) {
          await Promise.race([new Promise((resolve) => (client.wake = resolve)), timeout(patience_ms)]);
        }
        const text = client.inbox;
        client.inbox = "";
        return text;
      },
      sleep: timeout,
      close: () => db.close(),
    };
  }, PATIENCE_MS);
  return {
    send: (name, bytes) => page.evaluate(([n, t]) => globalThis.target.send(n, t), [name, Buffer.from(bytes).toString("latin1")]),
    receive: async (name, wait) =>
      Buffer.from(await page.evaluate(([n, w]) => globalThis.target.receive(n, w), [name, wait]), "latin1"),
    sleep: (ms) => page.evaluate((wait_ms) => globalThis.target.sleep(wait_ms), ms),
    close: () => page.evaluate(() => globalThis.target.close()),
  };
}

test("the notation is that of the other runner", () => {
  const wire = "+OK\r\n-ERR it's\r\n!5\r\nERR x\r\n:-12\r\n$3\r\na\"\n\r\n$-1\r\n*-1\r\n*2\r\n:1\r\n*0\r\n_\r\n,1.5\r\n#t\r\n" +
    "%1\r\n+a\r\n$1\r\nb\r\n~1\r\n:1\r\n>2\r\n+a\r\n:1\r\n=6\r\ntxt:hi\r\n(123\r\n";
  const lines = [];
  new Decoder(notation).feed(Buffer.from(wire, "latin1"), (line) => lines.push(line));
  assert.deepEqual(lines, [
    "+OK", "-ERR it's", "-ERR x", ":-12", '"a\\"\\n"', "(nil)", "(nil array)", "[:1 []]", "_", ",1.5", "#t",
    '%{+a "b"}', "~[:1]", ">[+a :1]", '(verbatim txt "hi")', "(big 123)",
  ]);
  assert.ok(fits("[:1 …]", "[:1 +a]") && fits("{:1|:2}", ":2") && fits("+OK", "+OK"));
  assert.ok(!fits("[:1 …]", "[:2 +a]") && !fits("{:1|:2}", ":3") && !fits("+OK", "+OKAY") && !fits(".", "x"));
});

const all = await sections();
assert.notEqual(all.length, 0, "there are transcripts");
for (const section of all) {
  test(`${section.file}: ${section.name}`, async () => {
    const target = await openTarget();
    try {
      await run(section, target);
    } finally {
      await target.close();
    }
  });
}
