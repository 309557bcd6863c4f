/**
 * The border between the engine and what computes. Both executors (WebGPU, WebAssembly) and the
 * tests' toy model implement it; the engine does not know which one runs.
 */
import type { ErrorCode } from "./errors.js";
import type { BundleManifest } from "./types.js";

/**
 * One sequence's share of a step: tokens to run from position `start`; `pages` is its KV page table
 * (pages of `pageSize` tokens). `wants`: the logits of the last token are wanted.
 */
export interface StepRow {
  tokens: Int32Array;
  start: number;
  pages: Int32Array;
  wants: boolean;
}

/**
 * How one wanted row is drawn. `row` counts the wanted rows of the last step, in their order; rows
 * that nobody draws are left out. `seed`: 64 bits, the choice index folded in. `index`: of the token
 * about to be generated. `mask`: V/32 words, little-endian bits, 1 = allowed.
 * Order: mask, bias, penalties (presence and frequency over `seen`, token -> count in the output;
 * repetition over `seen` and `prompt`), temperature (0 = greedy), top_k (0 = off), top_p, min_p.
 */
export interface Draw {
  row: number;
  temperature: number;
  topP: number;
  topK: number;
  minP: number;
  seed: bigint;
  index: number;
  mask?: Uint32Array;
  bias?: ReadonlyMap<number, number>;
  repetition: number;
  presence: number;
  frequency: number;
  seen?: ReadonlyMap<number, number>;
  prompt?: ReadonlySet<number>;
  /** -1: none; 0..20: the drawn token's and that many best, of the raw logits. */
  logprobs: number;
}

/** `token`: -1 = no legal token is left, -2 = the logits are not finite. */
export interface TokenRecord {
  token: number;
  logprob?: number;
  top?: readonly (readonly [number, number])[];
}

export const NO_TOKEN = -1;
export const NOT_FINITE = -2;

/**
 * One model on one device. Steps do not overlap: `forward`, then at most one `sample`, then the next
 * `forward`. A page is written only by the sequence that holds it last in its table.
 */
export interface Executor {
  readonly vocab: number;
  readonly pageSize: number;
  /** KV pages that exist, numbered from 0. */
  readonly pages: number;
  /** Most tokens and most rows of one step. */
  readonly maxTokens: number;
  readonly maxRows: number;
  readonly tier: string;
  /** Starts a step. A promise that rejects, or a throw, ends every request in the step. */
  forward(rows: readonly StepRow[]): Promise<void> | void;
  /** Draws of the last step's wanted rows, one record a draw, in the order of `draws`. */
  sample(draws: readonly Draw[]): Promise<readonly TokenRecord[]>;
  /**
   * `steps` steps of one token a row, at most 4, and their draws: row i is drawn by draw i, and what
   * it draws is its next step's token. Pages must hold all of them; masks are the same in every step,
   * and no draw has penalties, which would change with the tokens. One list of records a step.
   */
  decode?(rows: readonly StepRow[], draws: readonly Draw[], steps: number): Promise<readonly (readonly TokenRecord[])[]>;
  /**
   * The hidden state after the last norm of a wanted row of the last step, which nobody draws then;
   * `row` as in `Draw`. Missing: this executor gives none.
   */
  hidden?(row: number): Promise<Float32Array> | Float32Array;
  copyPage?(from: number, to: number): void;
  free(): void;
}

/** A device error: the engine cannot go on with this executor. */
export const FATAL: ReadonlySet<ErrorCode> = new Set(["device_lost", "out_of_memory", "engine_dead"]);

/** An opened bundle: its manifest, and its files, verified against it. */
export interface Bundle {
  readonly manifest: BundleManifest;
  /** The bytes of one file. Throws `network`, `integrity`, `cancelled`. */
  read(path: string, signal?: AbortSignal): Promise<Uint8Array>;
}

/** `tier`: "auto", "t0", "t1", "t0s", "t2" or "wasm". `contextLength`: most tokens of one sequence. */
export interface ExecutorOptions {
  tier?: string;
  contextLength?: number;
  /** KV pages to allocate; by default what memory suggests. */
  pages?: number;
  threads?: number;
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal;
}

/** Monotone within a phase, at most ten a second. */
export interface Progress {
  phase: "download" | "verify" | "upload" | "compile" | "warmup";
  loaded: number;
  total: number;
  file?: string;
  bytesPerSecond?: number;
  etaSeconds?: number;
}

/** Opens a bundle: given its files, makes the best executor. */
export type OpenExecutor = (bundle: Bundle, options: ExecutorOptions) => Promise<Executor>;
