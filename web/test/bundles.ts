/** Bundles as the tests read them: from disk, and damaged on purpose. */
import { readFile } from "node:fs/promises";
import type { Draw } from "../src/executor.js";
import type { Reader } from "../src/store/source.js";

const root = new URL("../../../", import.meta.url); // from web/build/test

export const tinyFolder = new URL("web/test/tiny/", root);

/** A bundle's folder as a reader; `edit` may change what a file holds. */
export function folder(base: URL, edit: (path: string, bytes: Uint8Array) => Uint8Array = (_, b) => b): Reader {
  const files = new Map<string, Promise<Uint8Array>>();
  return {
    async read(path, offset, length) {
      let file = files.get(path);
      if (!file) files.set(path, (file = readFile(new URL(path, base)).then((bytes) => edit(path, bytes))));
      return (await file).subarray(offset, offset + length);
    },
  };
}

/** What Python's native runtime says of the tiny model. */
export interface Answer {
  readonly prompt: readonly number[];
  readonly tokens: readonly number[];
  readonly logits: readonly number[];
  /** Draws from those logits, and what Python's sampler makes of them. */
  readonly draws: readonly Given[];
}

export interface Given {
  readonly seed: string;
  readonly seen: readonly [number, number][];
  readonly prompt: readonly number[];
  readonly bias: readonly [number, number][];
  readonly mask: readonly number[] | null;
  readonly wanted: { readonly token: number; readonly logprob?: number; readonly top?: readonly number[] };
}

/** A recorded draw as the executor takes it. */
export function drawOf(given: Given): Draw {
  const { seed, seen, prompt, bias, mask, wanted, ...rest } = given;
  return {
    ...(rest as unknown as Draw),
    row: 0,
    seed: BigInt(seed),
    seen: new Map(seen),
    prompt: new Set(prompt),
    bias: new Map(bias),
    ...(mask && { mask: Uint32Array.from(mask, (word) => word >>> 0) }),
  };
}

export async function answers(): Promise<readonly Answer[]> {
  return JSON.parse(await readFile(new URL("web/test/tiny.json", root), "utf8")) as Answer[];
}

export async function wasmBytes(name: string): Promise<Uint8Array> {
  return new Uint8Array(await readFile(new URL(`build/wasm/${name}.wasm`, root)));
}

export async function wasm(name: string): Promise<WebAssembly.Module> {
  return WebAssembly.compile((await wasmBytes(name)) as Uint8Array<ArrayBuffer>);
}
