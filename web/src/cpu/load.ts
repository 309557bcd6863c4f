/** Weights and plans of a bundle into the CPU module: shard by shard, packed as they arrive. */
import { throwIfAborted, TreadleError } from "../errors.js";
import type { Bundle, ExecutorOptions } from "../executor.js";
import { parseCpuTier, parsePlan, type CpuTier, type Weight, type WeightPlan } from "../manifest.js";
import type { CpuModule } from "./module.js";

const PART = 1 << 20;
const IN_FLIGHT = 4;

interface Part {
  readonly param: number;
  readonly offset: number;
  readonly length: number;
}

/** What a bundle holds for this tier. Throws `no_device` when it is nothing. */
export interface CpuPlans {
  readonly weights: WeightPlan;
  readonly tier: CpuTier;
}

export async function readPlans(bundle: Bundle, signal?: AbortSignal): Promise<CpuPlans> {
  const plan = parsePlan(await bundle.read("plan.json", signal), bundle.manifest);
  const tier = parseCpuTier(plan, bundle.manifest);
  if (!tier) {
    const hint = "export the model with --tiers cpu";
    throw new TreadleError("no_device", "the bundle has no CPU tier", { at: "plan.json, tiers", hint });
  }
  return { weights: plan, tier };
}

/** The most workers, of at most so many, that there are plans for. */
export function workersOf({ plans }: CpuTier, most: number): number {
  return Math.max(1, ...plans.map(({ workers }) => workers).filter((count) => count <= most));
}

/** Loads plans for so many workers, and the weights; the module waits for `tr_cpu_start`. */
export async function load(
  module: CpuModule,
  bundle: Bundle,
  { weights: plan, tier }: CpuPlans,
  count: number,
  options: ExecutorOptions,
): Promise<void> {
  const tasks = await bundle.read(tier.file, options.signal);
  for (const { workers, offset, length } of [...tier.plans].sort((a, b) => a.rows - b.rows)) {
    if (workers !== count) continue;
    module.call("tr_cpu_plan", module.stage(tasks.subarray(offset, offset + length)), length);
  }
  declare(module, plan, tier);
  await feed(module, bundle, plan, tier, options);
}

function declare(module: CpuModule, plan: WeightPlan, tier: CpuTier): void {
  for (const param of tier.params) {
    const weight = param && plan.weights.get(param[0]);
    if (!weight) {
      module.call("tr_cpu_unused");
    } else if (param[1] === "vector") {
      if (weight.format !== "f32") throw format(param[0], `is ${weight.format}, expected f32`);
      module.call("tr_cpu_vector", weight.rows * weight.cols);
    } else {
      const kind = new TextEncoder().encode(weight.format);
      const rows = weight.rows / weight.experts;
      module.call("tr_cpu_matrix", module.stage(kind), kind.length, rows, weight.cols, weight.experts);
    }
  }
  for (const [heads, size] of tier.states) module.call("tr_cpu_state", heads, size);
}

function format(name: string, text: string): TreadleError {
  return new TreadleError("model_format_error", text, { at: `plan.json, weights/${name}`, hint: "export it again" });
}

// A tensor's pieces stand in rising shards, and each shard is read once, in order.
async function feed(
  module: CpuModule,
  bundle: Bundle,
  plan: WeightPlan,
  tier: CpuTier,
  { signal, onProgress }: ExecutorOptions,
): Promise<void> {
  const parts: Part[][] = plan.shards.map(() => []);
  let total = 0;
  tier.params.forEach((param, number) => {
    const weight: Weight | undefined = param ? plan.weights.get(param[0]) : undefined;
    let last = -1;
    for (const [shard, offset, length] of weight?.pieces ?? []) {
      if (shard <= last) throw format(param?.[0] ?? "", "has pieces that run backwards");
      last = shard;
      parts[shard]?.push({ param: number, offset, length });
      total += length;
    }
  });
  const wanted = plan.shards.map((path, i) => ({ path, parts: parts[i] ?? [] })).filter((s) => s.parts.length);
  const coming: Promise<Uint8Array>[] = [];
  const ask = () => {
    const next = wanted[coming.length];
    if (!next) return;
    const reading = bundle.read(next.path, signal);
    reading.catch(() => undefined); // looked at when its turn comes
    coming.push(reading);
  };
  for (let i = 0; i < IN_FLIGHT; i += 1) ask();
  let loaded = 0;
  for (let i = 0; i < wanted.length; i += 1) {
    const bytes = (await coming[i]) as Uint8Array;
    coming[i] = Promise.resolve(new Uint8Array()); // lets go of it
    ask();
    for (const part of wanted[i]?.parts ?? []) {
      for (let at = 0; at < part.length; at += PART) {
        const from = part.offset + at;
        const some = bytes.subarray(from, Math.min(from + PART, part.offset + part.length));
        module.call("tr_cpu_feed", part.param, module.stage(some), some.length);
        loaded += some.length;
      }
    }
    onProgress?.({ phase: "upload", loaded, total, file: wanted[i]?.path ?? "" });
    throwIfAborted(signal);
  }
}
