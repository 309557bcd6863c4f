/**
 * One tool call whose begin holds the name in a slot, while it is read: `begin` with `{name}` and
 * perhaps a counting `{index}` in it, then the arguments as JSON or in a style. The twin of
 * python/treadle/text/framed_body.py.
 */
import type { CallForm } from "../types.js";
import type { BodyReader, CallEvent } from "./call_body.js";
import { SPACE, trim, trimStart, ValueScan } from "./json_scan.js";
import { Incomplete, Malformed, readMember, type Allowed } from "./style.js";

const SLOT = /(\{name\}|\{index\})/;
const NAME_CHARS = 256; // a longer name is no name
const NAME_ENDS = '<>"{}\n\r\t ';

export class FramedBody implements BodyReader {
  named = false;
  done = false;
  failed = false;
  readonly #form: CallForm;
  readonly #wrapper: string;
  readonly #allowed: (name: string, key: string) => Allowed;
  #held = "";
  #name = "";
  #scan: ValueScan | null = null;
  #members = 0;
  #events: CallEvent[] = [];

  constructor(form: CallForm, first: boolean, allowed: (name: string, key: string) => Allowed) {
    this.#form = form;
    this.#wrapper = first ? form.wrapper_begin : "";
    this.#allowed = allowed;
  }

  /** What was read and belongs to whatever follows the call. */
  get rest(): string {
    return this.#held;
  }

  push(piece: string): [number, CallEvent[]] {
    this.#events = [];
    const before = this.#held.length;
    this.#held += piece;
    const whole = this.#held.length;
    try {
      if (!this.named) this.#opening();
      if (this.#form.row === null) this.#json();
      else while (!this.done) this.#member();
    } catch (error) {
      if (error instanceof Malformed) {
        this.failed = !this.named;
        this.done = this.named;
        if (this.named) this.#close();
      } else if (!(error instanceof Incomplete)) throw error;
    }
    return [this.done ? whole - before - this.#held.length : piece.length, this.#events];
  }

  /** The wrapper's begin, if this call comes first in it, and one of the begins. */
  #opening(): void {
    const at = this.#wrapper ? literal(this.#held, 0, this.#wrapper) : 0;
    let waiting = false;
    for (const begin of [this.#form.begin, ...this.#form.also]) {
      try {
        const [end, name] = slots(this.#held, skip(this.#held, at, begin), begin);
        this.#name = name;
        this.#held = this.#held.slice(end);
        this.named = true;
        this.#events.push({ kind: "call", value: name });
        return;
      } catch (error) {
        if (error instanceof Incomplete) waiting = true;
        else if (!(error instanceof Malformed)) throw error;
      }
    }
    throw waiting ? new Incomplete() : new Malformed();
  }

  #json(): void {
    if (this.#scan === null) {
      this.#held = trimStart(this.#held);
      if (!this.#held) throw new Incomplete();
      if (this.#held[0] !== "{") throw new Malformed();
      this.#scan = new ValueScan();
    }
    const count = this.#scan.push(this.#held);
    this.#events.push({ kind: "arguments", value: this.#held.slice(0, count) });
    this.#members += count > 0 ? 1 : 0;
    this.#held = this.#held.slice(count);
    if (this.#scan.done) this.#finish();
  }

  /** The next member as a piece of JSON, or the end of the call. */
  #member(): void {
    const row = this.#form.row!;
    const text = trimStart(this.#held);
    const end = trim(this.#form.end);
    if (text.startsWith(end)) throw new Malformed(); // the end of the call, which is the reader's
    if (end.startsWith(text) || row.begin.startsWith(text)) {
      throw new Incomplete(); // even a whole begin: the end of the call may begin like it
    }
    if (!text.startsWith(row.begin)) throw new Malformed();
    const [after, key, value] = readMember(row, text, 0, (name) => this.#allowed(this.#name, name));
    const piece = `${this.#members ? ", " : "{"}${JSON.stringify(key)}: ${value}`;
    this.#events.push({ kind: "arguments", value: piece });
    this.#members += 1;
    this.#held = text.slice(after);
  }

  #close(): void {
    const styled = this.#form.row !== null;
    if (styled || !this.#members) {
      this.#events.push({ kind: "arguments", value: styled && this.#members ? "}" : "{}" });
    }
    this.#finish();
  }

  #finish(): void {
    this.#events.push({ kind: "end", value: "" });
    this.done = true;
  }
}

function literal(text: string, at: number, mark: string): number {
  if (text.startsWith(mark, at)) return at + mark.length;
  throw mark.startsWith(text.slice(at)) ? new Incomplete() : new Malformed();
}

/** White space before a begin that does not start with any. */
function skip(text: string, at: number, begin: string): number {
  if (SPACE.includes(begin[0] ?? "x")) return at;
  while (at < text.length && SPACE.includes(text[at]!)) at += 1;
  return at;
}

/** [end, name] of a begin with slots. */
function slots(text: string, at: number, begin: string): [number, string] {
  const parts = begin.split(SLOT).filter((part) => part !== "");
  let name = "";
  for (const [i, part] of parts.entries()) {
    if (part !== "{name}" && part !== "{index}") {
      at = literal(text, at, part);
      continue;
    }
    const after = parts[i + 1] ?? "";
    let end = at;
    while (
      end < text.length &&
      !(after ? text.startsWith(after, end) : NAME_ENDS.includes(text[end]!))
    ) {
      end += 1;
    }
    if (end - at > NAME_CHARS) throw new Malformed();
    if (end === text.length) throw new Incomplete();
    const word = text.slice(at, end);
    if (end === at || (part === "{index}" && !/^\p{Nd}+$/u.test(word))) throw new Malformed();
    if (part === "{name}") name = word;
    at = end;
  }
  return [at, name];
}
