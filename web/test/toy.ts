/**
 * A toy language model behind the executor's border. Its next token depends on every token of the
 * context, read back through the page tables, so that a wrong page, position or prefix changes what it
 * says or is caught at once. With a script it says given texts.
 */
import { TreadleError, type ErrorCode } from "../src/errors.js";
import { NO_TOKEN, type Draw, type Executor, type StepRow, type TokenRecord } from "../src/executor.js";

export interface ToyOptions {
  vocab: number;
  pages?: number;
  maxTokens?: number;
  maxRows?: number;
  /** Milliseconds of a step. */
  delay?: number;
  /** The token it would like to say next, given the whole context. */
  prefer?: (context: readonly number[]) => number | undefined;
  /** A bonus on some tokens, so that texts come to an end. */
  likes?: ReadonlyMap<number, number>;
  /** Fails in step number `step`, counted from 1. */
  fail?: { step: number; code: ErrorCode; in?: "forward" | "sample" };
}

const EMPTY = -1;

export class Toy implements Executor {
  readonly pageSize = 16;
  readonly tier = "toy";
  readonly vocab: number;
  readonly pages: number;
  readonly maxTokens: number;
  readonly maxRows: number;
  steps = 0;
  tokens = 0;
  draws = 0;
  /** Calls of `decode`. */
  bursts = 0;
  freed = false;
  /** Sizes of the steps: rows of each. */
  readonly batches: number[] = [];
  readonly #options: ToyOptions;
  readonly #kv: Int32Array;
  #contexts: number[][] = [];
  #stepping = false;

  constructor(options: ToyOptions) {
    this.#options = options;
    this.vocab = options.vocab;
    this.pages = options.pages ?? 64;
    this.maxTokens = options.maxTokens ?? 64;
    this.maxRows = options.maxRows ?? 8;
    this.#kv = new Int32Array(this.pages * this.pageSize).fill(EMPTY);
  }

  async forward(rows: readonly StepRow[]): Promise<void> {
    if (this.freed || this.#stepping) throw new Error("a step at the wrong time");
    this.#stepping = true;
    this.steps += 1;
    this.batches.push(rows.length);
    const size = rows.reduce((sum, row) => sum + row.tokens.length, 0);
    if (size > this.maxTokens || rows.filter((row) => row.wants).length > this.maxRows) {
      throw new Error(`a step of ${size} tokens and ${rows.length} rows is too large`);
    }
    this.tokens += size;
    for (const row of rows) this.#write(row);
    this.#contexts = rows.filter((row) => row.wants).map((row) => this.#read(row));
    await this.#work("forward");
    this.#stepping = false;
  }

  async sample(draws: readonly Draw[]): Promise<readonly TokenRecord[]> {
    if (this.#stepping) throw new Error("a draw before its step was done");
    this.draws += draws.length;
    const records = draws.map((draw) => this.#draw(draw));
    await this.#work("sample");
    return records;
  }

  /** Knows each token before the next step, but nobody else does. */
  decode = async (rows: readonly StepRow[], draws: readonly Draw[], steps: number): Promise<TokenRecord[][]> => {
    this.bursts += 1;
    const found: TokenRecord[][] = [];
    for (let k = 0; k < steps; k += 1) {
      const last = found.at(-1);
      await this.forward(rows.map((row, i) => ({
        ...row,
        start: row.start + k,
        tokens: last ? Int32Array.of(Math.max(0, last[i]!.token)) : row.tokens,
      }))); // prettier-ignore
      found.push([...(await this.sample(draws.map((draw) => ({ ...draw, index: draw.index + k }))))]);
    }
    return found;
  };

  /** Numbers that tell the row's whole context. */
  hidden(row: number): Float32Array {
    const context = this.#contexts[row]!;
    return Float32Array.of(context.length, context.at(-1)!, context.reduce((sum, id) => sum + id, 0), 3);
  }

  free(): void {
    this.freed = true;
  }

  async #work(part: "forward" | "sample"): Promise<void> {
    const { delay, fail } = this.#options;
    if (delay !== undefined) await new Promise((resolve) => setTimeout(resolve, delay / 2));
    if (fail?.step !== this.steps || (fail.in ?? "forward") !== part) return;
    this.#stepping = false;
    throw new TreadleError(fail.code, "the toy was told to fail");
  }

  #write({ tokens, start, pages }: StepRow): void {
    tokens.forEach((token, i) => {
      const at = this.#slot(pages, start + i);
      if (token < 0 || token >= this.vocab) throw new Error(`token ${token} does not exist`);
      this.#kv[at] = token;
    });
  }

  #read({ tokens, start, pages }: StepRow): number[] {
    return Array.from({ length: start + tokens.length }, (_, i) => {
      const token = this.#kv[this.#slot(pages, i)]!;
      if (token === EMPTY) throw new Error(`position ${i} was read before it was written`);
      return token;
    });
  }

  #slot(pages: Int32Array, position: number): number {
    const page = pages[Math.floor(position / this.pageSize)];
    if (page === undefined || page < 0 || page >= this.pages) throw new Error(`no page for ${position}`);
    return page * this.pageSize + (position % this.pageSize);
  }

  #draw(draw: Draw): TokenRecord {
    const logits = this.#logits(this.#contexts[draw.row]!);
    const scores = logits.map((logit, id) => (legal(draw, id) ? adjusted(logit, id, draw) : -Infinity));
    const in_ = draw.temperature > 0 ? kept(scores, draw) : () => true;
    let token = NO_TOKEN;
    let best = -Infinity;
    for (let id = 0; id < this.vocab; id += 1) {
      if (scores[id] === -Infinity || !in_(id)) continue;
      let score = scores[id]!;
      if (draw.temperature > 0) score = score / draw.temperature - Math.log(-Math.log(noise(draw, id)));
      if (score > best) [token, best] = [id, score];
    }
    if (draw.logprobs < 0 || token < 0) return { token };
    const sum = Math.log(logits.reduce((total, logit) => total + Math.exp(logit), 0));
    const order = draw.logprobs ? sorted(logits).slice(0, draw.logprobs) : [];
    const top = [...order].map((id) => [id, logits[id]! - sum] as const);
    return { token, logprob: logits[token]! - sum, top };
  }

  #logits(context: readonly number[]): Float64Array {
    const { likes, prefer } = this.#options;
    let state = 2166136261;
    for (const token of context) state = Math.imul(state ^ token, 16777619) ^ (state >>> 13);
    const logits = new Float64Array(this.vocab);
    for (let id = 0; id < this.vocab; id += 1) logits[id] = 2 * unit(Math.imul(state ^ id, 2654435761));
    for (const [id, bonus] of likes ?? []) logits[id]! += bonus;
    const wish = prefer?.(context);
    if (wish !== undefined) logits[wish]! += 30;
    return logits;
  }
}

function legal({ mask }: Draw, id: number): boolean {
  return !mask || ((mask[id >>> 5]! >>> (id & 31)) & 1) === 1;
}

/** Ids, the best first; ties go to the lowest id. */
function sorted(scores: Float64Array): number[] {
  return Array.from(scores.keys()).sort((a, b) => scores[b]! - scores[a]! || a - b);
}

function adjusted(logit: number, id: number, draw: Draw): number {
  let score = logit + (draw.bias?.get(id) ?? 0);
  const count = draw.seen?.get(id) ?? 0;
  if (count > 0) score -= draw.presence + draw.frequency * count;
  if (count > 0 || draw.prompt?.has(id)) {
    score = score > 0 ? score / draw.repetition : score * draw.repetition;
  }
  return score;
}

/** Which ids are left by top_k, then top_p, then min_p. */
function kept(scores: Float64Array, draw: Draw): (id: number) => boolean {
  if (draw.topK === 0 && draw.topP === 1 && draw.minP === 0) return () => true;
  const order = sorted(scores).slice(0, draw.topK || undefined);
  const best = scores[order[0]!]!;
  const weights = order.map((id) => Math.exp((scores[id]! - best) / draw.temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const left = new Set<number>();
  let before = 0;
  for (const [i, weight] of weights.entries()) {
    if (i === 0 || (before < draw.topP * total && weight >= draw.minP)) left.add(order[i]!);
    before += weight;
  }
  return (id) => left.has(id);
}

function noise(draw: Draw, id: number): number {
  const seed = Number(draw.seed & 0xffffffffn) ^ Number(draw.seed >> 32n);
  return unit(Math.imul(seed ^ Math.imul(draw.index + 1, 40503) ^ Math.imul(id + 1, 2246822519), 2654435761));
}

/** 32 mixed bits as a number inside (0, 1). */
function unit(bits: number): number {
  let x = bits | 0;
  x = Math.imul(x ^ (x >>> 16), 0x45d9f3b);
  x = Math.imul(x ^ (x >>> 16), 0x45d9f3b);
  return (((x ^ (x >>> 16)) >>> 0) + 0.5) / 2 ** 32;
}
