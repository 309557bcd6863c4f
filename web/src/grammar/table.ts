/** Vocabularies as plain data: what text needs of them, without the WebAssembly core. */
import { invalidRequest, TreadleError } from "../errors.js";

/** The numbers are those of `treadle.types.TokenKind`. */
export const TokenKind = { normal: 0, control: 1, byte: 2, unused: 3 } as const;
export type TokenKind = (typeof TokenKind)[keyof typeof TokenKind];

/** Bytes and kind of every id, and the ids that end a turn. */
export interface TokenTable {
  readonly data: readonly Uint8Array[];
  readonly kinds: readonly TokenKind[];
  readonly stopIds: readonly number[];
}

/** `vocab.bin`, format 1; cpp/bind/wasm_vocab.cc describes it. */
export const HEADER_WORDS = 5;
export const MAGIC = 0x31565254; // "TRV1"

/** Throws unless `value` is an integer that fits 32 bits. */
export function wholeNumber(at: string, value: number): number {
  if (Number.isInteger(value) && value >= 0 && value <= 0xffffffff) return value;
  throw invalidRequest(at, `got ${value}`, "give a whole number from 0 to 4294967295");
}

/** The table of a packed vocabulary, and its V; its bytes are views of `block`. Throws `model_format_error`. */
export function unpackVocab(block: Uint8Array): TokenTable & { readonly size: number } {
  const wrong = (text: string) => new TreadleError("model_format_error", text, { at: "vocab.bin" });
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
  const header = HEADER_WORDS * 4;
  if (block.length < header || view.getUint32(0, true) !== MAGIC) throw wrong("has no header");
  const [tokens = 0, width = 0, stops = 0, text = 0] = [1, 2, 3, 4].map((i) => view.getUint32(i * 4, true));
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
  return { data, kinds, stopIds, size: width || tokens };
}
