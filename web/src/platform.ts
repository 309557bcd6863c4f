/** What this build can open and compute with. The only file that names stores and executors. */
import { compileCore } from "./compile.js";
import type { Core } from "./core.js";
import type { Thread } from "./cpu/threads.js";
import type { LocalEngine } from "./engine/engine.js";
import { invalidRequest, TreadleError } from "./errors.js";
import type { ExecutorOptions } from "./executor.js";
import type { GpuTier } from "./gpu/device.js";
import { openEngine, type Tier } from "./open.js";
import { openBundle } from "./store/download.js";
import type { Source } from "./worker/host.js";

const beside = (name: string) => new URL(`./${name}`, import.meta.url);

const gpu = (name: GpuTier): Tier => ({
  name,
  open: async (bundle, options) => {
    const [{ openDevice }, { openGpu }] = await Promise.all([
      import("./gpu/device.js"),
      import("./gpu/open.js"),
    ]);
    const device = await openDevice(undefined, name);
    if (device.software && options.tier !== name) {
      device.gpu.destroy();
      const text = `${device.name} is a processor that plays a GPU: the CPU tier is faster`;
      throw new TreadleError("no_device", text, { hint: `ask for it with tier "${name}"` });
    }
    try {
      return await openGpu(bundle, options, device, name);
    } catch (error) {
      device.gpu.destroy();
      throw error;
    }
  },
});

const cpu: Tier = {
  name: "cpu",
  alias: "wasm",
  open: async (bundle, options) => {
    // A step takes tens of milliseconds: in a page's own thread nothing would move.
    if (typeof document !== "undefined") {
      const hint = "leave out worker: false";
      throw invalidRequest("worker", "the CPU tier runs in workers only", hint);
    }
    const { openCpu } = await import("./cpu/run.js");
    const built = (name: string) => () => compileCore(beside(`cpu-${name}.wasm`));
    const modules = { simd: built("simd"), relaxed: built("relaxed") };
    const threads = {
      ...{ simd: built("simd-threads"), relaxed: built("relaxed-threads") },
      make: () => new Worker(beside("cpu_worker.js"), { type: "module" }) as Thread,
    };
    const shares = globalThis.crossOriginIsolated && typeof Worker !== "undefined";
    // Half of the processors; beyond four memory sets the pace.
    const half = navigator.hardwareConcurrency >> 1;
    const wanted = { ...options, threads: options.threads ?? Math.min(4, half) };
    return openCpu(bundle, wanted, shares ? { ...modules, threads } : modules);
  },
};

// Most schemas need no more than the smaller module; a page that never asks for one loads neither.
const loadCore = async (whole: boolean): Promise<Core> => {
  const [{ Core }, module] = await Promise.all([
    import("./core.js"),
    compileCore(beside(whole ? "core.wasm" : "core-json.wasm")),
  ]);
  return new Core(module);
};

/** The best first. */
const TIERS: readonly Tier[] = [gpu("t2"), gpu("t0s"), gpu("t1"), gpu("t0"), cpu];

/** Opens a model in this very thread. */
export async function openHere(source: Source, options: ExecutorOptions): Promise<LocalEngine> {
  const { onProgress, signal } = options;
  const notes: string[] = [];
  const onWarning = (error: TreadleError) => notes.push(error.message);
  const hooks = { ...(onProgress ? { onProgress } : {}), ...(signal ? { signal } : {}), onWarning };
  return openEngine(await openBundle(source, hooks), loadCore, TIERS, options, notes);
}
