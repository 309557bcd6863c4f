/**
 * The loop: schedule a step, start it, fill the masks behind it, draw, and collect what was drawn.
 * Aborts take effect between steps, so no page is given back while the device may write to it.
 */
import { cancelled, TreadleError } from "../errors.js";
import { FATAL, NOT_FINITE, type Executor, type StepRow, type TokenRecord } from "../executor.js";
import { PagePool } from "../kv.js";
import { Detokeniser, Writer } from "../text/stream.js";
import type { Tokenizer } from "../text/tokenizer.js";
import type { TokenLogprob } from "../types.js";
import { Ahead } from "./ahead.js";
import { breathe } from "./breathe.js";
import { Draws, refused, takes, type Wanted } from "./draws.js";
import { Scheduler, type Slice } from "./scheduler.js";
import { Request, type Sequence, type Sink, type Submit } from "./sequence.js";
import { Stats } from "./stats.js";

/** A new executor in the place of a lost one; undefined: give up. `losses` counts from 1. */
export type Reopen = (losses: number, cause: TreadleError) => Promise<Executor | undefined>;

export class Loop {
  readonly stats = new Stats();
  readonly #tokenizer: Tokenizer;
  readonly #reopen: Reopen | undefined;
  readonly #ends: ReadonlySet<number>;
  readonly #requests = new Set<Request>();
  readonly #ahead = new Ahead();
  #exe: Executor;
  #scheduler: Scheduler;
  #draws: Draws;
  #dead: TreadleError | undefined;
  #wake: (() => void) | undefined;
  #losses = 0;

  constructor(exe: Executor, tokenizer: Tokenizer, reopen?: Reopen) {
    this.#exe = exe;
    this.#tokenizer = tokenizer;
    this.#reopen = reopen;
    this.#ends = new Set(tokenizer.table.stopIds);
    this.#scheduler = schedulerOf(exe);
    this.#draws = new Draws(exe.vocab, tokenizer.table.stopIds);
    void this.#run();
  }

  get tier(): string {
    return this.#exe.tier;
  }

  get queued(): number {
    return this.#requests.size;
  }

  /** Queues a request; its first delta comes later. Throws `engine_dead`, `unsupported`. */
  submit(submit: Submit, sink: Sink): Request {
    if (this.#dead) throw this.#dead;
    if (submit.embeds && !this.#exe.hidden) throw stateless(this.tier);
    const request = new Request(submit, sink);
    const ends = new Set([...this.#ends, ...submit.sampling.stopTokenIds]);
    for (const seq of request.sequences) {
      seq.writer = new Writer(new Detokeniser(this.#tokenizer, submit.shown), ends, submit.sampling);
      seq.matcher = submit.grammar?.matcher([...this.#ends]);
    }
    this.#requests.add(request);
    this.#scheduler.add(request);
    this.#wake?.();
    return request;
  }

  /** Ends a request before the next step; its pages and its matchers are freed then. */
  abort(request: Request): void {
    request.aborted = true;
    this.#wake?.();
  }

  /** Ends every request with this error and frees the device. A second call does nothing. */
  close(error: TreadleError): void {
    if (this.#dead) return;
    this.#dead = error;
    for (const request of [...this.#requests]) this.#fail(request, error);
    this.#exe.free();
    this.#wake?.();
  }

  /** KV pages: held by requests, kept for prompts to come, and in all. */
  get pages(): { held: number; cached: number; count: number } {
    const { held, cached, count } = this.#scheduler.pool;
    return { held, cached, count };
  }

  /** Throws unless pages and queues add up. */
  check(): void {
    this.#scheduler.check();
    const { running, waiting } = this.#scheduler;
    if (!this.#requests.size && (running.length || waiting.length || this.pages.held)) {
      throw new TreadleError("treadle_error", "an idle loop holds sequences or pages");
    }
  }

  async #run(): Promise<void> {
    while (!this.#dead) {
      for (const request of [...this.#requests]) {
        if (request.aborted) this.#fail(request, cancelled());
      }
      const plan = this.#scheduler.next();
      if (!plan.length) {
        await new Promise<void>((resolve) => (this.#wake = resolve));
        this.#wake = undefined;
        continue;
      }
      await this.#step(plan);
      await breathe();
    }
  }

  async #step(plan: readonly Slice[]): Promise<void> {
    const drawing = plan.filter((slice) => slice.draws).map((slice) => slice.seq);
    let wanted: Wanted[];
    let records: readonly (readonly TokenRecord[])[] = [[]];
    const states: (Float32Array | undefined)[] = [];
    const steps = this.#exe.decode ? this.#ahead.steps(plan, this.#scheduler) : 1;
    const start = performance.now();
    try {
      const forward = steps > 1 ? undefined : this.#exe.forward(plan.map(rowOf));
      const filling = performance.now();
      wanted = this.#draws.of(drawing);
      this.stats.mask += performance.now() - filling;
      await forward;
      const draws = wanted.flatMap((row) => ("draw" in row ? [row.draw] : []));
      if (steps > 1) records = await this.#exe.decode!(plan.map(rowOf), draws, steps);
      else if (draws.length) records = [await this.#exe.sample(draws)];
      for (const row of wanted) if ("hidden" in row) states.push(await this.#exe.hidden?.(row.hidden));
    } catch (error) {
      await this.#failed(plan, TreadleError.from(error));
      return;
    }
    if (this.#dead) return;
    const ms = (performance.now() - start) / steps;
    if (plan.every(({ count }) => count === 1)) this.#ahead.took(ms);
    for (const drawn of records) {
      this.stats.step(plan, ms);
      this.#stepped(plan, drawing, wanted, drawn, states);
    }
  }

  /** What one step has computed and drawn. */
  #stepped(
    plan: readonly Slice[],
    drawing: readonly Sequence[],
    wanted: readonly Wanted[],
    records: readonly TokenRecord[],
    states: readonly (Float32Array | undefined)[],
  ): void {
    for (const { seq, count } of plan) {
      if (seq.state === "done") continue; // it ended in a step that this one had not waited for
      seq.computed += count;
      this.#scheduler.publish(seq);
    }
    let [next, told] = [0, 0];
    for (const [i, row] of wanted.entries()) {
      const seq = drawing[i]!;
      const record = "draw" in row ? records[next++] : undefined;
      const state = "hidden" in row ? states[told++] : undefined;
      if (seq.state === "done") continue; // also when another of its choices failed in this step
      if ("error" in row) this.#fail(seq.request, row.error);
      else if ("forced" in row) this.#advanceAll(seq, row.forced);
      else if ("hidden" in row) this.#tell(seq, state);
      else this.#collect(seq, record ?? { token: NOT_FINITE });
    }
  }

  #tell(seq: Sequence, state: Float32Array | undefined): void {
    if (!state) return this.#fail(seq.request, stateless(this.tier));
    const usage = { promptTokens: seq.prompt, completionTokens: 0, cachedTokens: seq.cached ?? 0 };
    seq.request.firstToken ||= performance.now();
    seq.request.sink.delta({ index: 0, text: "", tokens: [], logprobs: [], finish: "stop", usage, state });
    this.#finish(seq);
  }

  #collect(seq: Sequence, record: TokenRecord): void {
    const { token } = record;
    if (token < 0) {
      if (token === NOT_FINITE) this.#scheduler.pool.forget(seq.pages);
      this.#fail(seq.request, rowError(token, seq));
    } else if (seq.matcher && !takes(seq, seq.matcher, token)) {
      this.#fail(seq.request, refused(seq.matcher));
    } else this.#advance(seq, token, record);
  }

  #advanceAll(seq: Sequence, tokens: readonly number[]): void {
    for (const token of tokens) {
      this.stats.forced += 1;
      this.#advance(seq, token);
      if (seq.writer === undefined) return; // it has ended
    }
  }

  /** Appends a token that the matcher has accepted and sends what it adds. */
  #advance(seq: Sequence, token: number, record?: TokenRecord): void {
    const { request, writer, sampling } = seq;
    if (!writer) return;
    seq.ids.push(token);
    seq.seen?.set(token, (seq.seen.get(token) ?? 0) + 1);
    let [text, finish] = writer.push(token, seq.generated);
    if (!finish && seq.ids.length >= seq.limit) [text, finish] = [writer.close(text), "length"];
    request.firstToken ||= performance.now();
    this.stats.tokens += 1;
    const usage = {
      promptTokens: seq.prompt,
      completionTokens: seq.generated,
      cachedTokens: seq.cached ?? 0,
    };
    request.sink.delta({
      index: seq.index,
      text,
      tokens: [token],
      logprobs: record && sampling.logprobs >= 0 ? [this.#logprob(record)] : [],
      ...(finish ? { finish, usage } : {}),
    });
    if (finish) this.#finish(seq);
  }

  #logprob({ token, logprob = -Infinity, top = [] }: TokenRecord): TokenLogprob {
    const bytes = (id: number) => this.#tokenizer.bytes(id);
    const others = top.map(([id, value]) => ({ bytes: bytes(id), logprob: value }));
    return { token, bytes: bytes(token), logprob, top: others };
  }

  #finish(seq: Sequence): void {
    this.#retire(seq);
    seq.request.open -= 1;
    if (seq.request.open > 0) return;
    this.#requests.delete(seq.request);
    this.stats.ended(seq.request);
    seq.request.sink.end(undefined);
  }

  #fail(request: Request, error: TreadleError): void {
    if (!this.#requests.delete(request)) return;
    for (const seq of request.sequences) this.#retire(seq);
    request.sink.end(error);
  }

  #retire(seq: Sequence): void {
    this.#scheduler.retire(seq);
    seq.matcher?.dispose();
    seq.matcher = seq.writer = undefined;
  }

  /** A step failed: its requests end, or, with a device that is gone, another takes its place. */
  async #failed(plan: readonly Slice[], error: TreadleError): Promise<void> {
    if (!FATAL.has(error.code)) {
      for (const { seq } of plan) this.#fail(seq.request, error);
      return;
    }
    this.#losses += 1;
    this.#exe.free();
    const fresh = await this.#reopen?.(this.#losses, error).catch(() => undefined);
    if (!fresh || this.#dead) {
      const text = `the engine stopped: ${error.text}`;
      const dead = new TreadleError("engine_dead", text, { hint: "open it again", cause: error });
      this.close(this.#dead ?? dead);
      return;
    }
    const { running, waiting } = this.#scheduler;
    this.#exe = fresh;
    this.#draws = new Draws(fresh.vocab, this.#tokenizer.table.stopIds);
    this.#scheduler.restart();
    this.#scheduler = schedulerOf(fresh);
    const { pool } = this.#scheduler;
    this.#scheduler.waiting.push(...running, ...waiting);
    for (const seq of [...this.#scheduler.waiting]) {
      if (seq.limit > pool.count * pool.size) this.#fail(seq.request, error);
    }
  }
}

function schedulerOf(exe: Executor): Scheduler {
  return new Scheduler(new PagePool(exe.pages, exe.pageSize), exe.maxTokens, exe.maxRows);
}

function rowOf({ seq, start, count, draws }: Slice): StepRow {
  const tokens = Int32Array.from(seq.ids.slice(start, start + count));
  return { tokens, start, pages: Int32Array.from(seq.pages), wants: draws };
}

function stateless(tier: string): TreadleError {
  const hint = 'export the model anew, or open it with tier "wasm"';
  return new TreadleError("unsupported", `the tier ${tier} gives no hidden states`, { at: "tier", hint });
}

/** The error of a row whose token could not be drawn. */
function rowError(token: number, seq: Sequence): TreadleError {
  if (token === NOT_FINITE) {
    const hint = "check the weight files";
    return new TreadleError("kernel_error", "the model's logits are not finite", { at: "sample", hint });
  }
  if (seq.matcher) {
    const text = "no token of the vocabulary continues the output";
    return new TreadleError("grammar_error", text, { at: "sample", reason: "stuck" });
  }
  return new TreadleError("kernel_error", "no token is left to draw", { at: "sample", hint: "loosen logit_bias" });
}
