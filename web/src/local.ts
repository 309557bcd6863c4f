/** An engine in this very thread, for those who bring their own worker. A chunk of its own. */
import type { ExecutorOptions } from "./executor.js";
import { apiOver, invokeOn, type Api } from "./openai/api.js";
import { openHere } from "./platform.js";
import type { BundleManifest } from "./types.js";
import type { Source } from "./worker/host.js";

export async function createLocal(
  source: Source,
  options: ExecutorOptions,
): Promise<Api & { readonly manifest: BundleManifest }> {
  const engine = await openHere(source, options);
  return { ...apiOver(invokeOn(engine)), manifest: engine.manifest };
}
