/** What this build can open and compute with. The only file that names stores and executors. */
import { compileCore, Core } from "./core.js";
import type { LocalEngine } from "./engine/engine.js";
import { TreadleError } from "./errors.js";
import type { Bundle, ExecutorOptions } from "./executor.js";
import { openEngine, type Tier } from "./open.js";
import type { Source } from "./worker/host.js";

/** The best first. */
const TIERS: readonly Tier[] = [];

async function openBundle(source: Source, _options: ExecutorOptions): Promise<Bundle> {
  const text = "this build reads no bundles";
  throw new TreadleError("unsupported", text, { at: typeof source === "string" ? source : "source" });
}

/** Opens a model in this very thread. */
export async function openHere(source: Source, options: ExecutorOptions): Promise<LocalEngine> {
  const [bundle, core] = await Promise.all([
    openBundle(source, options),
    compileCore(new URL("./core.wasm", import.meta.url)),
  ]);
  return openEngine(bundle, new Core(core), TIERS, options);
}
