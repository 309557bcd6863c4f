/** The deltas of one request, as an async iterator. Leaving it aborts the request. */
import { cancelled, type TreadleError } from "../errors.js";
import { LIMITS } from "../generated/limits.js";
import type { Delta } from "../types.js";
import type { Sink } from "./sequence.js";

export class Stream implements Sink, AsyncIterableIterator<Delta> {
  readonly #queue: Delta[] = [];
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = () => this.#abandon();
  #waiting: { resolve: (r: IteratorResult<Delta>) => void; reject: (e: unknown) => void } | undefined;
  #ended = false;
  #error: TreadleError | undefined;
  #abort: () => void = () => undefined;

  constructor(signal?: AbortSignal) {
    this.#signal = signal;
    signal?.addEventListener("abort", this.#onAbort, { once: true });
  }

  /** What ends the request in the loop. */
  bind(abort: () => void): this {
    this.#abort = abort;
    if (this.#signal?.aborted) this.#abandon();
    return this;
  }

  delta(delta: Delta): void {
    if (this.#ended) return;
    if (this.#waiting) this.#settle({ done: false, value: delta });
    else if (this.#queue.length < LIMITS.undeliveredDeltas) this.#queue.push(delta);
    else this.#coalesce(delta);
  }

  end(error: TreadleError | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#signal?.removeEventListener("abort", this.#onAbort);
    if (!this.#waiting) return;
    if (error) this.#fail();
    else this.#settle({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<Delta>> {
    const value = this.#queue.shift();
    if (value) return { done: false, value };
    if (this.#error) {
      const error = this.#error;
      this.#error = undefined; // told once, as a generator would
      throw error;
    }
    if (this.#ended) return { done: true, value: undefined };
    return new Promise((resolve, reject) => (this.#waiting = { resolve, reject }));
  }

  async return(): Promise<IteratorResult<Delta>> {
    this.#queue.length = 0;
    if (!this.#ended) {
      this.#abort();
      this.end(undefined);
    }
    return { done: true, value: undefined };
  }

  /** The caller's signal: what waits learns of it at once, the loop before its next step. */
  #abandon(): void {
    if (this.#ended) return;
    this.#queue.length = 0;
    this.#abort();
    this.end(cancelled(this.#signal?.reason));
  }

  /** A slow reader gets fewer, longer deltas. */
  #coalesce(delta: Delta): void {
    const at = this.#queue.findLastIndex(({ index }) => index === delta.index);
    const before = this.#queue[at];
    if (!before) this.#queue.push(delta);
    else {
      this.#queue[at] = {
        ...delta,
        text: before.text + delta.text,
        tokens: [...before.tokens, ...delta.tokens],
        logprobs: [...before.logprobs, ...delta.logprobs],
      };
    }
  }

  #settle(result: IteratorResult<Delta>): void {
    const { resolve } = this.#waiting!;
    this.#waiting = undefined;
    resolve(result);
  }

  #fail(): void {
    const { reject } = this.#waiting!;
    this.#waiting = undefined;
    const error = this.#error;
    this.#error = undefined;
    reject(error);
  }
}
