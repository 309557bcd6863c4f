/** What this build can open and compute with. The only file that names stores and executors. */
import { compileCore, Core } from "./core.js";
import type { LocalEngine } from "./engine/engine.js";
import { invalidRequest, TreadleError } from "./errors.js";
import type { ExecutorOptions } from "./executor.js";
import { openEngine, type Tier } from "./open.js";
import { openBundle } from "./store/download.js";
import type { Source } from "./worker/host.js";

const beside = (name: string) => new URL(`./${name}`, import.meta.url);

const cpu: Tier = {
  name: "cpu",
  alias: "wasm",
  open: async (bundle, options) => {
    // A step takes tens of milliseconds: in a page's own thread nothing would move.
    if (typeof document !== "undefined") {
      const hint = "leave out worker: false";
      throw invalidRequest("worker", "the CPU tier runs in workers only", hint);
    }
    const relaxed = compileCore(beside("cpu-relaxed.wasm")).catch(() => undefined);
    const [{ openCpu }, simd, fast] = await Promise.all([
      import("./cpu/run.js"),
      compileCore(beside("cpu-simd.wasm")),
      relaxed,
    ]);
    return openCpu(bundle, options, { simd, ...(fast ? { relaxed: fast } : {}) });
  },
};

/** The best first. */
const TIERS: readonly Tier[] = [cpu];

/** Opens a model in this very thread. */
export async function openHere(source: Source, options: ExecutorOptions): Promise<LocalEngine> {
  const { onProgress, signal } = options;
  const notes: string[] = [];
  const onWarning = (error: TreadleError) => notes.push(error.message);
  const hooks = { ...(onProgress ? { onProgress } : {}), ...(signal ? { signal } : {}), onWarning };
  const [bundle, core] = await Promise.all([
    openBundle(source, hooks),
    compileCore(beside("core.wasm")),
  ]);
  return openEngine(bundle, new Core(core), TIERS, options, notes);
}
