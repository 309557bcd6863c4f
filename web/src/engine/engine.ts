/** One model, ready to answer: what the API, the workers and the page talk to. */
import type { Core } from "../core.js";
import { throwIfAborted, TreadleError } from "../errors.js";
import type { Bundle, Executor } from "../executor.js";
import { LIMITS } from "../generated/limits.js";
import { unpackVocab } from "../grammar/table.js";
import { ChatTemplate } from "../text/template.js";
import { Tokenizer } from "../text/tokenizer.js";
import type { BundleManifest, Delta, Generate, Message, ToolFormat } from "../types.js";
import type { Calls } from "./constraints.js";
import { Grammars, type LoadCore } from "./grammars.js";
import { embedded, prepare, promptIds, type Intake } from "./intake.js";
import { Loop, type Reopen } from "./loop.js";
import type { RequestTimes } from "./stats.js";
import { Stream } from "./stream.js";

export type { LoadCore } from "./grammars.js";

/** The texts and tables of a model, without its weights. */
export interface Texts {
  readonly manifest: BundleManifest;
  readonly tokenizer: string;
  readonly vocab: Uint8Array;
  readonly template: string | undefined;
}

export interface EngineOptions {
  /** Most tokens of prompt and output together; default: the model's, or what the pages hold. */
  contextLength?: number;
  reopen?: Reopen;
  /** Why this tier was taken, and what was skipped. */
  notes?: readonly string[];
}

export interface EngineStats {
  readonly model: string;
  readonly tier: string;
  readonly notes: readonly string[];
  readonly context: number;
  readonly requests: number;
  readonly steps: number;
  readonly tokens: number;
  readonly forcedTokens: number;
  readonly decodeTokensPerSecond: number;
  readonly prefillTokensPerSecond: number;
  readonly maskMs: number;
  readonly pages: { readonly held: number; readonly cached: number; readonly count: number };
  readonly last: RequestTimes | null;
}

const FINISH = { toolChoice: "none", tools: [], parallelToolCalls: true } as const;
const decoder = new TextDecoder();

/** Reads what a bundle says of its text. Throws `model_format_error`, `network`, `integrity`. */
export async function readTexts(bundle: Bundle, signal?: AbortSignal): Promise<Texts> {
  const { manifest } = bundle;
  const { template } = manifest.chat;
  const [json, vocab, source] = await Promise.all([
    bundle.read("tokenizer.json", signal),
    bundle.read("vocab.bin", signal),
    template ? bundle.read(template, signal) : undefined,
  ]);
  const text = source && decoder.decode(source);
  return { manifest, tokenizer: decoder.decode(json), vocab, template: text };
}

export class LocalEngine {
  readonly manifest: BundleManifest;
  readonly created = Math.floor(Date.now() / 1000);
  readonly #intake: Intake;
  readonly #loop: Loop;
  readonly #notes: readonly string[];

  /** Takes the executor over: `close` frees it. */
  constructor(core: Core | LoadCore, texts: Texts, executor: Executor, options: EngineOptions = {}) {
    const { manifest } = texts;
    const { chat, limits, model } = manifest;
    const format = formatOf(chat);
    const packed = unpackVocab(texts.vocab);
    // The model's own settings may end a turn with more tokens than its vocabulary says.
    const table = { ...packed, stopIds: [...new Set([...packed.stopIds, ...chat.eos])] };
    const tokenizer = new Tokenizer({
      json: texts.tokenizer,
      table,
      bos: chat.bos,
      addsBos: chat.adds_bos ?? false,
    });
    this.manifest = manifest;
    this.#notes = options.notes ?? [];
    const room = executor.pages * executor.pageSize;
    this.#intake = {
      name: model.name,
      tokenizer,
      template:
        texts.template === undefined
          ? undefined
          : new ChatTemplate(texts.template, tokenizer.bosToken, tokenizer.eosToken),
      format,
      grammars: new Grammars(core, texts.vocab, format),
      vocab: executor.vocab,
      context: Math.min(options.contextLength ?? limits.context, limits.context, room),
    };
    if (packed.size !== executor.vocab) {
      const text = `covers ${packed.size} ids, the model has ${executor.vocab}`;
      throw new TreadleError("model_format_error", text, { at: "vocab.bin", hint: "export it again" });
    }
    this.#loop = new Loop(executor, tokenizer, options.reopen);
  }

  get name(): string {
    return this.manifest.model.name;
  }

  get context(): number {
    return this.#intake.context;
  }

  get format() {
    return this.#intake.format;
  }

  /** Changes when graph, tier or version do. */
  get fingerprint(): string {
    return `treadle-${this.manifest.model.graph?.slice(0, 12) ?? this.name}-${this.#loop.tier}`;
  }

  /** Loads what a request with tools or with a constraint needs; before `submit`. Throws `network`. */
  async ready(request: Generate): Promise<Calls | undefined> {
    const { tools, messages = [] } = request;
    await this.#intake.grammars.ready(request);
    const called = messages.some((turn) => turn.toolCalls?.length || turn.role === "tool");
    if (!tools.length && !called) return undefined;
    return (this.#intake.calls ??= await import("../text/calls.js"));
  }

  /** Queues a request. Throws what `prepare` throws, `overloaded`, `engine_dead`, `cancelled`. */
  submit(request: Generate, signal?: AbortSignal): Stream {
    throwIfAborted(signal);
    if (this.#loop.queued >= LIMITS.queueRequests) {
      const text = `${LIMITS.queueRequests} requests wait already`;
      throw new TreadleError("overloaded", text, { hint: "send it again later" });
    }
    const submit = prepare(this.#intake, request);
    const stream = new Stream(signal);
    const running = this.#loop.submit(submit, stream);
    return stream.bind(() => this.#loop.abort(running));
  }

  /**
   * The hidden state of the last token of each text (or list of ids). Throws what `prepare` throws,
   * `unsupported` where the tier gives none.
   */
  async embed(
    texts: readonly (string | readonly number[])[],
    signal?: AbortSignal,
  ): Promise<{ state: Float32Array; promptTokens: number }[]> {
    throwIfAborted(signal);
    const streams: Stream[] = [];
    try {
      for (const prompt of texts) {
        const stream = new Stream(signal);
        const running = this.#loop.submit(embedded(this.#intake, prompt), stream);
        streams.push(stream.bind(() => this.#loop.abort(running)));
      }
      return await Promise.all(
        streams.map(async (stream) => {
          const { value } = (await stream.next()) as { value: Delta };
          return { state: value.state!, promptTokens: value.usage!.promptTokens };
        }),
      );
    } finally {
      for (const stream of streams) void stream.return();
    }
  }

  /** Ids of a text as a prompt would be tokenised. */
  tokenize(text: string): number[] {
    return this.#intake.tokenizer.encode(text, true);
  }

  detokenize(ids: readonly number[]): string {
    return this.#intake.tokenizer.decode(ids);
  }

  /** How many tokens a conversation takes. */
  countTokens(messages: readonly Message[], sampling: Generate["sampling"]): number {
    const request = { ...FINISH, messages, sampling, constraint: undefined, templateOptions: {} };
    return promptIds(this.#intake, request).length;
  }

  stats(): EngineStats {
    const { stats, pages, queued, tier } = this.#loop;
    const rate = (tokens: number, ms: number) => (ms ? tokens / (ms / 1000) : 0);
    return {
      ...{ model: this.name, tier, notes: this.#notes, context: this.context, requests: queued },
      ...{ steps: stats.steps, tokens: stats.tokens, forcedTokens: stats.forced },
      decodeTokensPerSecond: rate(stats.decodeTokens, stats.decodeMs),
      prefillTokensPerSecond: rate(stats.prefillTokens, stats.prefillMs),
      ...{ maskMs: stats.mask, pages, last: stats.last ?? null },
    };
  }

  /** Throws unless what requests hold adds up; nothing held when none runs. */
  check(): void {
    this.#loop.check();
  }

  /** Ends what runs with `engine_dead` and frees the device. A second call does nothing. */
  close(): void {
    this.#loop.close(new TreadleError("engine_dead", "the engine was closed"));
    this.#intake.grammars.dispose();
  }
}

/** The format that a manifest holds, checked as far as it decides how output is read. */
function formatOf({ tools, reasoning = null }: BundleManifest["chat"]): ToolFormat {
  if (tools.call.style !== "json" && !tools.call.row) {
    const text = `the row of the argument style ${tools.call.style} is missing`;
    throw new TreadleError("model_format_error", text, { at: "manifest.json: chat.tools.call.row" });
  }
  return { ...tools, reasoning: tools.reasoning ?? reasoning };
}
