/** Bundles as the tests read them: from disk, and damaged on purpose. */
import { readFile } from "node:fs/promises";
import type { Bundle, Draw } from "../src/executor.js";
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

/** A tiny model's head, Q8_0: what it makes of a state. */
export async function headOf(bundle: Bundle): Promise<(state: Float32Array) => Float32Array> {
  const plan = JSON.parse(new TextDecoder().decode(await bundle.read("plan.json"))) as {
    weights: { head: { rows: number; cols: number; pieces: [[number, number, number]] } };
  };
  const { rows, cols, pieces: [[, offset, length]] } = plan.weights.head;
  const head = (await bundle.read("weights-00000.bin")).subarray(offset, offset + length);
  const weights = Array.from({ length: rows }, (_, row) => q8Row(head, row, cols));
  return (state) => Float32Array.from(weights, (row) => row.reduce((sum, w, i) => sum + w * state[i]!, 0));
}

/** Row `row` of a Q8_0 matrix: blocks of a f16 scale and 32 integers. */
function q8Row(bytes: Uint8Array, row: number, columns: number): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset + (row * columns * 34) / 32);
  return Array.from({ length: columns }, (_, i) => {
    const block = Math.floor(i / 32) * 34;
    const half = view.getUint16(block, true);
    const scale = 2 ** ((half >> 10) - 25) * (1024 + (half & 1023)); // no scale is subnormal here
    return scale * view.getInt8(block + 2 + (i % 32));
  });
}

/** The largest difference, as a part of the largest value. */
export function off(made: ArrayLike<number>, wanted: ArrayLike<number>): number {
  const most = Math.max(...Array.from(wanted, Math.abs));
  return Math.max(...Array.from(made, (value, i) => Math.abs(value - wanted[i]!))) / most;
}

export async function wasmBytes(name: string): Promise<Uint8Array> {
  return new Uint8Array(await readFile(new URL(`build/wasm/${name}.wasm`, root)));
}

export async function wasm(name: string): Promise<WebAssembly.Module> {
  return WebAssembly.compile((await wasmBytes(name)) as Uint8Array<ArrayBuffer>);
}
