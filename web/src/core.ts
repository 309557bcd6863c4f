/**
 * The WebAssembly module and the only place that knows its calling convention: integers and
 * addresses in, a number from 0 or a negative error code out (cpp/bind/wasm*.cc).
 */
import { invalidRequest, TreadleError, type ErrorCode, type Reason } from "./errors.js";

type Call = (...numbers: number[]) => number;
interface Exports extends WebAssembly.Exports {
  memory: WebAssembly.Memory;
  _initialize: () => void;
}
interface Running {
  readonly exports: Exports;
  readonly answer: number; // address of a buffer for short answers
  staging: number; // address of a buffer that grows with what is put there
  stagingBytes: number;
}
/** What a freed or collected object leaves to be released. */
interface Held {
  readonly free: string;
  readonly handle: number;
  readonly epoch: number;
}

const ANSWER_BYTES = 4096;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

export class Core {
  readonly #module: WebAssembly.Module;
  readonly #registry: FinalizationRegistry<Held>;
  #running: Running;
  #epoch = 0;

  /** Starts a compiled module. Synchronous; `loadCore` compiles first. */
  constructor(module: WebAssembly.Module) {
    this.#module = module;
    this.#running = start(module);
    this.#registry = new FinalizationRegistry((held) => this.#release(held));
  }

  /** Counts how often the module was started anew; objects of an earlier one are gone. */
  get epoch(): number {
    return this.#epoch;
  }

  /** How many objects live in the module. */
  get live(): number {
    return this.call("tr_live");
  }

  /** Bytes of the module's memory. It grows and never shrinks; freed parts are used again. */
  get memoryBytes(): number {
    return this.#running.exports.memory.buffer.byteLength;
  }

  /** One call; throws what the module answers below 0. */
  call(name: string, ...numbers: number[]): number {
    const result = this.#run(name, numbers);
    if (result < 0) throw this.#error();
    return result;
  }

  /** `use` gets the addresses of copies of `blocks`, which live as long as the call. */
  lend<T>(blocks: readonly Uint8Array[], use: (...addresses: number[]) => T): T {
    const epoch = this.#epoch;
    const addresses: number[] = [];
    try {
      for (const block of blocks) {
        const address = this.#alloc(block.byteLength);
        addresses.push(address);
        new Uint8Array(this.#running.exports.memory.buffer, address).set(block);
      }
      return use(...addresses);
    } finally {
      // After a trap there is another memory, in which these addresses mean nothing.
      if (epoch === this.#epoch) for (const address of addresses) this.#run("tr_free", [address]);
    }
  }

  /** The bytes that a call copies out; `ask` gets a buffer and returns how many there are. */
  bytes(ask: (address: number, capacity: number) => number): Uint8Array {
    const { answer } = this.#running;
    const length = ask(answer, ANSWER_BYTES);
    if (length <= ANSWER_BYTES) return this.#copy(answer, length);
    const address = this.stage(length);
    ask(address, length);
    return this.#copy(address, length);
  }

  text(ask: (address: number, capacity: number) => number): string {
    return decoder.decode(this.bytes(ask));
  }

  /** The address of `bytes` bytes that stay until the next call of this method. */
  stage(bytes: number): number {
    const running = this.#running;
    if (running.stagingBytes < bytes) {
      const staging = this.#alloc(bytes);
      if (running.staging) this.#run("tr_free", [running.staging]);
      running.staging = staging;
      running.stagingBytes = bytes;
    }
    return running.staging;
  }

  /** A copy of the words at an address. */
  words(address: number, count: number): Uint32Array {
    return new Uint32Array(this.#running.exports.memory.buffer, address, count).slice();
  }

  /** Copies staged words out. */
  unstage(into: Int32Array): void {
    const { exports, staging } = this.#running;
    into.set(new Int32Array(exports.memory.buffer, staging, into.length));
  }

  /** Releases `handle` when `owner` is collected, unless it was disposed of before. */
  watch(owner: object, free: string, handle: number): void {
    this.#registry.register(owner, { free, handle, epoch: this.#epoch }, owner);
  }

  /** Releases a watched object now. */
  dispose(owner: object, free: string, handle: number, epoch: number): void {
    this.#registry.unregister(owner);
    this.#release({ free, handle, epoch });
  }

  #release(held: Held): void {
    if (held.epoch === this.#epoch) this.#run(held.free, [held.handle]);
  }

  #alloc(bytes: number): number {
    const address = this.#run("tr_alloc", [bytes]) >>> 0;
    if (address) return address;
    throw new TreadleError("out_of_memory", `the module has no ${bytes} bytes left`, {
      hint: "dispose of grammars and compilers that are not used any more",
    });
  }

  #copy(address: number, length: number): Uint8Array {
    return new Uint8Array(this.#running.exports.memory.buffer, address, length).slice();
  }

  #run(name: string, numbers: number[]): number {
    const call = this.#running.exports[name] as Call | undefined;
    if (!call) {
      const hint = "load core.wasm, the whole one";
      throw new TreadleError("unsupported", `this module was built without ${name}`, { hint });
    }
    try {
      return call(...numbers);
    } catch (cause) {
      throw this.#restart(cause);
    }
  }

  // A trap leaves the module in no known state: nothing of it is used again.
  #restart(cause: unknown): TreadleError {
    const exhausted = (this.#running.exports["tr_exhausted"] as Call)() === 1;
    this.#running = start(this.#module);
    this.#epoch += 1;
    if (exhausted) {
      return new TreadleError("out_of_memory", "the module's memory is used up", {
        hint: "it was started anew: make vocabularies, compilers and matchers again",
        cause,
      });
    }
    return new TreadleError("treadle_error", "the module failed", {
      hint: "it was started anew; please report what it was given",
      cause,
    });
  }

  #error(): TreadleError {
    return parseError(this.text((at, n) => this.#run("tr_error", [at, n])));
  }
}

/** The error that the module describes as JSON. */
export function parseError(json: string): TreadleError {
  const fields = JSON.parse(json) as {
    code: ErrorCode;
    kind: string;
    message: string;
    at: string;
    reason: Reason;
    keyword: string;
    limit: string;
    value: number;
    maximum: number;
  };
  const { code, message, ...rest } = fields;
  if (code !== "limit_exceeded") return new TreadleError(code, message, rest);
  const text = `${rest.limit} is ${rest.value}, the maximum is ${rest.maximum}`;
  const hint = "raise this limit or simplify the grammar";
  return new TreadleError(code, text, { ...rest, hint });
}

function start(module: WebAssembly.Module): Running {
  const exports = new WebAssembly.Instance(module, {}).exports as Exports;
  exports._initialize();
  const answer = (exports["tr_alloc"] as Call)(ANSWER_BYTES);
  return { exports, answer, staging: 0, stagingBytes: 0 };
}

// In Unicode mode a surrogate matches only where it has no partner.
const LONE = /\p{Surrogate}/u;

/** UTF-8. Refuses lone surrogates, which the encoder would silently replace. */
export function utf8(text: string, at: string): Uint8Array {
  if (LONE.test(text)) throw invalidRequest(at, "it holds half of a surrogate pair");
  return encoder.encode(text);
}
