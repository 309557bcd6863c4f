/** The CPU module and the only place that knows its calling convention (cpp/bind/wasm_cpu.cc). */
import { TreadleError, type ErrorCode } from "../errors.js";
import type { Thread } from "./threads.js";

interface Exports extends WebAssembly.Exports {
  memory: WebAssembly.Memory;
  _initialize: () => void;
}
type Call = (...numbers: number[]) => number;

const ANSWER_BYTES = 4096;
const decoder = new TextDecoder();

/** One instance: one model, loaded once. */
export class CpuModule {
  readonly #exports: Exports;
  readonly #answer: number;
  #staging = 0;
  #stagingBytes = 0;
  #dead: TreadleError | undefined;

  /** `memory`: of a module that shares it with threads. */
  constructor(
    readonly module: WebAssembly.Module,
    readonly shared?: WebAssembly.Memory,
  ) {
    const { exports } = new WebAssembly.Instance(module, shared ? { env: { memory: shared } } : {});
    this.#exports = { ...exports, memory: shared ?? exports["memory"] } as Exports;
    this.#exports._initialize();
    this.#answer = this.call("tr_alloc", ANSWER_BYTES);
  }

  /** The instruction set it computes with. */
  get isa(): string {
    return this.#text("tr_cpu_isa");
  }

  get memoryBytes(): number {
    return this.#exports.memory.buffer.byteLength;
  }

  /** Bytes of thread-local data that every further thread needs. */
  get localBytes(): number {
    const size = this.#exports["__tls_size"] as WebAssembly.Global | undefined;
    return Number(size?.value ?? 0);
  }

  /** Bytes of memory for as long as the module lives. */
  take(bytes: number): number {
    const address = this.call("tr_alloc", bytes) >>> 0;
    if (!address) throw (this.#dead = exhausted(undefined));
    return address;
  }

  /** One call; throws what the module answers below 0. A trap ends the instance for good. */
  call(name: string, ...numbers: number[]): number {
    if (this.#dead) throw this.#dead;
    let result: number;
    try {
      result = (this.#exports[name] as Call)(...numbers);
    } catch (cause) {
      throw (this.#dead = this.#trapped(cause));
    }
    if (result < 0) throw this.#error();
    return result;
  }

  /** The address of a copy of `bytes`, which stays until the next call of this method. */
  stage(bytes: Uint8Array): number {
    const address = this.room(bytes.length);
    new Uint8Array(this.#exports.memory.buffer).set(bytes, address);
    return address;
  }

  /** The address of so many bytes, aligned to 8. */
  room(bytes: number): number {
    if (this.#stagingBytes < bytes) {
      if (this.#staging) this.call("tr_free", this.#staging);
      this.#staging = this.call("tr_alloc", bytes) >>> 0;
      this.#stagingBytes = bytes;
      if (!this.#staging) throw (this.#dead = exhausted(undefined));
    }
    return this.#staging;
  }

  /** A view that is good until the next call. */
  words(address: number, count: number): Int32Array {
    return new Int32Array(this.#exports.memory.buffer, address, count);
  }

  floats(address: number, count: number): Float32Array {
    return new Float32Array(this.#exports.memory.buffer, address, count);
  }

  #text(name: string): string {
    const length = Math.min(this.call(name, this.#answer, ANSWER_BYTES), ANSWER_BYTES);
    // A copy: decoders take no shared memory.
    return decoder.decode(new Uint8Array(this.#exports.memory.buffer, this.#answer, length).slice());
  }

  #error(): TreadleError {
    const { code, message, at } = JSON.parse(this.#text("tr_error")) as {
      code: ErrorCode;
      message: string;
      at: string;
    };
    return new TreadleError(code, message, { at });
  }

  #trapped(cause: unknown): TreadleError {
    if ((this.#exports["tr_exhausted"] as Call)() === 1) return exhausted(cause);
    return new TreadleError("engine_dead", "the CPU module failed", { cause, hint: "load the model again" });
  }
}

function exhausted(cause: unknown): TreadleError {
  const hint = "load it with a shorter context, or a smaller model";
  return new TreadleError("out_of_memory", "the module's memory is used up", { cause, hint });
}

/** A compiled module, or what fetches and compiles it. */
export type ModuleSource = WebAssembly.Module | (() => Promise<WebAssembly.Module>);

/** The two builds. Without `relaxed` the plain one runs. */
export interface CpuModules {
  readonly simd: ModuleSource;
  readonly relaxed?: ModuleSource;
  /** The same for several threads, and what makes one; left out where memory cannot be shared. */
  readonly threads?: { readonly simd: ModuleSource; readonly relaxed?: ModuleSource; make(): Thread };
}

/**
 * The best module that computes right here. Relaxed SIMD is missing from some engines, may do
 * anything with what overflows, and some have it wrong: it is taken only after its self-test.
 */
export async function chooseModule(
  { simd, relaxed }: Pick<CpuModules, "simd" | "relaxed">,
  memory?: () => WebAssembly.Memory,
): Promise<CpuModule> {
  if (relaxed) {
    try {
      return await tested(relaxed, memory);
    } catch (error) {
      if (error instanceof TreadleError && error.code === "network") throw error;
    }
  }
  return tested(simd, memory);
}

async function tested(source: ModuleSource, memory?: () => WebAssembly.Memory): Promise<CpuModule> {
  const made = new CpuModule(typeof source === "function" ? await source() : source, memory?.());
  made.call("tr_cpu_selftest");
  return made;
}
