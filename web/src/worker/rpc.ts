/**
 * One protocol between a page and the engine's host, whatever carries it: a Worker, the port of a
 * SharedWorker, a channel to a ServiceWorker. Requests have numbers; streams send an item for every
 * `pull`, so a slow reader slows the sender; aborts and leaving an iterator cross at once.
 */
import { TreadleError } from "../errors.js";

/** What posts and receives: Worker, MessagePort and worker scopes fit. */
export interface Port {
  postMessage(message: unknown, transfer?: Transferable[]): void;
  addEventListener(type: "message", listener: (event: MessageEvent) => void): void;
  removeEventListener(type: "message", listener: (event: MessageEvent) => void): void;
  start?(): void;
}

/** From the page to the host. `pull`: the next item of stream `id`. `leave`: no more of it. */
export type Up =
  | { treadle: "call"; id: number; method: string; argument: unknown }
  | { treadle: "pull" | "leave" | "abort"; id: number }
  | { treadle: "ping" | "bye" };

/** From the host to the page. `note` comes any time before the answer: progress. */
export type Down =
  | { treadle: "value"; id: number; value: unknown }
  | { treadle: "stream" | "done"; id: number }
  | { treadle: "item" | "note"; id: number; value: unknown }
  | { treadle: "error"; id: number; error: Record<string, unknown> }
  | { treadle: "pong" };

export interface Context {
  readonly signal: AbortSignal;
  /** Sends something about the running call, ahead of its answer. */
  note(value: unknown): void;
}

/** Carries out a call: a value, or an async iterable. */
export type Handler = (method: string, argument: unknown, context: Context) => Promise<unknown>;

export const isMessage = (data: unknown): data is { treadle: string } =>
  typeof data === "object" && data !== null && typeof (data as { treadle?: unknown }).treadle === "string";

interface Running {
  readonly abort: AbortController;
  iterator?: AsyncIterator<unknown>;
}

/** The host's end of one port. */
export class Server {
  readonly #port: Port;
  readonly #handle: Handler;
  readonly #running = new Map<number, Running>();
  readonly #listen = (event: MessageEvent) => this.#receive(event.data);
  /** When something was last heard, in milliseconds of `performance.now()`. */
  heard = performance.now();
  closed = false;

  constructor(port: Port, handle: Handler) {
    this.#port = port;
    this.#handle = handle;
    port.addEventListener("message", this.#listen);
    port.start?.();
  }

  /** Ends what this port asked for. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.#port.removeEventListener("message", this.#listen);
    for (const id of [...this.#running.keys()]) this.#end(id);
    if (this.#port instanceof MessagePort) this.#port.close(); // `close` of a scope ends the worker
  }

  #receive(data: unknown): void {
    if (!isMessage(data)) return;
    this.heard = performance.now();
    const message = data as Up;
    if (message.treadle === "call") void this.#call(message.id, message.method, message.argument);
    else if (message.treadle === "pull") void this.#pull(message.id);
    else if (message.treadle === "leave" || message.treadle === "abort") this.#end(message.id);
    else if (message.treadle === "ping") this.#send({ treadle: "pong" });
    else if (message.treadle === "bye") this.close();
  }

  async #call(id: number, method: string, argument: unknown): Promise<void> {
    const running: Running = { abort: new AbortController() };
    this.#running.set(id, running);
    const note = (value: unknown) => this.#send({ treadle: "note", id, value });
    try {
      const value = await this.#handle(method, argument, { signal: running.abort.signal, note });
      const isStream = typeof value === "object" && value !== null && Symbol.asyncIterator in value;
      if (!isStream) {
        this.#running.delete(id);
        this.#send({ treadle: "value", id, value });
        return;
      }
      running.iterator = (value as AsyncIterable<unknown>)[Symbol.asyncIterator]();
      if (running.abort.signal.aborted) this.#end(id);
      else this.#send({ treadle: "stream", id });
    } catch (error) {
      this.#fail(id, error);
    }
  }

  async #pull(id: number): Promise<void> {
    const iterator = this.#running.get(id)?.iterator;
    if (!iterator) return;
    try {
      const { done, value } = await iterator.next();
      if (done) this.#running.delete(id);
      this.#send(done ? { treadle: "done", id } : { treadle: "item", id, value });
    } catch (error) {
      this.#fail(id, error);
    }
  }

  #end(id: number): void {
    const running = this.#running.get(id);
    running?.abort.abort();
    if (!running?.iterator) return; // a call still under way ends by its signal
    this.#running.delete(id);
    void running.iterator.return?.().catch(() => undefined);
  }

  #fail(id: number, error: unknown): void {
    this.#running.delete(id);
    this.#send({ treadle: "error", id, error: TreadleError.from(error).toJSON() });
  }

  #send(message: Down): void {
    if (this.closed) return;
    try {
      this.#port.postMessage(message);
    } catch (error) {
      if ("id" in message && message.treadle !== "error") this.#fail(message.id, error);
    }
  }
}
