/**
 * Workers of the CPU tier: threads that share the module's memory. Each runs one worker of the plans
 * on a stack of its own, and sleeps in between; the host's thread posts steps and draws.
 */
import { TreadleError } from "../errors.js";

/** What errors name: where it is this, one worker can still run. */
export const THREADS = "threads";

const STACK_BYTES = 256 << 10;
const START_MS = 10_000;
/** 16 MiB at first; it may grow to what 32-bit addresses reach, less a page. */
const MEMORY = { initial: 256, maximum: 65_535, shared: true } as const;

/** What a thread is told first. */
export interface Job {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly worker: number;
  /** The upper end of its stack, and where its thread-local data lie. */
  readonly stack: number;
  readonly local: number;
}

/** A thread: `Worker` as this needs it. */
export interface Thread {
  postMessage(job: Job): void;
  terminate(): void;
  onmessage: ((event: { data: unknown }) => void) | null;
  onerror: ((event: unknown) => void) | null;
}

export function sharedMemory(): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory(MEMORY);
  } catch (cause) {
    throw new TreadleError("out_of_memory", "no memory to share", { at: THREADS, cause });
  }
}

type Call = (...numbers: number[]) => number;

/**
 * Starts one thread a worker; resolves when all of them wait for steps. `alloc` gives bytes of the
 * module's memory that are never freed. Throws `no_device` where a thread does not come up.
 */
export async function startThreads(
  make: () => Thread,
  count: number,
  shared: Omit<Job, "worker" | "stack" | "local">,
  alloc: (bytes: number) => number,
  localBytes: number,
): Promise<Thread[]> {
  const threads: Thread[] = [];
  try {
    await Promise.all(
      Array.from({ length: count }, (_, worker) => {
        const thread = make();
        threads.push(thread);
        const stack = (alloc(STACK_BYTES) + STACK_BYTES) & ~15;
        const local = localBytes ? (alloc(localBytes + 16) + 15) & ~15 : 0;
        return new Promise<void>((resolve, reject) => {
          const fail = (cause: unknown) =>
            reject(new TreadleError("no_device", `thread ${worker} did not start`, { at: THREADS, cause }));
          const late = setTimeout(fail, START_MS);
          thread.onerror = fail;
          thread.onmessage = () => {
            clearTimeout(late);
            resolve();
          };
          thread.postMessage({ ...shared, worker, stack, local });
        });
      }),
    );
    return threads;
  } catch (error) {
    for (const thread of threads) thread.terminate();
    throw error;
  }
}

/** The thread's side: answers once, then works until the host stops it or it fails. */
export function work({ module, memory, worker, stack, local }: Job, ready: () => void): void {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  (exports["__stack_pointer"] as WebAssembly.Global).value = stack;
  if (local) (exports["__wasm_init_tls"] as Call | undefined)?.(local);
  ready();
  try {
    (exports["tr_cpu_work"] as Call)(worker);
  } finally {
    (exports["tr_cpu_stop"] as Call)(); // nobody waits for a worker that is gone
  }
}
