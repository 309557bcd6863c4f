/** The CPU tier: an executor over WebAssembly, one thread or several. The same code runs in node. */
import { invalidRequest, TreadleError } from "../errors.js";
import {
  NO_TOKEN,
  NOT_FINITE,
  type Bundle,
  type Draw,
  type Executor,
  type ExecutorOptions,
  type StepRow,
  type TokenRecord,
} from "../executor.js";
import { load, readPlans, workersOf } from "./load.js";
import { chooseModule, type CpuModule, type CpuModules } from "./module.js";
import { sharedMemory, startThreads, THREADS, type Thread } from "./threads.js";

const HEAD = 15; // words before the lists, cpp/bind/wasm_cpu_draw.cc
const KV_BYTES = 512 << 20; // of pages, unless the caller says how many
const STATUS: readonly number[] = [0, NO_TOKEN, NOT_FINITE]; // of cpp/cpu/sample.h
const SLACK = 1; // pages beyond one whole context: a sequence may grow while another is there

/**
 * Loads a bundle's weights and plans. With `modules.threads`, `options.threads` of them run, as far as
 * the bundle has plans for so many; where they do not come up, one worker runs in this thread. Throws
 * `no_device`, `out_of_memory`, `model_format_error`.
 */
export async function openCpu(bundle: Bundle, options: ExecutorOptions, modules: CpuModules): Promise<Executor> {
  try {
    return await opened(bundle, options, modules);
  } catch (error) {
    if (!(error instanceof TreadleError && error.at === THREADS)) throw error;
    return opened(bundle, { ...options, threads: 1 }, modules);
  }
}

async function opened(bundle: Bundle, options: ExecutorOptions, modules: CpuModules): Promise<Executor> {
  const { vocab, context, page } = bundle.manifest.limits;
  if (page !== 16) {
    throw new TreadleError("unsupported", `KV pages of ${page} tokens`, { at: "manifest.json, limits/page" });
  }
  const found = await readPlans(bundle, options.signal);
  const { tier } = found;
  const workers = modules.threads ? workersOf(tier, options.threads ?? 1) : 1;
  const module =
    modules.threads && workers > 1
      ? await chooseModule(modules.threads, sharedMemory)
      : await chooseModule(modules);
  await load(module, bundle, found, workers, options);
  const bytes = tier.states.reduce((sum, [heads, size]) => sum + 4 * page * heads * size, 0);
  const most = Math.max(1, Math.floor(KV_BYTES / Math.max(1, bytes)));
  const wanted = Math.ceil(Math.min(options.contextLength ?? context, context) / page) + SLACK;
  const pages = options.pages ?? Math.min(wanted, most);
  module.call("tr_cpu_start", pages);
  const plans = tier.plans.filter((plan) => plan.workers === workers);
  const { module: code, shared: memory } = module;
  const threads =
    modules.threads && memory
      ? await startThreads(modules.threads.make, workers, { module: code, memory }, (n) => module.take(n), module.localBytes)
      : [];
  return new CpuExecutor(module, threads, {
    vocab,
    pageSize: page,
    pages,
    maxTokens: Math.max(...plans.map((plan) => plan.rows)),
    maxRows: Math.min(...plans.map((plan) => plan.slots)),
  });
}

interface Sizes {
  readonly vocab: number;
  readonly pageSize: number;
  readonly pages: number;
  readonly maxTokens: number;
  readonly maxRows: number;
}

class CpuExecutor implements Executor {
  readonly vocab: number;
  readonly pageSize: number;
  readonly pages: number;
  readonly maxTokens: number;
  readonly maxRows: number;
  readonly tier: string;
  #module: CpuModule | undefined;
  readonly #threads: readonly Thread[];

  constructor(module: CpuModule, threads: readonly Thread[], sizes: Sizes) {
    this.#module = module;
    this.#threads = threads;
    this.vocab = sizes.vocab;
    this.pageSize = sizes.pageSize;
    this.pages = sizes.pages;
    this.maxTokens = sizes.maxTokens;
    this.maxRows = sizes.maxRows;
    this.tier = `cpu (${module.isa}${threads.length ? `, ${threads.length} threads` : ""})`;
  }

  forward(rows: readonly StepRow[]): void {
    const module = this.#live();
    const batch = batchOf(rows, this.pageSize);
    const address = module.room(batch.byteLength);
    module.words(address, batch.length).set(batch);
    module.call("tr_cpu_step", address, batch.length);
  }

  sample(draws: readonly Draw[]): Promise<readonly TokenRecord[]> {
    const module = this.#live();
    return Promise.resolve(draws.map((draw) => this.#draw(module, draw)));
  }

  hidden(row: number): Float32Array {
    const module = this.#live();
    const width = module.call("tr_cpu_width");
    const address = module.room(4 * width);
    module.call("tr_cpu_hidden", row, address, width);
    return module.floats(address, width).slice();
  }

  copyPage(from: number, to: number): void {
    this.#live().call("tr_cpu_copy_page", from, to);
  }

  free(): void {
    this.#module = undefined; // its memory goes with it
    for (const thread of this.#threads) thread.terminate();
  }

  #draw(module: CpuModule, draw: Draw): TokenRecord {
    const words = drawWords(draw, this.vocab);
    const told = Math.max(0, draw.logprobs);
    const room = 3 + 2 * told;
    const address = module.room((words.length + room) * 4);
    module.words(address, words.length).set(words);
    const out = address + words.length * 4;
    module.call("tr_cpu_sample", address, words.length, out, room);
    const ids = module.words(out, room);
    const token = ids[1] ? STATUS[ids[1]] ?? NOT_FINITE : (ids[0] as number);
    if (draw.logprobs < 0 || token < 0) return { token };
    const values = module.floats(out, room);
    const top = Array.from({ length: told }, (_, i) => [ids[3 + i], values[3 + told + i]] as [number, number]);
    return { token, logprob: values[2] as number, top: top.filter(([id]) => id >= 0) };
  }

  #live(): CpuModule {
    if (this.#module) return this.#module;
    throw new TreadleError("engine_dead", "the executor was freed", { hint: "load the model again" });
  }
}

/** The words of `tr_cpu_sample`. */
export function drawWords(draw: Draw, vocab: number): Int32Array {
  const { mask, bias, seen, prompt } = draw;
  const counts = new Map(seen);
  if (draw.repetition !== 1) for (const id of prompt ?? []) if (!counts.has(id)) counts.set(id, 0);
  const B = bias?.size ?? 0;
  const N = counts.size;
  const W = mask ? Math.ceil(vocab / 32) : 0;
  if (mask && mask.length < W) throw invalidRequest("mask", `has ${mask.length} words, expected ${W}`);
  const out = new Int32Array(HEAD + 2 * B + 2 * N + W);
  const reals = new Float32Array(out.buffer);
  out[0] = draw.row;
  out[1] = mask ? 1 : 0;
  reals.set([draw.temperature, draw.topP, draw.minP, draw.presence, draw.frequency, draw.repetition], 2);
  out.set([draw.topK, draw.index, draw.logprobs], 8);
  out[11] = Number(BigInt.asIntN(32, draw.seed));
  out[12] = Number(BigInt.asIntN(32, draw.seed >> 32n));
  out[13] = B;
  out[14] = N;
  out.set(bias ? [...bias.keys()] : [], HEAD);
  reals.set(bias ? [...bias.values()] : [], HEAD + B);
  out.set([...counts.keys()], HEAD + 2 * B);
  out.set([...counts.values()], HEAD + 2 * B + N);
  if (mask) out.set(mask.subarray(0, W), HEAD + 2 * B + 2 * N);
  return out;
}

/** The words of `tr_cpu_step`. */
export function batchOf(rows: readonly StepRow[], page: number): Int32Array {
  const tokens = rows.reduce((sum, row) => sum + row.tokens.length, 0);
  const wanted = rows.filter((row) => row.wants).length;
  const width = Math.max(1, ...rows.map((row) => Math.ceil((row.start + row.tokens.length) / page)));
  const S = rows.length;
  const out = new Int32Array(4 + 3 * tokens + S + 1 + S + S * width + wanted);
  out.set([tokens, S, wanted, width]);
  const ids = 4;
  const positions = ids + tokens;
  const slots = positions + tokens;
  const starts = slots + tokens;
  const lens = starts + S + 1;
  const table = lens + S;
  const chosen = table + S * width;
  let at = 0;
  let row = 0;
  rows.forEach((given, s) => {
    const end = given.start + given.tokens.length;
    const used = Math.ceil(end / page);
    if (given.pages.length < used) throw invalidRequest("pages", `are too few for ${end} tokens`);
    out.set(given.tokens, ids + at);
    for (let i = 0; i < given.tokens.length; i += 1) {
      const position = given.start + i;
      out[positions + at + i] = position;
      out[slots + at + i] = (given.pages[Math.floor(position / page)] ?? 0) * page + (position % page);
    }
    out.set(given.pages.subarray(0, used), table + s * width);
    at += given.tokens.length;
    out[starts + s + 1] = at;
    out[lens + s] = end;
    if (given.wants) out[chosen + row++] = at - 1;
  });
  return out;
}
