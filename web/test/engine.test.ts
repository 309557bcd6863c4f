/** The loop over the toy model: batches, prefixes, masks, aborts, stops, failures. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { TreadleError } from "../src/errors.js";
import { PagePool, ROOT } from "../src/kv.js";
import { DEFAULTS, type Delta, type Generate, type Sampling } from "../src/types.js";
import { all, id, model, rejected, table, toyOf, type Model, type ModelOptions } from "./model.js";

function request(prompt: string | number[], sampling: Partial<Sampling> = {}, more: Partial<Generate> = {}): Generate {
  return {
    prompt,
    tools: [],
    toolChoice: "none",
    parallelToolCalls: true,
    constraint: undefined,
    sampling: { ...DEFAULTS, maxTokens: 24, seed: 7n, ignoreEos: true, ...sampling },
    templateOptions: {},
    ...more,
  };
}

const tokensOf = (deltas: readonly Delta[], index = 0) =>
  deltas.filter((delta) => delta.index === index).flatMap((delta) => delta.tokens);
const textOf = (deltas: readonly Delta[]) => deltas.map((delta) => delta.text).join("");

async function say(made: Model, wanted: Generate): Promise<Delta[]> {
  await made.engine.ready(wanted);
  return all(made.engine.submit(wanted));
}

/** Ends with nothing held, whatever happened. */
async function settled({ engine }: Model): Promise<void> {
  for (let i = 0; i < 5; i += 1) await new Promise((resolve) => setImmediate(resolve));
  engine.check();
  assert.equal(engine.stats().requests, 0);
}

const long = "The same long beginning, shared by all: ".repeat(6);

test("requests in one batch say what each says alone", async () => {
  const prompts = ["one", long, `${long} and more`, "x".repeat(300)];
  const alone: number[][] = [];
  for (const prompt of prompts) alone.push(tokensOf(await say(await model(), request(prompt))));
  const together = await model();
  const answers = await Promise.all(prompts.map((prompt) => say(together, request(prompt))));
  assert.deepEqual(answers.map((deltas) => tokensOf(deltas)), alone);
  assert(Math.max(...together.toy.batches) > 2, "nothing was batched");
  await settled(together);
});

test("pages run short: sequences wait, are sent back and say the same", async () => {
  const prompts = ["a b c", "d e f g", "h i", "j k l m n"].map((text) => text.repeat(9));
  const wide = await model({ context: 128 });
  const wanted = prompts.map((prompt) => request(prompt, { maxTokens: 60, temperature: 0.8 }));
  const free = await Promise.all(wanted.map((one) => say(wide, one)));
  const tight = await model({ context: 128, toy: { pages: 13, maxTokens: 24 } });
  const squeezed = await Promise.all(wanted.map((one) => say(tight, one)));
  assert.deepEqual(squeezed.map((d) => tokensOf(d)), free.map((d) => tokensOf(d)));
  assert(tight.toy.tokens > wide.toy.tokens, "nobody was sent back");
  await settled(tight);
});

test("a known prefix is not computed again, and n choices cost one prefill", async () => {
  const made = await model();
  const first = await say(made, request(long));
  const before = made.toy.tokens;
  const second = await say(made, request(long));
  const { promptTokens = 0, cachedTokens = 0 } = second.at(-1)?.usage ?? {};
  assert.deepEqual(tokensOf(second), tokensOf(first));
  assert(cachedTokens >= promptTokens - 16 && cachedTokens < promptTokens);
  assert(made.toy.tokens - before <= 16 + 24);
  const fresh = await model();
  const four = await say(fresh, request(long, { n: 4 }));
  assert(fresh.toy.tokens <= promptTokens + 4 * (16 + 24), `${fresh.toy.tokens} tokens for four`);
  assert.deepEqual(tokensOf(four, 0), tokensOf(first), "the first of four is the one of one");
  const kinds = new Set([0, 1, 2, 3].map((index) => tokensOf(four, index).join()));
  assert.equal(kinds.size, 4);
  await settled(fresh);
});

test("the same seed says the same, another seed something else", async () => {
  const made = await model();
  const said = async (seed: bigint | undefined) => tokensOf(await say(made, request("seed", { seed }))).join();
  assert.equal(await said(5n), await said(5n));
  assert.notEqual(await said(5n), await said(6n));
  assert.notEqual(await said(undefined), await said(undefined));
});

test("max_tokens, stop tokens and min_tokens end a text where they say", async () => {
  const script = { go: "one two three four" };
  const ends = { ignoreEos: false, temperature: 0 };
  const made = await model({ script });
  const free = await say(made, request("go", ends));
  assert.equal(textOf(free), " one two three four".slice(1));
  assert.deepEqual([free.at(-1)?.finish, free.at(-1)?.usage?.completionTokens], ["stop", free.length]);
  const short = await say(made, request("go", { ...ends, maxTokens: 2 }));
  assert.deepEqual([short.at(-1)?.finish, short.length], ["length", 2]);
  const stopped = await say(made, request("go", { ...ends, stopTokenIds: [tokensOf(free)[2]!] }));
  assert.deepEqual([stopped.at(-1)?.finish, stopped.length], ["stop", 3]);
  const longer = await say(made, request("go", { ...ends, minTokens: free.length + 4, maxTokens: 60 }));
  assert(tokensOf(longer).length >= free.length + 4 && !tokensOf(longer.slice(0, free.length + 3)).some((t) => table.stopIds.includes(t)));
});

test("a stop string ends the text over token borders and is never shown", async () => {
  const made = await model({ script: { go: "red green blue yellow" } });
  for (const stop of ["en bl", " ", "yellow", "n blue ye"]) {
    const deltas = await say(made, request("go", { stop: [stop], temperature: 0, ignoreEos: false }));
    const wanted = "red green blue yellow".split(stop)[0]!;
    assert.equal(textOf(deltas), wanted, stop);
    assert.equal(deltas.at(-1)?.finish, "stop");
    let shown = "";
    for (const { text } of deltas) assert((shown += text) === wanted.slice(0, shown.length));
  }
});

test("text never ends inside a character", async () => {
  const said = "東京🧵 Größe";
  const deltas = await say(await model({ script: { go: said } }), request("go", { temperature: 0, ignoreEos: false, maxTokens: 90 }));
  assert.equal(textOf(deltas), said);
  assert(deltas.length > 8 && deltas.every(({ text }) => !text.includes("\ufffd")));
  const cut = await say(await model({ script: { go: said } }), request("go", { temperature: 0, maxTokens: 1 }));
  assert.equal(textOf(cut), "\ufffd");
});

test("penalties, bias and log-probabilities reach the draw", async () => {
  const made = await model();
  const favourite = id(" the");
  const biased = request("x", { logitBias: new Map([[favourite, 100]]), temperature: 0 });
  assert(tokensOf(await say(made, biased)).every((token) => token === favourite));
  const sampling = { ...biased.sampling, frequency: 2, presence: 2, logitBias: new Map([[favourite, 9]]) };
  const tired = tokensOf(await say(made, { ...biased, sampling }));
  const times = tired.filter((token) => token === favourite).length;
  assert(times > 1 && times < 6, `${times} times`);
  const told = await say(made, request("x", { logprobs: 3, temperature: 0 }));
  for (const { logprobs, tokens } of told) {
    const [entry] = logprobs;
    assert(entry && entry.top.length === 3 && entry.token === tokens[0]);
    const [best, second] = entry.top.map(({ logprob }) => logprob);
    assert(entry.logprob <= best! && best! >= second! && best! < 0);
  }
});

test("a grammar holds in every row of a batch, and forced tokens need no draw", async () => {
  const made = await model();
  const regexes = ["(ab|ba){6}", "[0-9]{3}-[0-9]{3}", "x+y", "(yes|no), thanks", "\u00e9{9}"];
  const answers = await Promise.all(
    regexes.map((value, i) => {
      const constraint = { kind: "regex", value, at: "/r" } as const;
      return say(made, request(`p${i}`, { ignoreEos: false, maxTokens: 64 }, { constraint }));
    }),
  );
  for (const [i, deltas] of answers.entries()) {
    const text = textOf(deltas);
    const whole = deltas.at(-1)?.finish === "stop";
    assert(whole || i === 2, `${text} did not end`);
    if (whole) assert.match(text, new RegExp(`^(?:${regexes[i]})$`, "u"));
  }
  assert(made.engine.stats().forcedTokens > 4);
  const drawn = answers.reduce((sum, deltas) => sum + deltas.length, 0);
  assert.equal(made.toy.draws + made.engine.stats().forcedTokens, drawn);
  await settled(made);
});

test("a grammar that gets stuck, or cannot be met, fails its request alone", async () => {
  const made = await model();
  const constraint = (kind: "regex" | "json_schema", value: unknown) => ({ constraint: { kind, value, at: "/f" } });
  const other = say(made, request("other"));
  const early = request("x", {}, constraint("regex", "a"));
  assert.throws(() => made.engine.submit(early), { code: "not_ready" }); // never without its constraint
  await made.engine.ready(early);
  assert.throws(
    () => made.engine.submit(request("x", {}, constraint("regex", "a(b"))),
    (error: TreadleError) => error.code === "grammar_error" && error.at === "/f",
  );
  assert.throws(
    () => made.engine.submit(request("x", {}, constraint("json_schema", { type: "integer", minimum: 5, maximum: 4 }))),
    (error: TreadleError) => error.code === "grammar_error",
  );
  assert.equal((await other).at(-1)?.finish, "length");
  await settled(made);
});

test("aborts at any moment free pages and matchers, and leave the others alone", async () => {
  const made = await model({ toy: { pages: 48, maxTokens: 24 } });
  const oracle = tokensOf(await say(await model(), request("steady", { maxTokens: 200 })));
  const steady = say(made, request("steady", { maxTokens: 200 }));
  const live = made.engine.stats();
  let state = 11;
  const random = (n: number) => (state = (state * 48271) % 2147483647) % n;
  const errors: string[] = [];
  await Promise.all(
    Array.from({ length: 60 }, async (_, i) => {
      for (let k = random(40); k > 0; k -= 1) await new Promise((resolve) => setImmediate(resolve));
      const abort = new AbortController();
      const constraint = i % 2 ? ({ kind: "json_object", value: null, at: "" } as const) : undefined;
      const wanted = request(long.slice(0, 40 + random(180)), { n: 1 + random(3), maxTokens: 80 }, { constraint });
      await made.engine.ready(wanted);
      const stream = made.engine.submit(wanted, abort.signal);
      const most = random(12);
      try {
        let seen = 0;
        if (most === 0) abort.abort();
        for await (const _delta of stream) {
          if ((seen += 1) < most) continue;
          if (i % 3) abort.abort();
          else break;
        }
      } catch (error) {
        errors.push((error as TreadleError).code);
      }
    }),
  );
  assert.deepEqual(tokensOf(await steady), oracle);
  assert(errors.length > 10 && errors.every((code) => code === "cancelled"), errors.join());
  assert.equal(live.model, "toy");
  await settled(made);
});

test("an abort in a long prefill takes effect before its end", async () => {
  const made = await model({ context: 1024, toy: { maxTokens: 16, delay: 2 } });
  const abort = new AbortController();
  const stream = made.engine.submit(request("z ".repeat(400)), abort.signal);
  setTimeout(() => abort.abort(), 10);
  assert.equal((await rejected(all(stream))).code, "cancelled");
  await new Promise((resolve) => setTimeout(resolve, 10));
  assert(made.toy.steps < 20, `${made.toy.steps} steps`);
  await settled(made);
});

test("a running stream waits for one chunk of another's prefill, not for all of it", async () => {
  const made = await model({ context: 1024, toy: { maxTokens: 32 } });
  const stream = made.engine.submit(request("quick", { maxTokens: 40 }));
  await stream.next();
  const steps = made.toy.steps;
  const other = say(made, request("z ".repeat(300), { maxTokens: 1 }));
  for (let i = 0; i < 5; i += 1) await stream.next();
  assert(made.toy.steps - steps <= 7);
  await Promise.all([other, all(stream)]);
});

test("a device error ends its requests; a lost device is replaced and nobody notices", async () => {
  const failing = await model({ toy: { fail: { step: 3, code: "kernel_error" } } });
  assert.equal((await rejected(say(failing, request("x")))).code, "kernel_error");
  assert.equal((await say(failing, request("x"))).at(-1)?.finish, "length");
  await settled(failing);

  const oracle = await say(await model(), request(long, { n: 2 }));
  for (const part of ["forward", "sample"] as const) {
    const options: ModelOptions = { toy: { fail: { step: 9, code: "device_lost", in: part } } };
    const losses: number[] = [];
    const made = await model({ ...options, reopen: async (count) => (losses.push(count), toyOf()) });
    const deltas = await say(made, request(long, { n: 2 }));
    assert.deepEqual([0, 1].map((i) => tokensOf(deltas, i)), [0, 1].map((i) => tokensOf(oracle, i)));
    assert.deepEqual([losses, made.toy.freed], [[1], true]);
    await settled(made);
  }
  const gone = await model({ toy: { fail: { step: 2, code: "device_lost" } } });
  assert.equal((await rejected(say(gone, request("x")))).code, "engine_dead");
  assert.throws(() => gone.engine.submit(request("y")), { code: "engine_dead" });
});

test("what does not fit is refused before it starts", async () => {
  const made = await model({ context: 64 });
  const refusal = (wanted: Generate) => {
    try {
      made.engine.submit(wanted);
    } catch (error) {
      return (error as TreadleError).code;
    }
    return "nothing";
  };
  assert.equal(refusal(request("z ".repeat(80))), "context_overflow");
  assert.equal(refusal(request("z", { maxTokens: 64 })), "context_overflow");
  assert.equal(refusal(request([table.data.length])), "invalid_request");
  assert.equal(refusal(request("")), "invalid_request");
  assert.equal(refusal(request("z", { stopTokenIds: [1 << 20] })), "invalid_request");
  assert.equal((await say(made, request("z", { maxTokens: undefined }))).at(-1)?.usage?.completionTokens, 63);
});

test("steps that run ahead of their tokens say the same and give everything back", async () => {
  const free: Partial<Sampling>[] = [
    { maxTokens: 37, temperature: 0.7 },
    { maxTokens: 30, n: 2, temperature: 1, logprobs: 2 },
    { maxTokens: 26, stop: ["e", "th"] },
    { maxTokens: 29, ignoreEos: true },
  ];
  for (const pages of [64, 12]) {
    const wanted = free.map((sampling, i) => request(`${i}: ${long.slice(0, 50)}`, { ignoreEos: false, ...sampling }));
    const plain = await model({ context: 128, toy: { pages } });
    Object.assign(plain.toy, { decode: undefined });
    const quick = await model({ context: 128, toy: { pages } });
    const [slow, fast] = await Promise.all([plain, quick].map((made) => Promise.all(wanted.map((one) => say(made, one)))));
    for (const [i, deltas] of fast!.entries()) {
      for (const index of [0, 1]) assert.deepEqual(tokensOf(deltas, index), tokensOf(slow![i]!, index));
      if (free[i]!.n === undefined) assert.equal(textOf(deltas), textOf(slow![i]!));
    }
    assert(quick.toy.bursts > 0, "no step ran ahead");
    await settled(plain);
    await settled(quick);
  }
});

test("a slow reader gets everything, in fewer deltas", async () => {
  const made = await model({ context: 512 });
  const stream = made.engine.submit(request("slow", { maxTokens: 400, logprobs: 0 }));
  while (made.engine.stats().requests) await new Promise((resolve) => setImmediate(resolve));
  const deltas = await all(stream);
  const quick = await say(await model(), request("slow", { maxTokens: 400, logprobs: 0 }));
  assert(deltas.length <= 257 && quick.length === 400);
  assert.deepEqual([textOf(deltas), tokensOf(deltas)], [textOf(quick), tokensOf(quick)]);
  assert.equal(deltas.flatMap((delta) => delta.logprobs).length, 400);
});

test("the page pool's books balance after random takes, publications and releases", () => {
  const pool = new PagePool(24, 4);
  let state = 3;
  const random = (n: number) => (state = (state * 48271) % 2147483647) % n;
  const holders: { ids: number[]; pages: number[]; nodes: number[] }[] = [];
  let hits = 0;
  for (let round = 0; round < 4000; round += 1) {
    if (random(2) && holders.length) {
      const [gone] = holders.splice(random(holders.length), 1);
      pool.release(gone!.pages);
    } else {
      const ids = Array.from({ length: 4 + random(20) }, () => random(2));
      const [pages, nodes] = pool.lookup(ids, ids.length - 1);
      hits += pages.length;
      const need = Math.ceil(ids.length / 4) - pages.length;
      if (need > pool.available) pool.release(pages);
      else {
        pages.push(...pool.take(need));
        for (let i = nodes.length; i < Math.floor(ids.length / 4); i += 1) {
          nodes.push(pool.publish(pages[i]!, nodes.at(-1) ?? ROOT, ids, i * 4));
        }
        holders.push({ ids, pages, nodes });
      }
    }
    if (round % 50 === 0) pool.check(holders.map((holder) => holder.pages));
    if (round % 900 === 899) pool.forget(holders[0]?.pages ?? []);
  }
  for (const { pages } of holders) pool.release(pages);
  pool.check();
  assert(hits > 500);
  pool.clear();
  assert.deepEqual([pool.available, pool.cached], [24, 0]);
  assert.throws(() => pool.release([0]), /more often than held/);
});
