/** What is shipped: sizes, who imports whom, and what a page may not do. */
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { test } from "node:test";
import { brotliCompressSync } from "node:zlib";
import { repositoryFile } from "./support.js";

const web = new URL("../../", import.meta.url);
const dist = new URL("dist/", web);
interface Built {
  first: number;
  late: Record<string, number>;
  demo: number;
  inputs: Record<string, string[]>;
}
const built = JSON.parse(await repositoryFile("web/build/dist.json")) as Built;

// KB are thousands of bytes. What the first chat loads of WebAssembly is one of the CPU modules, or
// nothing on a GPU. A first chat with a JSON Schema loads core-json.wasm too: as a host sends both.
const FIRST_SCRIPT = 150e3;
const FIRST_WASM = 250e3;
const SENT_WITH_SCHEMA = 347e3;
const CORE = { "core-json": 1085e3, core: 1360e3 };

test("the first chat loads 150 KB of script at most, the page adds 40, later chunks have 25", () => {
  assert(built.first > 100e3 && built.first <= FIRST_SCRIPT, `${built.first} bytes`);
  for (const [name, bytes] of Object.entries(built.late)) assert(bytes <= 25e3, `${name}: ${bytes} bytes`);
  assert(Object.keys(built.late).length > 2);
  assert(built.demo <= 40e3, `${built.demo} bytes`);
});

test("the first chat loads 250 KB of WebAssembly at most, and with a schema 347 are sent", async () => {
  const bytes = (name: string) => readFile(new URL(`${name}.wasm`, dist));
  const sent = async (name: string) => brotliCompressSync(await bytes(name)).length; // as hosts send it
  for (const kind of ["simd", "relaxed", "simd-threads", "relaxed-threads"]) {
    const { length } = await bytes(`cpu-${kind}`);
    assert(length > 100e3 && length <= FIRST_WASM, `cpu-${kind}: ${length} bytes`);
  }
  const both = (await sent("core-json")) + (await sent("cpu-relaxed"));
  assert(both > 100e3 && both <= SENT_WITH_SCHEMA, `${both} bytes are sent`);
  for (const [name, most] of Object.entries(CORE)) {
    const { length } = await bytes(name);
    assert(length <= most, `${name}: ${length} bytes`);
  }
});

// A file may import from its own level and from those below; the executors not from each other.
const LEVELS: readonly RegExp[] = [
  /^src\/(generated\/|errors\.ts|types\.ts)/,
  /^src\/(manifest|plan|expr|executor)\.ts/,
  /^src\/(store\/|grammar\/|core\.ts)/,
  /^src\/(gpu|cpu)\//,
  /^src\/(text\/|kv\.ts)/,
  /^src\/(engine\/|open\.ts)/,
  /^src\/openai\//,
  /^src\/worker\//,
  /^src\/[a-z]+\.ts/,
];
const level = (path: string) => LEVELS.findIndex((pattern) => pattern.test(path));

test("imports go down the levels only, and only two packages come from outside", () => {
  const ours = Object.keys(built.inputs).filter((path) => path.startsWith("src/"));
  assert(ours.length > 40);
  const wrong: string[] = [];
  const outside = new Set<string>();
  for (const path of ours) {
    for (const to of built.inputs[path] ?? []) {
      if (!to.startsWith("src/")) outside.add(to.replace(/^node_modules\/((?:@[^/]+\/)?[^/]+)\/.*$/, "$1"));
      else if (level(to) > level(path)) wrong.push(`${path} imports ${to}`);
      else if (/src\/gpu/.test(path) && /src\/cpu/.test(to)) wrong.push(`${path} imports ${to}`);
      else if (/src\/cpu/.test(path) && /src\/gpu/.test(to)) wrong.push(`${path} imports ${to}`);
    }
  }
  assert.deepEqual(wrong, []);
  assert.deepEqual([...outside].sort(), ["@huggingface/jinja", "@huggingface/tokenizers"]);
});

test("nothing shipped evaluates text or names another host", async () => {
  const scripts = (await readdir(dist)).filter((name) => name.endsWith(".js"));
  for (const name of scripts) {
    const text = await readFile(new URL(name, dist), "utf8");
    assert(!/\beval\(|new Function\(/.test(text), `${name} evaluates text`);
    const hosts = (text.match(/https?:\/\/[a-z0-9.-]+/gi) ?? []).filter((host) => !host.endsWith(".invalid"));
    assert.deepEqual(hosts, [], name);
  }
  const page = await readFile(new URL("index.html", dist), "utf8");
  assert(!/\son[a-z]+=|style=|<style|https?:/i.test(page));
  assert(/default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'/.test(page));
});
