/**
 * The WebGPU executor on Dawn, in a process of its own: Dawn needs its libraries' path in the
 * environment, and ends only by `process.exit`. Arguments: the folder of a
 * bundle with tier t0, and the file of what the reference says of it (tests/web/tiny_gpu.py).
 */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { create, globals } from "webgpu";
import type { Draw, Executor, StepRow } from "../src/executor.js";
import { openDevice, type Device } from "../src/gpu/device.js";
import { openGpu } from "../src/gpu/open.js";
import type { GpuExecutor } from "../src/gpu/run.js";
import { openBundle } from "../src/store/download.js";
import { folder, headOf, off, type Answer } from "./bundles.js";

Object.assign(globalThis, globals);
const gpu = create([]); // kept: collected, it ends the process
const bundle = await openBundle(folder(pathToFileURL(`${process.argv[2]}/`)));
const plain: Draw = {
  row: 0, temperature: 0, topP: 1, topK: 0, minP: 0, seed: 0n, index: 0,
  repetition: 1, presence: 0, frequency: 0, logprobs: -1,
}; // prettier-ignore

/** Calls that make something, and submits, since the last `reset`. */
function counted(device: Device) {
  const counts = { made: 0, submits: 0, maps: 0 };
  const { gpu: inner } = device;
  for (const name of ["createBuffer", "createBindGroup", "createComputePipeline", "createComputePipelineAsync", "createShaderModule"] as const) {
    const call = inner[name].bind(inner) as (...given: unknown[]) => unknown;
    Object.defineProperty(inner, name, {
      value: (...given: unknown[]) => {
        counts.made += 1;
        return call(...given);
      },
    });
  }
  const submit = inner.queue.submit.bind(inner.queue);
  Object.defineProperty(inner.queue, "submit", {
    value: (list: Iterable<GPUCommandBuffer>) => {
      counts.submits += 1;
      submit(list);
    },
  });
  return counts;
}

class Sequence {
  readonly ids: number[];
  done = 0;
  constructor(prompt: readonly number[], readonly pages: readonly number[]) {
    this.ids = [...prompt];
  }
  row(most = 32): StepRow {
    const tokens = Int32Array.from(this.ids.slice(this.done, this.done + most));
    const start = this.done;
    this.done += tokens.length;
    return { tokens, start, pages: Int32Array.from(this.pages), wants: this.done === this.ids.length };
  }
}

async function step(exe: Executor, sequences: readonly Sequence[], change: Partial<Draw> = {}, most = 32): Promise<void> {
  await exe.forward(sequences.map((one) => one.row(most)));
  const wanting = sequences.filter((one) => one.done === one.ids.length);
  const records = await exe.sample(wanting.map((one, row) => ({ ...plain, row, index: one.ids.length, ...change })));
  wanting.forEach((one, i) => one.ids.push(records[i]!.token));
}

const device = await openDevice(gpu);
const counts = counted(device);
const exe = (await openGpu(bundle, { pages: 24 }, device)) as GpuExecutor;
console.log("opened on", device.name);
const [short, long] = JSON.parse(await readFile(process.argv[3]!, "utf8")) as Answer[];
assert.ok(short && long);

// Greedy tokens are the reference's.
const alone: Sequence[] = [];
for (const { prompt, tokens } of [short, long]) {
  const one = new Sequence(prompt, [3, 0, 5, 1, 2]);
  while (one.ids.length < prompt.length + tokens.length) await step(exe, [one]);
  assert.deepEqual(one.ids.slice(prompt.length), tokens);
  alone.push(one);
}
console.log("greedy tokens equal");

// A token: one submit, nothing made; two submits once masks are used.
const one = new Sequence(short.prompt, [7, 8]);
await step(exe, [one]);
Object.assign(counts, { made: 0, submits: 0 });
for (let i = 0; i < 5; i += 1) await step(exe, [one]);
assert.deepEqual(counts, { made: 0, submits: 5, maps: 0 });
const mask = new Uint32Array(Math.ceil(exe.vocab / 32));
mask[1] = 1 << 9; // token 41 alone
await step(exe, [one], { mask });
assert.equal(one.ids.at(-1), 41);
Object.assign(counts, { submits: 0 });
for (let i = 0; i < 3; i += 1) await step(exe, [one], { mask });
assert.deepEqual(counts, { made: 0, submits: 6, maps: 0 });
await step(exe, [one], { mask: new Uint32Array(mask.length) });
assert.equal(one.ids.at(-1), -1); // no token is legal
const { dispatches } = exe.counts;
await step(exe, [one]);
assert.ok(exe.counts.dispatches - dispatches <= 5 * 2 + 4, "two layers");
console.log("counts right");

// Steps ahead of their tokens: the same tokens, a submit each, and nothing is made.
const ahead = new Sequence(short.prompt, [20, 21]);
await step(exe, [ahead]);
Object.assign(counts, { made: 0, submits: 0 });
while (ahead.ids.length < short.prompt.length + 9) {
  const found = await exe.decode([ahead.row()], [{ ...plain, index: ahead.ids.length }], 4);
  ahead.ids.push(...found.map(([record]) => record!.token));
  ahead.done = ahead.ids.length - 1;
}
assert.deepEqual(ahead.ids.slice(short.prompt.length), short.tokens.slice(0, 9));
assert.deepEqual(counts, { made: 0, submits: 8, maps: 0 });
const barred = new Sequence(short.prompt, [20, 21]);
await step(exe, [barred]);
Object.assign(counts, { made: 0, submits: 0 });
const found = await exe.decode([barred.row()], [{ ...plain, mask, index: barred.ids.length }], 4);
assert.deepEqual(found.map(([record]) => record!.token), [41, 41, 41, 41]);
assert.deepEqual(counts, { made: 0, submits: 4, maps: 0 });
console.log("depth right");

// Truncation leaves what it must, and log-probabilities are the host's: still nothing is made.
const told = new Sequence(short.prompt, [7, 8]);
exe.forward([told.row()]);
const logits = await exe.logits();
const order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b);
const total = Math.log(logits.reduce((sum, x) => sum + Math.exp(x), 0));
Object.assign(counts, { made: 0, submits: 0 });
for (const change of [{ topK: 1 }, { topP: 1e-6 }, { minP: 0.9999 }]) {
  const [one] = await exe.sample([{ ...plain, temperature: 1.5, seed: 3n, logprobs: 4, ...change }]);
  assert.equal(one!.token, order[0]);
  assert.deepEqual(one!.top!.map(([id]) => id), order.slice(0, 4));
  for (const [id, logprob] of one!.top!) assert.ok(Math.abs(logprob - (logits[id]! - total)) < 1e-4);
  assert.equal(one!.logprob, one!.top![0]![1]);
}
assert.deepEqual(counts, { made: 0, submits: 3, maps: 0 });
console.log("truncation and log-probabilities right");

// The state times the head is the row's logits: of a chunk, of a token, and of a token a sequence.
const head = await headOf(bundle);
const others = [new Sequence(short.prompt, [7, 8]), new Sequence([5], [18])];
const rows = () => others.map((one) => one.row());
for (const list of [rows().slice(0, 1), others.map((one) => (one.ids.push(6), one.row())), [(others[0]!.ids.push(9), others[0]!.row())]]) {
  exe.forward(list);
  const row = list.length - 1;
  const state = await exe.hidden!(row);
  const far = off(head(state), (await exe.logits()).slice(row * exe.vocab));
  assert.ok(far < 1e-4, `${far} of the largest logit`);
  await assert.rejects(exe.hidden!(list.length), { code: "invalid_request" });
}
console.log("hidden states right");

// Neighbours, chunks and noise: a batch of three is each alone; bias and penalties apply.
const shared = [new Sequence(short.prompt, [9, 10, 4]), new Sequence(long.prompt, [11, 12, 13, 14]), new Sequence([7], [15, 16])];
for (let i = 0; i < 6; i += 1) await step(exe, shared, {}, 10);
for (const [i, other] of alone.entries()) {
  const made = shared[i]!.ids;
  assert.deepEqual(made, other.ids.slice(0, made.length));
}
await step(exe, shared, { bias: new Map([[99, 1000]]) });
for (const { ids } of shared) assert.equal(ids.at(-1), 99);
const seen = new Map([[99, 3]]);
await step(exe, shared, { bias: new Map([[99, 1000], [98, 900]]), seen, frequency: 200 }); // prettier-ignore
for (const { ids } of shared) assert.equal(ids.at(-1), 98);
const warm = new Set<number>();
for (let seed = 0n; seed < 12n; seed += 1n) {
  const again = new Sequence(short.prompt, [17]);
  await step(exe, [again], { temperature: 5, seed });
  warm.add(again.ids.at(-1)!);
}
assert.ok(warm.size > 4, `${warm.size} tokens of 12 seeds`);
console.log("batches, bias and seeds right");

// What does not fit is refused, and the executor goes on.
const row = (change: Partial<StepRow>): StepRow => ({ tokens: Int32Array.of(1), start: 0, pages: Int32Array.of(0), wants: true, ...change });
for (const bad of [
  row({ tokens: Int32Array.of(exe.vocab) }), row({ tokens: new Int32Array(500) }), row({ tokens: new Int32Array(0) }),
  row({ pages: Int32Array.of(24) }), row({ pages: Int32Array.of(-1) }), row({ start: 16 }),
]) assert.throws(() => exe.forward([bad]), { code: "invalid_request" }); // prettier-ignore
exe.forward([row({})]);
await assert.rejects(exe.sample([{ ...plain, row: 1 }]));
const [record] = await exe.sample([plain]);
assert.ok(record!.token >= 0);

// A lost device is a typed error; another one goes on.
device.gpu.destroy();
await device.lost;
assert.throws(() => exe.forward([row({})]), { code: "device_lost" });
const next = await openGpu(bundle, { pages: 24 }, await openDevice(gpu));
const reborn = new Sequence(short.prompt, [1, 2]);
for (let i = 0; i < 4; i += 1) await step(next, [reborn]);
assert.deepEqual(reborn.ids.slice(short.prompt.length), short.tokens.slice(0, 4));
next.free();
assert.throws(() => next.forward([row({})]), { code: "engine_dead" });
await assert.rejects(openDevice(undefined), { code: "no_device" });
console.log("losses survived");

// Tiers that this GPU cannot run: the compiler takes their kernels, and all they bind is valid.
const dry = create(["backend=null"]);
for (const tier of ["t2", "t0s", "t1", "t0"] as const) {
  const held = await openDevice(dry, tier);
  held.gpu.pushErrorScope("validation");
  const made = await openGpu(bundle, { pages: 24 }, held, tier);
  assert.equal(made.tier, tier);
  for (const rows of [[row({})], [row({}), row({ pages: Int32Array.of(1) })], [row({ tokens: Int32Array.of(1, 2, 3) })]]) {
    made.forward(rows);
    await made.sample([plain]);
  }
  assert.equal(await held.gpu.popErrorScope(), null);
  const broken = held.gpu.createComputePipelineAsync({
    layout: "auto",
    compute: { module: held.gpu.createShaderModule({ code: "fn f() -> u32 { return 1.5; }" }) },
  });
  await assert.rejects(broken);
}
await assert.rejects(openDevice(gpu, "t1"), { code: "no_device" });
console.log("tiers compile");
process.exit(0);
