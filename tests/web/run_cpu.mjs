// Greedy tokens of a bundle by the CPU module alone: node run_cpu.mjs BUNDLE WASM COUNT PROMPT,
// PROMPT a JSON list of ids. Prints a JSON list. The calls are those of cpp/bind/wasm_cpu.cc.
import { readFileSync } from "node:fs";
import { join } from "node:path";

const [bundle, wasm, count, prompt] = process.argv.slice(2);
const text = (name) => JSON.parse(readFileSync(join(bundle, name), "utf8"));
const { weights, shards, tiers } = text("plan.json");
const { vocab } = text("manifest.json").limits;
const module = await WebAssembly.compile(readFileSync(wasm));
const { exports } = await WebAssembly.instantiate(module, {});
exports._initialize();

const ROOM = 1 << 20;
const at = exports.tr_alloc(ROOM);
function call(name, ...numbers) {
  const result = exports[name](...numbers);
  if (result >= 0) return result;
  const length = exports.tr_error(at, ROOM);
  throw new Error(Buffer.from(exports.memory.buffer, at, length).toString());
}
function put(bytes) {
  if (bytes.length > ROOM) throw new Error("too long");
  new Uint8Array(exports.memory.buffer).set(bytes, at);
  return [at, bytes.length];
}

call("tr_cpu_selftest");
const tasks = readFileSync(join(bundle, tiers.cpu.file));
for (const { workers, offset, length } of tiers.cpu.plans) {
  if (workers === 1) call("tr_cpu_plan", ...put(tasks.subarray(offset, offset + length)));
}
const files = shards.map((path) => readFileSync(join(bundle, path)));
tiers.cpu.params.forEach((param, number) => {
  if (!param) return call("tr_cpu_unused");
  const [name, use] = param;
  const { format, rows, cols, experts = 1, pieces } = weights[name];
  if (use === "vector") call("tr_cpu_vector", rows * cols);
  else call("tr_cpu_matrix", ...put(Buffer.from(format)), rows / experts, cols, experts);
  for (const [shard, offset, length] of pieces) {
    for (let from = offset; from < offset + length; from += ROOM) {
      const end = Math.min(from + ROOM, offset + length);
      call("tr_cpu_feed", number, ...put(files[shard].subarray(from, end)));
    }
  }
});
for (const [heads, size] of tiers.cpu.states) call("tr_cpu_state", heads, size);
call("tr_cpu_start", 16);

const ids = JSON.parse(prompt);
const most = Math.max(...tiers.cpu.plans.map((plan) => plan.rows));
const first = ids.length;
for (let start = 0; ids.length < first + Number(count); ) {
  const part = ids.slice(start, start + most);
  const places = part.map((_, i) => start + i); // positions, and slots of pages 0, 1, 2, …
  const end = start + part.length;
  const pages = Array.from({ length: Math.ceil(end / 16) }, (_, i) => i);
  const wanted = end === ids.length ? [part.length - 1] : [];
  const words = [
    ...[part.length, 1, wanted.length, pages.length, ...part, ...places, ...places],
    ...[0, part.length, end, ...pages, ...wanted],
  ];
  new Int32Array(exports.memory.buffer, at, words.length).set(words);
  call("tr_cpu_step", at, words.length);
  start = end;
  if (!wanted.length) continue;
  const logits = new Float32Array(exports.memory.buffer, exports.tr_cpu_logits(0), vocab);
  ids.push(logits.reduce((best, x, i) => (x > logits[best] ? i : best), 0));
}
console.log(JSON.stringify(ids.slice(first)));
