// Decoding under a JSON Schema against decoding freely: the same model, tab and number of tokens,
// alternating. Rates are tokens a second between the first token and the last, and tokens a second of
// processor time that the tab's process used for the request, which other load does not change.
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
  const session = await tab.context().browser().newBrowserCDPSession();
  const cpuSeconds = async () => {
    const { processInfo } = await session.send("SystemInfo.getProcessInfo");
    return processInfo.filter(({ type }) => type === "renderer").reduce((sum, { cpuTime }) => sum + cpuTime, 0);
  };
  const run = async (body) => {
    const before = await cpuSeconds();
    const told = await timed(body);
    return { ...told, cpuRate: told.count / ((await cpuSeconds()) - before) };
  };
  const timed = (body) =>
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
    const share = (key) => (pair.bound[key] / pair.free[key]).toFixed(3);
    const rates = [pair.free.rate, pair.bound.rate].map((rate) => rate.toFixed(1));
    console.error(`free ${rates[0]}, bound ${rates[1]} tokens/s: ${share("rate")}; by processor time ${share("cpuRate")}`);
  }
  return { ...machine, tokens, pairs };
});
const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
const shareOf = (key) => {
  const shares = result.pairs.map(({ bound: b, free: f }) => b[key] / f[key]);
  return { median: median(shares), min: Math.min(...shares), max: Math.max(...shares) };
};
const [share, cpuShare] = [shareOf("rate"), shareOf("cpuRate")];
writeFileSync(given.out, `${JSON.stringify({ ...result, share, cpuShare }, null, 1)}\n`);
console.log(JSON.stringify({ share, cpuShare, free: median(result.pairs.map(({ free: f }) => f.rate)) }));
