/** The CPU tier in node against what the native runtime said of the same bundle. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker as NodeWorker } from "node:worker_threads";
import { chooseModule } from "../src/cpu/module.js";
import { openCpu } from "../src/cpu/run.js";
import { work, type Thread } from "../src/cpu/threads.js";
import { TreadleError } from "../src/errors.js";
import {
  NO_TOKEN,
  type Draw,
  type Executor,
  type Progress,
  type StepRow,
  type TokenRecord,
} from "../src/executor.js";
import { openBundle } from "../src/store/download.js";
import { answers, drawOf, folder, headOf, off, tinyFolder, wasm, wasmBytes } from "./bundles.js";

const modules = { simd: await wasm("cpu-simd") }; // node's relaxed SIMD is not to be trusted
const greedy: Draw = {
  row: 0, temperature: 0, topP: 1, topK: 0, minP: 0, seed: 0n, index: 0,
  repetition: 1, presence: 0, frequency: 0, logprobs: -1,
}; // prettier-ignore

async function open(options: { pages?: number; onProgress?: (p: Progress) => void } = {}): Promise<Executor> {
  return openCpu(await openBundle(folder(tinyFolder)), options, modules);
}

/** A sequence on pages of its own. */
class Sequence {
  readonly ids: number[];
  done = 0;
  constructor(
    prompt: readonly number[],
    readonly pages: readonly number[],
  ) {
    this.ids = [...prompt];
  }
  /** What it has still to run, at most so much. */
  row(most = 1000): StepRow {
    const tokens = Int32Array.from(this.ids.slice(this.done, this.done + most));
    const row = { tokens, start: this.done, pages: Int32Array.from(this.pages), wants: false };
    this.done += tokens.length;
    row.wants = this.done === this.ids.length;
    return row;
  }
}

async function draw(executor: Executor, ...sequences: Sequence[]): Promise<void> {
  const records = await executor.sample(sequences.map((_, row) => ({ ...greedy, row })));
  records.forEach((record, i) => sequences[i]?.ids.push(record.token));
}

test("greedy tokens are the native runtime's", async () => {
  const executor = await open();
  for (const { prompt, tokens } of await answers()) {
    const one = new Sequence(prompt, [3, 0, 5, 1]);
    while (one.ids.length < prompt.length + tokens.length) {
      await executor.forward([one.row()]);
      await draw(executor, one);
    }
    assert.deepEqual(one.ids.slice(prompt.length), tokens);
  }
  executor.free();
  assert.throws(() => executor.forward([]), { code: "engine_dead" });
});

/** A thread of node in the shape of a browser's. */
function nodeThread(): Thread {
  const worker = new NodeWorker(new URL("./cpu_thread.js", import.meta.url));
  const thread: Thread = {
    postMessage: (job) => worker.postMessage(job),
    terminate: () => void worker.terminate(),
    onmessage: null,
    onerror: null,
  };
  worker.on("message", (data) => thread.onmessage?.({ data }));
  worker.on("error", (error) => thread.onerror?.(error));
  return thread;
}

test("threads say what one worker says, for as many as there are plans for", async () => {
  const threads = { simd: await wasm("cpu-simd-threads"), make: nodeThread };
  const [short, long] = await answers();
  assert.ok(short && long);
  for (const [wanted, count] of [[2, 2], [3, 2], [9, 4], [1, 0]] as const) {
    const executor = await openCpu(await openBundle(folder(tinyFolder)), { threads: wanted }, { ...modules, threads });
    assert.match(executor.tier, count ? new RegExp(`, ${count} threads\\)$`) : /^cpu \(\w+\)$/);
    const one = new Sequence(short.prompt, [7, 2]);
    const other = new Sequence(long.prompt, [4, 9, 10, 0]);
    while (other.ids.length > other.done + 10) await executor.forward([other.row(10)]);
    for (let i = 0; i < 20; i += 1) {
      await executor.forward([one.row(), other.row()]);
      await draw(executor, one, other);
    }
    assert.deepEqual(one.ids.slice(short.prompt.length), short.tokens.slice(0, 20));
    assert.deepEqual(other.ids.slice(long.prompt.length), long.tokens.slice(0, 20));
    executor.free();
  }
});

test("without its threads one worker runs; a worker that fails ends the executor", async () => {
  const simd = await wasm("cpu-simd-threads");
  const dead = (): Thread => {
    const thread: Thread = { postMessage: () => thread.onerror?.("no"), terminate: () => undefined, onmessage: null, onerror: null };
    return thread;
  };
  const bundle = await openBundle(folder(tinyFolder));
  const alone = await openCpu(bundle, { threads: 2 }, { ...modules, threads: { simd, make: dead } });
  assert.match(alone.tier, /^cpu \(\w+\)$/);
  // One that answers and goes: what it leaves is a host that nobody answers, unless it says so.
  let stop = () => {};
  const gone = (): Thread => {
    const thread: Thread = {
      postMessage: (job) => {
        stop = () => work({ ...job, worker: 99 }, () => undefined);
        thread.onmessage?.({ data: "ready" });
      },
      terminate: () => undefined, onmessage: null, onerror: null,
    }; // prettier-ignore
    return thread;
  };
  const executor = await openCpu(bundle, { threads: 2 }, { ...modules, threads: { simd, make: gone } });
  stop(); // returns at once: there is no such worker
  assert.throws(() => executor.forward([new Sequence([1, 2], [0]).row()]), { code: "engine_dead" });
});

test("the hidden state times the head is the row's logits, in every plan and thread count", async () => {
  const bundle = await openBundle(folder(tinyFolder));
  const head = await headOf(bundle);
  const threads = { simd: await wasm("cpu-simd-threads"), make: nodeThread };
  const told = await answers();
  assert(told.some(({ prompt }) => prompt.length <= 16) && told.some(({ prompt }) => prompt.length > 16));
  for (const options of [{}, { threads: 2 }]) {
    const executor = await openCpu(bundle, options, options.threads ? { ...modules, threads } : modules);
    for (const { prompt, logits } of told) {
      const other = new Sequence([5, 6, 7], [6]);
      await executor.forward([other.row(), new Sequence(prompt, [3, 0, 5, 1]).row()]);
      const state = await executor.hidden!(1);
      const far = off(head(state), logits);
      assert(far < 0.02, `${far} of the largest logit`); // the head reads 8-bit integers
      await assert.rejects(async () => executor.hidden!(2), { code: "invalid_request" });
    }
    executor.free();
  }
});

test("neither chunks nor neighbours change a token", async () => {
  const executor = await open({ pages: 12 });
  const [short, long] = await answers();
  assert.ok(short && long);
  const one = new Sequence(short.prompt, [7, 2]);
  const other = new Sequence(long.prompt, [4, 9, 11, 0]);
  while (other.ids.length > other.done + 10) await executor.forward([other.row(10)]);
  for (let i = 0; i < 20; i += 1) {
    await executor.forward([one.row(), other.row()]);
    await draw(executor, one, other);
  }
  assert.deepEqual(one.ids.slice(short.prompt.length), short.tokens.slice(0, 20));
  assert.deepEqual(other.ids.slice(long.prompt.length), long.tokens.slice(0, 20));
});

test("draws are those of Python's sampler", async () => {
  const executor = await open();
  for (const { prompt, draws } of await answers()) {
    executor.forward([new Sequence(prompt, [0, 1, 2]).row()]);
    const records = await executor.sample(draws.map(drawOf));
    draws.forEach(({ wanted }, i) => {
      const { token, logprob, top } = records[i] as TokenRecord;
      assert.deepEqual([token, top?.map(([id]) => id)], [wanted.token, wanted.top], `draw ${i}`);
      if (wanted.logprob !== undefined) assert.ok(Math.abs((logprob ?? NaN) - wanted.logprob) < 1e-3);
    });
  }
});

test("no legal token is a record of its own, and lies about a draw are refused", async () => {
  const executor = await open();
  executor.forward([new Sequence([1, 2], [0]).row()]);
  const [none] = await executor.sample([{ ...greedy, mask: new Uint32Array(9) }]);
  assert.equal(none?.token, NO_TOKEN);
  const wrong: Partial<Draw>[] = [
    { row: 1 },
    { mask: new Uint32Array(8) },
    { bias: new Map([[259, 1]]) },
    { seen: new Map([[-1, 1]]) },
    { logprobs: 21 },
  ];
  for (const change of wrong) {
    await assert.rejects(async () => executor.sample([{ ...greedy, ...change }]), { code: "invalid_request" });
  }
});

test("a copied page is the page", async () => {
  const executor = await open({ pages: 8 });
  const [, long] = await answers();
  assert.ok(long);
  const one = new Sequence(long.prompt, [0, 1, 2, 3]);
  await executor.forward([one.row()]);
  await draw(executor, one);
  for (const page of [0, 1, 2]) executor.copyPage?.(page, page + 4);
  const fork = new Sequence(one.ids, [4, 5, 6, 7]);
  fork.done = one.done;
  for (let i = 1; i < 12; i += 1) {
    await executor.forward([fork.row()]);
    await draw(executor, fork);
  }
  assert.deepEqual(fork.ids.slice(long.prompt.length), long.tokens.slice(0, 12));
});

test("what does not fit is refused, and the executor goes on", async () => {
  const executor = await open({ pages: 4 });
  const row = (change: Partial<StepRow>): StepRow => ({
    tokens: Int32Array.of(1), start: 0, pages: Int32Array.of(0), wants: true, ...change,
  }); // prettier-ignore
  const bad: StepRow[] = [
    row({ tokens: Int32Array.of(259) }),
    row({ tokens: new Int32Array(65) }),
    row({ tokens: new Int32Array(0) }),
    row({ pages: Int32Array.of(4) }),
    row({ pages: Int32Array.of(-1) }),
    row({ start: 16 }),
  ];
  for (const given of bad) assert.throws(() => executor.forward([given]), { code: "invalid_request" });
  assert.throws(() => executor.forward(Array.from({ length: 9 }, () => row({}))), { code: "invalid_request" });
  assert.throws(() => executor.copyPage?.(0, 4), { code: "invalid_request" });
  const [short] = await answers();
  assert.ok(short);
  const one = new Sequence(short.prompt, [1]);
  executor.forward([one.row()]);
  await draw(executor, one);
  assert.equal(one.ids.at(-1), short.tokens[0]);
});

test("loading tells how far it is, and can be stopped", async () => {
  const seen: Progress[] = [];
  await open({ onProgress: (progress) => seen.push(progress) });
  const last = seen.at(-1);
  assert.ok(last && last.loaded === last.total && last.phase === "upload");
  const bundle = await openBundle(folder(tinyFolder));
  const stopped = openCpu(bundle, { signal: AbortSignal.abort() }, modules);
  await assert.rejects(stopped, (error) => error instanceof TreadleError && error.code === "cancelled");
});

test("the module imports nothing", async () => {
  for (const name of ["cpu-simd", "cpu-relaxed"]) {
    const bytes = name === "cpu-simd" ? modules.simd : await wasm(name).catch(() => undefined);
    if (bytes) assert.deepEqual(WebAssembly.Module.imports(bytes), []);
  }
});

test("a module that computes something else is not taken", async () => {
  const bytes = new Uint8Array(await wasmBytes("cpu-simd"));
  const [dot, product] = [[0xfd, 0xba, 0x01], [0xfd, 0xb5, 0x01]]; // i32x4.dot_i16x8_s, i32x4.mul
  let changed = 0;
  for (let i = 0; i + 2 < bytes.length; i += 1) {
    if (dot.every((byte, k) => bytes[i + k] === byte)) {
      bytes.set(product as number[], i);
      changed += 1;
    }
  }
  assert.ok(changed > 0);
  const wrong = await WebAssembly.compile(bytes);
  assert.equal((await chooseModule({ ...modules, relaxed: wrong })).isa, "simd128");
  const missing = () => Promise.reject(new WebAssembly.CompileError("no such instruction"));
  assert.equal((await chooseModule({ ...modules, relaxed: missing })).isa, "simd128");
  await assert.rejects(chooseModule({ simd: wrong }), { code: "invalid_request", at: "selftest" });
});
