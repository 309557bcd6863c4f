// The CPU tier in an isolated tab on one thread and on several: the same requests, alternating.
// Prints and writes tokens a second of decode and of prefill; ratios are medians of the pairs'.
//
//   node benchmarks/web/threads.mjs --bundle BUNDLE [--threads 2] [--rounds 7] [--tokens 96] [--out FILE]
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { withEngine } from "./tab.mjs";

const { values: given } = parseArgs({
  options: {
    bundle: { type: "string" },
    threads: { type: "string", default: "2" },
    rounds: { type: "string", default: "7" },
    tokens: { type: "string", default: "96" },
    out: { type: "string", default: "benchmarks/results/web_threads.json" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
  },
});
if (!given.bundle) throw new Error("give --bundle");
const [threads, rounds, tokens] = [given.threads, given.rounds, given.tokens].map(Number);
const story = "a sailor who finds an island that no map shows, and a letter in a bottle; ".repeat(14);

const result = await withEngine({ ...given, tier: "wasm", threads: 1 }, async (tab, machine) => {
  const tier = await tab.evaluate(async (threads) => {
    const { createEngine } = await import("/treadle.js");
    window.several = await createEngine("/bundle/", { tier: "wasm", contextLength: 4096, threads });
    return (await window.several.stats()).tier;
  }, threads);
  const run = (name, round) =>
    tab.evaluate(
      async ([name, prompt, tokens]) => {
        const body = { prompt, max_tokens: tokens, temperature: 0, ignore_eos: true, stream: true };
        const began = performance.now();
        const times = [];
        let text = "";
        let read = 0;
        const stream = await window[name].completions.create({ ...body, stream_options: { include_usage: true } });
        for await (const { choices, usage } of stream) {
          if (usage) read = usage.prompt_tokens;
          if (!choices.length) continue;
          times.push(performance.now());
          text += choices[0].text;
        }
        const decode = ((tokens - 1) * 1000) / (times.at(-1) - times[0]);
        return { decode, prefill: (read * 1000) / (times[0] - began), text };
      },
      [name, `${round}. Write about ${story}`, tokens], // no prefix of the round before
    );
  for (const name of ["engine", "several"]) await run(name, 0);
  const pairs = [];
  for (let round = 1; round <= rounds; round += 1) {
    const pair = {};
    for (const name of round % 2 ? ["engine", "several"] : ["several", "engine"]) pair[name] = await run(name, round);
    const { engine: one, several } = pair;
    if (one.text !== several.text) throw new Error(`round ${round}: other tokens on ${threads} threads`);
    const rates = ({ decode, prefill }) => ({ decode, prefill });
    pairs.push({ one: rates(one), several: rates(several) });
    console.error(`decode ${one.decode.toFixed(1)} -> ${several.decode.toFixed(1)}, prefill ${one.prefill.toFixed(0)} -> ${several.prefill.toFixed(0)}`);
  }
  return { ...machine, tier, tokens, pairs };
});
const middle = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
const spread = (key) => {
  const ratios = result.pairs.map(({ one, several }) => several[key] / one[key]);
  return { median: middle(ratios), min: Math.min(...ratios), max: Math.max(...ratios) };
};
const speedUp = { decode: spread("decode"), prefill: spread("prefill") };
writeFileSync(given.out, `${JSON.stringify({ ...result, speedUp }, null, 1)}\n`);
console.log(JSON.stringify(speedUp));
