/** Text to token ids, and what each id spells. */
import { Tokenizer as Library } from "@huggingface/tokenizers";
import { invalidRequest, limitExceeded, TreadleError } from "../errors.js";
import { LIMITS } from "../generated/limits.js";
import { TokenKind, type TokenTable } from "../grammar/table.js";

export interface TokenizerFiles {
  /** The text of tokenizer.json. */
  readonly json: string;
  readonly table: TokenTable;
  readonly bos: number | null;
  /** Whether a plain prompt begins with the beginning token. */
  readonly addsBos: boolean;
}

const decoder = new TextDecoder();
const LONE = /\p{Surrogate}/u; // in Unicode mode a surrogate matches only without its partner

export class Tokenizer {
  readonly table: TokenTable;
  readonly bos: number | null;
  /** Whether decoding drops one space at the start of a text (SentencePiece). */
  readonly stripSpace: boolean;
  readonly #addsBos: boolean;
  readonly #library: Library;
  readonly #control: ReadonlyMap<string, number>;

  /** Throws `model_format_error` for a file the library cannot read. */
  constructor({ json, table, bos, addsBos }: TokenizerFiles) {
    if (json.length > LIMITS.tokenizerBytes) {
      throw limitExceeded("tokenizerBytes", json.length, LIMITS.tokenizerBytes, "tokenizer.json");
    }
    this.table = table;
    this.bos = bos;
    this.#addsBos = addsBos;
    try {
      const data = JSON.parse(json) as { decoder?: unknown };
      this.stripSpace = steps(data.decoder).some(stripsSpace);
      this.#library = new Library(data, {});
    } catch (cause) {
      const text = `cannot be read: ${(cause as Error).message}`;
      throw new TreadleError("model_format_error", text, { at: "tokenizer.json", cause });
    }
    const control = table.kinds.flatMap((kind, id) => (kind === TokenKind.control ? [id] : []));
    this.#control = new Map(control.map((id) => [this.#text(id), id]));
  }

  /** Ids of a prompt; texts of control tokens are those tokens. `begin`: as a prompt of its own. */
  encode(text: string, begin = false): number[] {
    if (LONE.test(text)) throw invalidRequest("prompt", "the text holds a lone surrogate");
    const { ids } = this.#library.encode(text, { add_special_tokens: false });
    const { bos } = this;
    if (begin && bos !== null && (this.#addsBos || !ids.length) && ids[0] !== bos) {
      return [bos, ...ids];
    }
    return ids;
  }

  /** The text of some ids, control tokens included; bytes that are not UTF-8 become U+FFFD. */
  decode(ids: readonly number[]): string {
    const text = decoder.decode(join(ids.map((id) => this.bytes(id))));
    return this.stripSpace && text.startsWith(" ") ? text.slice(1) : text;
  }

  bytes(id: number): Uint8Array {
    return this.table.data[id] ?? new Uint8Array();
  }

  /** The id of a control token by its text. */
  control(text: string): number | undefined {
    return this.#control.get(text);
  }

  get bosToken(): string {
    return this.bos === null ? "" : this.#text(this.bos);
  }

  get eosToken(): string {
    const [first] = this.table.stopIds;
    return first === undefined ? "" : this.#text(first);
  }

  #text(id: number): string {
    return decoder.decode(this.bytes(id));
  }
}

export function join(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

type Step = Record<string, unknown>;

function steps(part: unknown): Step[] {
  if (typeof part !== "object" || part === null) return [];
  const members = (part as Step)["decoders"];
  return Array.isArray(members) ? members.flatMap(steps) : [part as Step];
}

function stripsSpace(step: Step): boolean {
  if (step["type"] === "Metaspace") {
    return step["prepend_scheme"] !== "never" && step["add_prefix_space"] !== false;
  }
  return step["type"] === "Strip" && step["content"] === " " && Number(step["start"]) > 0;
}
