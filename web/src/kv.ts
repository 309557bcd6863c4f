/**
 * KV pages with reference counts: the page pool is the prefix cache. A full page whose tokens are
 * known becomes a node (parent node, its ids) -> page. Node numbers are never used again, so a key
 * can never mean other tokens than those it was made from. The twin of python/treadle/engine/pages.py.
 */
import { TreadleError } from "./errors.js";

/** The node that first pages continue. */
export const ROOT = 0;

interface Node {
  readonly key: string;
  readonly id: number;
  readonly page: number;
}

/**
 * Hands out pages 0..count-1 of `size` tokens. A page is free, held (count > 0) or idle (count 0,
 * findable, least recently used first). Within a sequence the tail is released first, so a page
 * leaves the cache before the page it continues.
 */
export class PagePool {
  readonly count: number;
  readonly size: number;
  readonly #free: number[];
  readonly #idle = new Set<number>(); // in order of release
  readonly #refs: Int32Array;
  readonly #nodes = new Map<string, Node>();
  readonly #nodeOf: (Node | undefined)[];
  #next = ROOT + 1;

  constructor(count: number, size: number) {
    this.count = count;
    this.size = size;
    this.#free = Array.from({ length: count }, (_, i) => count - 1 - i);
    this.#refs = new Int32Array(count);
    this.#nodeOf = Array.from({ length: count }, () => undefined);
  }

  /** Pages that `take` could hand out now. */
  get available(): number {
    return this.#free.length + this.#idle.size;
  }

  /** Pages that some sequence holds. */
  get held(): number {
    return this.count - this.available;
  }

  /** Pages that nobody holds and a prompt could still find. */
  get cached(): number {
    return this.#idle.size;
  }

  /**
   * Holds the pages of the longest cached run of full pages of `ids`, within its first `upto`
   * tokens. [pages, nodes], equally long.
   */
  lookup(ids: readonly number[], upto: number): [number[], number[]] {
    const pages: number[] = [];
    const nodes: number[] = [];
    let parent = ROOT;
    for (let at = 0; at + this.size <= upto; at += this.size) {
      const node = this.#nodes.get(this.#key(parent, ids, at));
      if (!node) break;
      if (this.#refs[node.page] === 0) this.#idle.delete(node.page);
      this.#refs[node.page]! += 1;
      pages.push(node.page);
      nodes.push(node.id);
      parent = node.id;
    }
    return [pages, nodes];
  }

  /** Holds n pages of undefined content. The caller has checked `available`. */
  take(n: number): number[] {
    if (n > this.available) throw wrong(`${n} pages wanted, ${this.available} available`);
    return Array.from({ length: n }, () => {
      let page = this.#free.pop();
      if (page === undefined) {
        page = this.#idle.values().next().value as number;
        this.#idle.delete(page);
        this.#drop(page);
      }
      this.#refs[page] = 1;
      return page;
    });
  }

  /**
   * Makes a held full page findable and returns its node. `at`: its first token in `ids`. The first
   * page of a node stays; a second one with the same tokens is not findable.
   */
  publish(page: number, parent: number, ids: readonly number[], at: number): number {
    const key = this.#key(parent, ids, at);
    const known = this.#nodes.get(key);
    if (known) return known.id;
    const node = { key, id: this.#next++, page };
    this.#nodes.set(key, node);
    this.#nodeOf[page] = node;
    return node.id;
  }

  /** Makes pages unfindable whose content turned out to be unusable. */
  forget(pages: readonly number[]): void {
    for (const page of pages) {
      this.#drop(page);
      if (this.#idle.delete(page)) this.#free.push(page);
    }
  }

  /** Gives back one hold of each page of a sequence, given in sequence order. */
  release(pages: readonly number[]): void {
    for (const page of [...pages].reverse()) {
      const refs = this.#refs[page]! - 1;
      if (refs < 0) throw wrong(`page ${page} released more often than held`);
      this.#refs[page] = refs;
      if (refs > 0) continue;
      if (this.#nodeOf[page]) this.#idle.add(page);
      else this.#free.push(page);
    }
  }

  /** Drops every cached page that nobody holds. */
  clear(): void {
    for (const page of this.#idle) this.#drop(page);
    this.#free.push(...this.#idle);
    this.#idle.clear();
  }

  /** Throws unless counts, lists and nodes agree with each other and with `holds`. */
  check(holds: Iterable<readonly number[]> = []): void {
    const want = new Int32Array(this.count);
    for (const pages of holds) for (const page of pages) want[page]! += 1;
    const off = want.findIndex((count, page) => count !== this.#refs[page]);
    if (off >= 0) throw wrong(`page ${off} is counted ${this.#refs[off]} times, held ${want[off]}`);
    const zero = new Set([...this.#free, ...this.#idle]);
    const rest = want.filter((count) => count === 0).length;
    if (zero.size !== rest || this.available !== rest || [...zero].some((page) => want[page] !== 0)) {
      throw wrong("a page is neither held nor free nor idle, or is two of them");
    }
    const named = this.#nodeOf.filter((node) => node !== undefined);
    const same = named.every((node) => this.#nodes.get(node.key) === node);
    if (!same || named.length !== this.#nodes.size || this.#free.some((page) => this.#nodeOf[page])) {
      throw wrong("nodes and pages of the prefix cache disagree");
    }
  }

  #key(parent: number, ids: readonly number[], at: number): string {
    return `${parent}:${ids.slice(at, at + this.size).join()}`;
  }

  #drop(page: number): void {
    const node = this.#nodeOf[page];
    if (!node) return;
    this.#nodeOf[page] = undefined;
    this.#nodes.delete(node.key);
  }
}

function wrong(text: string): TreadleError {
  return new TreadleError("treadle_error", text, { at: "kv pages", hint: "please report it" });
}
