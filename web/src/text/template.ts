/** Chat templates: messages and tools to a prompt, by the template that came with the model. */
import { Template } from "@huggingface/jinja";
import { invalidRequest, limitExceeded, TreadleError } from "../errors.js";
import { LIMITS } from "../generated/limits.js";
import type { JsonObject, Message, Tool } from "../types.js";
import { calledFunction, toolObject } from "./tools.js";

const RESERVED = ["messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token"];
const PROBE = "treadle_probe";
// {% generation %} only marks spans for training; a plain block prints the same text.
const GENERATION = /\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}/g;

export class ChatTemplate {
  readonly #source: string;
  readonly #program: Template;
  readonly #tokens: JsonObject;
  #shows: { tools: boolean; system: boolean } | undefined;

  /** Throws `limit_exceeded` for a long template, `unsupported` for one that does not compile. */
  constructor(source: string, bosToken: string, eosToken: string) {
    if (source.length > LIMITS.templateBytes) {
      throw limitExceeded("templateBytes", source.length, LIMITS.templateBytes, "chat_template");
    }
    this.#source = source;
    this.#tokens = { bos_token: bosToken, eos_token: eosToken };
    const portable = source.replace(GENERATION, (_, open: string, end: string, close: string) =>
      `{%${open}${end ? " endif " : " if true "}${close}%}`,
    );
    try {
      this.#program = new Template(portable);
    } catch (cause) {
      const text = `the template does not compile: ${(cause as Error).message}`;
      throw new TreadleError("unsupported", text, { at: "chat_template", cause });
    }
  }

  /** The prompt text. `options` are further template variables (`enable_thinking`, ...). */
  render(messages: readonly Message[], tools: readonly Tool[] = [], options: JsonObject = {}): string {
    const taken = Object.keys(options).find((name) => RESERVED.includes(name));
    if (taken) throw invalidRequest(`/chat_template_kwargs/${taken}`, "is set by the engine");
    const developer = this.#source.includes("developer");
    const context = {
      ...this.#tokens,
      ...options,
      messages: messages.map((message, index) => turn(message, index, developer)),
      tools: tools.length ? tools.map(toolObject) : null,
      documents: null,
      add_generation_prompt: true,
    };
    const text = this.#run(context);
    if (text.length > LIMITS.templateOutputBytes) {
      throw limitExceeded("templateOutputBytes", text.length, LIMITS.templateOutputBytes, "messages");
    }
    return text;
  }

  /** Whether tools that are offered show up in the prompt. */
  get supportsTools(): boolean {
    return this.#probe().tools;
  }

  /** Whether a system message shows up in the prompt. */
  get supportsSystem(): boolean {
    return this.#probe().system;
  }

  #probe(): { tools: boolean; system: boolean } {
    if (this.#shows) return this.#shows;
    const system: Message = { role: "system", content: "hello" };
    const user: Message = { role: "user", content: "hello" };
    const tool = { name: PROBE, description: "probe", parameters: { type: "object", properties: {} } };
    const tools = this.#has([user], [tool]) || this.#has([system, user], [tool]);
    this.#shows = { tools, system: this.#has([{ ...system, content: PROBE }, user], []) };
    return this.#shows;
  }

  #has(messages: readonly Message[], tools: readonly Tool[]): boolean {
    try {
      return this.render(messages, tools).includes(PROBE);
    } catch {
      return false;
    }
  }

  #run(context: JsonObject): string {
    try {
      return this.#program.render(context);
    } catch (cause) {
      const text = `the model's chat template refuses this conversation: ${(cause as Error).message}`;
      throw new TreadleError("invalid_request", text, { at: "/messages", cause });
    }
  }
}

function turn(message: Message, index: number, developer: boolean): JsonObject {
  const role = message.role === "developer" && !developer ? "system" : message.role;
  const found: JsonObject = { role, content: message.content ?? "" };
  if (message.name !== undefined) found["name"] = message.name;
  if (message.toolCallId !== undefined) found["tool_call_id"] = message.toolCallId;
  if (message.toolCalls?.length) {
    found["tool_calls"] = message.toolCalls.map((call, i) => {
      const [name, args] = calledFunction(call, `/messages/${index}/tool_calls/${i}`);
      return { ...call, function: { name, arguments: args } };
    });
  }
  return found;
}

