/** What a program calls: OpenAI's method names over an engine, here or behind a worker. */
import type { EngineStats, LocalEngine } from "../engine/engine.js";
import { invalidRequest, TreadleError } from "../errors.js";
import { DEFAULTS } from "../types.js";
import { leaving } from "./answer.js";
import type { ChatBody, CompletionBody } from "./bodies.js";
import { chatChunks, startChat, wholeChat, type ChatChunk, type ChatCompletion } from "./chat.js";
import type { Completion } from "./completions.js";
import { messageOf } from "./convert.js";
import type { EmbeddingAnswer, EmbeddingBody } from "./embeddings.js";
import type { Fetch } from "./fetch.js";
import { chatBody } from "./validate.js";

export interface CallOptions {
  /** Ends the request, wherever it stands. */
  signal?: AbortSignal | undefined;
}

export interface ModelRecord {
  id: string;
  object: "model";
  created: number;
  owned_by: "treadle";
  max_model_len: number;
  capabilities: string[];
}

type Streamed = { stream: true };
type Whole = { stream?: false };

export interface Api {
  readonly chat: {
    readonly completions: {
      create(body: ChatBody & Streamed, options?: CallOptions): Promise<AsyncIterable<ChatChunk>>;
      create(body: ChatBody & Whole, options?: CallOptions): Promise<ChatCompletion>;
    };
  };
  readonly completions: {
    create(body: CompletionBody & Streamed, options?: CallOptions): Promise<AsyncIterable<Completion>>;
    create(body: CompletionBody & Whole, options?: CallOptions): Promise<Completion>;
  };
  readonly embeddings: {
    create(body: EmbeddingBody, options?: CallOptions): Promise<EmbeddingAnswer>;
  };
  readonly models: {
    list(): Promise<{ object: "list"; data: ModelRecord[] }>;
    retrieve(id: string): Promise<ModelRecord>;
  };
  /** For OpenAI's clients: `new OpenAI({ fetch: engine.fetch, ... })`. */
  readonly fetch: Fetch;
  tokenize(text: string): Promise<number[]>;
  detokenize(ids: readonly number[]): Promise<string>;
  countTokens(messages: ChatBody["messages"]): Promise<number>;
  stats(): Promise<EngineStats>;
  /** Ends what runs and frees the device. */
  close(): Promise<void>;
}

/** One call by its name: how the methods of `Api` cross to where the engine lives. */
export type Method =
  | "chat"
  | "completions"
  | "embeddings"
  | "models"
  | "model"
  | "tokenize"
  | "detokenize"
  | "countTokens"
  | "stats"
  | "close";

/** A value, or an iterable when the body asked for a stream. Throws typed errors only. */
export type Invoke = (method: Method, argument: unknown, signal?: AbortSignal) => Promise<unknown>;

/** The methods over whatever carries a call out. */
export function apiOver(invoke: Invoke): Api {
  const create = (method: Method) => (body: object, options: CallOptions = {}) =>
    invoke(method, body, options.signal);
  const api = {
    chat: { completions: { create: create("chat") } },
    completions: { create: create("completions") },
    embeddings: { create: create("embeddings") },
    models: {
      list: () => invoke("models", null),
      retrieve: (id: string) => invoke("model", id),
    },
    fetch: undefined as unknown as Fetch,
    tokenize: (text: string) => invoke("tokenize", text),
    detokenize: (ids: readonly number[]) => invoke("detokenize", ids),
    countTokens: (messages: unknown) => invoke("countTokens", messages),
    stats: () => invoke("stats", null),
    close: () => invoke("close", null),
  };
  api.fetch = async (input, init) => (await import("./fetch.js")).fetchOf(api as Api)(input, init);
  return api as Api;
}

/** Carries calls out on an engine in this very thread. */
export function invokeOn(engine: LocalEngine): Invoke {
  return async (method, argument, signal) => {
    switch (method) {
      case "chat": {
        const started = await startChat(engine, argument, signal);
        const { stream } = started;
        return started.body.stream
          ? leaving(chatChunks(started), () => stream.return())
          : wholeChat(started);
      }
      case "completions": {
        const { completionChunks, startCompletion, wholeCompletion } = await import("./completions.js");
        const started = await startCompletion(engine, argument, signal);
        const [stream] = started.streams;
        return started.body.stream
          ? leaving(completionChunks(started), async () => stream?.return())
          : wholeCompletion(started);
      }
      case "embeddings":
        return (await import("./embeddings.js")).embed(engine, argument, signal);
      case "models":
        return { object: "list", data: [modelRecord(engine)] };
      case "model":
        if (argument === engine.name) return modelRecord(engine);
        throw new TreadleError("not_found", `no model "${String(argument)}" is here`, { at: "/model" });
      case "tokenize":
        if (typeof argument !== "string") throw invalidRequest("text", "expected a string");
        return engine.tokenize(argument);
      case "detokenize":
        return engine.detokenize(argument as readonly number[]);
      case "countTokens": {
        const { messages } = chatBody({ messages: argument });
        const turns = messages.map((message, i) => messageOf(message, `/messages/${i}`));
        return engine.countTokens(turns, DEFAULTS);
      }
      case "stats":
        return engine.stats();
      case "close":
        return engine.close();
    }
  };
}

function modelRecord(engine: LocalEngine): ModelRecord {
  return {
    id: engine.name,
    object: "model",
    created: engine.created,
    owned_by: "treadle",
    max_model_len: engine.context,
    capabilities: ["chat", "completions", "structured_outputs", "tools"],
  };
}
