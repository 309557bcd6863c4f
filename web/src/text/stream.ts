/** The tokens of one choice to text: never half a character, never what may become a stop string. */
import type { FinishReason, Sampling } from "../types.js";
import { TokenKind } from "../grammar/table.js";
import type { Tokenizer } from "./tokenizer.js";

/** Ids to text. Control tokens spell nothing, except those in `shown`. */
export class Detokeniser {
  readonly #tokenizer: Tokenizer;
  readonly #shown: ReadonlySet<number>;
  // Not fatal: bytes that are not UTF-8 become U+FFFD. Mid-text U+FEFF is a character like others.
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #strips: boolean;

  constructor(tokenizer: Tokenizer, shown: ReadonlySet<number> = new Set()) {
    this.#tokenizer = tokenizer;
    this.#shown = shown;
    this.#strips = tokenizer.stripSpace;
  }

  /** The text that this id completes. */
  push(id: number): string {
    const kind = this.#tokenizer.table.kinds[id];
    const silent = kind === TokenKind.control || kind === TokenKind.unused || kind === undefined;
    if (silent && !this.#shown.has(id)) return "";
    return this.#cut(this.#decoder.decode(this.#tokenizer.bytes(id), { stream: true }));
  }

  /** Ends the text; an unfinished character becomes U+FFFD. */
  flush(): string {
    return this.#cut(this.#decoder.decode());
  }

  #cut(text: string): string {
    if (!this.#strips || !text) return text;
    this.#strips = false;
    return text.startsWith(" ") ? text.slice(1) : text;
  }
}

/** Finds the stop string that is complete first; of several that end there, the longest. */
export class StopSearch {
  readonly #stops: readonly string[];
  #held = "";

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** [text that may be shown, whether a stop string is complete]. */
  push(text: string): [string, boolean] {
    const whole = this.#held + text;
    let end = Infinity;
    let start = 0;
    for (const stop of this.#stops) {
      const at = whole.indexOf(stop);
      const over = at + stop.length;
      if (at >= 0 && (over < end || (over === end && at < start))) [start, end] = [at, over];
    }
    if (end < Infinity) {
      this.#held = "";
      return [whole.slice(0, start), true];
    }
    const keep = Math.max(...this.#stops.map((stop) => beginning(whole, stop)));
    this.#held = whole.slice(whole.length - keep);
    return [whole.slice(0, whole.length - keep), false];
  }

  /** Ends the text and gives what was held back. */
  flush(): string {
    const held = this.#held;
    this.#held = "";
    return held;
  }
}

/** Length of the longest end of `text` that begins `stop` and is not all of it. */
function beginning(text: string, stop: string): number {
  for (let size = Math.min(stop.length - 1, text.length); size > 0; size -= 1) {
    if (stop.startsWith(text.slice(text.length - size))) return size;
  }
  return 0;
}

/** What a choice's tokens add to its text, and whether they end it. */
export class Writer {
  readonly #text: Detokeniser;
  readonly #stops: StopSearch | null;
  readonly #ends: ReadonlySet<number>;
  readonly #minTokens: number;

  constructor(text: Detokeniser, ends: ReadonlySet<number>, sampling: Sampling) {
    this.#text = text;
    this.#stops = sampling.stop.length ? new StopSearch(sampling.stop) : null;
    this.#ends = ends;
    this.#minTokens = sampling.minTokens;
  }

  /** What token number `generated` (from 1) adds. An end token adds no text. */
  push(token: number, generated: number): [string, FinishReason | undefined] {
    if (this.#ends.has(token)) return [this.#flush(), "stop"];
    const text = this.#text.push(token);
    if (!this.#stops || generated < this.#minTokens || !text) return [text, undefined];
    const [shown, hit] = this.#stops.push(text);
    return [shown, hit ? "stop" : undefined];
  }

  /** `text` and everything held back, for a choice that ends without a stop string. */
  close(text: string): string {
    return text + this.#flush();
  }

  #flush(): string {
    const text = this.#text.flush();
    if (!this.#stops) return text;
    const [shown, hit] = text ? this.#stops.push(text) : ["", false];
    return hit ? shown : shown + this.#stops.flush();
  }
}
