/** Draws as the sampler kernels read them, and their tokens on the way back. */
import { TreadleError } from "../errors.js";
import type { Draw, TokenRecord } from "../executor.js";
import type { Buffers } from "./memory.js";

const WORDS = 16; // of a draw; wgsl/lib/draw.wgsl says which
const NO_MASK = 0xffffffff;
const LOWEST = -3.4e38; // least score where min_p is off
const TOLD = 48; // words of a draw's log-probabilities: the token's, one unused, 20 pairs, the rest unused
const MOST_TOLD = 20;

/** What a `sample` encodes: how many draws, and whether log-probabilities are read back too. */
export interface Packed {
  readonly draws: number;
  readonly told: boolean;
}

/** Packs draws into memory of its own and writes it to the device's buffers; creates nothing. */
export class Drawing {
  readonly #queue: GPUQueue;
  readonly #buffers: Buffers;
  readonly #width: number; // words of a mask row
  readonly #vocab: number;
  readonly #words: Uint32Array<ArrayBuffer>;
  readonly #floats: Float32Array;
  #entries: Uint32Array<ArrayBuffer>;

  constructor(queue: GPUQueue, buffers: Buffers, vocab: number, rows: number) {
    this.#queue = queue;
    this.#buffers = buffers;
    this.#vocab = vocab;
    this.#width = Math.ceil(vocab / 32);
    this.#words = new Uint32Array(rows * WORDS);
    this.#floats = new Float32Array(this.#words.buffer);
    this.#entries = new Uint32Array(3 * 1024);
  }

  /** Throws `invalid_request` for ids out of range, `limit_exceeded` for too many of them. */
  write(draws: readonly Draw[]): Packed {
    let masks = 0;
    let entries = 0;
    const [words, floats] = [this.#words, this.#floats];
    for (const [i, draw] of draws.entries()) {
      const at = i * WORDS;
      floats[at] = draw.temperature;
      words[at + 1] = Number(draw.seed & 0xffffffffn);
      words[at + 2] = Number((draw.seed >> 32n) & 0xffffffffn);
      words[at + 3] = draw.index;
      words[at + 4] = draw.mask ? masks : NO_MASK;
      words[at + 5] = draw.row;
      words[at + 6] = draw.topK < this.#vocab ? draw.topK : 0;
      words[at + 7] = draw.topP < 1 ? Math.round(Math.fround(draw.topP) * 2 ** 24) : 0;
      floats[at + 8] = draw.minP > 0 ? Math.log(Math.fround(draw.minP)) : LOWEST;
      floats.set([draw.repetition, draw.frequency, draw.presence], at + 9);
      if (draw.mask) this.#mask(draw.mask as Uint32Array<ArrayBuffer>, masks++);
      words[at + 12] = entries;
      entries = this.#adjust(draw, entries);
      words[at + 13] = entries - words[at + 12]!;
      words[at + 14] = draw.logprobs;
      words[at + 15] = 0;
    }
    this.#queue.writeBuffer(this.#buffer("draws"), 0, words, 0, draws.length * WORDS);
    if (entries) this.#queue.writeBuffer(this.#buffer("entries"), 0, this.#entries, 0, entries * 3);
    return { draws: draws.length, told: draws.some(({ logprobs }) => logprobs >= 0) };
  }

  #mask(mask: Uint32Array<ArrayBuffer>, row: number): void {
    const room = Math.min(mask.length, this.#width);
    const to = row * this.#width * 4;
    this.#queue.writeBuffer(this.#buffer("mask"), to, mask, 0, room);
    if (room === this.#width) return;
    const rest = new Uint32Array(this.#width - room); // tokens beyond a mask are illegal
    this.#queue.writeBuffer(this.#buffer("mask"), to + room * 4, rest);
  }

  /** Adds a draw's named tokens after `count` others: each once, with bias and penalty. */
  #adjust(draw: Draw, count: number): number {
    const { bias, seen, prompt } = draw;
    const plain = draw.repetition === 1 && draw.frequency === 0 && draw.presence === 0;
    const named = new Set<number>(bias?.keys());
    if (!plain) {
      for (const id of seen?.keys() ?? []) named.add(id);
      for (const id of prompt ?? []) named.add(id);
    }
    const need = 3 * (count + named.size);
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
      const at = 3 * count;
      const used = !plain && (seen?.has(id) || prompt?.has(id));
      this.#entries[at] = id;
      floats[at + 1] = bias?.get(id) ?? 0;
      this.#entries[at + 2] = ((seen?.get(id) ?? 0) << 1) | (used ? 1 : 0);
      count += 1;
    }
    return count;
  }

  #buffer(name: string): GPUBuffer {
    return this.#buffers.get(name)!;
  }
}

/** Buffers that tokens are read back through, in turn. */
export class Records {
  readonly #ring: GPUBuffer[];
  readonly #rows: number;
  #next = 0;

  /** `depth`: how many may wait to be read at a time. */
  constructor(gpu: GPUDevice, rows: number, depth: number) {
    const usage = 0x01 | 0x08; // MAP_READ | COPY_DST
    this.#rows = rows;
    this.#ring = Array.from({ length: depth }, () => gpu.createBuffer({ size: rows * 4 * (1 + TOLD), usage }));
  }

  /** Copies what was drawn into a buffer, which is to be `read` after the submit. */
  copy(encoder: GPUCommandEncoder, buffers: Buffers, { draws, told }: Packed): GPUBuffer {
    const record = this.#ring[this.#next]!;
    this.#next = (this.#next + 1) % this.#ring.length;
    encoder.copyBufferToBuffer(buffers.get("drawn")!, 0, record, 0, draws * 4);
    if (told) encoder.copyBufferToBuffer(buffers.get("told")!, 0, record, this.#rows * 4, draws * 4 * TOLD);
    return record;
  }

  /** The records of these draws, once the device is done with them. */
  async read(buffer: GPUBuffer, draws: readonly { readonly logprobs: number }[], told: boolean): Promise<TokenRecord[]> {
    const size = told ? 4 * (this.#rows + draws.length * TOLD) : 4 * draws.length;
    await buffer.mapAsync(0x01, 0, size);
    const words = new Int32Array(buffer.getMappedRange(0, size)).slice();
    buffer.unmap();
    const floats = new Float32Array(words.buffer);
    return draws.map(({ logprobs }, i) => {
      const token = words[i]!;
      if (logprobs < 0 || token < 0) return { token };
      const at = this.#rows + i * TOLD;
      const pair = (j: number) => [words[at + 2 + 2 * j]!, floats[at + 3 + 2 * j]!] as const;
      const count = Math.min(logprobs, MOST_TOLD);
      return { token, logprob: floats[at]!, top: Array.from({ length: count }, (_, j) => pair(j)) };
    });
  }
}
