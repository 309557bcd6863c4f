/** The WebGPU tier on Dawn over Chromium's software GPU; the cases are in gpu_child.ts. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { TreadleError } from "../src/errors.js";
import { evaluate, type Sizes } from "../src/expr.js";
import { upload } from "../src/gpu/memory.js";
import { Planes } from "../src/gpu/planes.js";
import { readPlan } from "../src/plan.js";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const chromium = "/usr/lib/chromium";

test("expressions mean what they mean in Python", async () => {
  const cases = JSON.parse(await readFile(join(root, "web/test/expressions.json"), "utf8")) as {
    sizes: Sizes;
    values: [string, number][];
    refused: string[];
  };
  for (const [text, wanted] of cases.values) assert.equal(evaluate(text, cases.sizes), wanted, text);
  for (const text of cases.refused) {
    assert.throws(() => evaluate(text, cases.sizes), TreadleError, text);
  }
});

test("weights reach their buffers from pieces, padded and widened", async () => {
  const shards = [Uint8Array.from({ length: 40 }, (_, i) => i), Uint8Array.from({ length: 40 }, (_, i) => 100 + i)];
  const tensors = new Map([
    ["m", { format: "q4_0", rows: 3, cols: 32, experts: 1, pieces: [[0, 4, 28], [1, 0, 26]] }],
    ["v", { format: "bf16", rows: 1, cols: 2, experts: 1, pieces: [[1, 28, 4]] }],
    ["h", { format: "f16", rows: 1, cols: 2, experts: 1, pieces: [[1, 32, 4]] }],
  ] as const); // prettier-ignore
  shards[1]!.set([0x80, 0x3f, 0x00, 0xc0], 28); // 1, -2
  shards[1]!.set([0x00, 0x3c, 0x01, 0x80], 32); // 1, the smallest below zero
  const part = (tensor: string, row: number, rows: number, offset: number, widen = "") => ({ tensor, row, rows, offset, widen });
  const buffers = {
    a: { size: "64", weights: [part("m", 0, 3, 8)] },
    q: { size: "64", plane: "quants", weights: [part("m", 2, 1, 0), part("m", 0, 2, 0)] },
    s: { size: "16", plane: "scales", weights: [part("m", 2, 1, 0), part("m", 0, 2, 0)] },
    b: { size: "16", weights: [part("v", 0, 1, 0, "bf16"), part("h", 0, 1, 8, "f16")] },
    ...Object.fromEntries(["batch", "draws", "mask", "drawn", "told", "entries", "logits"].map((name) => [name, { size: "4 * R" }])),
  };
  const lists = { decode: [], batch: [], prefill: [], sample: [] };
  const plan = readPlan({ vocab: 2, page: 16, buffers, kernels: {}, steps: lists }, "");
  const memory = new Map(["a", "b", "q", "s"].map((name) => [name, new Uint8Array(name === "b" || name === "s" ? 16 : 64)] as const));
  const queue = {
    writeBuffer(buffer: Uint8Array, to: number, from: Uint8Array, start = 0, size = from.length) {
      assert.equal(to % 4 | size % 4, 0, "queue writes take whole words");
      buffer.set(from.subarray(start, start + size), to);
    },
    onSubmittedWorkDone: () => Promise.resolve(),
  };
  const gpu = { queue } as unknown as GPUDevice;
  const seen: number[] = [];
  const fetch = (i: number) => Promise.resolve(shards[i]!);
  await upload(gpu, plan, tensors, memory as unknown as Map<string, GPUBuffer>, fetch, (loaded) => seen.push(loaded));
  const wanted = [...shards[0]!.subarray(4, 32), ...shards[1]!.subarray(0, 26), 0, 0];
  assert.deepEqual([...memory.get("a")!.subarray(8, 64)], wanted);
  assert.deepEqual([...new Float32Array(memory.get("b")!.buffer)], [1, -2, 1, -(2 ** -24)]);
  const block = (i: number) => wanted.slice(18 * i, 18 * i + 18); // two shards share the second
  const planes = [block(2), block(0), block(1)];
  assert.deepEqual([...memory.get("q")!.subarray(0, 48)], planes.flatMap((bytes) => bytes.slice(2)));
  assert.deepEqual([...memory.get("s")!.subarray(0, 6)], planes.flatMap((bytes) => bytes.slice(0, 2)));
  assert.equal(seen.at(-1), 54 + 54 + 8);
});

test("scales of two rows share a word", () => {
  const [width, rows, size] = [2, 3, 18];
  const bytes = Uint8Array.from({ length: rows * width * size }, (_, i) => (i % size < 2 ? 2 * Math.floor(i / size) + (i % size) : 99));
  const written: number[][] = [];
  const planes = new Planes((_, to, from) => written.push([to, ...from]));
  const part = { kind: "pairs", format: "q4_0", base: 0, total: rows * width, width } as const;
  planes.add("p", part, 0, bytes.subarray(0, 41)); // a shard may end in mid-block
  planes.add("p", part, 41, bytes.subarray(41));
  const scale = (row: number, block: number) => [0, 1].map((i) => 2 * (row * width + block) + i);
  const wanted = [scale(0, 0), scale(1, 0), scale(0, 1), scale(1, 1), scale(2, 0), [0, 0], scale(2, 1), [0, 0]];
  assert.deepEqual(written, [[0, ...wanted.flat()]]);
});

const missing = existsSync(join(chromium, "libvk_swiftshader.so")) ? false : "Chromium's SwiftShader is not installed";

test("the executor on a software GPU", { skip: missing }, () => {
  const folder = mkdtempSync(join(tmpdir(), "treadle-gpu-"));
  const said = join(folder, "said.json");
  try {
    const python = process.env["TREADLE_TEST_PYTHON"] ?? join(root, ".venv/bin/python");
    execFileSync(python, [join(root, "tests/web/tiny_gpu.py"), join(folder, "tiny"), said], { stdio: "pipe" });
    const child = spawnSync(process.execPath, [fileURLToPath(new URL("gpu_child.js", import.meta.url)), join(folder, "tiny"), said], {
      encoding: "utf8",
      timeout: 240_000,
      env: {
        ...process.env,
        LD_LIBRARY_PATH: chromium,
        VK_ICD_FILENAMES: join(chromium, "vk_swiftshader_icd.json"),
      },
    });
    assert.equal(child.status, 0, `${child.stdout}\n${child.stderr}`);
    assert.match(child.stdout, /tiers compile/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
