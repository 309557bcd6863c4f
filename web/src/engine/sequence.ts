/** A request inside the engine, and one `Sequence` for each of its choices. */
import type { TreadleError } from "../errors.js";
import type { Matcher } from "../grammar/matcher.js";
import type { Compiled } from "../grammar/compiler.js";
import { ROOT } from "../kv.js";
import type { Writer } from "../text/stream.js";
import type { Delta, Sampling } from "../types.js";

/** A validated request as the loop sees it. `sampling` has `maxTokens` and `seed` set. */
export interface Submit {
  readonly ids: readonly number[];
  readonly sampling: Sampling & { readonly maxTokens: number; readonly seed: bigint };
  readonly grammar: Compiled | undefined;
  /** Control tokens that are part of the text. */
  readonly shown: ReadonlySet<number>;
  /** The hidden state of the last token is all that is wanted: nothing is drawn. */
  readonly embeds?: boolean;
}

/** Where a request's output goes. Neither call may throw. */
export interface Sink {
  delta(delta: Delta): void;
  end(error: TreadleError | undefined): void;
}

export class Request {
  readonly submit: Submit;
  readonly sink: Sink;
  readonly sequences: Sequence[];
  /** Choices that have not ended. */
  open: number;
  aborted = false;
  /** When it came and when its first token did, in milliseconds. */
  readonly arrived = performance.now();
  firstToken = 0;

  constructor(submit: Submit, sink: Sink) {
    this.submit = submit;
    this.sink = sink;
    this.open = submit.sampling.n;
    this.sequences = Array.from({ length: this.open }, (_, index) => new Sequence(this, index));
  }
}

/**
 * One choice: its tokens, its pages, its matcher. The first `computed` of its ids have their KV; the
 * rest, `todo`, is at least one while it lives: the last token is never computed.
 */
export class Sequence {
  readonly request: Request;
  readonly index: number;
  readonly sampling: Submit["sampling"];
  readonly ids: number[];
  readonly prompt: number;
  /** Tokens it may have in all. */
  readonly limit: number;
  readonly key: bigint;
  /** Token -> count in the output; kept only where a penalty reads it. */
  readonly seen: Map<number, number> | undefined;
  readonly held: ReadonlySet<number> | undefined;
  state: "waiting" | "running" | "done" = "waiting";
  computed = 0;
  pages: number[] = [];
  /** Nodes of its full pages, as far as they are published. */
  nodes: number[] = [];
  /** Prompt tokens found in the cache when it was first admitted. */
  cached: number | undefined;
  matcher: Matcher | undefined;
  writer: Writer | undefined;

  constructor(request: Request, index: number) {
    const { ids, sampling } = request.submit;
    this.request = request;
    this.index = index;
    this.sampling = sampling;
    this.ids = [...ids];
    this.prompt = ids.length;
    this.limit = this.prompt + sampling.maxTokens;
    this.key = choiceKey(sampling.seed, index);
    const repeats = sampling.repetition !== 1;
    const penalised = repeats || sampling.presence !== 0 || sampling.frequency !== 0;
    this.seen = penalised ? new Map() : undefined;
    this.held = repeats ? new Set(ids) : undefined;
  }

  get generated(): number {
    return this.ids.length - this.prompt;
  }

  get todo(): number {
    return this.ids.length - this.computed;
  }

  /** The node that its next page continues. */
  get parent(): number {
    return this.nodes.at(-1) ?? ROOT;
  }

  /** Gives up all pages; its tokens and its matcher stay. */
  letGo(): number[] {
    const { pages } = this;
    this.pages = [];
    this.nodes = [];
    this.computed = 0;
    return pages;
  }
}

const MASK = (1n << 64n) - 1n;

/**
 * The 64-bit noise key of choice `index`: the seed itself for choice 0, else output `index` of
 * SplitMix64 started at the seed (Steele, Lea, Flood 2014); as in python/treadle/engine/request.py.
 */
export function choiceKey(seed: bigint, index: number): bigint {
  let state = (seed + BigInt(index) * 0x9e3779b97f4a7c15n) & MASK;
  if (index === 0) return state;
  state = ((state ^ (state >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
  state = ((state ^ (state >> 27n)) * 0x94d049bb133111ebn) & MASK;
  return state ^ (state >> 31n);
}
