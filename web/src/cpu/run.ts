/** The CPU tier: an executor over WebAssembly, one worker. The same code runs in node. */
import { invalidRequest, TreadleError } from "../errors.js";
import type { Bundle, Draw, Executor, ExecutorOptions, StepRow, TokenRecord } from "../executor.js";
import { load } from "./load.js";
import { chooseModule, type CpuModule } from "./module.js";

/** The two builds, compiled. Without `relaxed` the plain one runs. */
export interface CpuModules {
  readonly simd: WebAssembly.Module;
  readonly relaxed?: WebAssembly.Module;
}

const KV_BYTES = 512 << 20; // of pages, unless the caller says how many
const SLACK = 1; // pages beyond one whole context: a sequence may grow while another is there

/** Loads a bundle's weights and plans. Throws `no_device`, `out_of_memory`, `model_format_error`. */
export async function openCpu(bundle: Bundle, options: ExecutorOptions, modules: CpuModules): Promise<Executor> {
  const module = chooseModule(modules.simd, modules.relaxed);
  const tier = await load(module, bundle, options);
  const { vocab, context, page } = bundle.manifest.limits;
  if (page !== 16) {
    throw new TreadleError("unsupported", `KV pages of ${page} tokens`, { at: "manifest.json, limits/page" });
  }
  const bytes = tier.states.reduce((sum, [heads, size]) => sum + 4 * page * heads * size, 0);
  const most = Math.max(1, Math.floor(KV_BYTES / Math.max(1, bytes)));
  const wanted = Math.ceil(Math.min(options.contextLength ?? context, context) / page) + SLACK;
  const pages = options.pages ?? Math.min(wanted, most);
  module.call("tr_cpu_start", pages);
  const plans = tier.plans.filter((plan) => plan.workers === 1);
  return new CpuExecutor(module, {
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

  constructor(module: CpuModule, sizes: Sizes) {
    this.#module = module;
    this.vocab = sizes.vocab;
    this.pageSize = sizes.pageSize;
    this.pages = sizes.pages;
    this.maxTokens = sizes.maxTokens;
    this.maxRows = sizes.maxRows;
    this.tier = `cpu (${module.isa})`;
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

  copyPage(from: number, to: number): void {
    this.#live().call("tr_cpu_copy_page", from, to);
  }

  free(): void {
    this.#module = undefined; // its memory goes with it
  }

  #draw(module: CpuModule, draw: Draw): TokenRecord {
    const address = module.call("tr_cpu_logits", draw.row) >>> 0;
    if (!address) throw invalidRequest("draw", `the last step wanted no row ${draw.row}`);
    const logits = module.floats(address, this.vocab);
    let best = -1;
    for (let i = 0; i < this.vocab; i += 1) {
      const legal = !draw.mask || ((draw.mask[i >>> 5] ?? 0) >>> (i & 31)) & 1;
      if (legal && (best < 0 || (logits[i] as number) > (logits[best] as number))) best = i;
    }
    return { token: best };
  }

  #live(): CpuModule {
    if (this.#module) return this.#module;
    throw new TreadleError("engine_dead", "the executor was freed", { hint: "load the model again" });
  }
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
