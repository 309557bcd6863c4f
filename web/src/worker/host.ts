/** The worker's side: one engine, and every port that asks it something. */
import { invalidRequest, TreadleError } from "../errors.js";
import type { ExecutorOptions, Progress } from "../executor.js";
import type { LocalEngine } from "../engine/engine.js";
import { invokeOn, type Method } from "../openai/api.js";
import { Server, type Context, type Port } from "./rpc.js";

/** What may cross to a worker: a URL, files, or a directory handle. */
export type Source = string | readonly File[] | FileSystemDirectoryHandle;

/** Options of `createEngine` without what cannot cross. */
export type OpenOptions = Omit<ExecutorOptions, "onProgress" | "signal">;

export type OpenEngine = (
  source: Source,
  options: OpenOptions,
  hooks: { onProgress: (progress: Progress) => void; signal: AbortSignal },
) => Promise<LocalEngine>;

const SILENCE_MS = 150_000; // a tab in the background may send one ping a minute

/** An engine that is there or on its way; loading ends when nobody waits for it any more. */
interface Opening {
  readonly key: string;
  readonly opening: Promise<LocalEngine>;
  readonly abort: AbortController;
  waiting: number;
}

export class Host {
  readonly #open: OpenEngine;
  readonly #ports = new Set<Server>();
  #engine: Opening | undefined;

  constructor(open: OpenEngine) {
    this.#open = open;
    const sweep = setInterval(() => this.#sweep(), SILENCE_MS / 5);
    (sweep as { unref?: () => void }).unref?.(); // node: it keeps nothing alive
  }

  /** Serves one more port; all of them share the engine. */
  attach(port: Port): void {
    const server = new Server(port, (method, argument, context) => this.#call(method, argument, context));
    this.#ports.add(server);
  }

  async #call(method: string, argument: unknown, context: Context): Promise<unknown> {
    if (method === "open") return this.#opened(argument as [Source, OpenOptions], context);
    const engine = await this.#engine?.opening;
    if (!engine) throw new TreadleError("not_ready", "no model is open", { hint: "open one first" });
    if (method === "close") this.#engine = undefined;
    return invokeOn(engine)(method as Method, argument, context.signal);
  }

  /** Opens a model, or joins another port that has opened it. */
  async #opened([source, options]: [Source, OpenOptions], context: Context): Promise<unknown> {
    const key = typeof source === "string" ? `${source} ${JSON.stringify(options)}` : "";
    const others = [...this.#ports].filter((server) => !server.closed).length > 1;
    if (this.#engine && (this.#engine.key !== key || key === "")) {
      if (others) throw invalidRequest("source", "this worker serves another model", "close it first");
      (await this.#engine.opening).close();
      this.#engine = undefined;
    }
    const mine = (this.#engine ??= this.#start(key, source, options, context));
    mine.waiting += 1;
    const leave = () => {
      mine.waiting -= 1;
      if (mine.waiting > 0) return;
      mine.abort.abort();
      if (this.#engine === mine) this.#engine = undefined;
    };
    context.signal.addEventListener("abort", leave, { once: true });
    const engine = await mine.opening.finally(() => context.signal.removeEventListener("abort", leave));
    return { manifest: engine.manifest, stats: engine.stats() };
  }

  #start(key: string, source: Source, options: OpenOptions, context: Context): Opening {
    const abort = new AbortController();
    const onProgress = (progress: Progress) => context.note(progress);
    const opening = this.#open(source, options, { signal: abort.signal, onProgress });
    const mine: Opening = { key, opening, abort, waiting: 0 };
    opening.catch(() => {
      if (this.#engine === mine) this.#engine = undefined;
    });
    return mine;
  }

  /** Ports of tabs that are gone say nothing: what they asked for ends. */
  #sweep(): void {
    for (const server of this.#ports) {
      if (!server.closed && performance.now() - server.heard > SILENCE_MS) server.close();
      if (server.closed) this.#ports.delete(server);
    }
  }
}

interface Scope {
  onconnect?: ((event: { ports: readonly MessagePort[] }) => void) | null;
  clients?: unknown;
  addEventListener(type: "message", listener: (event: MessageEvent) => void): void;
}

/** Serves whatever kind of worker this runs in. */
export function serveWorker(open: OpenEngine, scope: Scope = globalThis as unknown as Scope): Host {
  const host = new Host(open);
  if ("onconnect" in scope) {
    scope.onconnect = ({ ports: [port] }) => port && host.attach(port);
  } else if ("clients" in scope) {
    // A ServiceWorker hears of its clients by messages that bring a port.
    scope.addEventListener("message", ({ data, ports: [port] }) => {
      if (data === "treadle-connect" && port) host.attach(port);
    });
  } else host.attach(scope as unknown as Port);
  return host;
}
