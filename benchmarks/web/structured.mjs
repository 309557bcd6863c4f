// Decoding under a JSON Schema against decoding freely: the same model, tab and number of tokens,
// alternating. Rates are tokens a second between the first token and the last.
//
//   node benchmarks/web/structured.mjs --bundle BUNDLE [--rounds 9] [--tokens 96] [--out FILE]
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { withEngine } from "./tab.mjs";

const { values: given } = parseArgs({
  options: {
    bundle: { type: "string" },
    rounds: { type: "string", default: "9" },
    tokens: { type: "string", default: "96" },
    tier: { type: "string", default: "wasm" },
    out: { type: "string", default: "benchmarks/results/web_structured.json" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
  },
});
if (!given.bundle) throw new Error("give --bundle");
const [rounds, tokens] = [given.rounds, given.tokens].map(Number);

// Long texts and few forced keys: what is compared is a step, not the run of tokens a grammar saves.
const text = { type: "string", minLength: 400 };
const schema = { type: "object", properties: { story: text }, required: ["story"], additionalProperties: false };
const messages = [{ role: "user", content: "Tell a long story about a sailor." }];
const free = { messages, max_tokens: tokens, temperature: 0.7, ignore_eos: true };
const bound = { ...free, response_format: { type: "json_schema", json_schema: { name: "story", schema } } };

const result = await withEngine(given, async (tab, machine) => {
  const run = (body) =>
    tab.evaluate(async (wanted) => {
      const before = await window.engine.stats();
      const times = [];
      for await (const chunk of await window.engine.chat.completions.create({ ...wanted, stream: true })) {
        if (chunk.choices.length) times.push(performance.now());
      }
      const after = await window.engine.stats();
      const count = after.tokens - before.tokens;
      const forced = after.forcedTokens - before.forcedTokens;
      const rate = ((count - 1) * 1000) / (times.at(-1) - times[0]);
      return { rate, count, forced, maskMs: after.maskMs - before.maskMs };
    }, body);
  await run(free);
  await run(bound); // compiles the grammar and fills the masks' memo, as any second request finds it
  const pairs = [];
  for (let round = 0; round < rounds; round += 1) {
    const order = round % 2 ? ["free", "bound"] : ["bound", "free"];
    const pair = {};
    for (const kind of order) pair[kind] = await run({ ...(kind === "free" ? free : bound), seed: round });
    pairs.push(pair);
    const share = pair.bound.rate / pair.free.rate;
    console.error(`free ${pair.free.rate.toFixed(1)}, bound ${pair.bound.rate.toFixed(1)} tokens/s: ${share.toFixed(3)}`);
  }
  return { ...machine, tokens, pairs };
});
const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
const shares = result.pairs.map(({ bound: b, free: f }) => b.rate / f.rate);
const share = { median: median(shares), min: Math.min(...shares), max: Math.max(...shares) };
writeFileSync(given.out, `${JSON.stringify({ ...result, share }, null, 1)}\n`);
console.log(JSON.stringify({ share, free: median(result.pairs.map(({ free: f }) => f.rate)) }));
