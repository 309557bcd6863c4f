/**
 * Blocks of q4_0 and q4_1 on their way into planes, as tier T2 reads them: the quants of all blocks
 * in one buffer, their float16 factors in another: those of a block together, or in pairs those of a
 * block of two rows. Shards end inside blocks; fragments wait here.
 */
import { TreadleError } from "../errors.js";

/** Bytes of a block, and how many of them are factors. */
const BLOCKS: Readonly<Record<string, readonly [number, number]>> = { q4_0: [18, 2], q4_1: [20, 4] };
const WEIGHTS = 32; // of a block

/** Where the blocks of one tensor go: after `base` others of the `total` in a buffer, `width` a row. */
export interface PlanePart {
  readonly kind: "quants" | "scales" | "pairs";
  readonly format: string;
  readonly base: number;
  readonly total: number;
  readonly width: number;
}

/** Blocks of so many weights. Throws `model_format_error` for a format that has no planes. */
export function blocksOf(format: string, weights: number): number {
  if (!BLOCKS[format] || weights % WEIGHTS) {
    throw new TreadleError("model_format_error", `${format} has no planes`, { at: "plan.json" });
  }
  return weights / WEIGHTS;
}

export class Planes {
  readonly #write: (buffer: string, to: number, bytes: Uint8Array) => void;
  readonly #scales = new Map<string, { readonly halves: Uint16Array; left: number }>();
  readonly #fragments = new Map<string, { readonly bytes: Uint8Array; filled: number }>();

  constructor(write: (buffer: string, to: number, bytes: Uint8Array) => void) {
    this.#write = write;
  }

  /** Bytes of a tensor from byte `start` of its part on. */
  add(buffer: string, part: PlanePart, start: number, bytes: Uint8Array): void {
    const [size] = BLOCKS[part.format]!;
    const end = start + bytes.length;
    const from = (at: number, stop: number) => bytes.subarray(at - start, stop - start);
    let at = start;
    if (at % size) {
      const stop = Math.min(end, Math.ceil(at / size) * size);
      this.#fragment(buffer, part, at, from(at, stop));
      at = stop;
    }
    const whole = Math.floor((end - at) / size) * size;
    if (whole > 0) this.#blocks(buffer, part, at / size, from(at, at + whole));
    at += Math.max(0, whole);
    if (at < end) this.#fragment(buffer, part, at, from(at, end));
  }

  #fragment(buffer: string, part: PlanePart, at: number, bytes: Uint8Array): void {
    const [size] = BLOCKS[part.format]!;
    const block = Math.floor(at / size);
    const key = `${buffer} ${part.base + block}`;
    const held = this.#fragments.get(key) ?? { bytes: new Uint8Array(size), filled: 0 };
    held.bytes.set(bytes, at % size);
    held.filled += bytes.length;
    this.#fragments.set(key, held);
    if (held.filled < size) return;
    this.#fragments.delete(key);
    this.#blocks(buffer, part, block, held.bytes);
  }

  /** Whole blocks from block `first` of the part on. */
  #blocks(buffer: string, { kind, format, base, total, width }: PlanePart, first: number, bytes: Uint8Array): void {
    const [size, head] = BLOCKS[format]!;
    const even = bytes.byteOffset % 2 ? bytes.slice() : bytes;
    const halves = new Uint16Array(even.buffer, even.byteOffset, even.length / 2);
    const [step, factors, count] = [size / 2, head / 2, bytes.length / size];
    if (kind === "quants") {
      const out = new Uint16Array(8 * count);
      for (let b = 0, i = 0, j = factors; b < count; b += 1, j += factors) {
        for (const end = i + 8; i < end; i += 1, j += 1) out[i] = halves[j]!;
      }
      this.#write(buffer, 16 * (base + first), new Uint8Array(out.buffer));
      return;
    }
    // Factors are written once all are there: one of them alone is half a word.
    const room = kind === "pairs" ? Math.ceil(total / (2 * width)) * 2 * width : total * factors;
    const held = this.#scales.get(buffer) ?? { halves: new Uint16Array(room), left: total };
    this.#scales.set(buffer, held);
    for (let b = 0, i = base + first; b < count; b += 1, i += 1) {
      const row = Math.floor(i / width);
      const to = kind === "pairs" ? 2 * ((row >> 1) * width + (i % width)) + (row & 1) : i * factors;
      for (let j = 0; j < factors; j += 1) held.halves[to + j] = halves[b * step + j]!;
    }
    held.left -= count;
    if (held.left > 0) return;
    this.#scales.delete(buffer);
    this.#write(buffer, 0, new Uint8Array(held.halves.buffer));
  }
}
