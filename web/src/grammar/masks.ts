/** Packed token masks: bit t % 32 of word t / 32 says whether token t is legal. */
import { invalidRequest } from "../errors.js";

/** int32 [n, ceil(V / 32)], zeroed. `data` can go to `GPUQueue.writeBuffer` as it is. */
export class MaskRows {
  readonly data: Int32Array;
  /** [n, ceil(V / 32)] */
  readonly shape: readonly [number, number];

  constructor(rows: number, size: number) {
    const most = 2 ** 24;
    if (!Number.isInteger(rows) || !Number.isInteger(size) || rows < 0 || size < 1 ||
        rows > most || size > most) {
      throw invalidRequest("mask rows", "rows and size must lie in 0..2^24");
    }
    const words = Math.ceil(size / 32);
    this.data = new Int32Array(rows * words);
    this.shape = [rows, words];
  }

  /** Row `index`, int32 [ceil(V / 32)]: a view. */
  row(index: number): Int32Array {
    const [rows, words] = this.shape;
    if (!Number.isInteger(index) || index < 0 || index >= rows) {
      throw invalidRequest("mask rows", `row ${index} of ${rows} does not exist`);
    }
    return this.data.subarray(index * words, (index + 1) * words);
  }

  /** Whether token `token` is legal in row `index`. */
  has(index: number, token: number): boolean {
    return (((this.row(index)[token >>> 5] ?? 0) >>> (token & 31)) & 1) === 1;
  }
}

/** `n` rows for a vocabulary of `size` tokens. */
export function maskRows(n: number, size: number): MaskRows {
  return new MaskRows(n, size);
}

/**
 * Sets the logits of illegal tokens to minus infinity, in place, and those beyond the row too.
 * Shapes: logits float32 [V]; row `index` of `rows`.
 */
export function applyMask(logits: Float32Array, rows: MaskRows, index = 0): void {
  const row = rows.row(index);
  for (let token = 0; token < logits.length; token += 32) {
    const word = row[token >>> 5] ?? 0;
    if (word === -1) continue;
    const end = Math.min(32, logits.length - token);
    for (let bit = 0; bit < end; bit += 1) {
      if (((word >>> bit) & 1) === 0) logits[token + bit] = -Infinity;
    }
  }
}

/** Whether there are `n` rows, wide enough for a vocabulary of `size` tokens. */
export function checkRows(rows: MaskRows, n: number, size: number): void {
  const width = Math.ceil(size / 32);
  if (rows.shape[0] >= n && rows.shape[1] >= width) return;
  const text = `${rows.shape[0]} rows of ${rows.shape[1]} words, ${n} of ${width} are needed`;
  throw invalidRequest("rows", text, `make them with maskRows(n, ${size})`);
}
