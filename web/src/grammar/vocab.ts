/** Vocabularies: the tokens of one model as the core sees them. */
import type { Core } from "../core.js";
import { invalidRequest } from "../errors.js";
import { Owned } from "./owned.js";
import { HEADER_WORDS, MAGIC, wholeNumber, type TokenTable } from "./table.js";

export { TokenKind, unpackVocab, wholeNumber, type TokenTable } from "./table.js";

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
