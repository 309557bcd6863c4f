/**
 * The draws of a step, and their masks: filled while the device computes. Only rows that something
 * constrains get a mask: a grammar, `minTokens` or `ignoreEos`; the last two are mask bits, and where
 * a grammar leaves nothing but an end token, the grammar wins.
 */
import { TreadleError } from "../errors.js";
import type { Draw } from "../executor.js";
import { maskRows, type MaskRows } from "../grammar/masks.js";
import type { Matcher } from "../grammar/matcher.js";
import type { Sequence } from "./sequence.js";

const MOST_FORCED = 64; // tokens of one forced run

/** What a wanted row needs: a draw, its state (of row `hidden`), tokens that the grammar leaves no choice of, or it failed. */
export type Wanted =
  | { readonly draw: Draw }
  | { readonly hidden: number }
  | { readonly forced: readonly number[] }
  | { readonly error: TreadleError };

export class Draws {
  readonly #vocab: number;
  readonly #ends: readonly number[];
  #rows: MaskRows;

  constructor(vocab: number, ends: readonly number[]) {
    this.#vocab = vocab;
    this.#ends = ends.filter((id) => id < vocab);
    this.#rows = maskRows(8, vocab);
  }

  /** For each wanted row, in order. Never throws: a grammar that fails fails its row alone. */
  of(sequences: readonly Sequence[]): Wanted[] {
    if (sequences.length > this.#rows.shape[0]) this.#rows = maskRows(sequences.length, this.#vocab);
    return sequences.map((seq, row) => {
      try {
        return this.#one(seq, row);
      } catch (error) {
        return { error: TreadleError.from(error) };
      }
    });
  }

  #one(seq: Sequence, row: number): Wanted {
    if (seq.request.submit.embeds) return { hidden: row };
    const { sampling, matcher } = seq;
    const words = this.#rows.row(row);
    const masked = this.#fill(seq, row, words);
    if (matcher && masked && sampling.logprobs < 0) {
      const forced = this.#forced(seq, matcher, row, words);
      if (forced.length) return { forced };
    }
    const { temperature, topP, topK, minP, repetition, presence, frequency, logprobs } = sampling;
    return {
      draw: {
        ...{ row, temperature, topP, topK, minP, repetition, presence, frequency, logprobs },
        seed: seq.key,
        index: seq.generated,
        ...(masked ? { mask: new Uint32Array(words.buffer, words.byteOffset, words.length) } : {}),
        ...(sampling.logitBias.size ? { bias: sampling.logitBias } : {}),
        ...(seq.seen ? { seen: seq.seen } : {}),
        ...(seq.held ? { prompt: seq.held } : {}),
      },
    };
  }

  /** Whether anything is masked. */
  #fill(seq: Sequence, row: number, words: Int32Array, ahead = 0): boolean {
    let masked = false;
    if (seq.matcher) masked = seq.matcher.fill(this.#rows, row);
    const banned = this.#banned(seq, ahead);
    if (!banned.length) return masked;
    if (!masked) allLegal(words, this.#vocab);
    const kept = words.slice();
    for (const token of banned) words[token >>> 5]! &= ~(1 << (token & 31));
    if (words.every((word) => word === 0)) words.set(kept);
    return true;
  }

  /**
   * The run of tokens of which each is the only legal one. The matcher has accepted them. Every
   * draw could only have given them, so they need none.
   */
  #forced(seq: Sequence, matcher: Matcher, row: number, words: Int32Array): number[] {
    const run: number[] = [];
    const most = Math.min(MOST_FORCED, seq.limit - seq.ids.length);
    for (let token = only(words); token >= 0; token = only(words)) {
      if (!takes(seq, matcher, token)) throw refused(matcher);
      run.push(token);
      if (run.length >= most || matcher.finished || this.#ends.includes(token)) break;
      if (!this.#fill(seq, row, words, run.length)) break;
    }
    return run;
  }

  /** Tokens that the sequence may not draw yet. */
  #banned({ sampling, generated }: Sequence, ahead: number): readonly number[] {
    if (generated + ahead < sampling.minTokens) return [...this.#ends, ...sampling.stopTokenIds];
    return sampling.ignoreEos ? this.#ends : [];
  }
}

/** Moves a sequence's matcher by a drawn token. False: the token is not legal. */
export function takes(seq: Sequence, matcher: Matcher, token: number): boolean {
  // A stop token of the request ends the choice, whatever the grammar says of it.
  return seq.sampling.stopTokenIds.includes(token) || matcher.accept(token);
}

/** Why a matcher took no token. */
export function refused(matcher: Matcher): TreadleError {
  const text = "the token drawn does not continue the output";
  return matcher.error ?? new TreadleError("grammar_error", text, { at: "sample", reason: "stuck" });
}

/** The one legal token; -1 if there are none or several. */
function only(words: Int32Array): number {
  let found = -1;
  for (let i = 0; i < words.length; i += 1) {
    const word = words[i]!;
    if (word === 0) continue;
    if (found >= 0 || (word & (word - 1)) !== 0) return -1;
    found = i * 32 + 31 - Math.clz32(word);
  }
  return found;
}

function allLegal(words: Int32Array, vocab: number): void {
  words.fill(-1);
  if (vocab % 32) words[words.length - 1] = (1 << vocab % 32) - 1;
}
