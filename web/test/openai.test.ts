/** The official client, and our own methods, over an engine in this process. */
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI, { APIError, APIUserAbortError, NotFoundError, RateLimitError } from "openai";
import type { ChatCompletionCreateParamsNonStreaming, ChatCompletionMessageParam, ChatCompletionTool } from "openai/resources/chat/completions";
import { renderCalls } from "../src/text/tools.js";
import { all, formats, model, rejected, type Model, type ModelOptions } from "./model.js";
import { repositoryFile } from "./support.js";

function clientOf({ api }: Model): OpenAI {
  const baseURL = "http://treadle/v1";
  return new OpenAI({ apiKey: "local", baseURL, fetch: api.fetch as typeof fetch, maxRetries: 0 });
}

async function client(options: ModelOptions = {}): Promise<OpenAI> {
  return clientOf(await model(options));
}

const hello: ChatCompletionMessageParam[] = [{ role: "user", content: "hello" }];
const script = { hello: "Hi there, all of you.", weather: "It rains." };
const person = {
  type: "object",
  properties: { name: { type: "string", maxLength: 8 }, age: { type: "integer", minimum: 0, maximum: 150 } },
  required: ["name", "age"],
  additionalProperties: false,
};

test("a chat answer has OpenAI's shape and its usage adds up", async () => {
  const openai = await client({ script });
  const answer = await openai.chat.completions.create({ model: "toy", messages: hello, temperature: 0 });
  assert.equal(answer.object, "chat.completion");
  assert.match(answer.id, /^chatcmpl-[0-9a-f]{24}$/);
  const [choice] = answer.choices;
  assert.deepEqual(choice?.message, { role: "assistant", content: script.hello, refusal: null });
  assert.equal(choice?.finish_reason, "stop");
  const { prompt_tokens = 0, completion_tokens = 0, total_tokens, prompt_tokens_details } = answer.usage ?? {};
  assert(prompt_tokens > 4 && completion_tokens > 4 && total_tokens === prompt_tokens + completion_tokens);
  assert.equal(prompt_tokens_details?.cached_tokens, 0);
  const again = await openai.chat.completions.create({ model: "toy", messages: hello, temperature: 0 });
  assert.equal(again.usage?.prompt_tokens_details?.cached_tokens, Math.floor((prompt_tokens - 1) / 16) * 16);
});

test("a stream: role, deltas, finish, usage, in this order and for every choice", async () => {
  const openai = await client({ script });
  const stream = await openai.chat.completions.create({
    ...{ model: "toy", messages: hello, temperature: 0, n: 2, stream: true, logprobs: true, top_logprobs: 2 },
    stream_options: { include_usage: true },
  });
  const chunks = await all(stream);
  assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
  assert.deepEqual(chunks.slice(0, 2).map((c) => c.choices[0]), [0, 1].map((index) => ({
    ...{ index, delta: { role: "assistant", content: "" }, logprobs: null, finish_reason: null },
  })));
  for (const index of [0, 1]) {
    const mine = chunks.flatMap((chunk) => chunk.choices).filter((choice) => choice.index === index);
    assert.equal(mine.map((choice) => choice.delta.content ?? "").join(""), script.hello);
    assert.deepEqual(mine.map((choice) => choice.finish_reason).filter(Boolean), ["stop"]);
    assert.equal(mine.at(-1)?.finish_reason, "stop");
    const told = mine.flatMap((choice) => choice.logprobs?.content ?? []);
    assert(told.length > 3 && told.every((entry) => entry.top_logprobs.length === 2));
    const bytes = told.flatMap((entry) => entry.bytes ?? []);
    assert(new TextDecoder().decode(Uint8Array.from(bytes)).startsWith(script.hello));
  }
  const last = chunks.at(-1);
  assert.deepEqual(last?.choices, []);
  assert((last?.usage?.completion_tokens ?? 0) > 8);
  assert(chunks.slice(0, -1).every((chunk) => chunk.usage === null));
});

test("the client's own stream helper and JSON parsing run unchanged", async () => {
  const openai = await client();
  const runner = openai.chat.completions.stream({
    ...{ model: "toy", messages: hello, max_tokens: 120, seed: 4 },
    response_format: { type: "json_schema", json_schema: { name: "person", schema: person, strict: true } },
  });
  let text = "";
  runner.on("content", (delta) => (text += delta));
  const done = await runner.finalChatCompletion();
  const value = JSON.parse(done.choices[0]?.message.content ?? "") as { name: string; age: number };
  assert.equal(text, done.choices[0]?.message.content);
  assert.deepEqual(Object.keys(value), ["name", "age"]);
  assert(value.name.length <= 8 && Number.isInteger(value.age) && value.age <= 150);
});

test("every kind of constraint, in response_format and in structured_outputs", async () => {
  const { api } = await model();
  const said = async (body: object) => {
    const answer = await api.chat.completions.create({ messages: [{ role: "user", content: "x" }], seed: 3, max_tokens: 150, ...body });
    assert.equal(answer.choices[0]?.finish_reason, "stop", JSON.stringify(body));
    return answer.choices[0]?.message.content ?? "";
  };
  const tag = { type: "tag", begin: "<a>", content: { type: "regex", pattern: "[xyz]{2,4}" }, end: "</a>" };
  const root = 'root ::= "ja" | "nein"';
  const cases: [object, RegExp | ((text: string) => unknown)][] = [
    [{ response_format: { type: "text" }, max_tokens: 1, stop_token_ids: [1], logit_bias: { 1: 100 } }, /^$/],
    [{ response_format: { type: "json_object" } }, (text) => typeof JSON.parse(text) === "object"],
    [{ response_format: { type: "regex", regex: "[ab]{3}c" } }, /^[ab]{3}c$/],
    [{ response_format: { type: "grammar", grammar: root } }, /^(ja|nein)$/],
    [{ response_format: { type: "choice", choice: ["left", "right"] } }, /^(left|right)$/],
    [{ response_format: { type: "structural_tag", format: tag } }, /^<a>[xyz]{2,4}<\/a>$/],
    [{ response_format: { type: "structural_tag", structural_tag: { type: "structural_tag", format: tag } } }, /^<a>[xyz]{2,4}<\/a>$/],
    [{ structured_outputs: { json: person } }, (text) => "age" in (JSON.parse(text) as object)],
    [{ structured_outputs: { json: JSON.stringify({ enum: [1, 2] }) } }, /^\s*[12]$/],
    [{ structured_outputs: { regex: "q{4}" } }, /^qqqq$/],
    [{ structured_outputs: { choice: ["up", "down"] } }, /^(up|down)$/],
    [{ structured_outputs: { grammar: root } }, /^(ja|nein)$/],
    [{ structured_outputs: { structural_tag: JSON.stringify(tag) } }, /^<a>[xyz]{2,4}<\/a>$/],
  ];
  for (const [body, check] of cases) {
    const text = await said(body);
    assert(check instanceof RegExp ? check.test(text) : check(text), `${JSON.stringify(body)} gave ${text}`);
  }
});

test("embeddings: unit length, in order, as numbers or base64, cut to dimensions", async () => {
  const whole = await model();
  const { api, toy } = whole;
  const input = ["hello", "a longer text than that", "hello"];
  const { data, usage, model: name } = await api.embeddings.create({ input });
  const ids = await Promise.all(input.map((text) => api.tokenize(text)));
  assert.deepEqual(data.map(({ index }) => index), [0, 1, 2]);
  assert.deepEqual([name, usage.prompt_tokens], ["toy", ids.flat().length]);
  data.forEach(({ embedding }, i) => {
    const state = [ids[i]!.length, ids[i]!.at(-1)!, ids[i]!.reduce((a, b) => a + b), 3];
    const length = Math.hypot(...state);
    (embedding as number[]).forEach((value, j) => assert(Math.abs(value - state[j]! / length) < 1e-6));
  });
  assert.equal(toy.draws, 0);
  // The client asks for base64 unless told otherwise.
  const openai = clientOf(whole);
  const read = await openai.embeddings.create({ model: "toy", input: ids[1]!, dimensions: 3 });
  const cut = (data[1]!.embedding as number[]).slice(0, 3);
  read.data[0]!.embedding.forEach((value, j) => assert(Math.abs(value - cut[j]! / Math.hypot(...cut)) < 1e-6));
  const wrong = async (body: object) => rejected(api.embeddings.create(body as never));
  assert.deepEqual([(await wrong({ input: [] })).at, (await wrong({ input: "x", dimensions: 5 })).at], ["/input", "/dimensions"]);
  assert.deepEqual([(await wrong({ input: "x", inputs: 1 })).at, (await wrong({ input: "" })).at], ["/inputs", "/input"]);
  assert.equal((await wrong({ input: [["x"]] })).code, "invalid_request");
  assert.equal((await wrong({ input: "x ".repeat(2000) })).code, "context_overflow");
  const signal = AbortSignal.abort();
  assert.equal((await rejected(api.embeddings.create({ input: "x" }, { signal }))).code, "cancelled");
  Object.assign(toy, { hidden: undefined });
  assert.equal((await wrong({ input: "x" })).code, "unsupported");
  await assert.doesNotReject(api.completions.create({ prompt: "x", max_tokens: 2 }));
  whole.engine.check();
});

const tools: ChatCompletionTool[] = [
  { type: "function", function: { name: "look_up", parameters: { type: "object", properties: { city: { type: "string", maxLength: 4 } }, required: ["city"], additionalProperties: false } } },
  { type: "function", function: { name: "stop", parameters: { type: "object", properties: {}, additionalProperties: false } } },
];

test("calls parse in every tool format, streamed and whole, required and named", async () => {
  const failures: string[] = [];
  for (const [format, data] of Object.entries(formats)) {
    // It says a call as its family does; what the format wants around it is left to the grammar.
    const said = { look: renderCalls(data, [["look_up", { city: "Rom" }]]), halt: renderCalls(data, [["stop", {}]]) };
    const made = await model({ format, script: said, context: 2048, toy: { pages: 256, maxTokens: 512 } });
    const openai = clientOf(made);
    const named = { type: "function", function: { name: "stop" } } as const;
    for (const [word, tool_choice, name, args] of [["look", "required", "look_up", { city: "Rom" }], ["halt", named, "stop", {}]] as const) {
      try {
        const messages: ChatCompletionMessageParam[] = [{ role: "user", content: word }];
        const body = { model: "toy", messages, tools, tool_choice, max_tokens: 200, parallel_tool_calls: false, temperature: 0 };
        const answer = await openai.chat.completions.create(body);
        const [call] = answer.choices[0]?.message.tool_calls ?? [];
        assert(call?.type === "function", `no call in ${JSON.stringify(answer.choices[0])}`);
        assert.deepEqual([call.function.name, JSON.parse(call.function.arguments)], [name, args]);
        assert.equal(answer.choices[0]?.finish_reason, "tool_calls");
        const heard = ["", ""];
        for await (const chunk of await openai.chat.completions.create({ ...body, stream: true })) {
          for (const delta of chunk.choices[0]?.delta.tool_calls ?? []) {
            heard[0] += delta.function?.name ?? "";
            heard[1] += delta.function?.arguments ?? "";
          }
        }
        assert.deepEqual(heard, [call.function.name, call.function.arguments]);
      } catch (error) {
        failures.push(`${format} ${word}: ${String(error).slice(0, 400)}`);
      }
    }
  }
  assert.deepEqual(failures, []);
});

test("a tool is called, answered and the answer used: auto is text or calls", async () => {
  const call = '<tool_call>{"name": "look_up", "arguments": {"city": "Rom"}}</tool_call>';
  const openai = await client({ context: 2048, toy: { pages: 128 }, script: { "weather": `Let me see. ${call}`, "12 degrees": "It is mild." } });
  const messages: ChatCompletionMessageParam[] = [{ role: "user", content: "weather?" }];
  const body: ChatCompletionCreateParamsNonStreaming = { model: "toy", messages, tools, temperature: 0, max_tokens: 200 };
  const first = await openai.chat.completions.create(body);
  const message = first.choices[0]!.message;
  assert.equal(message.content, "Let me see.");
  const made = message.tool_calls?.[0];
  assert(made?.type === "function" && made.function.arguments === '{"city": "Rom"}');
  messages.push(message, { role: "tool", tool_call_id: made.id, content: "12 degrees" });
  const second = await openai.chat.completions.create(body);
  assert.equal(second.choices[0]?.message.content, "It is mild.");
  assert.equal(second.choices[0]?.finish_reason, "stop");
  const none = await openai.chat.completions.create({ ...body, tool_choice: "none", max_tokens: 5 });
  assert.equal(none.choices[0]?.message.tool_calls, undefined);
});

test("completions: text and ids, several prompts, echo, logprobs, streams", async () => {
  const made = await model({ script: { go: " on and on" } });
  const openai = clientOf(made);
  const ids = await made.api.tokenize("go");
  const both = await openai.completions.create({ model: "toy", prompt: ["go", "go"], temperature: 0, n: 2, echo: true, logprobs: 1 });
  assert.deepEqual(both.choices.map(({ index, text }) => [index, text]), [0, 1, 2, 3].map((i) => [i, "go on and on"]));
  const [first] = both.choices;
  assert.equal(first?.logprobs?.tokens?.length, first?.logprobs?.text_offset?.length);
  assert.equal(both.usage?.prompt_tokens, 2 * ids.length);
  const whole = await openai.completions.create({ model: "toy", prompt: ids, temperature: 0 });
  assert.equal(whole.choices[0]?.text, " on and on");
  const chunks = await all(await openai.completions.create({ model: "toy", prompt: "go", temperature: 0, stream: true }));
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.text).join(""), " on and on");
  assert.equal(chunks.at(-1)?.choices[0]?.finish_reason, "stop");
});

test("models, token counts, and what has no route", async () => {
  const made = await model();
  const openai = clientOf(made);
  const found = await all(openai.models.list());
  assert.deepEqual(found.map(({ id }) => id), ["toy"]);
  assert.equal((await openai.models.retrieve("toy")).owned_by, "treadle");
  await assert.rejects(openai.models.retrieve("other"), NotFoundError);
  await assert.rejects(openai.moderations.create({ model: "toy", input: "x" }), NotFoundError);
  assert.equal((await made.api.fetch("http://x/v1/chat/completions")).status, 405);
  assert.equal(await made.api.countTokens([{ role: "user", content: "hello" }]), (await made.api.tokenize("<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n")).length);
  assert.equal(await made.api.detokenize(await made.api.tokenize("there and back")), "there and back");
});

test("mistakes are OpenAI errors that name the field; the engine goes on", async () => {
  const openai = await client({ script });
  const create = (more: object) => openai.chat.completions.create({ model: "toy", messages: hello, ...more } as ChatCompletionCreateParamsNonStreaming);
  const cases: [object, number, string | null, string][] = [
    [{ temprature: 1 }, 400, "temprature", "invalid_request"],
    [{ temperature: 9 }, 400, "temperature", "invalid_request"],
    [{ model: "gpt" }, 404, "model", "not_found"],
    [{ max_tokens: 4000 }, 400, "messages", "context_length_exceeded"],
    [{ messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "x" } }] }] }, 400, "messages.0.content.0.type", "unsupported"],
    [{ response_format: { type: "json_schema", json_schema: { name: "x", schema: { type: "nothing" } } } }, 400, "response_format.json_schema.schema.type", "grammar_error"],
    [{ structured_outputs: { regex: "(" } }, 400, "structured_outputs.regex", "grammar_error"],
    [{ chat_template_kwargs: { enable_thinking: true } }, 400, "chat_template_kwargs.enable_thinking", "invalid_request"],
  ];
  for (const [more, status, param, code] of cases) {
    const error = await create(more).then(() => null, (caught: unknown) => caught);
    assert(error instanceof APIError, `${JSON.stringify(more)} was taken`);
    assert.deepEqual([error.status, error.param, error.code], [status, param, code], JSON.stringify(more));
  }
  assert.equal((await create({ temperature: 0 })).choices[0]?.message.content, script.hello);
});

test("a body that is no JSON, a full queue, a closed engine", async () => {
  const made = await model({ toy: { maxRows: 1, pages: 4096 } });
  const post = (body: string) => made.api.fetch("http://x/v1/completions", { method: "POST", body });
  assert.equal((await post("{")).status, 400);
  const waiting = Array.from({ length: 512 }, () => made.api.completions.create({ prompt: "x", max_tokens: 400 }));
  const settled = Promise.allSettled(waiting);
  await new Promise((resolve) => setImmediate(resolve));
  await assert.rejects(clientOf(made).completions.create({ model: "toy", prompt: "y" }), RateLimitError);
  await made.api.close();
  assert((await settled).every((end) => end.status === "rejected" && (end.reason as { code: string }).code === "engine_dead"));
  assert.equal((await post('{"prompt": "x"}')).status, 503);
});

test("an abort reaches the engine: by signal, by leaving the loop, before the first chunk", async () => {
  const made = await model({ context: 2048, toy: { pages: 256, delay: 1 } });
  const openai = clientOf(made);
  const idle = async () => {
    const end = Date.now() + 2000;
    while ((await made.api.stats()).requests && Date.now() < end) await new Promise((r) => setTimeout(r, 2));
    made.engine.check();
    return (await made.api.stats()).requests === 0;
  };
  const body = { model: "toy", messages: hello, max_tokens: 1500 };
  const abort = new AbortController();
  const whole = openai.chat.completions.create(body, { signal: abort.signal });
  setTimeout(() => abort.abort(), 10);
  await assert.rejects(whole, APIUserAbortError);
  assert(await idle());
  const stream = await openai.chat.completions.create({ ...body, stream: true });
  for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break;
  assert(await idle());
  const unread = await made.api.chat.completions.create({ messages: [{ role: "user", content: "x" }], stream: true, max_tokens: 1500 });
  await unread[Symbol.asyncIterator]().return?.();
  assert(await idle());
  const response = await made.api.fetch("http://x/v1/chat/completions", { method: "POST", body: JSON.stringify({ ...body, stream: true }) });
  await response.body?.cancel();
  assert(await idle());
});

test("an error after the first chunk is an event, and the end without [DONE]", async () => {
  const made = await model({ toy: { fail: { step: 4, code: "kernel_error" } } });
  const body = JSON.stringify({ prompt: "x", stream: true, ignore_eos: true, max_tokens: 50 });
  const response = await made.api.fetch("http://x/v1/completions", { method: "POST", body });
  assert.equal(response.headers.get("content-type"), "text/event-stream");
  const lines = (await response.text()).split("\n\n").filter(Boolean);
  const last = JSON.parse(lines.at(-1)!.slice(6)) as { error: { code: string; type: string } };
  assert.deepEqual([last.error.code, last.error.type], ["kernel_error", "server_error"]);
  assert(lines.length > 1 && !lines.some((line) => line.includes("[DONE]")));
});

test("our types are OpenAI's: bodies go to both", async () => {
  // Compiled is tested: a body of ours is one of theirs, and their answers are ours.
  const { api } = await model({ script });
  const body = { messages: [{ role: "user", content: "hello" }], temperature: 0 } as const;
  const theirs: ChatCompletionCreateParamsNonStreaming = { model: "toy", ...body, messages: [...body.messages] };
  const answer: OpenAI.ChatCompletion = (await api.chat.completions.create({ ...body, messages: [...body.messages] })) satisfies OpenAI.ChatCompletion;
  assert.equal(answer.choices[0]?.message.content, script.hello);
  assert.equal(theirs.messages.length, 1);
  assert((await repositoryFile("web/package.json")).includes('"openai"'));
});
