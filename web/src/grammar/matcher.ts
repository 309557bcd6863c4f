/** Matchers: one output each, token by token. */
import { parseError, type Core } from "../core.js";
import { invalidRequest, type TreadleError } from "../errors.js";
import { checkRows, type MaskRows } from "./masks.js";
import { NO_TOKEN, tokenId, wordsOf } from "./ids.js";
import { Owned } from "./owned.js";

/**
 * Follows one output through a compiled grammar. Every accepted token or text is one step. A budget
 * that runs out, or a state that no token can leave (`reason` "stuck"), is thrown and sticks to this
 * matcher until `reset` or `rollback`.
 */
export class Matcher extends Owned {
  readonly #size: number;

  /** `Compiled.matcher` makes them. `size`: V. */
  constructor(core: Core, handle: number, size: number) {
    super(core, "tr_matcher_free", handle);
    this.#size = size;
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
    checkRows(rows, 0, this.#size);
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

  /**
   * How many of `ids` (which spell `forced`) stay right whatever comes after `forced`. The rest
   * begins at the first token from which a legal token could run past `forced`.
   */
  canonical(forced: Uint8Array, ids: readonly number[]): number {
    const { core, handle } = this;
    return core.lend([forced, wordsOf(ids)], (text = 0, tokens = 0) =>
      core.call("tr_matcher_canonical", handle, text, forced.length, tokens, ids.length),
    );
  }

  /**
   * Fills row i for node i of a draft tree. `child`, `sibling`, `ids`: first child, next sibling
   * (-1: none) and token of each node; node 0 is the token accepted last, whatever its id. Rows of
   * refused nodes and of what hangs below them are zeros. The matcher stays where it is.
   */
  fillTree(
    child: readonly number[],
    sibling: readonly number[],
    ids: readonly number[],
    rows: MaskRows,
  ): void {
    const { core, handle } = this;
    const n = child.length;
    if (sibling.length !== n || ids.length !== n) {
      throw invalidRequest("tree", "child, sibling and ids differ in length");
    }
    checkRows(rows, n, this.#size);
    const width = rows.shape[1];
    const lists = [child, sibling, ids].map((list) => new Uint8Array(Int32Array.from(list).buffer));
    core.lend(lists, (a = 0, b = 0, c = 0) => {
      const staged = core.stage(n * width * 4);
      core.call("tr_matcher_fill_tree", handle, a, b, c, n, staged, width);
    });
    core.unstage(rows.data.subarray(0, n * width));
  }

  /** That of the innermost rule that sets one and that the next token is in; null: none. */
  get temperature(): number | null {
    const { core, handle } = this;
    const staged = core.stage(4);
    const set = core.call("tr_matcher_temperature", handle, staged) === 1;
    const word = new Int32Array(1);
    core.unstage(word);
    return set ? (new Float32Array(word.buffer)[0] ?? null) : null;
  }

  /** V */
  get size(): number {
    return this.#size;
  }

  /** Length of the longest prefix of `ids` that `accept` would take; nothing changes. */
  validateTokens(ids: readonly number[]): number {
    const { core, handle } = this;
    return core.lend([wordsOf(ids)], (at = 0) =>
      core.call("tr_matcher_validate", handle, at, ids.length),
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
