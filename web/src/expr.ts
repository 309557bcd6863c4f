/**
 * Integer expressions of a plan: `ceil(T, 64) * 9`. The twin of python/treadle/export/expr.py, with
 * the same cases (web/test/expressions.json): numbers, names, `+ - * /` (division rounds down),
 * parentheses, `ceil(a, b)`, `min(a, b)`, `max(a, b)`. Never `eval`: a strict policy forbids it.
 */
import { TreadleError } from "./errors.js";

/** Tokens, sequences, wanted rows or draws, pages a sequence, pool, entries of `adjust`. */
export interface Sizes {
  T: number;
  S: number;
  R: number;
  L: number;
  P: number;
  E: number;
}

const LONGEST = 256;
const DEEPEST = 16;
const TOKEN = /\s*(\d+|[A-Za-z]\w*|[-+*/(),])/y;
const CALLS = new Set(["ceil", "min", "max"]);

export type Expression = (sizes: Sizes) => number;

/** Reads an expression once; the function computes it. Both throw `model_format_error`. */
export function expression(text: string): Expression {
  const words = split(text);
  const parsed = new Parser(text, words);
  const made = parsed.sum(0);
  if (parsed.at !== words.length) throw bad(text, `${words[parsed.at]} is not expected`);
  return made;
}

/** The value of an expression. */
export function evaluate(text: string, sizes: Sizes): number {
  return expression(text)(sizes);
}

function split(text: string): string[] {
  if (text.length > LONGEST) throw bad(text.slice(0, 40), `longer than ${LONGEST} characters`);
  const words: string[] = [];
  const end = text.trimEnd().length;
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < end) {
    const at = TOKEN.lastIndex;
    const found = TOKEN.exec(text);
    if (!found) throw bad(text, `character ${text[at]} is not expected`);
    words.push(found[1]!);
  }
  return words;
}

class Parser {
  at = 0;
  readonly #text: string;
  readonly #words: readonly string[];

  constructor(text: string, words: readonly string[]) {
    this.#text = text;
    this.#words = words;
  }

  sum(depth: number): Expression {
    if (depth > DEEPEST) throw bad(this.#text, `nested deeper than ${DEEPEST}`);
    let left = this.#product(depth);
    while (this.#peek() === "+" || this.#peek() === "-") {
      const plus = this.#take() === "+";
      const [a, b] = [left, this.#product(depth)];
      left = (sizes) => this.#within(plus ? a(sizes) + b(sizes) : a(sizes) - b(sizes));
    }
    return left;
  }

  #product(depth: number): Expression {
    let left = this.#atom(depth);
    while (this.#peek() === "*" || this.#peek() === "/") {
      const times = this.#take() === "*";
      const [a, b] = [left, this.#atom(depth)];
      left = (sizes) =>
        times ? this.#within(a(sizes) * b(sizes)) : this.#divide(a(sizes), b(sizes));
    }
    return left;
  }

  #atom(depth: number): Expression {
    const word = this.#take();
    if (/^\d/.test(word)) {
      const value = this.#within(Number(word));
      return () => value;
    }
    if (word === "(") {
      const inner = this.sum(depth + 1);
      this.#expect(")");
      return inner;
    }
    if (CALLS.has(word)) {
      this.#expect("(");
      const a = this.sum(depth + 1);
      this.#expect(",");
      const b = this.sum(depth + 1);
      this.#expect(")");
      if (word === "min") return (sizes) => Math.min(a(sizes), b(sizes));
      if (word === "max") return (sizes) => Math.max(a(sizes), b(sizes));
      return (sizes) => this.#divide(a(sizes) + b(sizes) - 1, b(sizes));
    }
    if (word.length === 1 && "TSRLPE".includes(word)) {
      const name = word as keyof Sizes;
      return (sizes) => this.#within(sizes[name]);
    }
    throw bad(this.#text, `${word} is not a number or a size`);
  }

  #divide(a: number, b: number): number {
    if (b <= 0 || a < 0) throw bad(this.#text, `${a} / ${b} is not defined`);
    return Math.floor(a / b);
  }

  #within(value: number): number {
    if (!Number.isSafeInteger(value)) throw bad(this.#text, "a value is beyond 2^53");
    return value;
  }

  #peek(): string {
    return this.#words[this.at] ?? "";
  }

  #take(): string {
    const word = this.#peek();
    this.at += 1;
    if (!word) throw bad(this.#text, "it ends too soon");
    return word;
  }

  #expect(word: string): void {
    if (this.#take() !== word) throw bad(this.#text, `${word} is expected`);
  }
}

function bad(text: string, message: string): TreadleError {
  const hint = "export the bundle again";
  return new TreadleError("model_format_error", message, { at: `expression "${text}"`, hint });
}
