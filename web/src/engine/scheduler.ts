/**
 * Which tokens run in the next step: one ragged batch of decode rows and prefill chunks. Running
 * sequences come first, in the order of their admission; the first of them is never preempted, so
 * it ends, and then the next one is first: everything admitted ends.
 */
import type { PagePool } from "../kv.js";
import type { Request, Sequence } from "./sequence.js";

/** Tokens start .. start + count of one sequence; `draws`: its last one is sampled. */
export interface Slice {
  readonly seq: Sequence;
  readonly start: number;
  readonly count: number;
  readonly draws: boolean;
}

export class Scheduler {
  readonly pool: PagePool;
  readonly waiting: Sequence[] = [];
  readonly running: Sequence[] = [];
  preemptions = 0;
  readonly #maxTokens: number;
  readonly #maxRows: number;
  readonly #reserve: number; // pages that admission leaves to running sequences

  constructor(pool: PagePool, maxTokens: number, maxRows: number) {
    this.pool = pool;
    this.#maxTokens = maxTokens;
    this.#maxRows = Math.min(maxRows, maxTokens);
    this.#reserve = Math.max(1, Math.floor(pool.count * 0.02));
  }

  add(request: Request): void {
    this.waiting.push(...request.sequences);
  }

  /** The slices of the next step, empty when nothing can run. */
  next(): Slice[] {
    const plan: Slice[] = [];
    let budget = this.#maxTokens;
    // Decode rows take one token each, so that a long prompt never keeps a stream waiting.
    for (const chunked of [false, true]) {
      for (const seq of [...this.running]) {
        if (seq.state !== "running" || seq.todo > 1 !== chunked || budget <= 0) continue;
        budget -= this.#slice(plan, seq, budget);
      }
    }
    while (budget > 0 && this.running.length < this.#maxRows) {
      const seq = this.waiting.find((one) => !this.#follows(one));
      if (!seq || !this.#admit(seq)) break;
      budget -= this.#slice(plan, seq, budget);
    }
    return plan;
  }

  /** Pages for more steps of a plan, taken from nobody: for how many there is room. */
  extend(plan: readonly Slice[], steps: number): number {
    const { size } = this.pool;
    let room = steps;
    for (const { seq, start } of plan) {
      while (seq.pages.length * size < start + room && this.pool.available > this.#reserve) {
        seq.pages.push(...this.pool.take(1));
      }
      room = Math.min(room, seq.pages.length * size - start);
    }
    return room;
  }

  /** Offers the full pages of a sequence, whose KV is written, to the prefix cache. */
  publish(seq: Sequence): void {
    const { size } = this.pool;
    const full = Math.floor(Math.min(seq.computed, seq.ids.length) / size);
    for (let i = seq.nodes.length; i < full; i += 1) {
      seq.nodes.push(this.pool.publish(seq.pages[i]!, seq.parent, seq.ids, i * size));
    }
  }

  /** Ends a sequence, wherever it stands. Only between steps. */
  retire(seq: Sequence): void {
    if (seq.state === "done") return;
    const list = seq.state === "running" ? this.running : this.waiting;
    list.splice(list.indexOf(seq), 1);
    seq.state = "done";
    this.pool.release(seq.letGo());
  }

  /** Sends all running sequences back to wait: their pages are gone with their device. */
  restart(): void {
    for (const seq of [...this.running].reverse()) this.#preempt(seq);
  }

  /** Throws unless an idle scheduler holds nothing. */
  check(): void {
    this.pool.check(this.running.map((seq) => seq.pages));
  }

  #slice(plan: Slice[], seq: Sequence, budget: number): number {
    const start = seq.computed;
    let count = Math.min(seq.todo, budget);
    const pages = Math.ceil((start + count) / this.pool.size);
    while (seq.pages.length < pages) {
      if (this.pool.available === 0 && !this.#makeRoom(seq, plan)) {
        count = seq.pages.length * this.pool.size - start; // what fits the pages it has
        break;
      }
      seq.pages.push(...this.pool.take(1));
    }
    if (seq.state !== "running" || count <= 0) return 0;
    plan.push({ seq, start, count, draws: count === seq.todo });
    return count;
  }

  /** Preempts the youngest; false when that is `seq` itself or already in the plan. */
  #makeRoom(seq: Sequence, plan: readonly Slice[]): boolean {
    const victim = this.running.at(-1)!;
    if (plan.some((slice) => slice.seq === victim)) return false;
    this.#preempt(victim);
    this.preemptions += 1;
    return victim !== seq;
  }

  #preempt(seq: Sequence): void {
    this.running.splice(this.running.indexOf(seq), 1);
    this.pool.release(seq.letGo());
    seq.state = "waiting";
    this.waiting.unshift(seq);
  }

  /** Whether pages that `seq` can share are about to be computed by its first choice. */
  #follows(seq: Sequence): boolean {
    const leader = seq.request.sequences[0]!;
    if (leader === seq || leader.state === "done" || seq.cached !== undefined) return false;
    return leader.nodes.length < Math.floor((leader.prompt - 1) / this.pool.size);
  }

  #admit(seq: Sequence): boolean {
    const known = seq.ids.length;
    const [pages, nodes] = this.pool.lookup(seq.ids, known - 1); // the last token is computed
    const need = Math.ceil(known / this.pool.size) - pages.length;
    if (need + (this.running.length ? this.#reserve : 0) > this.pool.available) {
      this.pool.release(pages);
      return false;
    }
    seq.pages = [...pages, ...this.pool.take(need)];
    seq.nodes = nodes;
    seq.computed = pages.length * this.pool.size;
    seq.cached ??= Math.min(seq.computed, seq.prompt - 1);
    this.waiting.splice(this.waiting.indexOf(seq), 1);
    seq.state = "running";
    this.running.push(seq);
    return true;
  }
}
