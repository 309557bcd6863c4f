/** Bundles the package and the page into dist/: ES modules that share chunks, minified. */
import { copyFile, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { build } from "esbuild";

const root = new URL(".", import.meta.url);
const dist = new URL("dist/", root);
const shared = {
  absWorkingDir: root.pathname,
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "none",
  charset: "utf8",
  metafile: true,
  logLevel: "error",
};

for (const name of await readdir(dist).catch(() => [])) {
  if (name !== "types") await rm(new URL(name, dist), { recursive: true });
}
await mkdir(dist, { recursive: true });

// Tokenisers that the exporter refuses, and what only they use: treadle reads BPE.
const UNREAD = [
  ...["normalizer/BertNormalizer", "normalizer/Precompiled", "preTokenizer/BertPreTokenizer"],
  ...["tokenizerModelImplementations/WordPiece", "tokenizerModelImplementations/Unigram"],
  "tokenizerModelImplementations/Legacy",
].map((name) => `core/${name}`);
// Ids become text by the bytes of the vocabulary, and prompts are tokenised as they stand.
const UNUSED = ["core/postProcessor/create_post_processor", "core/decoder/create_decoder"];

/** The dependencies without what nothing here reaches; the build fails where they have changed. */
const lean = {
  name: "lean",
  setup: ({ onLoad }) => {
    onLoad({ filter: /@huggingface\/jinja\/dist\/index\.js$/ }, async ({ path }) => {
      // Templates are run, never laid out anew.
      const text = await readFile(path, "utf8");
      return { contents: without(text, "format", () => "const format = undefined;") };
    });
    onLoad({ filter: /@huggingface\/tokenizers\/dist\/tokenizers\.mjs$/ }, async ({ path }) => {
      let text = await readFile(path, "utf8");
      for (const name of UNREAD) {
        const refusal = `class { constructor() { throw new Error("no ${name}"); } }`;
        text = without(text, name, (declared) => `var ${declared} = ${refusal};`);
      }
      for (const name of UNUSED) text = without(text, name, (declared) => `var ${declared} = () => null;`);
      return { contents: text };
    });
  },
};

/** `text` with another section in the place of the one that came from src/NAME.ts. */
function without(text, name, stub) {
  const mark = `// src/${name}.ts\n`;
  const from = text.indexOf(mark);
  const to = text.indexOf("\n// src/", from + mark.length);
  if (from < 0 || to < 0) throw new Error(`${name} is not where it was`);
  const [, declared = ""] = /var (\w+_default\d*) =/.exec(text.slice(from, to)) ?? [];
  return `${text.slice(0, from)}${stub(declared)}\n${text.slice(to)}`;
}

// The page's module and its worker share what both need; what is imported late is a chunk.
const web = await build({
  ...shared,
  entryPoints: { treadle: "src/treadle.ts", worker: "src/worker.ts" },
  outdir: "dist",
  splitting: true,
  chunkNames: "chunk-[hash]",
  plugins: [lean],
});
const whole = { ...shared, outdir: "dist", plugins: [lean] };
await build({ ...whole, entryPoints: ["src/index.ts"] });
await build({ ...whole, entryPoints: ["src/node.ts"], platform: "node" });
await build({ ...whole, entryPoints: { cpu_worker: "src/cpu_worker.ts" } });
// The page uses the package as anybody would: by its address.
const engine = {
  name: "engine",
  setup: ({ onResolve }) =>
    onResolve({ filter: /\/src\/treadle\.js$/ }, () => ({ path: "./treadle.js", external: true })),
};
await build({ ...shared, entryPoints: { demo: "demo/main.ts" }, outdir: "dist", plugins: [engine] });
await build({ ...shared, entryPoints: { style: "demo/style.css" }, outdir: "dist" });
for (const name of ["index.html", "icon.svg", "manifest.webmanifest"]) {
  await copyFile(new URL(`demo/${name}`, root), new URL(name, dist));
}
const MODULES = ["core", "core-json", "cpu-simd", "cpu-relaxed", "cpu-simd-threads", "cpu-relaxed-threads"];
for (const name of MODULES) {
  await copyFile(new URL(`../build/wasm/${name}.wasm`, root), new URL(`${name}.wasm`, dist));
}
// What the page keeps for the time without a network: all that it may come to load.
const kept = (await readdir(dist)).filter((name) => name.includes(".") && !["index.js", "node.js"].includes(name));
const define = { FILES: JSON.stringify(kept.sort()) };
await build({ ...shared, entryPoints: { sw: "demo/sw.ts" }, outdir: "dist", define });

/** Bytes of what the entries load at once, and of each chunk that comes later. */
function sizes({ outputs }) {
  const first = new Set();
  const visit = (path) => {
    if (first.has(path)) return;
    first.add(path);
    for (const { path: next, kind } of outputs[path]?.imports ?? []) {
      if (kind === "import-statement") visit(next);
    }
  };
  visit("dist/treadle.js");
  visit("dist/worker.js");
  const bytes = (path) => outputs[path].bytes;
  const late = Object.keys(outputs).filter((path) => /chunk-/.test(path) && !first.has(path));
  return {
    first: [...first].reduce((sum, path) => sum + bytes(path), 0),
    files: Object.fromEntries([...first].map((path) => [path.slice(5), bytes(path)])),
    late: Object.fromEntries(late.map((path) => [path.slice(5), bytes(path)])),
  };
}

const found = sizes(web.metafile);
const demo = (await stat(new URL("demo.js", dist))).size;
const inputs = Object.fromEntries(
  Object.entries(web.metafile.inputs).map(([path, { imports }]) => [
    path,
    imports.map(({ path: to }) => to),
  ]),
);
// What tests read: sizes, and who imports whom. Not part of what is served.
await mkdir(new URL("build/", root), { recursive: true });
await writeFile(new URL("build/dist.json", root), JSON.stringify({ ...found, demo, inputs }));
if (process.argv.includes("--print")) console.log(JSON.stringify({ ...found, demo }, null, 2));
