/** Vocabularies: the tokens of one model as the core sees them. */
import type { Core } from "../core.js";
import { invalidRequest, TreadleError } from "../errors.js";
import { Owned } from "./owned.js";

/** The numbers are those of `treadle.types.TokenKind`. */
export const TokenKind = { normal: 0, control: 1, byte: 2, unused: 3 } as const;
export type TokenKind = (typeof TokenKind)[keyof typeof TokenKind];

/** Bytes and kind of every id, and the ids that end a turn. */
export interface TokenTable {
  readonly data: readonly Uint8Array[];
  readonly kinds: readonly TokenKind[];
  readonly stopIds: readonly number[];
}

/**
 * Immutable. `size` is the model's V: ids beyond the table are unused, tokens beyond `size` are left
 * out. Control and unused tokens are never part of a text; stop tokens end it.
 */
export class Vocab extends Owned {
  /** V: how many ids a mask row covers. */
  readonly size: number;
  /** 128 bits over bytes, kinds, stop ids and size, as in Python. */
  readonly hash: string;
  /** The tokens that end a text unless a matcher says otherwise. */
  readonly stopIds: readonly number[];

  /** `source`: a table, or the bytes of a packed one (`vocab.bin`). */
  constructor(core: Core, source: TokenTable | Uint8Array, size?: number) {
    if (source instanceof Uint8Array && size !== undefined) {
      throw invalidRequest("size", "packed vocabularies carry their size", "leave it out");
    }
    const block = source instanceof Uint8Array ? source : packVocab(source, size);
    const handle = core.lend([block], (at = 0) => core.call("tr_vocab_load", at, block.length));
    super(core, "tr_vocab_free", handle);
    const text = core.text((at, n) => core.call("tr_vocab_info", handle, at, n));
    const info = JSON.parse(text) as { size: number; hash: string; stopIds: number[] };
    this.size = info.size;
    this.hash = info.hash;
    this.stopIds = info.stopIds;
  }
}

const HEADER_WORDS = 5;
const MAGIC = 0x31565254; // "TRV1"

/** `vocab.bin`, format 1; cpp/bind/wasm_vocab.cc describes it. */
export function packVocab(table: TokenTable, size?: number): Uint8Array {
  const { data, kinds } = table;
  const tokens = data.length;
  if (kinds.length !== tokens) {
    throw invalidRequest("vocab", `${tokens} tokens but ${kinds.length} kinds`, "give one a token");
  }
  const width = wholeNumber("size", size ?? tokens);
  const stops = table.stopIds.filter((id) => wholeNumber("stopIds", id) < width);
  const text = data.reduce((sum, token) => sum + token.length, 0);
  const words = HEADER_WORDS + stops.length + tokens;
  const block = new Uint8Array(words * 4 + tokens + text);
  const view = new DataView(block.buffer);
  const head = [MAGIC, tokens, width, stops.length, text, ...stops];
  head.forEach((word, i) => view.setUint32(i * 4, word, true));
  let at = words * 4;
  for (const [id, kind] of kinds.entries()) {
    view.setUint32((HEADER_WORDS + stops.length + id) * 4, data[id]?.length ?? 0, true);
    block[at + id] = kind;
  }
  at += tokens;
  for (const token of data) {
    block.set(token, at);
    at += token.length;
  }
  return block;
}

/** Throws unless `value` is an integer that fits 32 bits. */
export function wholeNumber(at: string, value: number): number {
  if (Number.isInteger(value) && value >= 0 && value <= 0xffffffff) return value;
  throw invalidRequest(at, `got ${value}`, "give a whole number from 0 to 4294967295");
}

/** The table of a packed vocabulary; its bytes are views of `block`. Throws `model_format_error`. */
export function unpackVocab(block: Uint8Array): TokenTable {
  const wrong = (text: string) => new TreadleError("model_format_error", text, { at: "vocab.bin" });
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
  const header = HEADER_WORDS * 4;
  if (block.length < header || view.getUint32(0, true) !== MAGIC) throw wrong("has no header");
  const [tokens = 0, , stops = 0, text = 0] = [1, 2, 3, 4].map((i) => view.getUint32(i * 4, true));
  let at = header + (stops + tokens) * 4;
  if (block.length !== at + tokens + text) throw wrong(`${block.length} bytes do not fit its header`);
  const kinds = Array.from(block.subarray(at, at + tokens)) as TokenKind[];
  at += tokens;
  const data = Array.from({ length: tokens }, (_, id) => {
    const length = view.getUint32(header + (stops + id) * 4, true);
    const bytes = block.subarray(at, at + length);
    at += length;
    return bytes;
  });
  if (at !== block.length) throw wrong("the lengths of its tokens do not add up");
  const stopIds = Array.from({ length: stops }, (_, i) => view.getUint32(header + i * 4, true));
  return { data, kinds, stopIds };
}
