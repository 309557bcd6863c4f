/** What a loop has done; times in milliseconds. */
import type { Slice } from "./scheduler.js";
import type { Request } from "./sequence.js";

/** Rates of the request that ended last. */
export interface RequestTimes {
  /** From its arrival to its first token. */
  readonly firstTokenMs: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly tokens: number;
  readonly tokensPerSecond: number;
}

export class Stats {
  steps = 0;
  tokens = 0;
  /** Tokens that a grammar left no choice of. */
  forced = 0;
  prefillTokens = 0;
  /** Time of steps that only decode, their number of tokens, and of those that prefill. */
  decodeMs = 0;
  decodeTokens = 0;
  prefillMs = 0;
  /** Time of filling masks; it runs behind the device. */
  mask = 0;
  last: RequestTimes | undefined;

  step(plan: readonly Slice[], ms: number): void {
    this.steps += 1;
    const chunk = plan.reduce((sum, { count }) => sum + (count > 1 ? count : 0), 0);
    this.prefillTokens += chunk;
    if (chunk) this.prefillMs += ms;
    else {
      this.decodeMs += ms;
      this.decodeTokens += plan.length;
    }
  }

  ended({ arrived, firstToken, sequences }: Request): void {
    const tokens = sequences.reduce((sum, seq) => sum + seq.generated, 0);
    const ms = Math.max(performance.now() - firstToken, 1e-3);
    this.last = {
      firstTokenMs: firstToken - arrived,
      promptTokens: sequences[0]?.prompt ?? 0,
      cachedTokens: sequences[0]?.cached ?? 0,
      tokens,
      tokensPerSecond: Math.max(tokens - sequences.length, 0) / (ms / 1000),
    };
  }
}
