/** The grammar engine of one model: fetched with the first request that constrains its output. */
import type { Core } from "../core.js";
import { TreadleError } from "../errors.js";
import type { Compiled } from "../grammar/compiler.js";
import type { ConstraintKind, Generate, ToolFormat } from "../types.js";
import type { Calls, Constraints } from "./constraints.js";

/** Starts a core: the whole one, or the one for JSON, expressions and choices. */
export type LoadCore = (whole: boolean) => Promise<Core>;

/** What the smaller core has no front end for; tools are structural tags too. */
const WHOLE: readonly ConstraintKind[] = ["grammar", "structural_tag"];

export class Grammars {
  readonly #load: LoadCore;
  readonly #vocab: Uint8Array;
  readonly #format: ToolFormat;
  #constraints: Constraints | undefined;
  #whole = false;
  #loading: Promise<void> = Promise.resolve();
  #closed = false;

  /** `vocab`: vocab.bin. A core that is there already counts as the whole one. */
  constructor(core: Core | LoadCore, vocab: Uint8Array, format: ToolFormat) {
    this.#load = typeof core === "function" ? core : () => Promise.resolve(core);
    this.#vocab = vocab;
    this.#format = format;
  }

  /** Loads what this request needs, if it is not there; before `of`. Throws `network`. */
  ready(request: Generate): Promise<void> {
    const { constraint } = request;
    if (!needs(request)) return Promise.resolve();
    const whole = isCalling(request) || (constraint !== undefined && WHOLE.includes(constraint.kind));
    // One after the other, whether or not the one before came to anything.
    const next = this.#loading.catch(() => undefined).then(() => this.#need(whole));
    return (this.#loading = next);
  }

  /** The compiled grammar of a request, undefined: none. Throws `grammar_error`, `limit_exceeded`, `not_ready`. */
  of(request: Generate, calls?: Calls): Compiled | undefined {
    if (!needs(request)) return undefined;
    if (this.#constraints) return this.#constraints.of(request, calls);
    throw new TreadleError("not_ready", "the grammar engine is not loaded", { hint: "await ready() first" });
  }

  dispose(): void {
    this.#closed = true;
    this.#constraints?.dispose();
    this.#constraints = undefined;
  }

  async #need(whole: boolean): Promise<void> {
    if (this.#closed || (this.#constraints && (this.#whole || !whole))) return;
    const [{ Constraints }, core] = await Promise.all([import("./constraints.js"), this.#load(whole)]);
    if (this.#closed) return;
    const made = new Constraints(core, this.#vocab, this.#format);
    this.#constraints?.dispose(); // matchers hold what they still need
    this.#constraints = made;
    this.#whole = whole;
  }
}

function needs(request: Generate): boolean {
  return request.constraint !== undefined || isCalling(request);
}

/** Whether the output may be a call. */
export function isCalling({ tools, toolChoice }: Generate): boolean {
  return tools.length > 0 && toolChoice !== "none";
}
