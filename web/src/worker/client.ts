/** The page's side: the methods of an engine that lives in a worker. */
import { cancelled, throwIfAborted, TreadleError } from "../errors.js";
import type { Progress } from "../executor.js";
import { apiOver, type Api } from "../openai/api.js";
import type { EngineStats } from "../engine/engine.js";
import type { BundleManifest } from "../types.js";
import type { OpenOptions, Source } from "./host.js";
import { isMessage, type Down, type Port, type Up } from "./rpc.js";

export interface RemoteOptions extends OpenOptions {
  onProgress?: (progress: Progress) => void;
  /** Ends the loading. */
  signal?: AbortSignal;
}

export interface RemoteEngine extends Api {
  readonly manifest: BundleManifest;
  /** Ends with the error of a worker that died. */
  readonly dead: Promise<TreadleError>;
}

export type Target = Worker | SharedWorker | ServiceWorker | MessagePort;

const PING_MS = 10_000; // also what keeps a ServiceWorker awake
const SILENCE_MS = 60_000; // a worker that computes answers between its steps

interface Waiting {
  resolve(value: unknown): void;
  reject(error: unknown): void;
  note?: ((value: never) => void) | undefined;
}

/** Opens a model in a worker. Throws what opening throws, `engine_dead` when the worker dies. */
export async function connect(target: Target, source: Source, options: RemoteOptions = {}): Promise<RemoteEngine> {
  const { onProgress, signal, ...rest } = options;
  throwIfAborted(signal);
  const link = new Link(target);
  try {
    const opened = (await link.call("open", [source, rest], signal, onProgress)) as {
      manifest: BundleManifest;
      stats: EngineStats;
    };
    const api = apiOver((method, argument, abort) => link.call(method, argument, abort));
    const close = async () => {
      await api.close();
      link.close();
    };
    return { ...api, close, manifest: opened.manifest, dead: link.dead };
  } catch (error) {
    link.close();
    throw error;
  }
}

/** One end of a port: numbers calls and matches answers. */
export class Link {
  readonly dead: Promise<TreadleError>;
  readonly #port: Port;
  readonly #waiting = new Map<number, Waiting>();
  readonly #listen = (event: MessageEvent) => this.#receive(event.data);
  readonly #beat: ReturnType<typeof setInterval>;
  #died!: (error: TreadleError) => void;
  #gone: TreadleError | undefined;
  #next = 1;
  #heard = performance.now();

  constructor(target: Target) {
    this.dead = new Promise((resolve) => (this.#died = resolve));
    this.#port = portOf(target);
    this.#port.addEventListener("message", this.#listen);
    this.#port.start?.();
    const failed = (event: Event) => {
      const { message = "it could not be loaded" } = event as Partial<ErrorEvent>;
      this.#die(`the worker failed: ${message}`);
    };
    if ("addEventListener" in target) target.addEventListener("error", failed);
    this.#beat = setInterval(() => this.#ping(target), PING_MS);
    (this.#beat as { unref?: () => void }).unref?.(); // node: it keeps nothing alive
  }

  /** A value, or an async iterable where the host answers with a stream. */
  async call(
    method: string,
    argument: unknown,
    signal?: AbortSignal,
    note?: (value: never) => void,
  ): Promise<unknown> {
    throwIfAborted(signal);
    const id = this.#next++;
    const abort = () => {
      this.#send({ treadle: "abort", id });
      this.#take(id)?.reject(cancelled(signal?.reason));
    };
    signal?.addEventListener("abort", abort, { once: true });
    const done = () => signal?.removeEventListener("abort", abort);
    let streams = false;
    try {
      const answer = this.#wait(id, note);
      this.#post({ treadle: "call", id, method, argument });
      const value = await answer;
      streams = value === STREAM;
      return streams ? this.#items(id, signal, done) : value;
    } finally {
      if (!streams) done();
    }
  }

  close(): void {
    this.#send({ treadle: "bye" });
    this.#die("the connection was closed");
  }

  /** The items of a stream: each is asked for. Leaving tells the host. */
  #items(id: number, signal: AbortSignal | undefined, done: () => void): AsyncIterableIterator<unknown> {
    let ended = false;
    const finish = () => {
      ended = true;
      done();
    };
    const items: AsyncIterableIterator<unknown> = {
      [Symbol.asyncIterator]: () => items,
      next: async () => {
        if (ended) return { done: true, value: undefined };
        try {
          throwIfAborted(signal);
          const answer = this.#wait(id);
          this.#post({ treadle: "pull", id });
          const value = await answer;
          if (value !== DONE) return { done: false, value };
          finish();
          return { done: true, value: undefined };
        } catch (error) {
          finish();
          throw error;
        }
      },
      return: async () => {
        if (!ended) this.#send({ treadle: "leave", id });
        finish();
        return { done: true, value: undefined };
      },
    };
    return items;
  }

  #wait(id: number, note?: (value: never) => void): Promise<unknown> {
    if (this.#gone) throw this.#gone;
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject, note }));
  }

  #take(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    return waiting;
  }

  #receive(data: unknown): void {
    if (!isMessage(data)) return;
    this.#heard = performance.now();
    const message = data as Down;
    if (message.treadle === "pong") return;
    const { id } = message;
    if (message.treadle === "note") this.#waiting.get(id)?.note?.(message.value as never);
    else if (message.treadle === "error") this.#take(id)?.reject(TreadleError.revive(message.error));
    else if (message.treadle === "stream") this.#take(id)?.resolve(STREAM);
    else if (message.treadle === "done") this.#take(id)?.resolve(DONE);
    else if ("value" in message) this.#take(id)?.resolve(message.value);
  }

  #ping(target: Target): void {
    if (performance.now() - this.#heard > SILENCE_MS) this.#die("the worker does not answer");
    // Only a message to the ServiceWorker itself keeps it from being stopped.
    if ("scriptURL" in target) target.postMessage("treadle-awake");
    this.#send({ treadle: "ping" });
  }

  #die(text: string): void {
    if (this.#gone) return;
    const hint = "connect again";
    this.#gone = new TreadleError("engine_dead", text, { hint });
    clearInterval(this.#beat);
    this.#port.removeEventListener("message", this.#listen);
    if (this.#port instanceof MessagePort) this.#port.close();
    for (const { reject } of this.#waiting.values()) reject(this.#gone);
    this.#waiting.clear();
    this.#died(this.#gone);
  }

  #send(message: Up): void {
    if (!this.#gone) this.#port.postMessage(message);
  }

  /** As `send`, but what cannot cross is the caller's mistake. */
  #post(message: Up & { id: number }): void {
    try {
      this.#port.postMessage(message);
    } catch (cause) {
      const text = `cannot cross to a worker: ${(cause as Error).message}`;
      this.#take(message.id)?.reject(new TreadleError("invalid_request", text, { at: "body", cause }));
    }
  }
}

const STREAM = Symbol("a stream follows");
const DONE = Symbol("the stream has ended");

function portOf(target: Target): Port {
  if ("port" in target) return target.port;
  if (!("scriptURL" in target)) return target;
  const { port1, port2 } = new MessageChannel();
  target.postMessage("treadle-connect", [port2]);
  return port1;
}
