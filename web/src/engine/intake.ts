/** What happens to a request before the loop sees it: render, tokenise, check, compile. */
import { invalidRequest, TreadleError } from "../errors.js";
import type { ChatTemplate } from "../text/template.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { DEFAULTS, type Generate, type ToolFormat } from "../types.js";
import type { Calls } from "./constraints.js";
import { isCalling, type Grammars } from "./grammars.js";
import type { Submit } from "./sequence.js";

export interface Intake {
  readonly name: string;
  readonly tokenizer: Tokenizer;
  readonly template: ChatTemplate | undefined;
  readonly format: ToolFormat;
  readonly grammars: Grammars;
  /** There once a conversation with tools has asked for it. */
  calls?: Calls;
  readonly vocab: number;
  /** Most tokens of prompt and output together. */
  readonly context: number;
}

/** A request that asks for nothing. */
const NOTHING: Generate = {
  ...{ tools: [], toolChoice: "none", parallelToolCalls: true, constraint: undefined },
  ...{ sampling: DEFAULTS, templateOptions: {} },
};

/** Throws `invalid_request`, `context_overflow`, `limit_exceeded`, `grammar_error`, `unsupported`. */
export function prepare(intake: Intake, request: Generate): Submit {
  const { sampling } = request;
  checkIds(sampling.logitBias.keys(), "/logit_bias", intake.vocab);
  checkIds(sampling.stopTokenIds, "/stop_token_ids", intake.vocab);
  const ids = promptIds(intake, request);
  const { context } = intake;
  checkContext(intake, ids.length + (sampling.maxTokens ?? 1), ids.length, request.messages ? "/messages" : "/prompt");
  const maxTokens = sampling.maxTokens ?? context - ids.length;
  if (sampling.minTokens > maxTokens) {
    throw invalidRequest("/min_tokens", `is ${sampling.minTokens}, more than max_tokens ${maxTokens}`);
  }
  const seen = isCalling(request) ? (intake.calls?.markers(intake.format) ?? []) : [];
  const shown = seen.flatMap((text) => intake.tokenizer.control(text) ?? []);
  return {
    ids,
    sampling: { ...sampling, maxTokens, seed: sampling.seed ?? freshSeed() },
    grammar: intake.grammars.of(request, intake.calls),
    shown: new Set(shown),
  };
}

/** A request for the state of a prompt's last token. Throws `invalid_request`, `context_overflow`. */
export function embedded(intake: Intake, prompt: string | readonly number[]): Submit {
  const ids = promptIds(intake, { ...NOTHING, prompt }, "/input");
  checkContext(intake, ids.length, ids.length, "/input");
  const sampling = { ...DEFAULTS, maxTokens: 0, seed: 0n };
  return { ids, sampling, grammar: undefined, shown: new Set(), embeds: true };
}

/** Token ids of the prompt, or of the messages as the chat template renders them. */
export function promptIds(intake: Intake, request: Generate, at = "/prompt"): readonly number[] {
  const { tokenizer } = intake;
  const { prompt } = request;
  if (request.messages) return tokenizer.encode(render(intake, request));
  const ids = typeof prompt === "string" ? tokenizer.encode(prompt, true) : (prompt ?? []);
  if (typeof prompt !== "string") checkIds(ids, at, intake.vocab);
  if (!ids.length) throw invalidRequest(at, "is empty", "give at least one token");
  return ids;
}

/** The chat template's text for the messages and tools of a request. */
function render(intake: Intake, request: Generate): string {
  const { template, format } = intake;
  if (!template) {
    const text = `${intake.name} has no chat template`;
    throw new TreadleError("unsupported", text, { at: "/messages", hint: "send a prompt" });
  }
  for (const name of Object.keys(request.templateOptions)) {
    if (format.options.includes(name)) continue;
    const hint = format.options.length ? `one of ${format.options.join(", ")}` : "drop it";
    throw invalidRequest(`/chat_template_kwargs/${name}`, "is no option of this template", hint);
  }
  let messages = request.messages ?? [];
  let tools = request.toolChoice === "none" ? [] : request.tools;
  const called = messages.some((turn) => turn.toolCalls?.length || turn.role === "tool");
  if ((tools.length || called) && intake.calls && !template.supportsTools) {
    messages = intake.calls.adapt(format, messages, tools, template.supportsSystem);
    tools = [];
  }
  return template.render(messages, tools, request.templateOptions);
}

function checkContext({ context }: Intake, wanted: number, prompt: number, at: string): void {
  if (wanted <= context) return;
  throw new TreadleError("context_overflow", `context is ${wanted}, the maximum is ${context}`, {
    at,
    hint: wanted > prompt ? `the prompt has ${prompt} tokens; shorten it or lower max_tokens` : "shorten the text",
    ...{ limit: "context", value: wanted, maximum: context },
  });
}

function checkIds(ids: Iterable<number>, at: string, vocab: number): void {
  for (const id of ids) {
    if (!Number.isInteger(id) || id < 0 || id >= vocab) {
      throw invalidRequest(at, `${id} is no token id`, `ids are 0 to ${vocab - 1}`);
    }
  }
}

function freshSeed(): bigint {
  return crypto.getRandomValues(new BigUint64Array(1))[0]! >> 1n;
}
