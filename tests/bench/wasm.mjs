// Runs the workloads of wasm_module.rs for wasm.rs: a line "NUMBER ROUND" on standard input is answered by a line with
// the milliseconds that the run took.   node wasm.mjs MODULE
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";

const { instance } = await WebAssembly.instantiate(await readFile(process.argv[2]), {});
const { prepare, measured } = instance.exports;

for await (const line of createInterface({ input: process.stdin })) {
  const [number, round] = line.split(" ").map(Number);
  prepare(number, round);
  const began = performance.now();
  const answered = measured();
  const took = performance.now() - began;
  if (!answered) throw new Error(`workload ${number} is not answered`);
  console.log(took);
}
