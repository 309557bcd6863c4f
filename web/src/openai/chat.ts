/**
 * chat.completions: streamed or whole, with tools and structured outputs. A choice is split into text
 * and calls by the model family's reader; both answers are made of the same events.
 */
import type { LocalEngine } from "../engine/engine.js";
import type { Stream } from "../engine/stream.js";
import type { CallEvent } from "../text/call_body.js";
import type { CallReader } from "../text/reader.js";
import type { Generate, TokenLogprob, Usage } from "../types.js";
import { head, logprobsBody, mergeUsage, newId, usageBody, type Head, type LogprobsBody, type UsageBody } from "./answer.js";
import type { ChatBody } from "./bodies.js";
import { chatRequest, checkModel } from "./convert.js";
import { chatBody } from "./validate.js";

export type Finish = "stop" | "length" | "tool_calls";

export interface ToolCall {
  id: string;
  type: "function";
  function: { name: string; arguments: string };
}

export interface ChatCompletion extends Head<"chat.completion"> {
  choices: {
    index: number;
    message: { role: "assistant"; content: string | null; refusal: null; tool_calls?: ToolCall[] };
    logprobs: LogprobsBody | null;
    finish_reason: Finish;
  }[];
  usage: UsageBody;
}

export interface ToolCallDelta {
  index: number;
  id?: string;
  type?: "function";
  function: { name?: string; arguments: string };
}

export interface ChatDelta {
  role?: "assistant";
  content?: string;
  tool_calls?: ToolCallDelta[];
}

export interface ChatChunk extends Head<"chat.completion.chunk"> {
  choices: {
    index: number;
    delta: ChatDelta;
    logprobs: LogprobsBody | null;
    finish_reason: Finish | null;
  }[];
  usage?: UsageBody | null;
}

/** The stream starts with the first `next`; what is wrong with the request is thrown here. */
export async function startChat(engine: LocalEngine, given: unknown, signal?: AbortSignal): Promise<Started> {
  const body = chatBody(given);
  checkModel(body.model, engine.name);
  const wanted = chatRequest(body);
  const tools = wanted.tools.length && wanted.toolChoice !== "none" ? wanted.tools : undefined;
  const calls = await engine.ready(wanted);
  const reader = () => tools && calls && new calls.CallReader(engine.format, tools);
  const choices = Array.from({ length: wanted.sampling.n }, () => new Choice(reader()));
  return { engine, body, wanted, choices, stream: engine.submit(wanted, signal) };
}

export interface Started {
  readonly engine: LocalEngine;
  readonly body: ChatBody;
  readonly wanted: Generate;
  readonly choices: readonly Choice[];
  readonly stream: Stream;
}

/** One choice as it grows: what has been said, and the calls made so far. */
class Choice {
  text = "";
  readonly calls: ToolCall[] = [];
  readonly logprobs: TokenLogprob[] = [];
  finish: Finish = "stop";
  readonly #reader: CallReader | undefined;

  constructor(reader: CallReader | undefined) {
    this.#reader = reader;
  }

  /** The deltas that `text` adds; `last` flushes what was held back. */
  push(text: string, last: boolean): ChatDelta[] {
    const plain: CallEvent[] = text ? [{ kind: "text", value: text }] : [];
    const events = this.#reader ? this.#reader.push(text) : plain;
    if (last && this.#reader) events.push(...this.#reader.finish());
    return events.flatMap((event) => this.#delta(event));
  }

  #delta({ kind, value }: CallEvent): ChatDelta[] {
    if (kind === "text") {
      this.text += value;
      return [{ content: value }];
    }
    const last = this.calls.length - 1;
    if (kind === "call") {
      const call: ToolCall = { id: newId("call"), type: "function", function: { name: value, arguments: "" } };
      this.calls.push(call);
      return [{ tool_calls: [{ index: last + 1, ...call, function: { ...call.function } }] }];
    }
    if (kind !== "arguments") return [];
    this.calls[last]!.function.arguments += value;
    return [{ tool_calls: [{ index: last, function: { arguments: value } }] }];
  }

  get reason(): Finish {
    return this.finish === "stop" && this.calls.length ? "tool_calls" : this.finish;
  }
}

export async function wholeChat({ engine, wanted, choices, stream }: Started): Promise<ChatCompletion> {
  const usages: Usage[] = [];
  for await (const delta of stream) {
    const choice = choices[delta.index]!;
    choice.finish = delta.finish ?? choice.finish;
    choice.push(delta.text, delta.finish !== undefined);
    choice.logprobs.push(...delta.logprobs);
    if (delta.usage) usages.push(delta.usage);
  }
  const asked = wanted.sampling.logprobs >= 0;
  return {
    ...head(engine, "chat.completion", "chatcmpl"),
    choices: choices.map((choice, index) => ({
      index,
      message: {
        role: "assistant",
        content: choice.calls.length ? choice.text || null : choice.text,
        refusal: null,
        ...(choice.calls.length ? { tool_calls: choice.calls } : {}),
      },
      logprobs: asked ? logprobsBody(choice.logprobs) : null,
      finish_reason: choice.reason,
    })),
    usage: usageBody([mergeUsage(usages)]),
  };
}

/** Role first, then deltas, a finish for each choice, and the usage when it was asked for. */
export async function* chatChunks(started: Started): AsyncGenerator<ChatChunk, void, undefined> {
  const { engine, body, wanted, choices, stream } = started;
  const first = head(engine, "chat.completion.chunk", "chatcmpl");
  const usage = body.stream_options?.include_usage === true;
  const asked = wanted.sampling.logprobs >= 0;
  const usages: Usage[] = [];
  const chunk = (index: number, delta: ChatDelta, logprobs: LogprobsBody | null, reason: Finish | null): ChatChunk => ({
    ...first,
    choices: [{ index, delta, logprobs, finish_reason: reason }],
    ...(usage ? { usage: null } : {}),
  });
  try {
    for (const index of choices.keys()) yield chunk(index, { role: "assistant", content: "" }, null, null);
    for await (const delta of stream) {
      const { index } = delta;
      const choice = choices[index]!;
      choice.finish = delta.finish ?? choice.finish;
      let logprobs = asked && delta.logprobs.length ? logprobsBody(delta.logprobs) : null;
      for (const part of choice.push(delta.text, delta.finish !== undefined)) {
        yield chunk(index, part, logprobs, null);
        logprobs = null;
      }
      if (logprobs) yield chunk(index, {}, logprobs, null);
      if (delta.usage) usages.push(delta.usage);
      if (delta.finish) yield chunk(index, {}, null, choice.reason);
    }
    if (usage) yield { ...first, choices: [], usage: usageBody([mergeUsage(usages)]) };
  } finally {
    await stream.return(); // whoever left early, or before the first token, aborts
  }
}
