/** A bundle's WebGPU tier as an executor. */
import { throwIfAborted, TreadleError } from "../errors.js";
import type { Bundle, Executor, ExecutorOptions, Progress } from "../executor.js";
import { parsePlan } from "../manifest.js";
import { readPlan } from "../plan.js";
import { openDevice, type Device, type GpuTier } from "./device.js";
import { GpuExecutor, type Capacity } from "./run.js";

const ROWS = 8;
const KV_SHARE = 256; // MiB of KV pages by default

/**
 * Opens a WebGPU tier of a bundle on a device that has its features, or on the default one. Throws
 * `no_device`, `out_of_memory`, `shader_failed`, `model_format_error`, `cancelled`, and what the
 * bundle throws.
 */
export async function openGpu(
  bundle: Bundle,
  options: ExecutorOptions,
  device?: Device,
  tier: GpuTier = "t0",
): Promise<Executor> {
  const { signal, onProgress } = options;
  throwIfAborted(signal);
  const weights = parsePlan(await bundle.read("plan.json", signal), bundle.manifest);
  const record = weights.tiers[tier];
  if (!record) {
    const hint = `export it again with --tiers ${tier},cpu`;
    throw new TreadleError("no_device", `the bundle has no tier ${tier}`, { at: "plan.json", hint });
  }
  const held = device ?? (await openDevice(undefined, tier));
  const kernels = new TextDecoder().decode(await bundle.read(`kernels.${tier}.wgsl`, signal));
  const read = readPlan(record, kernels);
  const capacity = capacityOf(bundle, options, held, read.page, pageBytes(read));
  const report = (phase: Progress["phase"]) => (loaded: number, total: number) =>
    onProgress?.({ phase, loaded, total });
  return GpuExecutor.open(held, read, weights.weights, tier, capacity, {
    shards: (index) => {
      const path = weights.shards[index];
      if (path === undefined) throw new TreadleError("model_format_error", `has no shard ${index}`, { at: "plan.json" });
      return bundle.read(path, signal);
    },
    uploaded: report("upload"),
    compiled: report("compile"),
    signal,
  });
}

/** Bytes of one page in the layer that holds most. */
function pageBytes(plan: ReturnType<typeof readPlan>): { each: number; all: number } {
  const sizes = { T: 1, S: 1, R: 1, L: 1, P: 1, E: 1 };
  const pages = [...plan.buffers.values()].filter(({ kv }) => kv).map(({ size }) => size(sizes));
  return { each: Math.max(1, ...pages), all: pages.reduce((sum, bytes) => sum + bytes, 0) };
}

function capacityOf(
  bundle: Bundle,
  options: ExecutorOptions,
  device: Device,
  page: number,
  bytes: { each: number; all: number },
): Capacity {
  const context = Math.min(options.contextLength ?? 4096, bundle.manifest.limits.context);
  const each = Math.ceil(context / page);
  const binding = Math.floor(device.gpu.limits.maxStorageBufferBindingSize / bytes.each);
  const share = Math.max(each, Math.floor((KV_SHARE << 20) / Math.max(1, bytes.all)));
  const pages = Math.min(options.pages ?? Math.min(share, ROWS * each), binding);
  return { tokens: device.software ? 32 : 128, rows: ROWS, each: Math.min(each, pages), pages };
}
