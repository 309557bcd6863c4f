/**
 * How far the device may run ahead of what is known of its tokens. Reading a token back takes a
 * millisecond or two, in which a fast GPU would stand still; so where nothing on this side decides
 * about the next token, a few steps are started at once. What follows a token that ends a sequence
 * is dropped.
 */
import type { Scheduler, Slice } from "./scheduler.js";

const MOST = 4;
const QUICK_MS = 25; // slower steps hide the way back, and a stream should not come in bursts

export class Ahead {
  #ms = Infinity;

  /** A decode step took so long. */
  took(ms: number): void {
    this.#ms = ms;
  }

  /** Steps to start at once for this plan; their pages are there. 1: no more than the plan's. */
  steps(plan: readonly Slice[], scheduler: Scheduler): number {
    if (this.#ms > QUICK_MS || scheduler.waiting.length) return 1;
    let steps = MOST;
    for (const { seq, count, draws } of plan) {
      const { sampling, generated } = seq;
      const told = seq.matcher || seq.seen || seq.held || seq.request.submit.embeds || generated < sampling.minTokens;
      if (count !== 1 || !draws || told) return 1;
      steps = Math.min(steps, seq.limit - seq.ids.length);
    }
    return steps > 1 ? scheduler.extend(plan, steps) : 1;
  }
}
