// The codec: commands to bytes, bytes to replies, whole and in pieces.
import assert from "node:assert/strict";
import { test } from "node:test";
import { binaryReplies, Decoder, encodeCommand, ProtocolError, Push, ReplyError, textReplies } from "../dist/index.js";

const bytes = (text) => Buffer.from(text, "latin1");

function decode(wire, { shape = textReplies, chunk = Infinity } = {}) {
  const decoder = new Decoder(shape);
  const replies = [];
  const whole = Buffer.isBuffer(wire) ? wire : bytes(wire);
  for (let at = 0; at < whole.length; at += chunk) {
    decoder.feed(whole.subarray(at, Math.min(whole.length, at + chunk)), (reply) => replies.push(reply));
  }
  return replies;
}

const CASES = [
  ["simple string", "+OK\r\n", "OK"],
  ["integer", ":-42\r\n", -42],
  ["integer past 2^53", ":9223372036854775807\r\n", 9223372036854775807n],
  ["bulk string", "$5\r\na\r\nbc\r\n", "a\r\nbc"],
  ["empty bulk string", "$0\r\n\r\n", ""],
  ["RESP2 null string", "$-1\r\n", null],
  ["RESP2 null array", "*-1\r\n", null],
  ["null", "_\r\n", null],
  ["true", "#t\r\n", true],
  ["false", "#f\r\n", false],
  ["double", ",3.25\r\n", 3.25],
  ["infinite double", ",-inf\r\n", -Infinity],
  ["double that is not a number", ",nan\r\n", NaN],
  ["big number", "(1234567999999999999999999999999999999\r\n", 1234567999999999999999999999999999999n],
  ["verbatim string", "=8\r\ntxt:Some\r\n", "Some"],
  ["array", "*3\r\n:1\r\n*0\r\n*2\r\n+a\r\n$-1\r\n", [1, [], ["a", null]]],
  ["map", "%2\r\n+a\r\n*1\r\n:1\r\n+b\r\n%0\r\n", new Map([["a", [1]], ["b", new Map()]])],
  ["set", "~2\r\n+x\r\n:5\r\n", new Set(["x", 5])],
  ["attribute, dropped", "|1\r\n+ttl\r\n:3\r\n*2\r\n|1\r\n+a\r\n*1\r\n:0\r\n:1\r\n:2\r\n", [1, 2]],
];

for (const [name, wire, expected] of CASES) {
  test(`decodes ${name}, in any chunking`, () => {
    for (const chunk of [Infinity, 1, 2, 3, 7]) assert.deepEqual(decode(wire, { chunk }), [expected]);
  });
}

test("decodes UTF-8 that a chunk boundary cuts", () => {
  const wire = Buffer.from("$8\r\nhé→x!\r\n", "utf8");
  assert.deepEqual(decode(wire, { chunk: 1 }), ["hé→x!"]);
});

test("decodes all cases as one stream", () => {
  const wire = CASES.map(([, text]) => text).join("");
  for (const chunk of [Infinity, 1, 5, 64]) assert.deepEqual(decode(wire, { chunk }), CASES.map(([, , value]) => value));
});

test("errors are values with a code", () => {
  const [simple, bulk, nested] = decode("-WRONGTYPE no\r\n!9\r\nSYNTAX no\r\n*1\r\n-ERR x\r\n");
  assert.ok(simple instanceof ReplyError);
  assert.equal(simple.code, "WRONGTYPE");
  assert.equal(bulk.message, "SYNTAX no");
  assert.equal(nested[0].message, "ERR x");
});

test("pushes are told from replies", () => {
  const [push] = decode(">3\r\n+message\r\n+news\r\n+hello\r\n");
  assert.ok(push instanceof Push);
  assert.equal(push.kind, "message");
  assert.deepEqual(push.items, ["message", "news", "hello"]);
});

test("binary replies keep every byte and do not alias the buffer", () => {
  const decoder = new Decoder(binaryReplies);
  const replies = [];
  decoder.feed(bytes("$3\r\n\xff\x00\x80\r\n"), (reply) => replies.push(reply));
  decoder.feed(bytes("$3\r\nabc\r\n"), (reply) => replies.push(reply));
  assert.deepEqual(replies.map((reply) => [...reply]), [[255, 0, 128], [97, 98, 99]]);
});

test("a large reply in small pieces", () => {
  const body = "x".repeat(3_000_000);
  const [reply] = decode(`$${body.length}\r\n${body}\r\n`, { chunk: 4096 });
  assert.equal(reply, body);
});

for (const [name, wire] of [
  ["an unknown type", "?1\r\n"],
  ["a negative length", "$-2\r\n"],
  ["a length that is no number", "*x\r\n"],
  ["a streamed length", "$?\r\n"],
  ["a bulk string without its end", "$1\r\nabc"],
  ["a line without a carriage return", "+OK\n"],
  ["deep nesting", "*1\r\n".repeat(600)],
]) {
  test(`refuses ${name}`, () => assert.throws(() => decode(wire), ProtocolError));
}

test("encodes commands", () => {
  const wire = Buffer.from(encodeCommand(["SET", "ké", new Uint8Array([0, 255]), 12, 5n])).toString("latin1");
  assert.equal(wire, "*5\r\n$3\r\nSET\r\n$3\r\nk\xc3\xa9\r\n$2\r\n\x00\xff\r\n$2\r\n12\r\n$1\r\n5\r\n");
});
