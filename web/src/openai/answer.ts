/** The fields that all answers share. */
import type { LocalEngine } from "../engine/engine.js";
import type { TokenLogprob, Usage } from "../types.js";

export interface UsageBody {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  prompt_tokens_details: { cached_tokens: number };
}

/** Over the choices of one request: they share one prompt. */
export function mergeUsage(usages: readonly Usage[]): Usage {
  return {
    promptTokens: Math.max(0, ...usages.map((usage) => usage.promptTokens)),
    completionTokens: usages.reduce((sum, usage) => sum + usage.completionTokens, 0),
    cachedTokens: Math.max(0, ...usages.map((usage) => usage.cachedTokens)),
  };
}

/** Over several requests. */
export function usageBody(usages: readonly Usage[]): UsageBody {
  const sum = (pick: (usage: Usage) => number) => usages.reduce((all, one) => all + pick(one), 0);
  const prompt = sum((usage) => usage.promptTokens);
  const completion = sum((usage) => usage.completionTokens);
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: sum((usage) => usage.cachedTokens) },
  };
}

export interface Head<Kind extends string> {
  id: string;
  object: Kind;
  created: number;
  model: string;
  system_fingerprint: string;
}

export function head<Kind extends string>(engine: LocalEngine, object: Kind, prefix: string): Head<Kind> {
  return {
    id: newId(prefix),
    object,
    created: Math.floor(Date.now() / 1000),
    model: engine.name,
    system_fingerprint: engine.fingerprint,
  };
}

/** An unguessable identifier in OpenAI's style. */
export function newId(prefix: string): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return `${prefix}-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

const decoder = new TextDecoder();

export function textOf(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** JSON has no -Infinity; OpenAI writes -9999 for a token of no probability. */
export function finite(logprob: number): number {
  return logprob > -9999 ? logprob : -9999;
}

export interface TokenBody {
  token: string;
  logprob: number;
  bytes: number[];
}

export interface LogprobsBody {
  content: (TokenBody & { top_logprobs: TokenBody[] })[];
  refusal: null;
}

export function logprobsBody(entries: readonly TokenLogprob[]): LogprobsBody {
  const token = ({ bytes, logprob }: { bytes: Uint8Array; logprob: number }): TokenBody => ({
    token: textOf(bytes),
    logprob: finite(logprob),
    bytes: [...bytes],
  });
  const content = entries.map((entry) => ({ ...token(entry), top_logprobs: entry.top.map(token) }));
  return { content, refusal: null };
}

/** `chunks`, whose `return` also ends what they are made of, even before the first was asked for. */
export function leaving<T>(chunks: AsyncGenerator<T, void, undefined>, leave: () => Promise<unknown>) {
  const iterator: AsyncIterableIterator<T> = {
    [Symbol.asyncIterator]: () => iterator,
    next: () => chunks.next(),
    return: async () => {
      await leave();
      return chunks.return();
    },
  };
  return iterator;
}
