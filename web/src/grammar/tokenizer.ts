/**
 * The token table of a `tokenizer.json`: bytes and kind of every id. The twin of
 * python/treadle/text/table.py; a test compares the hashes of both.
 */
import { invalidRequest, TreadleError } from "../errors.js";
import { TokenKind, type TokenTable } from "./vocab.js";

/** What the files beside a tokenizer.json say of the end of a turn; both are theirs by name. */
export interface TokenizerConfig {
  /** tokenizer_config.json: a text, or an object with `content`. */
  eos_token?: string | { content?: string } | null;
  /** generation_config.json. */
  eos_token_id?: number | readonly number[] | null;
}

type Json = Record<string, unknown>;
type Speller = (piece: string) => Uint8Array;

// Control tokens that end a turn in some family, whatever the files call the end.
const TURN_ENDS = [
  "<|im_end|>",
  "<|eot_id|>",
  "<|eom_id|>",
  "<|end_of_text|>",
  "<|endoftext|>",
  "<|end|>",
  "<end_of_turn>",
  "</s>",
  "<eos>",
  "<｜end▁of▁sentence｜>",
];
const MOST_IDS = 4_000_000;
const encoder = new TextEncoder();

/** Reads byte-level and SentencePiece BPE. Throws `model_format_error`. */
export function tokenTable(source: string, config: TokenizerConfig = {}): TokenTable {
  const file = parse(source);
  const model = object(file["model"], "model");
  const type = model["type"] ?? ("merges" in model ? "BPE" : null);
  if (type !== "BPE") throw wrong(`model type ${String(type)} is not supported`, "use a BPE tokeniser");
  const pieces = ids(Object.entries(object(model["vocab"], "model.vocab")));
  const added = addedTokens(file["added_tokens"]);
  const known = new Map([...pieces, ...added.map(({ content, id }) => [content, id] as const)]);
  const size = Math.max(-1, ...chunked([...known.values()])) + 1;

  const { spell, fallback } = speller(file["decoder"]);
  const data = Array.from({ length: size }, (): Uint8Array => new Uint8Array());
  const kinds = Array.from({ length: size }, (): TokenKind => TokenKind.unused);
  for (const [piece, id] of pieces) {
    const byte = fallback ? fallbackByte(piece) : undefined;
    data[id] = byte === undefined ? spell(piece) : Uint8Array.of(byte);
    kinds[id] = byte === undefined ? TokenKind.normal : TokenKind.byte;
  }
  const special = new Map<string, number>();
  for (const token of added) {
    data[token.id] = encoder.encode(token.content);
    kinds[token.id] = token.special ? TokenKind.control : TokenKind.normal;
    if (token.special) special.set(token.content, token.id);
  }
  const unknown = model["unk_token"];
  const unknownId = typeof unknown === "string" ? pieces.get(unknown) : undefined;
  if (unknownId !== undefined) kinds[unknownId] = TokenKind.control;
  const stops = [...endsOf(config, known), ...TURN_ENDS.flatMap((text) => special.get(text) ?? [])];
  for (const id of stops) {
    if (id >= size) throw wrong(`end-of-turn id ${id} is outside the vocabulary of ${size}`);
    kinds[id] = TokenKind.control;
  }
  return { data, kinds, stopIds: [...new Set(stops)] };
}

function wrong(text: string, hint = ""): TreadleError {
  return new TreadleError("model_format_error", text, { at: "tokenizer.json", hint });
}

function parse(source: string): Json {
  try {
    return object(JSON.parse(source), "the file");
  } catch (error) {
    if (error instanceof TreadleError) throw error;
    throw wrong(`not JSON: ${(error as Error).message}`, "fetch it again");
  }
}

function object(value: unknown, name: string): Json {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Json;
  throw wrong(`${name} is not an object`);
}

function ids(entries: readonly (readonly [string, unknown])[]): Map<string, number> {
  return new Map(entries.map(([piece, id]) => [piece, tokenId(piece, id)]));
}

function tokenId(piece: string, id: unknown): number {
  if (typeof id === "number" && Number.isInteger(id) && id >= 0 && id < MOST_IDS) return id;
  throw wrong(`token ${piece.slice(0, 40)} has id ${String(id)}, expected 0 to ${MOST_IDS - 1}`);
}

interface Added {
  content: string;
  id: number;
  special: boolean;
}

function addedTokens(value: unknown): Added[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw wrong("added_tokens is not a list of objects");
  return value.map((entry: unknown, i) => {
    const token = object(entry, `added_tokens[${i}]`);
    const content = token["content"];
    if (typeof content !== "string" || content === "") {
      throw wrong(`added_tokens[${i}].content is not a text`);
    }
    return { content, id: tokenId(content, token["id"]), special: token["special"] === true };
  });
}

/** Math.max takes no hundred thousand arguments: the greatest of each thousand. */
function chunked(values: readonly number[]): number[] {
  const out: number[] = [];
  for (let at = 0; at < values.length; at += 1000) {
    out.push(Math.max(...values.slice(at, at + 1000)));
  }
  return out;
}

function endsOf(config: TokenizerConfig, known: ReadonlyMap<string, number>): number[] {
  const listed = config.eos_token_id ?? [];
  const several = typeof listed === "number" ? [listed] : listed;
  for (const id of several) {
    if (!Number.isInteger(id) || id < 0) throw invalidRequest("eos_token_id", `got ${id}`);
  }
  const { eos_token: token } = config;
  const text = typeof token === "string" ? token : token?.content;
  const first = text ? known.get(text) : undefined;
  return [...new Set(first === undefined ? several : [first, ...several])];
}

function steps(part: unknown): Json[] {
  if (part === undefined || part === null) return [];
  const step = object(part, "decoder");
  const members = step["decoders"];
  const isSequence = step["type"] === "Sequence" && Array.isArray(members);
  return isSequence ? members.flatMap(steps) : [step];
}

function speller(decoder: unknown): { spell: Speller; fallback: boolean } {
  const decoders = steps(decoder);
  const names = new Set(decoders.map((step) => String(step["type"])));
  if (names.has("ByteLevel")) return { spell: byteLevel(), fallback: false };
  const readable = ["Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"];
  if (names.size === 0 || [...names].some((name) => !readable.includes(name))) {
    const text = `decoder ${[...names].join(", ") || "none"} is not supported`;
    throw wrong(text, "treadle reads byte-level and SentencePiece decoders");
  }
  const swaps = decoders.flatMap((step): [string, string][] => {
    if (step["type"] === "Replace") return [replacement(step)];
    return step["type"] === "Metaspace" ? [[String(step["replacement"] ?? "▁"), " "]] : [];
  });
  const spell = (piece: string) =>
    encoder.encode(swaps.reduce((text, [old, fresh]) => text.replaceAll(old, fresh), piece));
  return { spell, fallback: names.has("ByteFallback") };
}

function replacement(step: Json): [string, string] {
  const pattern = step["pattern"];
  const old = typeof pattern === "object" && pattern !== null ? (pattern as Json)["String"] : null;
  const content = step["content"];
  if (typeof old === "string" && old && typeof content === "string") return [old, content];
  throw wrong("decoder Replace needs a plain string pattern and content");
}

/**
 * Every byte has one printable character: its own in Latin-1 where that is printable, else one from
 * U+0100 on. A piece with another character stands for its own text.
 * Source: Radford et al., Language Models are Unsupervised Multitask Learners (GPT-2), 2.2.
 */
function byteLevel(): Speller {
  const byteOf = new Map<number, number>();
  let hidden = 0x100;
  for (let byte = 0; byte < 256; byte += 1) {
    const plain = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    byteOf.set(plain ? byte : hidden++, byte);
  }
  return (piece) => {
    const out = new Uint8Array(piece.length);
    for (let i = 0; i < piece.length; i += 1) {
      const byte = byteOf.get(piece.charCodeAt(i));
      if (byte === undefined) return encoder.encode(piece);
      out[i] = byte;
    }
    return out;
  };
}

function fallbackByte(piece: string): number | undefined {
  const found = /^<0x([0-9A-Fa-f]{2})>$/.exec(piece);
  return found?.[1] === undefined ? undefined : parseInt(found[1], 16);
}
