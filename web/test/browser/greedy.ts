/**
 * A whole model's greedy tokens in Chromium through the built page's engine, against the reference's:
 *
 *     node build/test/browser/greedy.js BUNDLE FILE [TIER]      tier t0 (SwiftShader), t0s or wasm
 *
 * FILE is what `python tests/web/greedy.py --out FILE` wrote. Prints what it took as JSON; ends with 1
 * where the texts differ.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type * as Treadle from "../../src/treadle.js";
import { openBrowser, openSite } from "./site.js";

const [folder, file, tier = "t0"] = process.argv.slice(2) as [string, string, string?];
const wanted = JSON.parse(await readFile(file, "utf8")) as { prompt: number[]; tokens: number[] };
const site = await openSite();
for (const name of await readdir(folder)) site.instead.set(`/bundle/${name}`, await readFile(join(folder, name)));
const browser = await openBrowser();
const page = await browser.newPage();
page.setDefaultTimeout(0);
await page.goto(site.url);
const told = await page.evaluate(
  async ([tier, { prompt, tokens }]) => {
    const { createEngine } = (await import("/treadle.js" as string)) as typeof Treadle;
    const engine = await createEngine("/bundle/", { tier: tier as "t0" });
    const times: number[] = [];
    let text = "";
    const body = { prompt, max_tokens: tokens.length, temperature: 0, ignore_eos: true, stream: true } as const;
    const begun = performance.now();
    for await (const { choices } of await engine.completions.create(body)) {
      if (choices.length) times.push(performance.now());
      text += choices[0]?.text ?? "";
    }
    const reference = await engine.detokenize(tokens);
    const seconds = (times.at(-1)! - times[0]!) / 1000;
    const { tier: ran } = await engine.stats();
    const first_s = (times[0]! - begun) / 1000;
    return { tier: ran, text, equal: text === reference, first_s, tokens_s: (tokens.length - 1) / seconds };
  },
  [tier, wanted] as const,
);
await browser.close();
site.close();
console.log(JSON.stringify({ ...told, tokens: wanted.tokens.length }));
process.exitCode = told.equal ? 0 : 1;
