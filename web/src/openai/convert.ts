/** Request bodies, already in shape, to `Generate`: what the wire says, in the engine's words. */
import { invalidRequest, TreadleError } from "../errors.js";
import { DEFAULTS, type Constraint, type Generate, type JsonObject, type Message, type Role, type Sampling, type Tool, type ToolChoice } from "../types.js";
import type { ChatBody, CompletionBody, MessageBody, SharedBody, StructuredOutputs } from "./bodies.js";

const MOST_PROMPTS = 128;

/** Throws `invalid_request` for combinations that mean nothing, `unsupported` for parts not read. */
export function chatRequest(body: ChatBody): Generate {
  const { top_logprobs, max_completion_tokens: longest } = body;
  if (top_logprobs != null && !body.logprobs) {
    throw invalidRequest("/top_logprobs", "needs logprobs to be true", "set logprobs: true");
  }
  if (longest != null && body.max_tokens != null && body.max_tokens !== longest) {
    throw invalidRequest("/max_completion_tokens", "differs from max_tokens", "send one of the two");
  }
  const tools = toolsOf(body);
  const toolChoice = choiceOf(body, tools);
  const constraint = constraintOf(body);
  if (constraint && tools.length && toolChoice !== "none") {
    const at = body.response_format ? "/response_format" : "/structured_outputs";
    const hint = 'drop one of the two, or send tool_choice: "none"';
    throw invalidRequest(at, "cannot be combined with tools", hint);
  }
  return {
    messages: body.messages.map((message, i) => messageOf(message, `/messages/${i}`)),
    tools,
    toolChoice,
    parallelToolCalls: body.parallel_tool_calls ?? true,
    constraint,
    sampling: {
      ...samplingOf(body),
      ...(longest == null ? {} : { maxTokens: longest }),
      logprobs: body.logprobs ? (top_logprobs ?? 0) : -1,
    },
    templateOptions: body.chat_template_kwargs ?? {},
  };
}

/** One request a prompt. */
export function completionRequests(body: CompletionBody): Generate[] {
  const shared = {
    tools: [],
    toolChoice: "none",
    parallelToolCalls: true,
    constraint: constraintOf(body),
    sampling: { ...samplingOf(body), logprobs: body.logprobs ?? -1 },
    templateOptions: {},
  } as const;
  return promptsOf(body.prompt, "/prompt").map((prompt) => ({ ...shared, prompt }));
}

/** Throws `not_found` when a request names a model that is not here. */
export function checkModel(asked: string | null | undefined, here: string): void {
  if (asked == null || asked === here) return;
  const text = `no model "${asked}" is served here`;
  throw new TreadleError("not_found", text, { at: "/model", hint: `use "${here}"` });
}

export function messageOf(body: MessageBody, at: string): Message {
  let { content } = body;
  if (Array.isArray(content)) {
    content = content
      .map((part, index) => {
        if (part.type === "text") return part.text;
        throw new TreadleError("unsupported", "this model reads text only", {
          at: `${at}/content/${index}/type`,
          hint: 'send parts of type "text"',
        });
      })
      .join("");
  }
  const { role, tool_calls: calls } = body;
  if (content == null && !calls?.length && role !== "assistant") {
    throw invalidRequest(`${at}/content`, "required field is missing", "add it");
  }
  if (role === "tool" && body.tool_call_id == null) {
    throw invalidRequest(`${at}/tool_call_id`, "a tool message answers a call", "send the call's id");
  }
  if (calls?.length && role !== "assistant") {
    throw invalidRequest(`${at}/tool_calls`, "only assistant turns make calls", "remove it");
  }
  return {
    role: role as Role,
    content: content ?? null,
    name: body.name ?? undefined,
    toolCalls: calls?.map((call) => ({ type: "function", ...call })),
    toolCallId: body.tool_call_id ?? undefined,
  };
}

function samplingOf(body: SharedBody): Sampling {
  const { stop, logit_bias: bias, seed } = body;
  return {
    temperature: body.temperature ?? DEFAULTS.temperature,
    topP: body.top_p ?? DEFAULTS.topP,
    topK: body.top_k ?? DEFAULTS.topK,
    minP: body.min_p ?? DEFAULTS.minP,
    presence: body.presence_penalty ?? DEFAULTS.presence,
    frequency: body.frequency_penalty ?? DEFAULTS.frequency,
    repetition: body.repetition_penalty ?? DEFAULTS.repetition,
    logitBias: new Map(Object.entries(bias ?? {}).map(([id, value]) => [tokenId(id), value])),
    maxTokens: body.max_tokens ?? DEFAULTS.maxTokens,
    minTokens: body.min_tokens ?? DEFAULTS.minTokens,
    ignoreEos: body.ignore_eos ?? DEFAULTS.ignoreEos,
    stop: typeof stop === "string" ? [stop] : (stop ?? []),
    stopTokenIds: body.stop_token_ids ?? [],
    logprobs: -1,
    n: body.n ?? DEFAULTS.n,
    seed: seed == null ? undefined : BigInt(seed),
  };
}

function tokenId(text: string): number {
  if (/^\d{1,10}$/.test(text)) return Number(text);
  throw invalidRequest(`/logit_bias/${text}`, "is no token id", "use ids as keys");
}

/** One text or id list a prompt; a list of integers is one prompt. */
export function promptsOf(prompt: CompletionBody["prompt"], at: string): (string | number[])[] {
  if (typeof prompt === "string") return [prompt];
  if (prompt.every((entry) => typeof entry === "number")) return [idsOf(prompt, at)];
  if (prompt.length > MOST_PROMPTS) {
    throw invalidRequest(at, `has ${prompt.length} texts, at most ${MOST_PROMPTS}`);
  }
  return prompt.map((entry, index) => {
    if (typeof entry === "string") return entry;
    if (Array.isArray(entry)) return idsOf(entry, `${at}/${index}`);
    throw invalidRequest(`${at}/${index}`, "expected a text or a list of token ids");
  });
}

function idsOf(values: readonly unknown[], at: string): number[] {
  if (!values.length) throw invalidRequest(at, "an empty prompt", "send at least one token");
  return values.map((value, index) => {
    if (Number.isInteger(value) && Number(value) >= 0 && Number(value) < 2 ** 31) return Number(value);
    throw invalidRequest(`${at}/${index}`, `${JSON.stringify(value)} is no token id`);
  });
}

function toolsOf(body: ChatBody): Tool[] {
  const seen = new Set<string>();
  return (body.tools ?? []).map(({ function: { name, description, parameters } }, index) => {
    if (seen.has(name)) {
      throw invalidRequest(`/tools/${index}/function/name`, `"${name}" is declared twice`);
    }
    seen.add(name);
    return { name, description: description ?? "", parameters: parameters ?? { type: "object" } };
  });
}

function choiceOf({ tool_choice: choice }: ChatBody, tools: readonly Tool[]): ToolChoice {
  if (choice == null) return tools.length ? "auto" : "none";
  if (!tools.length && choice !== "none") {
    throw invalidRequest("/tool_choice", "there are no tools to choose from");
  }
  if (typeof choice === "string") return choice;
  const { name } = choice.function;
  if (tools.some((tool) => tool.name === name)) return { name };
  const hint = `use one of ${tools.map((tool) => tool.name).join(", ")}`;
  throw invalidRequest("/tool_choice/function/name", `no tool is called "${name}"`, hint);
}

/** The one constraint of a request. Two are refused, by name. */
function constraintOf({ response_format: wanted, structured_outputs: given }: SharedBody): Constraint | undefined {
  const found: Constraint[] = [];
  const add = (kind: Constraint["kind"], value: unknown, at: string) => found.push({ kind, value, at });
  const at = "/response_format";
  if (wanted?.type === "json_object") add("json_object", null, at);
  else if (wanted?.type === "json_schema") {
    add("json_schema", wanted.json_schema.schema ?? true, `${at}/json_schema/schema`);
  } else if (wanted?.type === "regex") add("regex", wanted.regex, `${at}/regex`);
  else if (wanted?.type === "grammar") add("grammar", wanted.grammar, `${at}/grammar`);
  else if (wanted?.type === "choice") add("choice", wanted.choice, `${at}/choice`);
  else if (wanted?.type === "structural_tag") add("structural_tag", tagOf(wanted), at);
  if (given) {
    const before = found.length;
    for (const [field, kind] of Object.entries(KINDS)) {
      const value = given[field as keyof StructuredOutputs];
      if (value != null) add(kind, value, `/structured_outputs/${field}`);
    }
    if (found.length === before) throw invalidRequest("/structured_outputs", "holds no constraint");
  }
  const [first, second] = found;
  if (first && second) {
    throw invalidRequest(second.at, `two constraints, ${first.at} and ${second.at}`, "send one");
  }
  return first;
}

const KINDS = {
  json: "json_schema",
  json_object: "json_object",
  regex: "regex",
  choice: "choice",
  grammar: "grammar",
  structural_tag: "structural_tag",
} as const;

function tagOf(wanted: JsonObject): unknown {
  const { type, format, structural_tag: wrapped } = wanted;
  if ((format === undefined) === (wrapped === undefined)) {
    throw invalidRequest("/response_format", "needs either format or structural_tag");
  }
  return wrapped ?? { type, format };
}
