/**
 * A whole model answers a schema in Chromium through the built page's engine:
 *
 *     node build/test/browser/person.js BUNDLE SCHEMA [TIER]      tier t0 (SwiftShader) or wasm
 *
 * Prints the answer and what it took as JSON; ends with 1 where it does not hold to the schema's
 * required members.
 */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type * as Treadle from "../../src/treadle.js";
import { openBrowser, openSite } from "./site.js";

const [folder, file, tier = "t0"] = process.argv.slice(2) as [string, string, string?];
const schema = JSON.parse(await readFile(file, "utf8")) as { required?: string[] };
const site = await openSite();
for (const name of await readdir(folder)) site.instead.set(`/bundle/${name}`, await readFile(join(folder, name)));
const browser = await openBrowser();
const page = await browser.newPage();
page.setDefaultTimeout(0);
page.on("console", (line) => console.error(line.text()));
await page.goto(site.url);
const told = await page.evaluate(
  async ([tier, schema]) => {
    const { createEngine } = (await import("/treadle.js" as string)) as typeof Treadle;
    const opened = performance.now();
    const engine = await createEngine("/bundle/", { tier: tier as "t0" });
    const begun = performance.now();
    const answer = await engine.chat.completions.create({
      messages: [{ role: "user", content: "Invent a sailor." }],
      temperature: 0,
      max_tokens: 120,
      response_format: { type: "json_schema", json_schema: { name: "person", schema } },
    });
    const ended = performance.now();
    return {
      tier,
      text: answer.choices[0]!.message.content ?? "",
      finish: answer.choices[0]!.finish_reason,
      usage: answer.usage,
      open_s: (begun - opened) / 1000,
      answer_s: (ended - begun) / 1000,
    };
  },
  [tier, schema] as const,
);
await browser.close();
site.close();
console.log(JSON.stringify(told));
const found = JSON.parse(told.text) as Record<string, unknown>;
process.exitCode = told.finish === "stop" && (schema.required ?? []).every((key) => key in found) ? 0 : 1;
