/** Draws as the sampler kernels read them, and their tokens on the way back. */
import { TreadleError } from "../errors.js";
import type { Draw } from "../executor.js";
import type { Buffers } from "./memory.js";

const WORDS = 8; // of a draw: temperature, key (2), step, mask row or -1, logits row, two unused
const NO_MASK = 0xffffffff;

/** What a `sample` encodes: how many draws, and how many tokens to adjust before (0: none). */
export interface Packed {
  readonly draws: number;
  readonly entries: number;
}

/** Packs draws into memory of its own and writes it to the device's buffers; creates nothing. */
export class Drawing {
  readonly #queue: GPUQueue;
  readonly #buffers: Buffers;
  readonly #width: number; // words of a mask row
  readonly #vocab: number;
  readonly #words: Uint32Array<ArrayBuffer>;
  readonly #floats: Float32Array;
  readonly #penalties: Float32Array<ArrayBuffer>;
  #entries: Uint32Array<ArrayBuffer>;

  constructor(queue: GPUQueue, buffers: Buffers, vocab: number, rows: number) {
    this.#queue = queue;
    this.#buffers = buffers;
    this.#vocab = vocab;
    this.#width = Math.ceil(vocab / 32);
    this.#words = new Uint32Array(rows * WORDS);
    this.#floats = new Float32Array(this.#words.buffer);
    this.#penalties = new Float32Array(rows * 4);
    this.#entries = new Uint32Array(4 * 1024);
  }

  /** Throws `unsupported` for what the kernels do not do, `invalid_request` for ids out of range. */
  write(draws: readonly Draw[]): Packed {
    let masks = 0;
    let entries = 0;
    for (const [i, draw] of draws.entries()) {
      refuse(draw);
      const at = i * WORDS;
      this.#floats[at] = draw.temperature;
      this.#words[at + 1] = Number(draw.seed & 0xffffffffn);
      this.#words[at + 2] = Number((draw.seed >> 32n) & 0xffffffffn);
      this.#words[at + 3] = draw.index;
      this.#words[at + 4] = draw.mask ? masks : NO_MASK;
      this.#words[at + 5] = draw.row;
      this.#words[at + 6] = this.#words[at + 7] = 0;
      if (draw.mask) {
        const room = Math.min(draw.mask.length, this.#width);
        const to = masks * this.#width * 4;
        const mask = draw.mask as Uint32Array<ArrayBuffer>;
        this.#queue.writeBuffer(this.#buffer("mask"), to, mask, 0, room);
        if (room < this.#width) {
          const rest = new Uint32Array(this.#width - room); // tokens beyond a mask are illegal
          this.#queue.writeBuffer(this.#buffer("mask"), to + room * 4, rest);
        }
        masks += 1;
      }
      this.#penalties[i * 4] = draw.repetition;
      this.#penalties[i * 4 + 1] = draw.frequency;
      this.#penalties[i * 4 + 2] = draw.presence;
      entries = this.#adjust(draw, i, entries);
    }
    this.#queue.writeBuffer(this.#buffer("draws"), 0, this.#words, 0, draws.length * WORDS);
    if (entries) {
      this.#entries[0] = entries;
      this.#queue.writeBuffer(this.#buffer("entries"), 0, this.#entries, 0, 4 + entries * 4);
      this.#queue.writeBuffer(this.#buffer("penalties"), 0, this.#penalties, 0, draws.length * 4);
    }
    return { draws: draws.length, entries };
  }

  /** Adds a draw's named tokens after `count` others: each once, with bias and penalty. */
  #adjust(draw: Draw, i: number, count: number): number {
    const { bias, seen, prompt } = draw;
    const plain = draw.repetition === 1 && draw.frequency === 0 && draw.presence === 0;
    const named = new Set<number>(bias?.keys());
    if (!plain) {
      for (const id of seen?.keys() ?? []) named.add(id);
      for (const id of prompt ?? []) named.add(id);
    }
    const need = 4 * (1 + count + named.size);
    if (need > this.#buffer("entries").size / 4) {
      const text = `${count + named.size} tokens with a bias or penalty are more than there is room for`;
      throw new TreadleError("limit_exceeded", text, { at: "sample", hint: "shorten the context" });
    }
    if (need > this.#entries.length) {
      const larger = new Uint32Array(2 * need);
      larger.set(this.#entries);
      this.#entries = larger;
    }
    const floats = new Float32Array(this.#entries.buffer);
    for (const id of named) {
      if (id < 0 || id >= this.#vocab) throw new TreadleError("invalid_request", `token ${id} does not exist`, { at: "logit_bias" });
      const at = 4 * (1 + count);
      const used = !plain && (seen?.has(id) || prompt?.has(id));
      this.#entries[at] = i;
      this.#entries[at + 1] = id;
      floats[at + 2] = bias?.get(id) ?? 0;
      this.#entries[at + 3] = ((seen?.get(id) ?? 0) << 1) | (used ? 1 : 0);
      count += 1;
    }
    return count;
  }

  #buffer(name: string): GPUBuffer {
    return this.#buffers.get(name)!;
  }
}

function refuse(draw: Draw): void {
  const asked = draw.topP < 1 ? "top_p" : draw.topK > 0 ? "top_k" : draw.minP > 0 ? "min_p" : "";
  if (asked && draw.temperature > 0) throw unsupported(asked);
  if (draw.logprobs >= 0) throw unsupported("logprobs");
}

function unsupported(field: string): TreadleError {
  const hint = 'leave it out, or open the model with tier "wasm"';
  return new TreadleError("unsupported", `the WebGPU tier has no ${field} yet`, { at: field, hint });
}

/** Buffers that tokens are read back through, in turn. */
export class Records {
  readonly #ring: GPUBuffer[];
  #next = 0;

  constructor(gpu: GPUDevice, rows: number) {
    const usage = 0x01 | 0x08; // MAP_READ | COPY_DST
    this.#ring = Array.from({ length: 3 }, () => gpu.createBuffer({ size: rows * 4, usage }));
  }

  /** The buffer to copy the next tokens into; `read` it after the submit. */
  take(): GPUBuffer {
    const buffer = this.#ring[this.#next]!;
    this.#next = (this.#next + 1) % this.#ring.length;
    return buffer;
  }

  /** The first `count` tokens of a buffer, once the device is done with it. */
  async read(buffer: GPUBuffer, count: number): Promise<Int32Array> {
    await buffer.mapAsync(0x01, 0, count * 4);
    const tokens = new Int32Array(buffer.getMappedRange(0, count * 4)).slice();
    buffer.unmap();
    return tokens;
  }
}
