/** A toy that says given texts, over one vocabulary. Runs in node and in a tab. */
import type { TokenTable } from "../src/grammar/vocab.js";
import type { ToyOptions } from "./toy.js";

export class Words {
  readonly #table: TokenTable;
  readonly #pieces: string[]; // a character for every byte
  readonly #ids: ReadonlyMap<string, number>;

  constructor(table: TokenTable) {
    this.#table = table;
    this.#pieces = table.data.map((bytes) => String.fromCharCode(...bytes));
    this.#ids = new Map(this.#pieces.map((piece, id) => [piece, id]));
  }

  /** The id of a piece. */
  id(text: string): number {
    const found = this.#ids.get(bytewise(text));
    if (found === undefined) throw new Error(`no token ${text}`);
    return found;
  }

  /** Options of a toy. Quotes, brackets and ends are liked, so that free JSON is not endless. */
  toy(script?: Record<string, string>): ToyOptions {
    const likes = new Map(['"', "}", "]", "<|im_end|>"].map((text) => [this.id(text), 1.2]));
    const vocab = this.#table.data.length;
    return { vocab, likes, ...(script ? { prefer: this.#scripted(script) } : {}) };
  }

  /** Says the rest of the text whose key the prompt holds, then the end. Everything in bytes. */
  #scripted(script: Record<string, string>): (context: readonly number[]) => number | undefined {
    const lines = Object.entries(script).map(([key, text]) => [bytewise(key), bytewise(text)] as const);
    const turn = "<|im_start|>assistant\n";
    return (context) => {
      const whole = context.map((token) => this.#pieces[token]).join("");
      const last = whole.lastIndexOf(turn);
      const prompt = last < 0 ? whole : whole.slice(0, last);
      const line = lines.findLast(([key]) => prompt.includes(key));
      if (!line) return undefined;
      const [key, text] = line;
      const start = last < 0 ? whole.lastIndexOf(key) + key.length : last + turn.length;
      const begun = whole.slice(start);
      if (!text.startsWith(begun)) return undefined;
      const rest = text.slice(begun.length);
      if (!rest) return this.#table.stopIds[0];
      for (let size = Math.min(rest.length, 16); size > 0; size -= 1) {
        const found = this.#ids.get(rest.slice(0, size));
        if (found !== undefined) return found;
      }
      return undefined;
    };
  }
}

function bytewise(text: string): string {
  return String.fromCharCode(...new TextEncoder().encode(text));
}
