/**
 * Structural tags for tool calls: what output may look like, as data the grammar core lowers. The
 * twin of python/treadle/text/{tags,slot_tags}.py.
 */
import { invalidRequest } from "../errors.js";
import type { CallForm, JsonObject, Reasoning, Tool, ToolChoice, ToolFormat } from "../types.js";
import { triggers } from "./reader.js";

type Format = JsonObject;

/**
 * The structural tag that output with these tools matches; undefined = no constraint. auto: free
 * text until a call begins. required: one call or more, nothing else. named: one call of that tool.
 */
export function callTag(
  family: ToolFormat,
  tools: readonly Tool[],
  choice: ToolChoice,
  parallel: boolean,
): JsonObject | undefined {
  if (choice === "none" || !tools.length) return undefined;
  const form = family.call;
  const auto = choice === "auto";
  let single = !parallel || form.many === "once";
  if (typeof choice === "object") {
    tools = tools.filter((tool) => tool.name === choice.name);
    single = true;
    if (!tools.length) throw invalidRequest("tool_choice", `no tool is called "${choice.name}"`);
  }
  const { reasoning, excludes } = family;
  let format: Format;
  if (family.layout === "channels") format = channels(family, tools, auto, single);
  else {
    if (family.layout === "blocks") format = blocks(family, tools, auto, single);
    else format = auto ? free(family, tools, single) : callsOnly(form, tools, single);
    if (reasoning) format = sequence([thought(reasoning, excludes), format]);
  }
  return { type: "structural_tag", format };
}

/** What stands before the arguments, the outer begin left out. */
export function headOf(form: CallForm, name: string): string {
  if (form.body === "name") return name + form.middle;
  return `{${quote(form.name)}: ${quote(name)}, ${quote(form.args)}: `;
}

export function tailOf(form: CallForm): string {
  return form.body === "json" ? "}" : "";
}

/** The schema of a call's arguments, always an object. Without parameters there are none. */
function argumentsSchema({ parameters }: Tool): JsonObject {
  if (!Object.keys(parameters).length) {
    return { type: "object", properties: {}, additionalProperties: false };
  }
  return "type" in parameters ? parameters : { type: "object", ...parameters };
}

/** Free text, and calls where their trigger appears. */
function free(family: ToolFormat, tools: readonly Tool[], single: boolean): Format {
  const form = family.call;
  const array = form.many === "array";
  let tags = form.wrapper_begin
    ? [wrapped(form, tools, single)]
    : array
      ? [arrayOf(form, tools, single)]
      : tagsOf(form, tools);
  if (form.lead) tags = [...tags, ...tags.map((t) => ({ ...t, begin: form.lead + String(t["begin"]) }))];
  return {
    type: "triggered_tags",
    triggers: triggers(family),
    tags,
    at_least_one: false,
    stop_after_first: array || single,
    ...(family.excludes.length ? { excludes: family.excludes } : {}),
  };
}

/** One call or more and nothing else. */
function callsOnly(form: CallForm, tools: readonly Tool[], single: boolean): Format {
  if (form.wrapper_begin) return wrapped(form, tools, single);
  if (form.many === "array") return arrayOf(form, tools, single);
  const tags = tagsOf(form, tools);
  return single ? oneOf(tags) : separated(tags, form.separator, false);
}

/** A text block, the calls, the closing mark. The prompt may have opened the text block. */
function blocks(family: ToolFormat, tools: readonly Tool[], auto: boolean, single: boolean): Format {
  const [opening = "", ...ends] = family.text;
  const text = { type: "any_text", excludes: family.excludes };
  const block = oneOf(
    [opening, ""].map((begin) => ({ type: "tag", begin, content: text, end: ends })),
  );
  const calls = callsOnly(family.call, tools, single);
  const parts = auto ? [block, optional(calls)] : [optional(block), calls];
  return sequence([...parts, { type: "const_string", value: family.closing }]);
}

/** Messages joined by a mark: reasoning and text in any order, calls at the end. */
function channels(
  family: ToolFormat,
  tools: readonly Tool[],
  auto: boolean,
  single: boolean,
): Format {
  const { reasoning, joint } = family;
  const [opening = "", ...ends] = family.text;
  const any = { type: "any_text" };
  const plain = [
    ...(reasoning ? [mark(reasoning.begin, any, [reasoning.end])] : []),
    ...(auto ? [mark(opening, any, ends)] : []),
  ];
  const between = { type: "const_string", value: joint };
  const before = plain.length
    ? [{ type: "star", content: sequence([oneOf(plain), between]) }]
    : [];
  const called = sequence([...before, separated(tagsOf(family.call, tools), joint, single)]);
  return auto ? oneOf([separated(plain, joint, false), called]) : called;
}

function wrapped(form: CallForm, tools: readonly Tool[], single: boolean): Format {
  const calls = separated(tagsOf(form, tools), form.separator, single);
  return mark(form.wrapper_begin, calls, [form.wrapper_end]);
}

function arrayOf(form: CallForm, tools: readonly Tool[], single: boolean): Format {
  const bodies = tools.map((t) => mark(headOf(form, t.name), body(form, t), [tailOf(form)]));
  return mark(form.begin, separated(bodies, form.separator, single), [form.end]);
}

function tagsOf(form: CallForm, tools: readonly Tool[]): Format[] {
  if (form.body === "slots") return tools.flatMap((tool) => slotTags(form, tool));
  const end = tailOf(form) + form.end;
  return tools.map((tool) => mark(form.begin + headOf(form, tool.name), body(form, tool), [end]));
}

/** One tag for every begin. What follows a number is content: a tag begins with plain text. */
function slotTags(form: CallForm, tool: Tool): Format[] {
  const style = form.style === "json" ? {} : { style: form.style };
  const schema = { type: "json_schema", json_schema: argumentsSchema(tool), ...style };
  return [form.begin, ...form.also].map((begin) => {
    const [first = "", ...rest] = begin.replace("{name}", () => tool.name).split("{index}");
    const parts = rest.flatMap((value) => [
      { type: "regex", pattern: "[0-9]+" },
      { type: "const_string", value },
    ]);
    const content = parts.length ? sequence([...parts, schema]) : schema;
    return { type: "tag", begin: first, content, end: form.end };
  });
}

function body(form: CallForm, tool: Tool): Format {
  const schema = { type: "json_schema", json_schema: argumentsSchema(tool) };
  if (!form.after) return schema;
  return sequence([schema, optional({ type: "regex", pattern: form.after })]);
}

/** Reasoning before anything else, if there is any; calls mentioned in it are text. */
function thought(reasoning: Reasoning, excludes: readonly string[]): Format {
  // Without what is left out, a begin that the prompt may hold would be text as well.
  const text = { type: "any_text", ...(reasoning.opened && excludes.length ? { excludes } : {}) };
  const begins = reasoning.opened ? [reasoning.begin, ""] : [reasoning.begin];
  const said = oneOf(begins.map((begin) => mark(begin, text, [reasoning.end])));
  return optional(sequence([said, { type: "regex", pattern: reasoning.gap }]));
}

function mark(begin: string, content: Format, ends: readonly string[]): Format {
  return { type: "tag", begin, content, end: ends.length === 1 ? ends[0] : ends };
}

function separated(tags: Format[], separator: string, stopAfterFirst: boolean): Format {
  return {
    type: "tags_with_separator",
    tags,
    separator,
    at_least_one: true,
    stop_after_first: stopAfterFirst,
  };
}

function oneOf(formats: Format[]): Format {
  return formats.length === 1 ? formats[0]! : { type: "or", elements: formats };
}

function sequence(elements: Format[]): Format {
  return { type: "sequence", elements };
}

function optional(content: Format): Format {
  return { type: "optional", content };
}

function quote(text: string): string {
  return JSON.stringify(text);
}
