/** Language models in a tab with OpenAI's methods: what a page loads at `/treadle.js`. */
import type { Api } from "./openai/api.js";
import type { BundleManifest } from "./types.js";
import { connect, type RemoteOptions } from "./worker/client.js";
import type { Source } from "./worker/host.js";

export type { EngineStats } from "./engine/engine.js";
export { TreadleError, type ErrorCode, type Reason } from "./errors.js";
export type { Progress } from "./executor.js";
export type { Api, CallOptions, ModelRecord } from "./openai/api.js";
export type { ChatBody, CompletionBody, MessageBody, ResponseFormat, ToolBody } from "./openai/bodies.js";
export type { ChatChunk, ChatCompletion, ToolCall } from "./openai/chat.js";
export type { EmbeddingAnswer, EmbeddingBody } from "./openai/embeddings.js";
export type { Completion } from "./openai/completions.js";
export type { BundleManifest } from "./types.js";
export { connect, type RemoteEngine, type RemoteOptions, type Target } from "./worker/client.js";
export type { Source } from "./worker/host.js";

/**
 * What this browser keeps of models between visits: `(await store()).kept(manifest)`,
 * `list`, `verify`, `remove`, `clear`, `room`, `persist`.
 */
export const store = () => import("./store/kept.js");

export interface CreateOptions extends RemoteOptions {
  /** Where it runs: in a worker of its own (default), this one, or in this very thread. */
  worker?: Worker | SharedWorker | ServiceWorker | MessagePort | boolean;
}

/** A model that is ready to answer. */
export type Engine = Api & { readonly manifest: BundleManifest };

/**
 * Opens a bundle: its URL, its files, or its directory. Throws `TreadleError`: `network`,
 * `integrity`, `model_format_error`, `no_device`, `cancelled`, ...
 */
export async function createEngine(source: Source, options: CreateOptions = {}): Promise<Engine> {
  const { worker = true, ...rest } = options;
  const place = typeof source === "string" ? new URL(source, document.baseURI).href : source;
  if (worker === false) return (await import("./local.js")).createLocal(place, rest);
  if (worker !== true) return connect(worker, place, rest);
  const own = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  try {
    const engine = await connect(own, place, rest);
    const close = async () => {
      await engine.close();
      own.terminate();
    };
    return { ...engine, close };
  } catch (error) {
    own.terminate();
    throw error;
  }
}
