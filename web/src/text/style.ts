/**
 * Argument styles: members of a call that are not written as JSON, read and written. The twin of
 * python/treadle/text/styles.py; the rows come with the bundle's tool format.
 */
import type { JsonObject, StyleRow } from "../types.js";
import { jsonEnd, SPACE, trim } from "./json_scan.js";
import { pythonJson } from "./python_json.js";

const DEPTH = 100; // nesting of arrays and objects that is followed
const KEY_CHARS = 1_000; // a longer key is no key

/** Whether the schema of a key allows a string, and anything else. */
export type Allowed = readonly [text: boolean, other: boolean];
export const ANY: Allowed = [true, true];

/** The text ends inside what is being read. */
export class Incomplete extends Error {}
/** The text is not what is being read. */
export class Malformed extends Error {}

/** All members, as the model would write them. */
export function writeMembers(row: StyleRow, args: JsonObject): string {
  return Object.entries(args)
    .map(([key, value]) => {
      const head = row.begin + key + row.key_end + row.value_begin + typeOf(row, value);
      const body = row.line + writeValue(row, value) + row.line;
      return head + body + row.close.replace("{key}", () => key) + row.gap;
    })
    .join("");
}

function typeOf(row: StyleRow, value: unknown): string {
  return row.types.length ? row.types[place(value)] + row.type_end : "";
}

function writeValue(row: StyleRow, value: unknown): string {
  if (typeof value === "string") return value;
  if (row.item_begin && Array.isArray(value)) {
    return value
      .map((v) => row.item_begin + typeOf(row, v) + writeValue(row, v) + row.item_end)
      .join("");
  }
  const nested = row.item_begin && typeof value === "object" && value !== null;
  return nested ? writeMembers(row, value as JsonObject) : pythonJson(value);
}

/** [end, key, value as JSON text] of the member at `at`. Throws Incomplete, Malformed. */
export function readMember(
  row: StyleRow,
  text: string,
  at: number,
  allowed: (key: string) => Allowed,
): [number, string, string] {
  at = expect(text, at, row.begin);
  const found = text.indexOf(row.key_end, at);
  if (found < 0 || found - at > KEY_CHARS) throw tooLong(text, at);
  const key = text.slice(at, found);
  at = found + row.key_end.length;
  if (row.value_begin) at = expect(text, skip(text, at), row.value_begin);
  const close = row.close.replace("{key}", () => key);
  const [end, value] = readValue(row, text, at, close, allowed(key), 0);
  return [end, key, value];
}

/** A value from its type on, and its close. */
function readValue(
  row: StyleRow,
  text: string,
  at: number,
  close: string,
  allowed: Allowed,
  depth: number,
): [number, string] {
  if (depth > DEPTH) throw new Malformed();
  let kind = "";
  if (row.types.length) {
    const end = text.indexOf(row.type_end, at);
    if (end < 0) throw tooLong(text, at);
    kind = text.slice(at, end);
    at = end + row.type_end.length;
    allowed = kind === row.types[0] ? [true, false] : [false, true];
  }
  if (row.item_begin && (!row.types.length || row.types.slice(4).includes(kind))) {
    const nested = readNested(row, text, at, close, kind, depth);
    if (nested) return nested;
  }
  if (!allowed[0]) {
    const found = readJson(text, at, close);
    if (found) return found;
  }
  const end = text.indexOf(close, at);
  if (end < 0) throw new Incomplete();
  return [end + close.length, plain(row, text.slice(at, end), allowed)];
}

/** Items or members up to `close`; undefined if there are none. */
function readNested(
  row: StyleRow,
  text: string,
  at: number,
  close: string,
  kind: string,
  depth: number,
): [number, string] | undefined {
  const items: string[] = [];
  const members: string[] = [];
  for (;;) {
    const next = skip(text, at);
    const some = items.length > 0 || members.length > 0 || kind !== "";
    if (some && starts(text, next, close)) {
      const listed = items.length > 0 || (row.types.length > 0 && kind === row.types[4]);
      const joined = listed ? `[${items.join(", ")}]` : `{${members.join(", ")}}`;
      return [next + close.length, joined];
    }
    if (!members.length && starts(text, next, row.item_begin)) {
      const start = next + row.item_begin.length;
      const [end, value] = readValue(row, text, start, row.item_end, ANY, depth + 1);
      items.push(value);
      at = end;
    } else if (!items.length && starts(text, next, row.begin)) {
      const start = next + row.begin.length;
      const end = text.indexOf(row.key_end, start);
      if (end < 0) throw new Incomplete();
      if (!members.length && !kind && text.startsWith("/", start)) return undefined; // the close
      const key = text.slice(start, end);
      const shut = row.close.replace("{key}", () => key);
      const [after, value] = readValue(row, text, end + row.key_end.length, shut, ANY, depth + 1);
      members.push(`${JSON.stringify(key)}: ${value}`);
      at = after;
    } else if (some) {
      throw new Malformed();
    } else {
      return undefined;
    }
  }
}

/** The JSON for raw text: a string, or another value if that is what the schema wants. */
function plain(row: StyleRow, raw: string, allowed: Allowed): string {
  if (allowed[1]) {
    let value: unknown = "";
    try {
      value = JSON.parse(raw);
    } catch {
      // then it is a string
    }
    if (typeof value !== "string") return trim(raw);
  }
  if (row.line) {
    if (raw.startsWith(row.line)) raw = raw.slice(row.line.length);
    if (raw.endsWith(row.line)) raw = raw.slice(0, -row.line.length);
  }
  return JSON.stringify(raw);
}

/** A JSON value and the close after it; undefined if something else stands here. */
function readJson(text: string, at: number, close: string): [number, string] | undefined {
  const start = skip(text, at);
  const end = jsonEnd(text, start);
  if (end < 0) {
    if (!text.includes(close, at)) throw new Incomplete();
    return undefined;
  }
  const after = skip(text, end);
  if (text.startsWith(close, after)) return [after + close.length, text.slice(start, end)];
  if (close.startsWith(text.slice(after)) || !text.includes(close, at)) throw new Incomplete();
  return undefined;
}

/** What the schema of a call's arguments allows for one key, as far as it says so plainly. */
export function allowedBy(parameters: JsonObject | undefined, key: string): Allowed {
  const properties = parameters?.["properties"];
  return isMap(properties) && Object.hasOwn(properties, key) ? allows(properties[key], 0) : ANY;
}

function allows(schema: unknown, depth: number): Allowed {
  if (!isMap(schema) || depth > 8) return ANY;
  const kinds = schema["type"];
  if (typeof kinds === "string") return [kinds === "string", kinds !== "string"];
  if (Array.isArray(kinds)) return [kinds.includes("string"), kinds.some((k) => k !== "string")];
  const values = "const" in schema ? [schema["const"]] : schema["enum"];
  if (Array.isArray(values)) {
    const texts = values.filter((value) => typeof value === "string").length;
    return [texts > 0, texts < values.length];
  }
  for (const word of ["anyOf", "oneOf"]) {
    const parts = schema[word];
    if (Array.isArray(parts) && parts.length) {
      const found = parts.map((part) => allows(part, depth + 1));
      return [found.some(([text]) => text), found.some(([, other]) => other)];
    }
  }
  return ANY;
}

export function isMap(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function place(value: unknown): number {
  if (typeof value === "string") return 0;
  if (value === null) return 1;
  if (typeof value === "boolean") return 2;
  if (Array.isArray(value)) return 4;
  return typeof value === "object" ? 5 : 3;
}

function skip(text: string, at: number): number {
  while (at < text.length && SPACE.includes(text[at]!)) at += 1;
  return at;
}

/** Whether `mark` stands here. Throws Incomplete when the text ends inside it. */
function starts(text: string, at: number, mark: string): boolean {
  if (text.startsWith(mark, at)) return true;
  if (mark.startsWith(text.slice(at))) throw new Incomplete();
  return false;
}

function expect(text: string, at: number, mark: string): number {
  if (!starts(text, at, mark)) throw new Malformed();
  return at + mark.length;
}

function tooLong(text: string, at: number): Error {
  return text.length - at > KEY_CHARS ? new Malformed() : new Incomplete();
}
