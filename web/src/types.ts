/** What goes in and out of the engine; the twin of python/treadle/types. */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: unknown };

export function isMap(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export type Role = "system" | "developer" | "user" | "assistant" | "tool";
export type FinishReason = "stop" | "length" | "tool_calls";

/** One turn, with its content as plain text. */
export interface Message {
  readonly role: Role;
  readonly content: string | null;
  readonly name?: string | undefined;
  readonly toolCalls?: readonly JsonObject[] | undefined;
  readonly toolCallId?: string | undefined;
}

/** A function the model may call; `parameters` is a JSON Schema of its argument object. */
export interface Tool {
  readonly name: string;
  readonly description: string;
  readonly parameters: JsonObject;
}

export type ToolChoice = "none" | "auto" | "required" | { readonly name: string };

export type ConstraintKind =
  | "json_schema"
  | "json_object"
  | "regex"
  | "grammar"
  | "choice"
  | "structural_tag";

/** What the output must match. `at`: the field it came in. */
export interface Constraint {
  readonly kind: ConstraintKind;
  readonly value: unknown;
  readonly at: string;
}

/** How tokens are drawn and when a request ends; already in range. */
export interface Sampling {
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly minP: number;
  readonly presence: number;
  readonly frequency: number;
  readonly repetition: number;
  readonly logitBias: ReadonlyMap<number, number>;
  /** undefined = up to the context. */
  readonly maxTokens: number | undefined;
  readonly minTokens: number;
  readonly ignoreEos: boolean;
  readonly stop: readonly string[];
  readonly stopTokenIds: readonly number[];
  /** -1 = none; 0 = the drawn token's only. */
  readonly logprobs: number;
  readonly n: number;
  /** undefined = a fresh random one. */
  readonly seed: bigint | undefined;
}

export const DEFAULTS: Sampling = {
  temperature: 1,
  topP: 1,
  topK: 0,
  minP: 0,
  presence: 0,
  frequency: 0,
  repetition: 1,
  logitBias: new Map(),
  maxTokens: undefined,
  minTokens: 0,
  ignoreEos: false,
  stop: [],
  stopTokenIds: [],
  logprobs: -1,
  n: 1,
  seed: undefined,
};

/** One request: either `prompt` (text or ids) or `messages`. */
export interface Generate {
  readonly prompt?: string | readonly number[];
  readonly messages?: readonly Message[];
  readonly tools: readonly Tool[];
  readonly toolChoice: ToolChoice;
  readonly parallelToolCalls: boolean;
  readonly constraint: Constraint | undefined;
  readonly sampling: Sampling;
  readonly templateOptions: JsonObject;
}

/** A drawn token's log-probability, and the alternatives asked for. */
export interface TokenLogprob {
  readonly token: number;
  readonly bytes: Uint8Array;
  readonly logprob: number;
  readonly top: readonly { readonly bytes: Uint8Array; readonly logprob: number }[];
}

/** Token counts; `cachedTokens` of the prompt came from the prefix cache. */
export interface Usage {
  readonly promptTokens: number;
  readonly completionTokens: number;
  readonly cachedTokens: number;
}

/**
 * What one choice gained in one step; its last delta has a `finish`. `text` never ends inside a
 * character and never holds text that may begin a stop string.
 */
export interface Delta {
  readonly index: number;
  readonly text: string;
  readonly tokens: readonly number[];
  readonly logprobs: readonly TokenLogprob[];
  readonly finish?: FinishReason;
  readonly usage?: Usage;
  /** Of a request that asks for its prompt's state and nothing else. */
  readonly state?: Float32Array;
}

/** How a model family writes calls: `treadle.text.ToolFormat.data()`, a part of the manifest. */
export interface ToolFormat {
  readonly name: string;
  readonly call: CallForm;
  readonly result: string;
  readonly system: string | null;
  readonly reasoning: Reasoning | null;
  readonly options: readonly string[];
  readonly excludes: readonly string[];
  readonly layout: "free" | "blocks" | "channels";
  readonly text: readonly string[];
  readonly closing: string;
  readonly joint: string;
}

/** python/treadle/text/formats.py says what each of them means. */
export interface CallForm {
  readonly trigger: string;
  readonly begin: string;
  readonly end: string;
  readonly body: "json" | "name" | "slots";
  readonly many: "repeat" | "array" | "once";
  readonly name: string;
  readonly args: string;
  readonly middle: string;
  readonly lead: string;
  readonly after: string;
  readonly separator: string;
  readonly style: string;
  /** The row of styles.toml, unless the style is json. */
  readonly row?: StyleRow | null;
  readonly also: readonly string[];
  readonly wrapper_begin: string;
  readonly wrapper_end: string;
}

export interface StyleRow {
  readonly begin: string;
  readonly key_end: string;
  readonly close: string;
  readonly value_begin: string;
  readonly types: readonly string[];
  readonly type_end: string;
  readonly item_begin: string;
  readonly item_end: string;
  readonly line: string;
  readonly gap: string;
}

export interface Reasoning {
  readonly begin: string;
  readonly end: string;
  readonly gap: string;
  readonly opened: boolean;
}

/** The part of a bundle's manifest that the engine reads. */
export interface BundleManifest {
  readonly format: number;
  readonly model: {
    readonly name: string;
    readonly family: string;
    readonly license?: string | null;
    readonly graph?: string;
  };
  readonly limits: { readonly vocab: number; readonly context: number; readonly page: number };
  readonly chat: {
    /** The file of the chat template, or null. */
    readonly template: string | null;
    readonly bos: number | null;
    readonly eos: readonly number[];
    readonly adds_bos?: boolean;
    readonly tools: ToolFormat;
    /** Stands here or in `tools`. */
    readonly reasoning?: Reasoning | null;
  };
  readonly tiers: { readonly [tier: string]: unknown };
  readonly files: readonly { readonly path: string; readonly bytes: number; readonly sha256: string }[];
}
