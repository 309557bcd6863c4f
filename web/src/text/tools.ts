/** Conversations with tools: calls and results as a model's template, or plain turns, take them. */
import { invalidRequest } from "../errors.js";
import type { JsonObject, Message, Tool, ToolFormat } from "../types.js";
import { pythonJson } from "./python_json.js";
import { isMap, writeMembers } from "./style.js";
import { headOf, tailOf } from "./tags.js";

/** [name, arguments] of a call as OpenAI writes it. Throws `invalid_request` below `at`. */
export function calledFunction(call: JsonObject, at: string): [string, JsonObject] {
  const called = call["function"];
  const name = isMap(called) ? called["name"] : undefined;
  if (!isMap(called) || typeof name !== "string") {
    throw invalidRequest(`${at}/function`, "needs a function with a name");
  }
  let value: unknown = called["arguments"] ?? {};
  if (typeof value === "string") {
    try {
      value = value.trim() ? (JSON.parse(value) as unknown) : {};
    } catch {
      throw invalidRequest(`${at}/function/arguments`, "is not JSON", "send a JSON object");
    }
  }
  if (isMap(value)) return [name, value];
  throw invalidRequest(`${at}/function/arguments`, "is not a JSON object", "send a JSON object");
}

/** A tool as templates know it (and as OpenAI sends it). */
export function toolObject({ name, description, parameters }: Tool): JsonObject {
  return { type: "function", function: { name, description, parameters } };
}

/** The calls of one turn as the model would write them. */
export function renderCalls(format: ToolFormat, calls: readonly [string, JsonObject][]): string {
  const form = format.call;
  if (form.body === "slots") {
    const parts = calls.map(([name, args], index) => {
      const begin = form.begin.replace("{index}", String(index)).replace("{name}", () => name);
      return begin + (form.row ? writeMembers(form.row, args) : pythonJson(args)) + form.end;
    });
    return form.wrapper_begin + parts.join(form.separator) + form.wrapper_end;
  }
  const bodies = calls.map(
    ([name, args]) => headOf(form, name) + pythonJson(args) + tailOf(form),
  );
  if (form.many === "array") return form.begin + bodies.join(form.separator) + form.end;
  return bodies.map((body) => form.begin + body + form.end).join(form.separator);
}

/** The tools described in words, for templates without tool support. */
export function systemText(format: ToolFormat, tools: readonly Tool[]): string | undefined {
  if (format.system === null || !tools.length) return undefined;
  const lines = tools.map(({ name, description, parameters }) =>
    pythonJson({ name, description, parameters }),
  );
  return format.system.replace(/^\n+|\n+$/g, "").replace("{tools}", () => lines.join("\n"));
}

/**
 * The conversation in plain turns, for a template without tool support: the tools in the system
 * text, calls and results written out. `system` false: the template knows no system turn either, so
 * that text opens the first user turn.
 */
export function adapt(
  format: ToolFormat,
  messages: readonly Message[],
  tools: readonly Tool[],
  system: boolean,
): Message[] {
  const preface = [systemText(format, tools)].filter((text) => text !== undefined);
  const turns: Message[] = [];
  for (const [index, message] of messages.entries()) {
    const content = message.content ?? "";
    if ((message.role === "system" || message.role === "developer") && !turns.length) {
      preface.push(content);
    } else if (message.role === "tool") {
      join(turns, { role: "user", content: format.result.replace("{result}", () => content) });
    } else if (message.toolCalls?.length) {
      const made = message.toolCalls.map((call, i) =>
        calledFunction(call, `/messages/${index}/tool_calls/${i}`),
      );
      const calls = renderCalls(format, made);
      turns.push({ role: "assistant", content: content ? `${content}\n${calls}` : calls });
    } else join(turns, message);
  }
  const text = preface.join("\n\n");
  if (!text) return turns;
  if (system) return [{ role: "system", content: text }, ...turns];
  const [first, ...rest] = turns;
  if (first?.role === "user") {
    return [{ ...first, content: `${text}\n\n${first.content ?? ""}` }, ...rest];
  }
  return [{ role: "user", content: text }, ...turns];
}

/** Appends a turn. User turns in a row become one: many templates want turns to alternate. */
function join(turns: Message[], message: Message): void {
  const last = turns.at(-1);
  if (last?.role === "user" && message.role === "user") {
    const both = `${last.content ?? ""}\n\n${message.content ?? ""}`;
    turns[turns.length - 1] = { ...last, content: both };
  } else turns.push(message);
}
