// All transcripts, against the engine inside a page: every section in a database of its own.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { testBrowser } from "./browser.mjs";
import { sections } from "./transcripts.mjs";

const browser = testBrowser({ pagesStay: true });
let page;
before(async () => {
  page = await browser.open("?memory");
  const path = fileURLToPath(new URL("runner.mjs", import.meta.url));
  await page.route("**/runner.mjs", (route) => route.fulfill({ path, contentType: "text/javascript" }));
});

test("the notation is that of the other runner", async () => {
  const wire = "+OK\r\n-ERR it's\r\n!5\r\nERR x\r\n:-12\r\n$3\r\na\"\n\r\n$-1\r\n*-1\r\n*2\r\n:1\r\n*0\r\n_\r\n,1.5\r\n#t\r\n" +
    "%1\r\n+a\r\n$1\r\nb\r\n~1\r\n:1\r\n>2\r\n+a\r\n:1\r\n=6\r\ntxt:hi\r\n(123\r\n";
  const [lines, same, different] = await page.evaluate(async (text) => {
    const { notation, fits } = await import("./runner.mjs");
    const { Decoder } = await import("haversack");
    const lines = [];
    new Decoder(notation).feed(new TextEncoder().encode(text), (line) => lines.push(line));
    const compare = (pairs) => pairs.map(([expected, got]) => fits(expected, got));
    return [lines, compare([["[:1 …]", "[:1 +a]"], ["{:1|:2}", ":2"], ["+OK", "+OK"]]),
      compare([["[:1 …]", "[:2 +a]"], ["{:1|:2}", ":3"], ["+OK", "+OKAY"], [".", "x"]])];
  }, wire);
  assert.deepEqual(lines, [
    "+OK", "-ERR it's", "-ERR x", ":-12", '"a\\"\\n"', "(nil)", "(nil array)", "[:1 []]", "_", ",1.5", "#t",
    '%{+a "b"}', "~[:1]", ">[+a :1]", '(verbatim txt "hi")', "(big 123)",
  ]);
  assert.deepEqual([same, different], [[true, true, true], [false, false, false, false]]);
});

const all = await sections();
assert.notEqual(all.length, 0, "there are transcripts");
for (const section of all) {
  test(`${section.file}: ${section.name}`, () =>
    page.evaluate(async (it) => (await import("./runner.mjs")).runSection(it), section));
}
