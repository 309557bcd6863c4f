/** completions: text in, text out, streamed or whole. */
import type { LocalEngine } from "../engine/engine.js";
import type { Stream } from "../engine/stream.js";
import { invalidRequest } from "../errors.js";
import type { Generate, TokenLogprob, Usage } from "../types.js";
import { finite, head, mergeUsage, textOf, usageBody, type Head, type UsageBody } from "./answer.js";
import type { CompletionBody } from "./bodies.js";
import { checkModel, completionRequests } from "./convert.js";
import { completionBody } from "./validate.js";

export interface CompletionLogprobs {
  tokens: string[];
  token_logprobs: number[];
  top_logprobs: Record<string, number>[];
  text_offset: number[];
}

export interface Completion extends Head<"text_completion"> {
  choices: {
    index: number;
    text: string;
    logprobs: CompletionLogprobs | null;
    finish_reason: "stop" | "length" | null;
  }[];
  usage?: UsageBody | null;
}

export interface StartedCompletion {
  readonly engine: LocalEngine;
  readonly body: CompletionBody;
  readonly wanted: readonly Generate[];
  readonly streams: readonly Stream[];
}

type Reason = "stop" | "length" | null;

/** What is wrong with the request is thrown here. */
export async function startCompletion(
  engine: LocalEngine,
  given: unknown,
  signal?: AbortSignal,
): Promise<StartedCompletion> {
  const body = completionBody(given);
  checkModel(body.model, engine.name);
  const wanted = completionRequests(body);
  if (body.stream && wanted.length > 1) {
    throw invalidRequest("/prompt", "a stream answers one prompt", "send one prompt a request");
  }
  for (const one of wanted) await engine.ready(one);
  const streams: Stream[] = [];
  try {
    for (const one of wanted) streams.push(engine.submit(one, signal));
  } catch (error) {
    for (const stream of streams) void stream.return();
    throw error;
  }
  return { engine, body, wanted, streams };
}

export async function wholeCompletion(started: StartedCompletion): Promise<Completion> {
  const { engine, wanted, streams } = started;
  try {
    const answers = await Promise.all(streams.map((stream, i) => collect(stream, wanted[i]!)));
    const choices = answers.flatMap(({ choices: found }, i) =>
      found.map((choice) => ({ ...choice, text: echo(started, wanted[i]!) + choice.text })),
    );
    return {
      ...head(engine, "text_completion", "cmpl"),
      choices: choices.map((choice, index) => ({ ...choice, index })),
      usage: usageBody(answers.map(({ usage }) => usage)),
    };
  } finally {
    for (const stream of streams) void stream.return(); // one failure ends the others
  }
}

export async function* completionChunks(started: StartedCompletion): AsyncGenerator<Completion, void, undefined> {
  const { engine, body, wanted, streams } = started;
  const [item, stream] = [wanted[0]!, streams[0]!];
  const first = head(engine, "text_completion", "cmpl");
  const usages: Usage[] = [];
  const echoed = new Set<number>();
  try {
    for await (const { index, text, logprobs, finish, usage } of stream) {
      const before = echoed.has(index) ? "" : echo(started, item);
      echoed.add(index);
      if (usage) usages.push(usage);
      const choice = {
        index,
        text: before + text,
        logprobs: logprobsOf(logprobs, item),
        finish_reason: (finish ?? null) as Reason,
      };
      yield { ...first, choices: [choice] };
    }
    if (body.stream_options?.include_usage) {
      yield { ...first, choices: [], usage: usageBody([mergeUsage(usages)]) };
    }
  } finally {
    await stream.return();
  }
}

async function collect(stream: Stream, item: Generate) {
  const choices = Array.from({ length: item.sampling.n }, () => ({
    text: "",
    entries: [] as TokenLogprob[],
    finish: null as Reason,
  }));
  const usages: Usage[] = [];
  for await (const delta of stream) {
    const choice = choices[delta.index]!;
    choice.text += delta.text;
    choice.entries.push(...delta.logprobs);
    choice.finish = (delta.finish ?? choice.finish) as Reason;
    if (delta.usage) usages.push(delta.usage);
  }
  const found = choices.map(({ text, entries, finish }) => ({
    text,
    logprobs: logprobsOf(entries, item),
    finish_reason: finish,
  }));
  return { choices: found, usage: mergeUsage(usages) };
}

function echo({ engine, body }: StartedCompletion, { prompt }: Generate): string {
  if (!body.echo || prompt === undefined) return "";
  return typeof prompt === "string" ? prompt : engine.detokenize(prompt);
}

function logprobsOf(entries: readonly TokenLogprob[], item: Generate): CompletionLogprobs | null {
  if (item.sampling.logprobs < 0) return null;
  let offset = 0;
  const tokens = entries.map(({ bytes }) => textOf(bytes));
  return {
    tokens,
    token_logprobs: entries.map(({ logprob }) => finite(logprob)),
    top_logprobs: entries.map(({ top }) =>
      Object.fromEntries(top.map(({ bytes, logprob }) => [textOf(bytes), finite(logprob)])),
    ),
    text_offset: tokens.map((token) => {
      const at = offset;
      offset += [...token].length;
      return at;
    }),
  };
}
