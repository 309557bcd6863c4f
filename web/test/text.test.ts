/** Tokeniser, templates, tool formats and request checks give what the Python side gives. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { TreadleError } from "../src/errors.js";
import { chatRequest, completionRequests } from "../src/openai/convert.js";
import { chatBody, completionBody } from "../src/openai/validate.js";
import { CallReader } from "../src/text/reader.js";
import { callTag } from "../src/text/tags.js";
import { ChatTemplate } from "../src/text/template.js";
import { Tokenizer } from "../src/text/tokenizer.js";
import { adapt, renderCalls } from "../src/text/tools.js";
import type { JsonObject, Message, Tool } from "../src/types.js";
import { StopSearch } from "../src/text/stream.js";
import { data, formats, table, texts } from "./model.js";
import { repositoryFile } from "./support.js";

interface Turn {
  format: string;
  text: string;
  plain: [string, string][];
  split: [string, string][];
  rendered?: [string, JsonObject][];
}
const calls = await data<{ tools: Tool[]; tags: Record<string, JsonObject>; turns: Turn[] }>("calls.json");
const prompts = await data<{
  ids: [string, number[]][];
  talk: Message[];
  rendered: { template: string; format: string; messages: Message[]; tools: boolean; text?: string }[];
}>("prompts.json");
const tokenizer = new Tokenizer({ json: texts().tokenizer, table, bos: null, addsBos: false });

test("ids are those of the Python tokeniser, and spell the text", () => {
  assert(prompts.ids.length > 3);
  for (const [text, ids] of prompts.ids) {
    assert.deepEqual(tokenizer.encode(text), ids);
    assert.equal(tokenizer.decode(ids), text);
  }
});

test("templates print what they print in Python, byte for byte", async (context) => {
  context.mock.timers.enable({ apis: ["Date"], now: new Date(2026, 6, 4, 12) });
  const failures: string[] = [];
  for (const { template, messages, tools, text } of prompts.rendered) {
    const source = await repositoryFile(`tests/text/templates/${template}.jinja`);
    const made = new ChatTemplate(source, "<s>", "</s>");
    let got: string | undefined;
    try {
      got = made.render(messages, tools ? calls.tools : []);
    } catch (error) {
      assert(error instanceof TreadleError && error.code === "invalid_request", String(error));
    }
    if (got !== text) failures.push(`${template} ${tools}: ${JSON.stringify(got)} not ${JSON.stringify(text)}`);
  }
  assert.deepEqual(failures, []);
});

test("conversations in plain turns are those of Python", async () => {
  for (const { template, format, messages } of prompts.rendered.filter((_, i) => i % 3 === 2)) {
    const made = new ChatTemplate(await repositoryFile(`tests/text/templates/${template}.jinja`), "", "");
    const turns = adapt(formats[format]!, prompts.talk, calls.tools, made.supportsSystem);
    const told = (list: readonly Message[]) => list.map(({ role, content }) => [role, content]);
    assert.deepEqual(told(turns), told(messages), template);
  }
});

test("every format's tags are those of Python", () => {
  assert.equal(Object.keys(calls.tags).length, Object.keys(formats).length);
  for (const [name, tags] of Object.entries(calls.tags)) {
    const format = formats[name]!;
    const made = {
      auto: callTag(format, calls.tools, "auto", true),
      one: callTag(format, calls.tools, "auto", false),
      required: callTag(format, calls.tools, "required", true),
      named: callTag(format, calls.tools, { name: "stop" }, true),
    };
    assert.deepEqual(JSON.parse(JSON.stringify(made)), tags, name);
  }
});

/** Neighbouring pieces of one kind joined: where a text is cut makes no difference. */
function joined(events: readonly { kind: string; value: string }[]): [string, string][] {
  const found: [string, string][] = [];
  for (const { kind, value } of events) {
    const last = found.at(-1);
    if (last?.[0] === kind && kind !== "call" && kind !== "end") last[1] += value;
    else found.push([kind, value]);
  }
  return found;
}

test("every format's calls are read as in Python, however the text is cut", () => {
  assert(calls.turns.length > 60);
  for (const { format, text, plain, split, rendered } of calls.turns) {
    if (rendered) assert.equal(renderCalls(formats[format]!, rendered), text, format);
    for (const [wanted, thinks] of [[plain, false], [split, true]] as const) {
      for (const size of [text.length || 1, 1, 5]) {
        const reader = new CallReader(formats[format]!, calls.tools, thinks);
        const events = [];
        for (let at = 0; at < text.length; at += size) events.push(...reader.push(text.slice(at, at + size)));
        events.push(...reader.finish());
        const pieces = joined(wanted.map(([kind, value]) => ({ kind, value })));
        assert.deepEqual(joined(events), pieces, `${format} by ${size}: ${text}`);
      }
    }
  }
});

test("bodies are refused for the same field and code as by the server", async () => {
  type Case = { body: unknown; code?: string; at?: string };
  const requests = await data<{ chat: Case[]; completions: Case[] }>("requests.json");
  const verdict = (run: () => unknown) => {
    try {
      run();
      return {};
    } catch (error) {
      assert(error instanceof TreadleError, String(error));
      return { code: error.code, at: error.at };
    }
  };
  const failures: unknown[] = [];
  for (const { body, ...wanted } of requests.chat) {
    const got = verdict(() => chatRequest(chatBody(body)));
    if (!same(got, wanted)) failures.push({ body, got, wanted });
  }
  for (const { body, ...wanted } of requests.completions) {
    const got = verdict(() => completionRequests(completionBody(body)));
    if (!same(got, wanted)) failures.push({ body, got, wanted });
  }
  assert.deepEqual(failures, []);
  assert(requests.chat.length > 40);
});

/** Python says "..." where it does not know the key of a mapping. */
function same(a: { at?: string; code?: string }, b: { at?: string; code?: string }): boolean {
  const anyKey = b.at?.endsWith("/...") && a.at?.startsWith(b.at.slice(0, -3));
  return a.code === b.code && (anyKey || a.at === b.at);
}

test("stop strings are found over any cut, and only their beginnings are held back", () => {
  const stops = ["END", "ND!", "aab"];
  for (const text of ["xxEND!", "aaab", "EN", "enENDEND", "aaENaab", "plain"]) {
    const hit = Math.min(...stops.map((s) => (text.includes(s) ? text.indexOf(s) + s.length : Infinity)));
    const first = stops.filter((s) => text.indexOf(s) >= 0 && text.indexOf(s) + s.length === hit);
    const start = hit - Math.max(0, ...first.map((s) => s.length));
    for (let cut = 1; cut < text.length; cut += 1) {
      const search = new StopSearch(stops);
      let shown = "";
      let stopped = false;
      for (const piece of [text.slice(0, cut), text.slice(cut)]) {
        if (stopped) break;
        const [more, now] = search.push(piece);
        shown += more;
        stopped = now;
      }
      if (!stopped) shown += search.flush();
      assert.equal(stopped, hit < Infinity);
      assert.equal(shown, hit < Infinity ? text.slice(0, start) : text, `${text} cut at ${cut}`);
    }
  }
});
