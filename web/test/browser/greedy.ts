/**
 * Greedy tokens of a whole model on WebGPU in Chromium (SwiftShader) against the reference's:
 *
 *     python tests/web/greedy.py --out said.json && treadle export web smollm2-135m -o bundle
 *     node build/test/browser/greedy.js bundle said.json
 *
 * Prints a line a token; ends with 1 at the first that differs.
 */
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { openBrowser } from "./site.js";

const [folder, said] = process.argv.slice(2) as [string, string];
const { prompt, tokens } = JSON.parse(await readFile(said, "utf8")) as { prompt: number[]; tokens: number[] };
const source = `
import { openGpu } from "./src/gpu/open.ts";
import { openBundle } from "./src/store/download.ts";
const draw = { row: 0, temperature: 0, topP: 1, topK: 0, minP: 0, seed: 0n, index: 0,
  repetition: 1, presence: 0, frequency: 0, logprobs: -1 };
window.answer = async (prompt, count) => {
  const executor = await openGpu(await openBundle(new URL("/bundle", location.href)), { pages: 8 });
  console.log("opened " + executor.tier + " on " + executor.device.name);
  const ids = [...prompt];
  const pages = Int32Array.of(4, 2, 7, 1);
  for (let start = 0; ids.length < prompt.length + count; ) {
    const begun = performance.now();
    executor.forward([{ tokens: Int32Array.from(ids.slice(start)), start, pages, wants: true }]);
    start = ids.length;
    ids.push((await executor.sample([draw]))[0].token);
    console.log("token " + ids.at(-1) + " " + Math.round(performance.now() - begun) + " ms");
  }
  return ids.slice(prompt.length);
};`;
const root = fileURLToPath(new URL("../../../", import.meta.url)); // from web/build/test/browser
const bundled = await build({
  stdin: { contents: source, resolveDir: root },
  ...{ bundle: true, format: "iife", target: "es2022", write: false, logLevel: "error" },
  define: { "import.meta.url": '"http://localhost/"' },
});
const script = bundled.outputFiles[0]!.text;

const server = createServer((request, out) => {
  const path = request.url ?? "/";
  if (path === "/") out.setHeader("content-type", "text/html").end(`<!doctype html><script>${script}</script>`);
  else readFile(join(folder, path.replace("/bundle/", ""))).then((bytes) => out.end(bytes), () => out.writeHead(404).end());
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const browser = await openBrowser();
const page = await browser.newPage();
let at = 0;
page.on("console", (line) => {
  const told = line.text();
  const wanted = told.startsWith("token ") ? tokens[at++] : undefined;
  console.log(wanted === undefined ? told : `${at} ${told}, the reference has ${wanted}`);
});
await page.goto(`http://localhost:${(server.address() as AddressInfo).port}/`);
page.setDefaultTimeout(0);
const found = await page.evaluate(
  ([ids, count]) => (globalThis as unknown as { answer(ids: number[], count: number): Promise<number[]> }).answer(ids, count),
  [prompt, tokens.length] as const,
);
await browser.close();
server.close();
const same = found.findIndex((token, i) => token !== tokens[i]);
console.log(`${same < 0 ? found.length : same} of ${tokens.length} greedy tokens equal in Chromium, tier t0`);
process.exitCode = same < 0 ? 0 : 1;
