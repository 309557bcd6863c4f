/** A bundle to an engine: its texts, the best tier that runs here, and what follows a lost device. */
import { TreadleError } from "./errors.js";
import type { Bundle, Executor, ExecutorOptions, OpenExecutor } from "./executor.js";
import { LocalEngine, readTexts, type LoadCore } from "./engine/engine.js";

/** A way to compute: `name` as in the manifest, `open` throws where it cannot run. */
export interface Tier {
  readonly name: string;
  /** What else a user may call it. */
  readonly alias?: string;
  open: OpenExecutor;
}

/** Errors that mean: not here, perhaps by another tier. */
const NEXT: readonly string[] = ["no_device", "shader_failed", "unsupported", "out_of_memory"];
const SOON_MS = 60_000; // a second loss within this time asks for less

/** `tiers`: the best first. `notes` grow with what is skipped or lost. Throws `no_device` naming what each tier lacks, and what reading throws. */
export async function openEngine(
  bundle: Bundle,
  core: LoadCore,
  tiers: readonly Tier[],
  options: ExecutorOptions = {},
  notes: string[] = [],
): Promise<LocalEngine> {
  const executor = await best(bundle, tiers, options, notes);
  try {
    const texts = await readTexts(bundle, options.signal);
    let lost = -Infinity;
    const reopen = async (_losses: number, cause: TreadleError): Promise<Executor> => {
      const again = performance.now() - lost < SOON_MS;
      lost = performance.now();
      const smaller = again || cause.code === "out_of_memory";
      const context = options.contextLength ?? bundle.manifest.limits.context;
      const { signal: _signal, ...rest } = options;
      const next = smaller ? { ...rest, contextLength: Math.max(256, context >> 1) } : rest;
      const made = await best(bundle, tiers, next, notes);
      notes.push(`${cause.message}: opened again on ${made.tier}`);
      return made;
    };
    const { contextLength } = options;
    return new LocalEngine(core, texts, executor, {
      reopen,
      notes,
      ...(contextLength === undefined ? {} : { contextLength }),
    });
  } catch (error) {
    executor.free();
    throw error;
  }
}

async function best(
  bundle: Bundle,
  tiers: readonly Tier[],
  options: ExecutorOptions,
  notes: string[],
): Promise<Executor> {
  const { tier: wanted = "auto" } = options;
  const asked = tiers.filter(({ name, alias }) => wanted === "auto" || wanted === name || wanted === alias);
  const here = asked.filter(({ name }) => name in bundle.manifest.tiers);
  const skipped: string[] = [];
  for (const { name, open } of here) {
    try {
      return await open(bundle, options);
    } catch (thrown) {
      const error = TreadleError.from(thrown);
      if (!NEXT.includes(error.code)) throw error;
      skipped.push(`${name}: ${error.message}`);
      notes.push(`${name}: ${error.message}`);
    }
  }
  const has = Object.keys(bundle.manifest.tiers).join(", ");
  const why = skipped.length ? skipped.join("; ") : `no tier "${wanted}" among those of the bundle: ${has}`;
  throw new TreadleError("no_device", why, { at: "tier", hint: "use a bundle with another tier" });
}
