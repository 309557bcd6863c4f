/** Matchers: one output each, token by token. */
import { parseError, type Core } from "../core.js";
import { invalidRequest, type TreadleError } from "../errors.js";
import type { MaskRows } from "./masks.js";
import { Owned } from "./owned.js";

const NO_TOKEN = 0xffffffff; // outside of every vocabulary, and so never legal

/**
 * Follows one output through a compiled grammar. Every accepted token or text is one step. A budget
 * that runs out, or a state that no token can leave (`reason` "stuck"), is thrown and sticks to this
 * matcher until `reset` or `rollback`.
 */
export class Matcher extends Owned {
  readonly #size: number;
  readonly #words: number;

  /** `Compiled.matcher` makes them. `size`: V. */
  constructor(core: Core, handle: number, size: number) {
    super(core, "tr_matcher_free", handle);
    this.#size = size;
    this.#words = Math.ceil(size / 32);
  }

  /** Takes one token. False, and nothing changes, when it is not legal here. */
  accept(token: number): boolean {
    return this.core.call("tr_matcher_accept", this.handle, tokenId(token)) === 1;
  }

  /** Takes a text as one step. False, and nothing changes, when it is not legal here. */
  acceptBytes(text: Uint8Array): boolean {
    const { core, handle } = this;
    return core.lend(
      [text],
      (at = 0) => core.call("tr_matcher_accept_bytes", handle, at, text.length) === 1,
    );
  }

  /**
   * Writes the legal next tokens into row `index`; returns whether anything is masked. Stop tokens
   * are legal exactly when the text may end; after one, nothing is.
   */
  fill(rows: MaskRows, index = 0): boolean {
    const row = rows.row(index);
    if (row.length < this.#words) {
      const text = `a row has ${row.length} words, ${this.#words} are needed`;
      throw invalidRequest("rows", text, `make them with maskRows(n, ${this.#size})`);
    }
    const { core, handle } = this;
    const staged = core.stage(row.byteLength);
    const masked = core.call("tr_matcher_fill", handle, staged, row.length) === 1;
    core.unstage(row);
    return masked;
  }

  /** Takes back the last `steps` steps. Throws `invalid_request` if there were fewer. */
  rollback(steps: number): void {
    const fits = Number.isInteger(steps) && steps >= 0 && steps < NO_TOKEN;
    this.core.call("tr_matcher_rollback", this.handle, fits ? steps : NO_TOKEN);
  }

  /** A second matcher at the same place; both go on by themselves. */
  fork(): Matcher {
    return new Matcher(this.core, this.core.call("tr_matcher_fork", this.handle), this.#size);
  }

  /** Back to the start of the text. */
  reset(): void {
    this.core.call("tr_matcher_reset", this.handle);
  }

  /** The bytes that every completion goes on with (64 KiB at most). */
  forced(): Uint8Array {
    const { core, handle } = this;
    return core.bytes((at, n) => core.call("tr_matcher_forced", handle, at, n));
  }

  /** Length of the longest prefix of `ids` that `accept` would take; nothing changes. */
  validateTokens(ids: readonly number[]): number {
    const { core, handle } = this;
    const tokens = Uint32Array.from(ids, tokenId);
    return core.lend([new Uint8Array(tokens.buffer)], (at = 0) =>
      core.call("tr_matcher_validate", handle, at, tokens.length),
    );
  }

  /** Whether the text may end here. */
  get accepting(): boolean {
    return this.core.call("tr_matcher_accepting", this.handle) === 1;
  }

  /** Whether a stop token was accepted. */
  get finished(): boolean {
    return this.core.call("tr_matcher_finished", this.handle) === 1;
  }

  /** Steps taken, and so the most that `rollback` takes back. */
  get steps(): number {
    return this.core.call("tr_matcher_steps", this.handle);
  }

  /** What sticks to this matcher, if anything. */
  get error(): TreadleError | null {
    const { core, handle } = this;
    const text = core.text((at, n) => core.call("tr_matcher_error", handle, at, n));
    return text === "" ? null : parseError(text);
  }
}

/** An id outside the vocabulary is simply not legal; what is no integer is a mistake. */
function tokenId(token: number): number {
  if (!Number.isInteger(token)) throw invalidRequest("token", `got ${token}`, "give an integer");
  return token >= 0 && token < NO_TOKEN ? token : NO_TOKEN;
}
