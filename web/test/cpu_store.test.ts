/** Bundles over HTTP and from files: resumed, verified, refused. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { after, test } from "node:test";
import { parseCpuTier, parseManifest, parsePlan } from "../src/manifest.js";
import { openBundle } from "../src/store/download.js";
import { folder, tinyFolder } from "./bundles.js";

interface Served {
  readonly url: string;
  /** [path, first byte] of every request. */
  readonly asked: [string, number][];
}

const closing: (() => void)[] = [];
after(() => closing.forEach((close) => close()));

/** A host of the tiny bundle; `answer` may take a request over. */
async function host(answer: (path: string, from: number, out: ServerResponse, n: number) => boolean): Promise<Served> {
  const asked: [string, number][] = [];
  const server = createServer((request, out) => {
    const path = (request.url ?? "/").slice(3);
    const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
    asked.push([path, from]);
    if (answer(path, from, out, asked.filter(([other]) => other === path).length)) return;
    readFile(new URL(path, tinyFolder)).then(
      (bytes) => {
        out.statusCode = from ? 206 : 200;
        out.end(bytes.subarray(from));
      },
      () => out.writeHead(404).end(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(() => (server.closeAllConnections(), server.close()));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/b`, asked };
}

const file = (path: string) => readFile(new URL(path, tinyFolder));
const weights = "weights-00000.bin";

test("a cut download goes on where it stopped", async () => {
  const bytes = await file(weights);
  const { url, asked } = await host((path, from, out, n) => {
    if (path !== weights || n > 2) return false;
    out.writeHead(from ? 206 : 200, { "content-length": bytes.length - from });
    out.write(bytes.subarray(from, from + 10000), () => out.destroy());
    return true;
  });
  const bundle = await openBundle(url);
  assert.deepEqual(Buffer.from(await bundle.read(weights)), bytes);
  const froms = asked.filter(([path]) => path === weights).map(([, from]) => from);
  assert.equal(froms.length, 3);
  assert.ok(froms[0] === 0 && (froms[1] as number) > 0 && (froms[2] as number) > (froms[1] as number));
});

test("a host without ranges is read all the same", async () => {
  const bytes = await file(weights);
  const { url } = await host((path, _, out, n) => {
    if (path !== weights) return false;
    out.writeHead(200, { "content-length": bytes.length });
    if (n === 1) out.write(bytes.subarray(0, 9000), () => out.destroy());
    else out.end(bytes);
    return true;
  });
  assert.deepEqual(Buffer.from(await (await openBundle(url)).read(weights)), bytes);
});

test("a damaged file is fetched once more, and then refused", async () => {
  const bytes = Buffer.from(await file(weights));
  bytes[100] = (bytes[100] as number) ^ 1;
  for (const times of [1, 9]) {
    const { url, asked } = await host((path, _, out, n) => {
      if (path !== weights || n > times) return false;
      out.end(bytes);
      return true;
    });
    const reading = (await openBundle(url)).read(weights);
    if (times === 1) assert.equal((await reading).length, bytes.length);
    else await assert.rejects(reading, { code: "integrity", at: weights });
    assert.equal(asked.filter(([path]) => path === weights).length, 2);
  }
});

test("a file that is too long, missing or aborted is an error of its own", async () => {
  const { url } = await host((path, _, out) => {
    if (path !== weights) return false;
    out.end(Buffer.alloc(1 << 20));
    return true;
  });
  const bundle = await openBundle(`${url}/`);
  await assert.rejects(bundle.read(weights), { code: "integrity" });
  await assert.rejects(bundle.read("secrets.txt"), { code: "not_found" });
  await assert.rejects(bundle.read("plan.json", AbortSignal.abort()), { code: "cancelled" });
  await assert.rejects(openBundle(`${url}/nowhere`), { code: "not_found" });
  const damaged = folder(tinyFolder, (path, b) => (path === "vocab.bin" ? b.map((x) => x ^ 255) : b));
  await assert.rejects((await openBundle(damaged)).read("vocab.bin"), { code: "integrity", at: "vocab.bin" });
});

test("picked files and progress", async () => {
  const names = ["manifest.json", "plan.json", weights];
  const files = await Promise.all(names.map(async (name) => new File([new Uint8Array(await file(name))], name)));
  const seen: number[] = [];
  const bundle = await openBundle(files, { onProgress: (progress) => seen.push(progress.loaded) });
  assert.deepEqual(Buffer.from(await bundle.read("plan.json")), await file("plan.json"));
  await bundle.read(weights);
  assert.deepEqual(seen, [...seen].sort((a, b) => a - b));
  await assert.rejects(bundle.read("vocab.bin"), { code: "not_found", at: "vocab.bin" });
});

type Edit = (value: any) => void;
const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

test("a manifest that lies is named by file and field", async () => {
  const text = await file("manifest.json");
  parseManifest(text);
  const lies: [Edit, string][] = [
    [(m) => (m.format = 2), "format"],
    [(m) => delete m.files, "files"],
    [(m) => (m.files[0].path = "../x"), "files/0/path"],
    [(m) => m.files.push(m.files[0]), "files/"],
    [(m) => (m.files[0].bytes = 1.5), "files/0/bytes"],
    [(m) => (m.files[0].sha256 = "0"), "files/0/sha256"],
    [(m) => (m.limits.vocab = -1), "limits/vocab"],
    [(m) => (m.chat.template = "/etc/passwd"), "chat/template"],
    [(m) => (m.chat.eos = ["2"]), "chat/eos/0"],
    [(m) => (m.tiers = {}), "tiers"],
  ];
  for (const [edit, at] of lies) {
    const value = JSON.parse(text.toString()) as unknown;
    edit(value);
    assert.throws(() => parseManifest(encode(value)), (error: any) => {
      return error.code === "model_format_error" && error.at.startsWith(`manifest.json, ${at}`);
    }, at);
  }
  for (const bytes of [text.subarray(1), encode([]), encode(null), Uint8Array.of(255)]) {
    assert.throws(() => parseManifest(bytes), { code: "model_format_error" });
  }
});

test("a plan that lies is named by file and field", async () => {
  const manifest = parseManifest(await file("manifest.json"));
  const text = await file("plan.json");
  const lies: [Edit, string][] = [
    [(p) => (p.weights["l0.q"].rows += 1), "weights/l0.q/pieces"],
    [(p) => (p.weights["l0.q"].format = "constructor"), "weights/l0.q/format"],
    [(p) => (p.weights["l0.q"].pieces[0][1] = 2 ** 40), "weights/l0.q/pieces/0"],
    [(p) => (p.weights["l0.q"].pieces[0][0] = 9), "weights/l0.q/pieces/0"],
    [(p) => (p.weights["l0.q"].cols = 33), "weights/l0.q/pieces"],
    [(p) => (p.shards[0] = "other.bin"), "shards/0"],
    [(p) => (p.tiers.cpu.params[1][0] = "toString"), "tiers/cpu/params/1/0"],
    [(p) => (p.tiers.cpu.params[1][1] = "both"), "tiers/cpu/params/1/1"],
    [(p) => (p.tiers.cpu.plans[0].length = 1e9), "tiers/cpu/plans/0/length"],
    [(p) => (p.tiers.cpu.file = "none.bin"), "tiers/cpu/file"],
    [(p) => (p.tiers.cpu.states[0][0] = 0), "tiers/cpu/states/0/0"],
  ];
  const read = (bytes: Uint8Array) => parseCpuTier(parsePlan(bytes, manifest), manifest);
  assert.ok(read(text));
  for (const [edit, at] of lies) {
    const value = JSON.parse(text.toString()) as unknown;
    edit(value);
    assert.throws(() => read(encode(value)), (error: any) => {
      return error.code === "model_format_error" && error.at === `plan.json, ${at}`;
    }, at);
  }
});
