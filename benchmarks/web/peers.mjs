// The CPU tier against wllama (llama.cpp in WebAssembly): the same GGUF, the same browser, one
// thread each, alternating runs. Prints one JSON object; ratios are medians of the pairs'.
//
//   treadle export web smollm2-135m -o BUNDLE && make wasm
//   node benchmarks/web/peers.mjs --bundle BUNDLE --gguf FILE [--rounds 5] [--tokens 64] [--out FILE]
//
// wllama is installed into --cache (default: a folder of the user's cache); playwright-core, esbuild
// and the tokeniser come from web/node_modules. wllama's numbers are those it tells of itself
// (llama.cpp's timings, without its worker's messages); ours are wall time inside the worker.
import { execFileSync } from "node:child_process";
import { createReadStream, existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { cpus, homedir, loadavg } from "node:os";
import { dirname, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const WLLAMA = "3.8.1";
const { values: given } = parseArgs({
  options: {
    bundle: { type: "string" },
    gguf: { type: "string" },
    rounds: { type: "string", default: "5" },
    tokens: { type: "string", default: "64" },
    out: { type: "string" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
    cache: { type: "string", default: join(homedir(), ".cache", "treadle", "peers") },
  },
});
if (!given.bundle || !given.gguf) throw new Error("give --bundle and --gguf");

const peer = join(given.cache, "node_modules", "@wllama", "wllama");
if (!existsSync(peer)) {
  mkdirSync(given.cache, { recursive: true });
  execFileSync("npm", ["install", "--prefix", given.cache, `@wllama/wllama@${WLLAMA}`], { stdio: "inherit" });
}
const require = createRequire(join(root, "web", "package.json"));
const { chromium } = require("playwright-core");
const { buildSync } = require("esbuild");

const ours = `
import { openCpu } from "./src/cpu/run.ts";
import { openBundle } from "./src/store/download.ts";
import { Tokenizer } from "./src/text/tokenizer.ts";
import { unpackVocab } from "./src/grammar/vocab.ts";
let executor, tokenizer;
const compile = async (name) => WebAssembly.compile(await (await fetch(name)).arrayBuffer());
const greedy = { row: 0, temperature: 0, topP: 1, topK: 0, minP: 0, seed: 0n, index: 0,
  repetition: 1, presence: 0, frequency: 0, logprobs: -1 };
const jobs = {
  async load({ relaxed }) {
    const began = performance.now();
    const bundle = await openBundle(new URL("/bundle/", location.href), { cache: "none" });
    const modules = { simd: () => compile("/wasm/cpu-simd.wasm"),
      ...(relaxed && { relaxed: () => compile("/wasm/cpu-relaxed.wasm") }) };
    executor = await openCpu(bundle, { contextLength: 2048 }, modules);
    const text = async (path) => new TextDecoder().decode(await bundle.read(path));
    const { bos, adds_bos } = bundle.manifest.chat;
    tokenizer = new Tokenizer({ json: await text("tokenizer.json"),
      table: unpackVocab(await bundle.read("vocab.bin")), bos, addsBos: adds_bos ?? false });
    return { tier: executor.tier, milliseconds: performance.now() - began };
  },
  async run({ prompt, tokens }) {
    const ids = [...tokenizer.encode(prompt)];
    const pages = Int32Array.from({ length: executor.pages }, (_, i) => i);
    const draw = async () => (await executor.sample([greedy]))[0].token;
    let began = performance.now();
    for (let at = 0; at < ids.length; at += executor.maxTokens) {
      const part = Int32Array.from(ids.slice(at, at + executor.maxTokens));
      executor.forward([{ tokens: part, start: at, pages, wants: at + part.length === ids.length }]);
    }
    const out = [await draw()];
    const prefill = performance.now() - began;
    began = performance.now();
    while (out.length < tokens) {
      const start = ids.length + out.length - 1;
      executor.forward([{ tokens: Int32Array.of(out.at(-1)), start, pages, wants: true }]);
      out.push(await draw());
    }
    const decode = performance.now() - began;
    return { promptTokens: ids.length, prefill: (ids.length * 1000) / prefill,
      decode: ((tokens - 1) * 1000) / decode, text: tokenizer.decode(out) };
  },
};
onmessage = async ({ data }) => {
  try { postMessage({ answer: await jobs[data.job](data) }); }
  catch (error) { postMessage({ error: String(error?.stack ?? error) }); }
};`;
const worker = buildSync({
  stdin: { contents: ours, resolveDir: join(root, "web"), loader: "ts" },
  bundle: true, format: "esm", target: "es2022", write: false,
}).outputFiles[0].text; // prettier-ignore

const page = `<!doctype html><script type="module">
import { Wllama } from "/wllama/index.js";
let worker, wllama;
const ask = (data) => new Promise((resolve, reject) => {
  worker.onmessage = ({ data: { answer, error } }) => (error ? reject(new Error(error)) : resolve(answer));
  worker.postMessage(data);
});
window.loadOurs = (relaxed) => { worker?.terminate(); worker = new Worker("/worker.js", { type: "module" });
  return ask({ job: "load", relaxed }); };
window.runOurs = (prompt, tokens) => ask({ job: "run", prompt, tokens });
window.loadPeer = async () => {
  const began = performance.now();
  wllama = new Wllama({ default: "/wllama/wasm/wllama.wasm" }, { suppressNativeLog: true });
  const blob = await (await fetch("/model.gguf")).blob();
  await wllama.loadModel([new File([blob], "model.gguf")], { n_threads: 1, n_ctx: 2048, n_gpu_layers: 0 });
  return { milliseconds: performance.now() - began, threads: wllama.getNumThreads() };
};
window.runPeer = async (prompt, tokens) => {
  const answer = await wllama.createCompletion({ prompt, max_tokens: tokens, temperature: 0, top_k: 1,
    cache_prompt: false, ignore_eos: true, stream: false });
  const { prompt_n, prompt_per_second, predicted_n, predicted_per_second } = answer.timings;
  return { promptTokens: prompt_n, prefill: prompt_per_second, tokens: predicted_n, decode: predicted_per_second,
    text: answer.choices[0].text };
};
window.ready = true;
</script>`;

const types = { ".js": "text/javascript", ".wasm": "application/wasm", ".json": "application/json" };
const server = createServer(async (request, out) => {
  const path = (request.url ?? "/").split("?")[0];
  const send = (text, type) => out.setHeader("content-type", type).end(text);
  if (path === "/") return send(page, "text/html");
  if (path === "/worker.js") return send(worker, "text/javascript");
  const file = path.startsWith("/bundle/") ? join(given.bundle, path.slice(8))
    : path.startsWith("/wasm/") ? join(root, "build", "wasm", path.slice(6))
    : path.startsWith("/wllama/") ? join(peer, "esm", path.slice(8))
    : path === "/model.gguf" ? given.gguf : ""; // prettier-ignore
  if (!file || !existsSync(file)) return out.writeHead(404).end();
  out.writeHead(200, { "content-type": types[extname(file)] ?? "application/octet-stream",
    "content-length": statSync(file).size }); // prettier-ignore
  createReadStream(file).pipe(out);
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));

const flags = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"]; // prettier-ignore
const prompt = `Explain to a curious child, in plain words and with one example from daily life, ${
  "why the sky is blue, why the sea is salty and why the moon changes its shape; ".repeat(6)}begin now.`;
const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
const tokens = Number(given.tokens);

const browser = await chromium.launch({ executablePath: given.chromium, headless: true, args: flags });
const result = {
  cpu: cpus()[0]?.model, cores: cpus().length, browser: browser.version(), flags, wllama: WLLAMA,
  commit: execFileSync("git", ["rev-parse", "HEAD"], { cwd: root }).toString().trim(), tokens, runs: [],
}; // prettier-ignore
try {
  const tab = await browser.newPage();
  tab.on("pageerror", (error) => console.error("page:", error.message));
  await tab.goto(`http://127.0.0.1:${server.address().port}/`);
  await tab.waitForFunction("window.ready");
  result.peer = await tab.evaluate("loadPeer()");
  for (const relaxed of [true, false]) {
    const loaded = await tab.evaluate((is) => window.loadOurs(is), relaxed);
    await tab.evaluate(([p]) => window.runOurs(p, 16), [prompt]); // both engines warm
    await tab.evaluate(([p]) => window.runPeer(p, 16), [prompt]);
    const pairs = [];
    for (let round = 0; round < Number(given.rounds); round += 1) {
      const peer = await tab.evaluate(([p, n]) => window.runPeer(p, n), [prompt, tokens]);
      const mine = await tab.evaluate(([p, n]) => window.runOurs(p, n), [prompt, tokens]);
      pairs.push({ mine, peer, load: loadavg()[0] });
    }
    const ratio = (key) => median(pairs.map(({ mine, peer }) => mine[key] / peer[key]));
    const middle = (who, key) => median(pairs.map((pair) => pair[who][key]));
    result.runs.push({
      ...loaded,
      decode: { ours: middle("mine", "decode"), wllama: middle("peer", "decode"), ratio: ratio("decode") },
      prefill: { ours: middle("mine", "prefill"), wllama: middle("peer", "prefill"), ratio: ratio("prefill") },
      pairs,
    });
  }
} finally {
  await browser.close();
  server.close();
}
const text = JSON.stringify(result, null, 1);
if (given.out) writeFileSync(given.out, text);
else console.log(text);
for (const { tier, decode, prefill } of result.runs) {
  const row = (name, { ours, wllama, ratio }) =>
    `${name} ${ours.toFixed(1)} tok/s, wllama ${wllama.toFixed(1)}: ${ratio.toFixed(2)}x`;
  console.error(`${tier}: ${row("decode", decode)}; ${row("prefill", prefill)}`);
}
