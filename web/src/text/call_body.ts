/**
 * One tool call while it is read: from its trigger to the end of its object. The twin of
 * python/treadle/text/call_body.py.
 */
import type { CallForm } from "../types.js";
import { SPACE, trimStart, ValueScan } from "./json_scan.js";

/**
 * text, reasoning: a piece of it. call: a call begins, `value` = name. arguments: a piece of the
 * argument JSON. end: the call is over.
 */
export interface CallEvent {
  readonly kind: "text" | "reasoning" | "call" | "arguments" | "end";
  readonly value: string;
}

/** What reads one call: `push` answers [characters consumed, events]; negative = see `rest`. */
export interface BodyReader {
  readonly named: boolean;
  readonly done: boolean;
  readonly failed: boolean;
  readonly rest: string;
  push(piece: string): [number, CallEvent[]];
}

const NAME_CHARS = 256; // a bare name longer than this is no name

export class CallBody implements BodyReader {
  named = false;
  done = false;
  failed = false;
  readonly rest = "";
  readonly #form: CallForm;
  readonly #first: boolean; // the trigger stands before it
  #head = "";
  #key: string | null = null;
  #text = ""; // of the key or value being read, unless it is streamed
  #scan: ValueScan | null = null;
  #early = ""; // arguments that came before the name
  #arguments = false;
  #streams = false;
  #events: CallEvent[] = [];
  #want: "open" | "key" | "colon" | "value" | "comma" = "open";

  constructor(form: CallForm, first: boolean) {
    this.#form = form;
    this.#first = first;
  }

  push(piece: string): [number, CallEvent[]] {
    this.#events = [];
    let used = 0;
    while (used < piece.length && !this.done && !this.failed) {
      used += this.#advance(piece.slice(used));
    }
    return [used, this.#events];
  }

  #advance(piece: string): number {
    if (this.#scan !== null) return this.#value(this.#scan, piece);
    if (this.#want === "open") return this.#opening(piece);
    const char = piece[0]!;
    if (SPACE.includes(char)) return 1;
    if (this.#form.body === "name") return this.#start("arguments"); // the bare argument object
    if (this.#want === "key" || this.#want === "value") {
      if (this.#want === "key" && char === "}") {
        this.#close();
        return 1;
      }
      if (this.#want === "key" && char !== '"') return this.#fail();
      return this.#start(this.#want);
    }
    if (!(this.#want === "colon" ? ":" : ",}").includes(char)) return this.#fail();
    if (char === "}") this.#close();
    else this.#want = char === ":" ? "value" : "key";
    return 1;
  }

  /** Everything before the object's first key, or the bare name before its arguments. */
  #opening(piece: string): number {
    const form = this.#form;
    const whole = this.#head + piece;
    let start = 0;
    if (this.#first) {
      for (const mark of [form.lead, form.trigger]) {
        const inner = form.body === "name" || !mark.startsWith("{") ? mark : "";
        if (inner && whole.startsWith(inner, start)) start += inner.length;
        else if (inner && !start && inner.startsWith(whole)) {
          this.#head = whole;
          return piece.length;
        }
      }
    }
    if (form.body === "name") return this.#bareName(whole, start, piece.length);
    const rest = trimStart(whole.slice(start), SPACE + "[");
    if (!rest) {
      this.#head = whole;
      return piece.length;
    }
    if (rest[0] !== "{") return this.#fail();
    this.#want = "key";
    return whole.length - rest.length + 1 - this.#head.length;
  }

  #bareName(whole: string, start: number, fresh: number): number {
    const { middle } = this.#form;
    const at = whole.indexOf(middle, start);
    if (at < 0) {
      this.#head = whole;
      this.failed = whole.length - start > NAME_CHARS;
      return fresh;
    }
    const name = whole.slice(start, at).split("[CALL_ID]")[0]!.trim();
    if (!name) return this.#fail();
    this.#begin(name);
    this.#want = "value";
    return at + middle.length - this.#head.length;
  }

  #start(what: "key" | "value" | "arguments"): number {
    this.#scan = new ValueScan();
    this.#text = "";
    if (what === "key") this.#key = null;
    else if (what === "arguments") this.#key = this.#form.args;
    // A second `arguments` member is read over: its text would not be JSON beside the first.
    this.#streams = what !== "key" && this.#key === this.#form.args && !this.#arguments;
    return 0;
  }

  #value(scan: ValueScan, piece: string): number {
    const count = scan.push(piece);
    const part = piece.slice(0, count);
    if (!this.#streams) this.#text += part;
    else {
      this.#arguments = true;
      if (this.named) this.#events.push({ kind: "arguments", value: part });
      else this.#early += part;
    }
    if (scan.done) {
      this.#scan = null;
      this.#ended();
    }
    return count;
  }

  /** A key or a value is complete. */
  #ended(): void {
    if (this.#want === "key") {
      this.#key = textOf(this.#text);
      this.#want = "colon";
      return;
    }
    if (this.#key === this.#form.name && !this.named && this.#form.body === "json") {
      const name = textOf(this.#text);
      if (name === null) {
        this.failed = true;
        return;
      }
      this.#begin(name);
    }
    this.#want = "comma";
    if (this.#form.body === "name") this.#close();
  }

  #begin(name: string): void {
    this.named = true;
    this.#events.push({ kind: "call", value: name });
    if (this.#early) this.#events.push({ kind: "arguments", value: this.#early });
  }

  #close(): void {
    if (!this.named) {
      this.failed = true;
      return;
    }
    if (!this.#arguments) this.#events.push({ kind: "arguments", value: "{}" });
    this.#events.push({ kind: "end", value: "" });
    this.done = true;
  }

  #fail(): number {
    this.failed = true;
    return 0;
  }
}

function textOf(text: string): string | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "string" ? value : null;
  } catch {
    return null;
  }
}
