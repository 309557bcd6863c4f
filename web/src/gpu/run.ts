/**
 * The WebGPU executor. A step is one compute pass; a token without a mask is one submit (step and
 * draw together) and one readback of 4 bytes a row. Where masks are used, the step is submitted at
 * once, so that the device computes while the engine fills them, and the draw is a second submit.
 */
import { invalidRequest, TreadleError } from "../errors.js";
import type { Draw, Executor, StepRow, TokenRecord } from "../executor.js";
import type { Sizes } from "../expr.js";
import type { Weight } from "../manifest.js";
import type { ForwardName, HiddenPlan, ListName, Plan } from "../plan.js";
import { allocating, type Device } from "./device.js";
import { allocate, upload, type Buffers, type Shards } from "./memory.js";
import { bind, compile, type Lists } from "./pipelines.js";
import { Drawing, Records } from "./sample.js";

export interface Capacity {
  /** Most tokens and most sequences of a step. */
  readonly tokens: number;
  readonly rows: number;
  /** Most pages of a sequence, and pages in all. */
  readonly each: number;
  readonly pages: number;
}

export interface Loading {
  readonly shards: Shards;
  readonly uploaded?: (loaded: number, total: number) => void;
  readonly compiled?: (loaded: number, total: number) => void;
  readonly signal?: AbortSignal | undefined;
}

const DEPTH = 4; // draws that may wait to be read
const UNIFORM = 12; // words: T S R L P, then where ids pos slots starts lens rows table begin

export class GpuExecutor implements Executor {
  readonly vocab: number;
  readonly pageSize: number;
  readonly pages: number;
  readonly maxTokens: number;
  readonly maxRows: number;
  readonly tier: string;
  readonly device: Device;
  readonly hidden?: (row: number) => Promise<Float32Array>;
  /** Submits so far, and dispatches of the last list of each kind. */
  readonly counts = { submits: 0, dispatches: 0, steps: 0 };

  readonly #gpu: GPUDevice;
  readonly #buffers: Buffers;
  readonly #lists: Lists;
  readonly #run: GPUBuffer;
  readonly #drawing: Drawing;
  readonly #records: Records;
  readonly #capacity: Capacity;
  readonly #words: Int32Array<ArrayBuffer>;
  readonly #block = new Uint32Array(UNIFORM);
  #pending: GPUCommandEncoder | undefined;
  #masked = false;
  #wanted: number[] = []; // tokens of the last step, by row
  #list: ForwardName = "decode"; // that it ran
  #lost: TreadleError | undefined;

  private constructor(device: Device, plan: Plan, tier: string, capacity: Capacity, made: Made) {
    this.device = device;
    this.#gpu = device.gpu;
    this.tier = tier;
    this.vocab = plan.vocab;
    this.pageSize = plan.page;
    this.pages = capacity.pages;
    this.maxTokens = capacity.tokens;
    this.maxRows = capacity.rows;
    this.#capacity = capacity;
    this.#buffers = made.buffers;
    this.#lists = made.lists;
    this.#run = made.run;
    this.#drawing = new Drawing(device.gpu.queue, made.buffers, plan.vocab, capacity.rows);
    this.#records = new Records(device.gpu, capacity.rows, DEPTH);
    this.#words = new Int32Array(made.buffers.get("batch")!.size / 4);
    const { hidden } = plan;
    if (hidden) this.hidden = (row) => this.#state(hidden, row);
    void device.lost.then((error) => (this.#lost = error));
  }

  /** Allocates, uploads and compiles. Throws `out_of_memory`, `shader_failed`, `device_lost`. */
  static async open(
    device: Device,
    plan: Plan,
    tensors: ReadonlyMap<string, Weight>,
    tier: string,
    capacity: Capacity,
    loading: Loading,
  ): Promise<GpuExecutor> {
    const { gpu } = device;
    const compiling = compile(gpu, plan, loading.compiled);
    compiling.catch(() => {}); // reported below, after what may fail before it
    const buffers = await allocate(gpu, plan, sizesOf(capacity));
    const { shards, uploaded, signal } = loading;
    await upload(gpu, plan, tensors, buffers, shards, uploaded, signal);
    const usage = 0x40 | 0x08; // UNIFORM | COPY_DST
    const run = gpu.createBuffer({ label: "run", size: UNIFORM * 4, usage });
    const pipelines = await compiling;
    const lists = await allocating(gpu, () => bind(gpu, plan, pipelines, buffers, run));
    return new GpuExecutor(device, plan, tier, capacity, { buffers, lists, run });
  }

  /** Starts a step. Throws `device_lost`, `invalid_request`. */
  forward(rows: readonly StepRow[]): void {
    this.#alive();
    this.#flush();
    const run = this.#batch(rows);
    const ones = run.T === run.S;
    this.#list = !ones ? "prefill" : run.T === 1 ? "decode" : "batch";
    this.#pending = this.#gpu.createCommandEncoder();
    this.#encode(this.#pending, this.#list, run);
    this.counts.steps += 1;
    if (this.#masked || run.R === 0) this.#flush();
  }

  async sample(draws: readonly Draw[]): Promise<readonly TokenRecord[]> {
    return this.#drawn(draws);
  }

  async decode(
    rows: readonly StepRow[],
    draws: readonly Draw[],
    steps: number,
  ): Promise<readonly (readonly TokenRecord[])[]> {
    const fits = rows.length === draws.length && draws.every(({ row }, i) => row === i);
    if (!fits || steps > DEPTH || rows.some(({ tokens, wants }) => tokens.length !== 1 || !wants)) {
      throw new TreadleError("treadle_error", "rows and draws do not go together", { at: "decode" });
    }
    const records: Promise<readonly TokenRecord[]>[] = [];
    for (let k = 0; k < steps; k += 1) {
      const next = (row: StepRow, i: number) => ({ ...row, tokens: Int32Array.of(-1 - i), start: row.start + k });
      this.#masked = false; // masks are here already: nothing is filled while a step runs
      this.forward(k ? rows.map(next) : rows);
      records.push(this.#drawn(draws.map((draw) => ({ ...draw, index: draw.index + k }))));
    }
    return Promise.all(records);
  }

  /** Submits the step at hand with its draws; resolves when they are read. */
  async #drawn(draws: readonly Draw[]): Promise<readonly TokenRecord[]> {
    this.#alive();
    if (!draws.length) return [];
    if (draws.length > this.maxRows || draws.some((draw) => draw.row >= this.#wanted.length)) {
      throw new TreadleError("treadle_error", "draws name rows that were not wanted", { at: "sample" });
    }
    this.#masked = draws.some((draw) => draw.mask);
    const packed = this.#drawing.write(draws);
    const encoder = this.#pending ?? this.#gpu.createCommandEncoder();
    this.#pending = encoder;
    this.#encode(encoder, "sample", { T: 0, S: 0, L: 0, P: 0, R: packed.draws, E: 0 });
    const record = this.#records.copy(encoder, this.#buffers, packed);
    this.#flush();
    const asked = draws.map(({ logprobs }) => ({ logprobs: Math.min(logprobs, this.vocab) }));
    try {
      return await this.#records.read(record, asked, packed.told);
    } catch (cause) {
      throw await this.#gone("sample", cause);
    }
  }

  free(): void {
    this.#pending = undefined;
    this.#lost ??= new TreadleError("engine_dead", "the executor is freed", { at: "gpu" });
    this.#gpu.destroy();
  }

  /** Logits of the last step's wanted rows, for tests: the engine never reads them back. */
  async logits(): Promise<Float32Array> {
    return this.#floats([["logits", 0, this.#wanted.length * this.vocab]]);
  }

  /** The norm is taken here: a list of its own would be compiled for those who never ask. */
  async #state({ states, norm, eps, width }: HiddenPlan, row: number): Promise<Float32Array> {
    this.#alive();
    const token = this.#wanted[row];
    if (token === undefined) throw invalidRequest("hidden", `row ${row} was not wanted`);
    const both = await this.#floats([
      [states[this.#list], token * width, width],
      [norm, 0, width],
    ]);
    const weight = both.subarray(width);
    const state = both.slice(0, width);
    const by = 1 / Math.sqrt(state.reduce((sum, x) => sum + x * x, 0) / width + eps);
    return state.map((x, i) => x * by * weight[i]!);
  }

  /** Runs of buffers, [name, first float, floats], as the last step left them. */
  async #floats(parts: readonly (readonly [string, number, number])[]): Promise<Float32Array> {
    this.#flush();
    const size = 4 * parts.reduce((sum, [, , count]) => sum + count, 0);
    const copy = this.#gpu.createBuffer({ size, usage: 0x01 | 0x08 });
    const encoder = this.#gpu.createCommandEncoder();
    let at = 0;
    for (const [name, first, count] of parts) {
      encoder.copyBufferToBuffer(this.#buffers.get(name)!, 4 * first, copy, at, 4 * count);
      at += 4 * count;
    }
    this.#gpu.queue.submit([encoder.finish()]);
    try {
      await copy.mapAsync(0x01);
      return new Float32Array(copy.getMappedRange()).slice();
    } catch (cause) {
      throw await this.#gone("hidden", cause);
    } finally {
      copy.destroy();
    }
  }

  async #gone(at: string, cause: unknown): Promise<TreadleError> {
    await Promise.resolve(); // the reason for a lost device arrives with the rejection
    return this.#lost ?? new TreadleError("device_lost", "the GPU took back its memory", { at, cause });
  }

  /** Packs the rows into `batch`; an id of -1-j means token j of the last draw. */
  #batch(rows: readonly StepRow[]): Sizes {
    const { tokens: most, rows: sequences, each } = this.#capacity;
    const T = rows.reduce((sum, row) => sum + row.tokens.length, 0);
    const L = rows.reduce((longest, row) => Math.max(longest, row.pages.length), 1);
    if (!T || T > most || rows.length > sequences || L > each) {
      const text = `${rows.length} rows of ${T} tokens over ${L} pages do not fit`;
      throw invalidRequest("forward", text, `up to ${sequences} rows, ${most} tokens, ${each} pages a row`);
    }
    const words = this.#words;
    const [ids, pos, slots, starts] = [0, most, 2 * most, 3 * most];
    const lens = starts + sequences + 1;
    const wanted = lens + sequences;
    const table = wanted + sequences;
    let t = 0;
    let R = 0;
    for (const [s, row] of rows.entries()) {
      const { tokens, start, pages, wants } = row;
      this.#check(row);
      words[starts + s] = t;
      words[lens + s] = start + tokens.length;
      words.fill(0, table + s * L, table + (s + 1) * L);
      words.set(pages, table + s * L);
      for (const [j, id] of tokens.entries()) {
        const position = start + j;
        words[ids + t] = id;
        words[pos + t] = position;
        words[slots + t] = pages[Math.floor(position / this.pageSize)]! * this.pageSize + (position % this.pageSize);
        t += 1;
      }
      if (wants) words[wanted + R++] = t - 1;
    }
    this.#wanted = [...words.subarray(wanted, wanted + R)];
    words[starts + rows.length] = t;
    this.#block.set([T, rows.length, R, L, this.pages, ids, pos, slots, starts, lens, wanted, table]);
    const { queue } = this.#gpu;
    queue.writeBuffer(this.#run, 0, this.#block);
    queue.writeBuffer(this.#buffers.get("batch")!, 0, words, 0, table + rows.length * L);
    return { T, S: rows.length, R, L, P: this.pages, E: 0 };
  }

  /** Kernels do not look: an id or a page that does not exist is refused here. */
  #check({ tokens, start, pages }: StepRow): void {
    const end = start + tokens.length;
    const token = tokens.find((id) => id >= this.vocab || id < -this.maxRows);
    const page = pages.find((one) => one < 0 || one >= this.pages);
    if (token !== undefined) throw invalidRequest("forward", `token ${token} does not exist`);
    if (page !== undefined) throw invalidRequest("forward", `page ${page} does not exist`);
    if (!tokens.length || start < 0 || end > pages.length * this.pageSize) {
      throw invalidRequest("forward", `tokens ${start} to ${end} do not lie in ${pages.length} pages`);
    }
  }

  #encode(encoder: GPUCommandEncoder, name: ListName, sizes: Sizes): void {
    const work = encoder.beginComputePass();
    let last: GPUComputePipeline | undefined;
    for (const { pipeline, group, grid } of this.#lists[name]) {
      const [x, y, z] = [grid[0](sizes), grid[1](sizes), grid[2](sizes)];
      if (!x || !y || !z) continue;
      if (pipeline !== last) work.setPipeline((last = pipeline));
      work.setBindGroup(0, group);
      work.dispatchWorkgroups(x, y, z);
      this.counts.dispatches += 1;
    }
    work.end();
  }

  #flush(): void {
    if (!this.#pending) return;
    this.#gpu.queue.submit([this.#pending.finish()]);
    this.#pending = undefined;
    this.counts.submits += 1;
  }

  #alive(): void {
    if (this.#lost) throw this.#lost;
  }
}

interface Made {
  readonly buffers: Buffers;
  readonly lists: Lists;
  readonly run: GPUBuffer;
}

function sizesOf({ tokens, rows, each, pages }: Capacity): Sizes {
  return { T: tokens, S: rows, R: rows, L: each, P: pages, E: rows * 2048 };
}
