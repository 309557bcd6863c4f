/** The buffers of a plan, and the weights on their way from shards into them. */
import { TreadleError, throwIfAborted } from "../errors.js";
import type { Sizes } from "../expr.js";
import type { Weight } from "../manifest.js";
import type { Plan, WeightPart } from "../plan.js";
import { allocating } from "./device.js";
import { blocksOf, Planes, type PlanePart } from "./planes.js";

export type Buffers = ReadonlyMap<string, GPUBuffer>;

const STORAGE = 0x80; // GPUBufferUsage, which exists only where WebGPU does
const COPY_SRC = 0x04;
const COPY_DST = 0x08;

/** A shard's bytes by its number. */
export type Shards = (index: number) => Promise<Uint8Array>;

/** Every buffer of the plan at these capacities. Throws `out_of_memory`, `limit_exceeded`. */
export function allocate(gpu: GPUDevice, plan: Plan, sizes: Sizes): Promise<Map<string, GPUBuffer>> {
  return allocating(gpu, () => {
    const made = new Map<string, GPUBuffer>();
    for (const [name, spec] of plan.buffers) {
      const bytes = Math.ceil(Math.max(16, spec.size(sizes)) / 4) * 4;
      const most = gpu.limits.maxStorageBufferBindingSize;
      if (bytes > most) {
        const text = `buffer ${name} takes ${bytes} bytes, a binding of this GPU ${most}`;
        throw new TreadleError("out_of_memory", text, { hint: "use a shorter context" });
      }
      const usage = STORAGE | COPY_SRC | COPY_DST;
      made.set(name, gpu.createBuffer({ label: name, size: bytes, usage }));
    }
    return made;
  });
}

/** What a shard's bytes go to: one copy. */
interface Move {
  readonly from: number;
  readonly length: number;
  readonly buffer: string;
  readonly to: number;
  readonly widen: WeightPart["widen"];
  /** Set: `to` is a byte of this part, whose blocks are taken apart. */
  readonly plane?: PlanePart | undefined;
}

/**
 * Fills weight buffers shard by shard, each read once. `progress`: bytes uploaded of all.
 * Throws what `shards` throws, `cancelled`, `model_format_error`.
 */
export async function upload(
  gpu: GPUDevice,
  plan: Plan,
  tensors: ReadonlyMap<string, Weight>,
  buffers: Buffers,
  shards: Shards,
  progress: (loaded: number, total: number) => void = () => {},
  signal?: AbortSignal,
): Promise<void> {
  const moves = movesOf(plan, tensors);
  let total = 0;
  for (const list of moves.values()) for (const move of list) total += bytesOf(move);
  let loaded = 0;
  const planes = new Planes((buffer, to, bytes) => write(gpu.queue, buffers.get(buffer)!, to, bytes));
  for (const shard of [...moves.keys()].sort((a, b) => a - b)) {
    throwIfAborted(signal);
    const bytes = await shards(shard);
    for (const move of moves.get(shard)!) {
      const { from, length, buffer, to, widen, plane } = move;
      if (from + length > bytes.length) throw cut(shard);
      if (!plane && to % 4) throw new TreadleError("model_format_error", "a piece begins inside a word", { at: `shard ${shard}` });
      const part = bytes.subarray(from, from + length);
      if (plane) planes.add(buffer, plane, to, part);
      else write(gpu.queue, buffers.get(buffer)!, to, widen ? widened(part, widen) : part);
      loaded += bytesOf(move);
    }
    progress(loaded, total);
    await gpu.queue.onSubmittedWorkDone(); // no more than a shard waits in staging memory
  }
}

/** What a copy adds to the progress: factors are told with their quants. */
function bytesOf({ length, plane }: Move): number {
  return !plane || plane.kind === "quants" ? length : 0;
}

/** Queue writes take whole words: a tail, which only the last piece of a matrix has, is padded. */
function write(queue: GPUQueue, buffer: GPUBuffer, to: number, bytes: Uint8Array): void {
  const whole = bytes.length & ~3;
  if (whole) queue.writeBuffer(buffer, to, bytes as Uint8Array<ArrayBuffer>, 0, whole);
  if (whole === bytes.length) return;
  const tail = new Uint8Array(4);
  tail.set(bytes.subarray(whole));
  queue.writeBuffer(buffer, to + whole, tail);
}

/** Shard -> copies. Rows of a tensor are a range of its bytes; its pieces may end in mid-row. */
function movesOf(plan: Plan, tensors: ReadonlyMap<string, Weight>): Map<number, Move[]> {
  const moves = new Map<number, Move[]>();
  for (const [buffer, { weights, plane: kind }] of plan.buffers) {
    const blocks = kind ? weights.map((part) => planeBlocks(part, tensors)) : [];
    const total = blocks.reduce((sum, count) => sum + count, 0);
    let base = 0;
    for (const [i, part] of weights.entries()) {
      const tensor = tensors.get(part.tensor);
      if (!tensor) throw new TreadleError("model_format_error", "has no such tensor", { at: part.tensor });
      const size = tensor.pieces.reduce((sum, piece) => sum + piece[2], 0);
      const row = size / tensor.rows;
      const first = part.row * row;
      const last = (part.row + part.rows) * row;
      if (!Number.isInteger(row) || last > size) {
        throw new TreadleError("model_format_error", "its rows do not fit its bytes", { at: part.tensor });
      }
      const plane = kind ? { kind, format: tensor.format, base, total, width: tensor.cols / 32 } : undefined;
      base += blocks[i] ?? 0;
      let at = 0;
      for (const [shard, offset, length] of tensor.pieces) {
        const begin = Math.max(first, at);
        const end = Math.min(last, at + length);
        if (begin < end) {
          const to = (plane ? 0 : part.offset) + (begin - first) * (part.widen ? 2 : 1);
          const list = moves.get(shard) ?? [];
          list.push({ from: offset + begin - at, length: end - begin, buffer, to, widen: part.widen, plane });
          moves.set(shard, list);
        }
        at += length;
      }
    }
  }
  return moves;
}

function planeBlocks(part: WeightPart, tensors: ReadonlyMap<string, Weight>): number {
  const tensor = tensors.get(part.tensor);
  return tensor ? blocksOf(tensor.format, part.rows * tensor.cols) : 0;
}

/** Halves as float32. */
function widened(bytes: Uint8Array, kind: "f16" | "bf16"): Uint8Array {
  const halves = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const words = new Uint32Array(bytes.length / 2);
  const floats = new Float32Array(words.buffer);
  for (let i = 0; i < words.length; i += 1) {
    const half = halves.getUint16(2 * i, true);
    if (kind === "bf16") words[i] = half << 16;
    else floats[i] = ofHalf(half);
  }
  return new Uint8Array(words.buffer);
}

function ofHalf(half: number): number {
  const [sign, power, part] = [half & 0x8000 ? -1 : 1, (half >> 10) & 31, half & 1023];
  if (power === 31) return part ? NaN : sign * Infinity;
  return sign * (power ? (1 + part / 1024) * 2 ** (power - 15) : part * 2 ** -24);
}

function cut(shard: number): TreadleError {
  return new TreadleError("integrity", "is shorter than its plan says", { at: `shard ${shard}` });
}
