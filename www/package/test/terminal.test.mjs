// The console's helpers. The expected texts are what redis-cli 7.0 splits and prints.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Decoder } from "../dist/index.js";
import { formatReply, nodes, quote, repliesWithText, splitArguments } from "../dist/terminal.js";

const split = (line) => splitArguments(line)?.map((arg) => Buffer.from(arg).toString("latin1"));

for (const [line, expected] of [
  ["", []],
  ["  set  a\tb ", ["set", "a", "b"]],
  ['set k "a b"', ["set", "k", "a b"]],
  ["set k 'a \"b\\' \\n'", ["set", "k", "a \"b' \\n"]],
  ['"\\x00\\xff\\n\\r\\t\\b\\a\\"\\\\\\q\\xzz"', ["\x00\xff\n\r\t\b\x07\"\\qxzz"]],
  ['"" \'\'', ["", ""]],
  ["ab\"c d\"", ["abc d"]],
  ["k \u00e9\u{1F600}", ["k", "\xc3\xa9\xf0\x9f\x98\x80"]],
  ["back\\nslash", ["back\\nslash"]],
  ['open "quote', undefined],
  ["open 'quote", undefined],
  ['"ends in escape\\', undefined],
  ['"a"b', undefined],
  ["'a'b", undefined],
]) {
  test(`splits ${JSON.stringify(line)}`, () => assert.deepEqual(split(line), expected));
}

test("what quote prints, splitArguments reads", () => {
  const every = Uint8Array.from({ length: 256 }, (_, byte) => byte);
  assert.deepEqual(splitArguments(quote(every)), [every]);
});

const print = (wire, raw) => {
  const texts = [];
  new Decoder(nodes).feed(Buffer.from(wire, "latin1"), (node) => texts.push(formatReply(node, raw)));
  return texts.join("\n");
};

for (const [name, wire, expected] of [
  ["a status", "+OK\r\n", "OK"],
  ["an error", "-ERR no\r\n", "(error) ERR no"],
  ["an integer", ":3\r\n", "(integer) 3"],
  ["a double", ",3.141\r\n", "(double) 3.141"],
  ["a null", "$-1\r\n_\r\n*-1\r\n", "(nil)\n(nil)\n(nil)"],
  ["booleans", "#t\r\n#f\r\n", "(true)\n(false)"],
  ["a string with every kind of escape", '$7\r\nh"\\\xc3\xa9\n\x01\r\n', '"h\\"\\\\\\xc3\\xa9\\n\\x01"'],
  ["a verbatim string", "=10\r\ntxt:a\nb\nc.\r\n", "a\nb\nc."],
  ["empty aggregates", "*0\r\n%0\r\n~0\r\n", "(empty array)\n(empty hash)\n(empty set)"],
  ["nested arrays", "*4\r\n:1\r\n*3\r\n:3\r\n*2\r\n:4\r\n$1\r\nx\r\n*0\r\n$1\r\nz\r\n$-1\r\n",
    '1) (integer) 1\n2) 1) (integer) 3\n   2) 1) (integer) 4\n      2) "x"\n   3) (empty array)\n3) "z"\n4) (nil)'],
  ["aligned numbers", `*11\r\n${":1\r\n".repeat(9)}*2\r\n+a\r\n+b\r\n:11\r\n`,
    `${Array.from({ length: 9 }, (_, i) => ` ${i + 1}) (integer) 1\n`).join("")}10) 1) a\n    2) b\n11) (integer) 11`],
  ["a map", "%2\r\n$1\r\na\r\n*2\r\n:1\r\n:2\r\n$1\r\nb\r\n%0\r\n",
    '1# "a" => \n   1) (integer) 1\n   2) (integer) 2\n2# "b" => (empty hash)'],
  ["a set", "~2\r\n$1\r\n1\r\n$1\r\n2\r\n", '1~ "1"\n2~ "2"'],
  ["a push", ">2\r\n+server-cpu-usage\r\n:42\r\n", "1) server-cpu-usage\n2) (integer) 42"],
]) {
  test(`prints ${name}`, () => assert.equal(print(wire), expected));
}

test("prints text replies as they are", () => {
  assert.equal(print("$9\r\na:1\r\nb:\"2\r\n", true), 'a:1\r\nb:"2');
  assert.equal(print("-ERR no\r\n", true), "(error) ERR no");
  const words = (line) => repliesWithText(splitArguments(line));
  assert.ok(words("INFO server") && words("client list") && !words("client id") && !words("get info"));
});
