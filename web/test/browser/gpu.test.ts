/** A bundle's whole way in Chromium: WebGPU on its software GPU, losses, cut downloads, no WebGPU. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Browser, Page } from "playwright-core";
import type * as Treadle from "../../src/treadle.js";
import type { Answer } from "../bundles.js";
import { openBrowser, openSite, type Site } from "./site.js";

const root = fileURLToPath(new URL("../../../../", import.meta.url)); // from web/build/test/browser
const folder = mkdtempSync(join(tmpdir(), "treadle-page-"));
const EOS = 258;
let site: Site;
let browser: Browser;
let told: Answer[];

before(async () => {
  const python = process.env["TREADLE_TEST_PYTHON"] ?? join(root, ".venv/bin/python");
  const made = promisify(execFile)(python, [join(root, "tests/web/tiny_gpu.py"), join(folder, "tiny"), join(folder, "said.json")]);
  [site, browser] = await Promise.all([openSite({ "/tiny/": join(folder, "tiny") }), openBrowser(), made]);
  told = JSON.parse(await readFile(join(folder, "said.json"), "utf8")) as Answer[];
  site.instead.set("/blank.html", new TextEncoder().encode("<!doctype html>"));
});
after(async () => {
  await browser?.close();
  site?.close();
  rmSync(folder, { recursive: true });
});

async function blank(where = browser): Promise<Page> {
  const page = await (await where.newContext()).newPage();
  await page.goto(`${site.url}blank.html`);
  return page;
}

test("on WebGPU the reference's tokens, also where the device is lost in mid-answer, and a schema", async () => {
  const page = await blank();
  const one = told.map(({ prompt, tokens }) => ({ prompt, tokens: tokens.slice(0, 12) })).find(({ tokens }) => !tokens.includes(EOS));
  assert(one);
  const found = await page.evaluate(async ({ prompt, tokens }) => {
    const devices: { destroy(): void }[] = [];
    const { GPUAdapter } = globalThis as unknown as { GPUAdapter: { prototype: { requestDevice(...given: unknown[]): Promise<{ destroy(): void }> } } };
    const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (...given) {
      const made = await request.apply(this, given);
      devices.push(made);
      return made;
    };
    const { createEngine } = (await import("/treadle.js" as string)) as typeof Treadle;
    const engine = await createEngine("/tiny/", { tier: "t0", worker: false });
    const said: string[] = [];
    const body = { prompt: [...prompt], temperature: 0, max_tokens: tokens.length, stream: true as const };
    for (const lost of [false, true]) {
      let text = "";
      let chunks = 0;
      for await (const { choices } of await engine.completions.create(body)) {
        text += choices[0]?.text ?? "";
        if (lost && ++chunks === 3) devices.at(-1)!.destroy();
      }
      said.push(text);
    }
    const response_format = { type: "json_schema" as const, json_schema: { name: "x", schema: { enum: ["ja", "nein"] } } };
    const { choices } = await engine.completions.create({ prompt: "x", response_format, max_tokens: 60, seed: 3 });
    const wanted = await engine.detokenize(tokens);
    const { data } = await engine.embeddings.create({ input: "x" });
    const length = Math.hypot(...(data[0]!.embedding as number[]));
    const { tier, notes, requests, pages } = await engine.stats();
    await engine.close();
    return { said, wanted, tier, notes, json: choices[0]!.text.trim(), left: requests + pages.held, devices: devices.length, length };
  }, one);
  assert.deepEqual(found.said, [found.wanted, found.wanted]);
  assert(found.json === '"ja"' || found.json === '"nein"', found.json);
  assert.deepEqual([found.tier, found.left, found.devices], ["t0", 0, 2]);
  assert(Math.abs(found.length - 1) < 1e-5, "an embedding");
  assert(found.notes.length === 1 && /opened again on t0/.test(found.notes[0]!), found.notes.join());
  await page.context().close();
});

test("in a worker the tier that auto takes, with the reason; a GPU that is no GPU is passed over", async () => {
  const page = await blank();
  const [tier, notes] = await page.evaluate(async () => {
    const { createEngine } = (await import("/treadle.js" as string)) as typeof Treadle;
    const engine = await createEngine("/tiny/");
    const stats = await engine.stats();
    await engine.close();
    return [stats.tier, stats.notes.join("; ")] as const;
  });
  assert.match(tier, /^cpu/);
  assert.match(notes, /t2: .*shader-f16.*t0: .*plays a GPU/);
  await page.context().close();
});

test("without WebGPU the CPU tier answers; one that is asked for by name says what is missing", async () => {
  const other = await openBrowser(false);
  try {
    const page = await blank(other);
    const found = await page.evaluate(async () => {
      const { createEngine } = (await import("/treadle.js" as string)) as typeof Treadle;
      const engine = await createEngine("/tiny/");
      const { usage } = await engine.completions.create({ prompt: "x", max_tokens: 4, ignore_eos: true });
      const { tier } = await engine.stats();
      await engine.close();
      const code = await createEngine("/tiny/", { tier: "t0" }).then(() => "opened", (error: Treadle.TreadleError) => error.code);
      return [tier.slice(0, 3), usage!.completion_tokens, code];
    });
    assert.deepEqual(found, ["cpu", 4, "no_device"]);
  } finally {
    await other.close();
  }
});

test("an isolated page runs threads, with the tokens of one; a page that is not goes without", async () => {
  const answers: (readonly [boolean, string, string])[] = [];
  for (const [isolated, threads] of [[true, 1], [true, 2], [false, 2]] as const) {
    site.isolated = isolated;
    const page = await blank();
    answers.push(
      await page.evaluate(async (threads) => {
        const { createEngine } = (await import("/treadle.js" as string)) as typeof Treadle;
        const engine = await createEngine("/bundle/", { tier: "wasm", threads });
        const { choices } = await engine.completions.create({ prompt: "x", temperature: 0, max_tokens: 24, ignore_eos: true });
        const { tier } = await engine.stats();
        await engine.close();
        return [crossOriginIsolated, tier, choices[0]!.text] as const;
      }, threads),
    );
    await page.context().close();
  }
  site.isolated = true;
  const [one, two, bare] = answers.map(([isolated, tier]) => [isolated, /2 threads/.test(tier)]);
  assert.deepEqual([one, two, bare], [[true, false], [true, true], [false, false]]);
  const texts = new Set(answers.map(([, , text]) => text));
  assert(texts.size === 1 && !texts.has(""), [...texts].join(" | "));
});

test("a cut download goes on where it stopped; one that hangs can be left; files open as they are", async () => {
  const page = await blank();
  site.cut.set("/bundle/weights-00000.bin", 30_000);
  const count = await page.evaluate(async () => {
    const { createEngine } = (await import("/treadle.js" as string)) as typeof Treadle;
    const engine = await createEngine("/bundle/", { tier: "wasm" });
    const { usage } = await engine.completions.create({ prompt: "x", max_tokens: 2, ignore_eos: true });
    await engine.close();
    return usage!.completion_tokens;
  });
  assert.equal(count, 2);
  const [[path, from] = ["", 0]] = site.ranges;
  assert(path === "/bundle/weights-00000.bin" && from > 0 && from <= 30_000, `${path} from ${from}`);
  const kept = await page.evaluate(async () => {
    const { store } = (await import("/treadle.js" as string)) as typeof Treadle;
    const { clear, list, verify } = await store();
    const manifest = (await (await fetch("/bundle/manifest.json")).json()) as Treadle.BundleManifest;
    const before = await verify(manifest);
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("treadle");
    const [{ path, sha256 } = { path: "", sha256: "" }] = manifest.files;
    const out = await (await folder.getFileHandle(sha256)).createWritable({ keepExistingData: true });
    await out.write(new Uint8Array([1, 2, 3]));
    await out.close();
    const damaged = await verify(manifest);
    const after = await verify(manifest);
    const bytes = (await list()).reduce((sum, file) => sum + file.bytes, 0);
    return [
      [before.good.length, before.damaged.length, before.missing.length, manifest.files.length],
      [damaged.damaged, after.missing, [path]],
      [await clear(), bytes, (await list()).length],
    ];
  });
  const [[good, ...bad], [damaged, missing, path1], [freed, bytes, left1]] = kept as [number[], string[][], number[]];
  assert.deepEqual([good, ...bad], [bad[2], 0, 0, bad[2]]);
  assert.deepEqual([damaged, missing, left1], [path1, path1, 0]);
  assert(freed === bytes && bytes! > 1000);
  const fresh = await blank(); // with nothing kept
  site.cut.set("/bundle/weights-00000.bin", Infinity);
  const asked = fresh.waitForRequest(/weights-00000/);
  const leaving = fresh.evaluate(async () => {
    const { createEngine } = (await import("/treadle.js" as string)) as typeof Treadle;
    const abort = new AbortController();
    globalThis.addEventListener("leave", () => abort.abort());
    return createEngine("/bundle/", { tier: "wasm", signal: abort.signal }).then(() => "", (error: Treadle.TreadleError) => error.code);
  });
  await asked;
  await fresh.evaluate(() => void setTimeout(() => globalThis.dispatchEvent(new Event("leave")), 200));
  const left = await leaving;
  assert.equal(left, "cancelled");
  const files = await fresh.evaluate(async () => {
    const { createEngine } = (await import("/treadle.js" as string)) as typeof Treadle;
    const manifest = (await (await fetch("/bundle/manifest.json")).json()) as Treadle.BundleManifest;
    const paths = ["manifest.json", ...manifest.files.map(({ path }) => path)];
    const picked = await Promise.all(paths.map(async (path) => new File([await (await fetch(`/bundle/${path}`)).blob()], path)));
    const engine = await createEngine(picked, { tier: "wasm" });
    const { data } = await engine.embeddings.create({ input: ["one", "one"] });
    await engine.close();
    const code = await createEngine(picked.slice(0, 3), { tier: "wasm" }).then(() => "", (error: Treadle.TreadleError) => error.code);
    return [data[0]!.embedding.length, JSON.stringify(data[0]!.embedding) === JSON.stringify(data[1]!.embedding), code];
  });
  assert.deepEqual(files, [64, true, "not_found"]);
  await page.context().close();
  await fresh.context().close();
});

test("without room to keep a model it runs all the same, and says so", async () => {
  const page = await blank();
  const session = await page.context().newCDPSession(page);
  await session.send("Storage.overrideQuotaForOrigin", { origin: new URL(site.url).origin, quotaSize: 4096 });
  const [notes, tokens, kept] = await page.evaluate(async () => {
    const { createEngine, store } = (await import("/treadle.js" as string)) as typeof Treadle;
    const engine = await createEngine("/bundle/", { tier: "wasm" });
    const { usage } = await engine.completions.create({ prompt: "x", max_tokens: 2, ignore_eos: true });
    const stats = await engine.stats();
    await engine.close();
    const { damaged } = await (await store()).verify(engine.manifest);
    return [stats.notes, usage!.completion_tokens, damaged] as const;
  });
  assert.match(notes.join(), /no room left/);
  assert.deepEqual([tokens, kept], [2, []], "what was cut off is not taken for a file");
  await page.context().close();
});
