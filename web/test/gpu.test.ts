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

const missing = existsSync(join(chromium, "libvk_swiftshader.so")) ? false : "Chromium's SwiftShader is not installed";

test("the executor on a software GPU", { skip: missing }, () => {
  const folder = mkdtempSync(join(tmpdir(), "treadle-gpu-"));
  const said = join(folder, "said.json");
  try {
    const python = process.env["PYTHON"] ?? join(root, ".venv/bin/python");
    execFileSync(python, [join(root, "tests/web/tiny_gpu.py"), join(folder, "tiny"), said], { stdio: "pipe" });
    const child = spawnSync(process.execPath, [fileURLToPath(new URL("gpu_child.js", import.meta.url)), join(folder, "tiny"), said], {
      encoding: "utf8",
      timeout: 120_000,
      env: {
        ...process.env,
        LD_LIBRARY_PATH: chromium,
        VK_ICD_FILENAMES: join(chromium, "vk_swiftshader_icd.json"),
      },
    });
    assert.equal(child.status, 0, `${child.stdout}\n${child.stderr}`);
    assert.match(child.stdout, /losses survived/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
