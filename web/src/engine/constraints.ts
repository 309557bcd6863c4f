/**
 * Constraints to compiled grammars, cached by content. A request has one constraint, or tools, or
 * both: with "auto" the output is then either calls or text that meets the constraint.
 */
import type { Core } from "../core.js";
import { invalidRequest, TreadleError } from "../errors.js";
import { Compiler, type Compiled } from "../grammar/compiler.js";
import { Grammar } from "../grammar/grammar.js";
import { dump } from "../grammar/json.js";
import { Vocab } from "../grammar/vocab.js";
import { isMap, type Constraint, type Generate, type JsonObject, type ToolFormat } from "../types.js";

/** What conversations with tools need, loaded with the first of them. */
export type Calls = typeof import("../text/calls.js");

const KEPT = 64; // compiled grammars kept for reuse
// Enough to indent seven levels by four; a longer run is a model that has lost its way.
const SPELLING = { whitespace: 32, escapes: "minimal", numbers: "plain" } as const;

export class Constraints {
  readonly core: Core;
  readonly #vocab: Uint8Array;
  readonly #format: ToolFormat;
  readonly #cacheBytes: number;
  #compiler: Compiler;
  #epoch: number;
  readonly #kept = new Map<string, Compiled>();

  /** `vocab`: vocab.bin. `cacheBytes`: of masks and transitions. */
  constructor(core: Core, vocab: Uint8Array, format: ToolFormat, cacheBytes = 64 << 20) {
    this.core = core;
    this.#vocab = vocab;
    this.#format = format;
    this.#cacheBytes = cacheBytes;
    this.#compiler = this.#start();
    this.#epoch = core.epoch;
  }

  /** The compiled grammar of a request. Throws `grammar_error`, `limit_exceeded`. */
  of(request: Generate, calls?: Calls): Compiled | undefined {
    const tag = this.#tag(request, calls);
    const { constraint } = request;
    if (!tag && !constraint) return undefined;
    if (this.#epoch !== this.core.epoch) this.#restart();
    const key = dump([tag ?? null, constraint ? [constraint.kind, constraint.value] : null], "");
    const found = this.#kept.get(key);
    if (found) {
      this.#kept.delete(key); // to the end: least recently used goes first
      this.#kept.set(key, found);
      return found;
    }
    const parts = [
      ...(tag ? [Grammar.tag(this.core, tag)] : []),
      ...(constraint ? [grammarOf(this.core, constraint)] : []),
    ] as [Grammar, ...Grammar[]];
    const grammar = parts.length > 1 ? Grammar.anyOf(...parts) : parts[0];
    try {
      const made = this.#compiler.compile(grammar);
      this.#keep(key, made);
      return made;
    } finally {
      for (const part of new Set([...parts, grammar])) part.dispose();
    }
  }

  dispose(): void {
    for (const compiled of this.#kept.values()) compiled.dispose();
    this.#kept.clear();
    this.#compiler.dispose();
  }

  #keep(key: string, made: Compiled): void {
    this.#kept.set(key, made);
    for (const [old, compiled] of this.#kept) {
      const full = this.#kept.size > KEPT || this.#compiler.memory > this.#cacheBytes;
      if (!full || old === key) break;
      this.#kept.delete(old); // matchers hold what they still need
      compiled.dispose();
    }
  }

  #tag(request: Generate, calls: Calls | undefined): JsonObject | undefined {
    const { tools, toolChoice, parallelToolCalls, constraint } = request;
    if (!tools.length || toolChoice === "none") return undefined;
    // The free text of "auto" is what the constraint describes.
    const choice = constraint && toolChoice === "auto" ? "required" : toolChoice;
    return calls?.callTag(this.#format, tools, choice, parallelToolCalls);
  }

  #start(): Compiler {
    return new Compiler(new Vocab(this.core, this.#vocab), { cacheBytes: this.#cacheBytes });
  }

  /** The module was started anew: what lived in it is gone. */
  #restart(): void {
    this.#kept.clear();
    this.#compiler = this.#start();
    this.#epoch = this.core.epoch;
  }
}

function grammarOf(core: Core, { kind, value, at }: Constraint): Grammar {
  if (kind === "json_schema") {
    // Declared order: forced keys, and what people expect to read.
    const schema = value as object | boolean | string;
    return Grammar.jsonSchema(core, schema, { ...SPELLING, order: "declared", at });
  }
  if (kind === "json_object") return Grammar.jsonObject(core, SPELLING);
  try {
    if (kind === "choice") return Grammar.choice(core, value as string[]);
    if (kind === "structural_tag") return Grammar.tag(core, tagOf(value, at));
    const text = value as string;
    return kind === "regex" ? Grammar.regex(core, text) : Grammar.ebnf(core, text);
  } catch (error) {
    throw placedIn(error, at);
  }
}

/** A tag as OpenAI-style servers take it: an object, or its JSON text. */
function tagOf(value: unknown, at: string): object {
  let tag = value;
  if (typeof value === "string") {
    try {
      tag = JSON.parse(value) as unknown;
    } catch (error) {
      throw invalidRequest(at, `is not JSON: ${(error as Error).message}`);
    }
  }
  if (isMap(tag)) return tag;
  throw invalidRequest(at, "is no structural tag", "send an object");
}

/** The place in the text goes into the message, the field stays the place. */
function placedIn(error: unknown, at: string): unknown {
  if (!(error instanceof TreadleError) || error.at === at) return error;
  const { code, text, hint, kind, keyword, reason, limit, value, maximum } = error;
  const message = error.at ? `${error.at}: ${text}` : text;
  return new TreadleError(code, message, { hint, kind, keyword, reason, limit, value, maximum, at });
}
