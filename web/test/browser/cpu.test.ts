/** The CPU tier and the store in Debian's Chromium: a dedicated worker, both caches, damaged entries. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, beforeEach, test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium, type Browser, type Page } from "playwright-core";

const root = new URL("../../../../", import.meta.url); // from web/build/test/browser
const WEIGHTS = "weights-00000.bin";
const TOKENS = 12;
const FLAGS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"];

const source = `
import { openCpu } from "./src/cpu/run.ts";
import { openCache } from "./src/store/cache.ts";
import { openBundle } from "./src/store/download.ts";
const compile = async (name) => WebAssembly.compile(await (await fetch("/wasm/" + name)).arrayBuffer());
const greedy = { row: 0, temperature: 0, topP: 1, topK: 0, minP: 0, seed: 0n, index: 0,
  repetition: 1, presence: 0, frequency: 0, logprobs: -1 };
async function answer({ cache, prompt, tokens }) {
  const bundle = await openBundle(new URL("/bundle", location.href), { cache });
  const modules = { simd: () => compile("cpu-simd.wasm"), relaxed: () => compile("cpu-relaxed.wasm") };
  const executor = await openCpu(bundle, { pages: 8 }, modules);
  const pages = Int32Array.of(4, 2, 7, 1);
  const ids = [...prompt];
  for (let start = 0; ids.length < prompt.length + tokens; ) {
    const part = Int32Array.from(ids.slice(start));
    executor.forward([{ tokens: part, start, pages, wants: true }]);
    start = ids.length;
    ids.push((await executor.sample([greedy]))[0].token);
  }
  const kept = await openCache(cache);
  return { tier: executor.tier, tokens: ids.slice(prompt.length), kind: kept?.kind,
    kept: [...((await kept?.list()) ?? [])] };
}
onmessage = ({ data }) => answer(data).then(
  (found) => postMessage({ found }), (error) => postMessage({ error: String(error?.stack ?? error) }));
`;
const page = `<!doctype html><script>
window.ask = (data) => new Promise((resolve, reject) => {
  const worker = new Worker("/worker.js", { type: "module" });
  worker.onmessage = ({ data: { found, error } }) => {
    worker.terminate();
    error ? reject(new Error(error)) : resolve(found);
  };
  worker.postMessage(data);
});
</script>`;

interface Found {
  readonly tier: string;
  readonly tokens: number[];
  readonly kind: string;
  readonly kept: [string, number][];
}

let browser: Browser;
let tab: Page;
let url: string;
const asked: string[] = [];
const [first] = JSON.parse(await readFile(new URL("web/test/tiny.json", root), "utf8")) as [
  { prompt: number[]; tokens: number[] },
];

const server = createServer((request, out): void => {
  const path = request.url ?? "/";
  asked.push(path.split("/").at(-1) ?? "");
  const send = (body: string | Uint8Array, type: string): void => {
    out.setHeader("content-type", type).end(body);
  };
  if (path === "/") return send(page, "text/html");
  if (path === "/worker.js") return void bundled.then((text) => send(text, "text/javascript"));
  const [, kind, name] = path.split("/");
  const folder = kind === "wasm" ? "build/wasm/" : "web/test/tiny/";
  readFile(new URL(folder + name, root)).then(
    (bytes) => send(bytes, "application/octet-stream"),
    () => out.writeHead(404).end(),
  );
});
const bundled = build({
  stdin: { contents: source, resolveDir: fileURLToPath(new URL("web", root)), loader: "ts" },
  bundle: true,
  format: "esm",
  target: "es2022",
  write: false,
}).then(({ outputFiles }) => outputFiles[0]?.text ?? "");

before(async () => {
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: FLAGS });
});
after(async () => {
  await browser?.close();
  server.closeAllConnections();
  server.close();
});
beforeEach(async () => {
  const context = await browser.newContext(); // storage of its own
  tab = await context.newPage();
  await tab.goto(url);
  asked.length = 0;
});

async function ask(cache: string): Promise<Found> {
  const given = { cache, prompt: first.prompt, tokens: TOKENS };
  return tab.evaluate((data) => (window as unknown as { ask(d: unknown): Promise<Found> }).ask(data), given);
}
const times = (name: string) => asked.filter((path) => path === name).length;

for (const cache of ["opfs", "cache"]) {
  test(`the second visit reads what the first one kept (${cache})`, async () => {
    for (let visit = 0; visit < 2; visit += 1) {
      const found = await ask(cache);
      assert.deepEqual(found.tokens, first.tokens.slice(0, TOKENS));
      assert.deepEqual([found.tier, found.kind], ["cpu (relaxed)", cache]);
      assert.deepEqual([times(WEIGHTS), times("manifest.json")], [1, visit + 1]);
      assert.ok(found.kept.some(([hash, bytes]) => hash.length === 64 && bytes > 50_000));
    }
  });
}

test("a damaged entry is fetched again", async () => {
  const { kept } = await ask("opfs");
  await tab.evaluate(async (names) => {
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("treadle");
    for (const name of names) {
      const out = await (await folder.getFileHandle(name)).createWritable({ keepExistingData: true });
      await out.write(new Uint8Array([1, 2, 3]));
      await out.close();
    }
  }, kept.map(([name]) => name));
  assert.deepEqual((await ask("opfs")).tokens, first.tokens.slice(0, TOKENS));
  assert.equal(times(WEIGHTS), 2);
  await ask("opfs");
  assert.equal(times(WEIGHTS), 2); // and kept anew
});
