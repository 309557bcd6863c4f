/**
 * A model's output, split into text and tool calls while it is generated. The output is normally
 * constrained by the format's tag, so calls are well formed; output that ends anywhere is read too:
 * what turns out not to be a call is text. The twin of python/treadle/text/reader.py.
 */
import type { Tool, ToolFormat } from "../types.js";
import { CallBody, type BodyReader, type CallEvent } from "./call_body.js";
import { FramedBody } from "./framed_body.js";
import { SPACE, trim, trimEnd, trimStart } from "./json_scan.js";
import { allowedBy, type Allowed } from "./style.js";

type State = "start" | "thought" | "text" | "between" | "call" | "after";

/**
 * Reads one choice; pieces may be cut anywhere. White space around calls is dropped, inside text it
 * is kept. With `splitReasoning`, what stands between the family's reasoning marks at the start
 * comes as `reasoning` events without the marks; otherwise it is text, marks included.
 */
export class CallReader {
  readonly #format: ToolFormat;
  readonly #split: boolean;
  readonly #silent: readonly string[]; // marks that frame plain text and belong to nothing
  readonly #allowed: (name: string, key: string) => Allowed;
  #held = ""; // input not yet consumed
  #events: CallEvent[] = [];
  #space = ""; // white space that is text only if text follows
  #called = false;
  #body: BodyReader | null = null;
  #raw = ""; // what has been read of a call that has no name yet
  #state: State;

  constructor(format: ToolFormat, tools: readonly Tool[] = [], splitReasoning = false) {
    this.#format = format;
    this.#split = splitReasoning;
    this.#silent = [...format.text, format.closing, format.joint].filter((mark) => mark !== "");
    const parameters = new Map(tools.map((tool) => [tool.name, tool.parameters]));
    this.#allowed = (name, key) => allowedBy(parameters.get(name), key);
    this.#state = format.reasoning ? "start" : "text";
  }

  /** The events that this piece of output completes. */
  push(text: string): CallEvent[] {
    this.#held += text;
    while (this.#step());
    return this.#take();
  }

  /** Ends the output wherever it stands: a call with a name ends, one without is text. */
  finish(): CallEvent[] {
    if (this.#state === "call") {
      if (this.#body!.named) this.#events.push({ kind: "end", value: "" });
      else this.#emitText(this.#raw + this.#held);
    } else if (this.#state === "thought") this.#emitThought(this.#held);
    else if (this.#state === "start" || this.#state === "text") this.#emitText(this.#held);
    if (this.#space && !this.#called) this.#events.push({ kind: "text", value: this.#space });
    this.#held = this.#space = this.#raw = "";
    this.#state = "text";
    return this.#take();
  }

  /** The events so far, neighbouring pieces of the same kind joined. */
  #take(): CallEvent[] {
    const joined: CallEvent[] = [];
    for (const event of this.#events) {
      const last = joined.at(-1);
      if (last?.kind === event.kind && event.kind !== "call" && event.kind !== "end") {
        joined[joined.length - 1] = { kind: event.kind, value: last.value + event.value };
      } else if (event.value || event.kind === "end") joined.push(event);
    }
    this.#events = [];
    return joined;
  }

  /** One move; false when more input is needed. */
  #step(): boolean {
    if (this.#state === "start") return this.#inStart();
    if (this.#state === "thought") return this.#inThought();
    if (this.#state === "text") return this.#inText();
    if (this.#state === "between") return this.#inBetween();
    return this.#state === "after" ? this.#inAfter() : this.#inCall();
  }

  #inStart(): boolean {
    const { begin } = this.#format.reasoning!;
    const seen = trimStart(this.#held);
    if (seen.startsWith(begin)) {
      if (this.#split) this.#held = seen.slice(begin.length);
      this.#state = "thought";
      return true;
    }
    if (begin.startsWith(seen)) return false; // also nothing but white space so far
    this.#state = "text";
    return true;
  }

  #inThought(): boolean {
    const { end } = this.#format.reasoning!;
    const at = this.#held.indexOf(end);
    if (at < 0) {
      const shown = this.#held.length - overlap(this.#held, [end]);
      this.#emitThought(this.#held.slice(0, shown));
      this.#held = this.#held.slice(shown);
      return false;
    }
    this.#emitThought(this.#held.slice(0, this.#split ? at : at + end.length));
    this.#held = this.#held.slice(at + end.length);
    if (this.#split) this.#called = true; // the space behind it belongs to neither
    this.#state = "text";
    return true;
  }

  #inText(): boolean {
    const marks = [...triggers(this.#format), ...this.#silent];
    const found = marks.map((mark) => this.#held.indexOf(mark)).filter((at) => at >= 0);
    if (!found.length) {
      const shown = this.#held.length - overlap(this.#held, marks);
      this.#emitText(this.#held.slice(0, shown));
      this.#held = this.#held.slice(shown);
      return false;
    }
    const at = Math.min(...found);
    this.#emitText(this.#held.slice(0, at));
    this.#raw = "";
    this.#held = this.#held.slice(at);
    const silent = this.#silent.find((mark) => this.#held.startsWith(mark));
    if (silent !== undefined) {
      this.#held = this.#held.slice(silent.length);
      this.#called = true; // the space around the mark belongs to neither side
      return true;
    }
    this.#open(true);
    return true;
  }

  #open(first: boolean): void {
    const { call } = this.#format;
    const framed = call.body === "slots";
    this.#body = framed ? new FramedBody(call, first, this.#allowed) : new CallBody(call, first);
    this.#state = "call";
  }

  #inCall(): boolean {
    const body = this.#body!;
    const piece = this.#held;
    this.#held = "";
    const [used, events] = body.push(piece);
    // A framed call sees its end only by reading on: it may give back more than this piece.
    this.#held = used >= 0 ? piece.slice(used) : body.rest;
    if (body.named) {
      this.#events.push(...events);
      this.#space = this.#raw = "";
      this.#called = true;
    } else this.#raw += piece.slice(0, Math.max(used, 0));
    if (body.failed) {
      // No call after all: its first character is text, the rest is read again.
      const again = this.#raw + this.#held;
      this.#emitText(again.slice(0, 1));
      this.#held = again.slice(1);
      this.#raw = "";
      this.#state = "text";
      return this.#held !== "";
    }
    if (!body.done) return false;
    this.#state = this.#format.call.many === "array" ? "between" : "after";
    return true;
  }

  /** Inside the array of calls: a comma and another, or the bracket that closes it. */
  #inBetween(): boolean {
    if (this.#format.call.body === "slots") return this.#inWrapper();
    const rest = trimStart(this.#held, SPACE + ",");
    this.#held = rest;
    if (!rest) return false;
    if (rest[0] === "{") this.#open(false);
    else {
      this.#held = rest[0] === "]" ? rest.slice(1) : rest;
      this.#state = "after";
    }
    return true;
  }

  /** Inside a wrapper: its end, or another call. */
  #inWrapper(): boolean {
    const rest = trimStart(this.#held);
    const end = trim(this.#format.call.wrapper_end);
    this.#held = rest;
    if (rest.startsWith(end)) {
      this.#held = rest.slice(end.length);
      this.#state = "text";
      return true;
    }
    if (end.startsWith(rest)) return false;
    this.#open(false);
    return true;
  }

  /** After a call: its closing mark, if there is one, belongs to it. */
  #inAfter(): boolean {
    const { call } = this.#format;
    // The bracket of an array has been read with the calls.
    const mark = trim(call.many === "array" ? trimStart(call.end, "]") : call.end);
    const seen = trimStart(this.#held);
    if (mark && seen.startsWith(mark)) this.#held = seen.slice(mark.length);
    else if (mark && mark.startsWith(seen)) return false; // the mark may still come
    this.#state = call.wrapper_end ? "between" : "text";
    return true;
  }

  #emitThought(text: string): void {
    if (this.#split) this.#events.push({ kind: "reasoning", value: text });
    else this.#emitText(text);
  }

  /** Text, with white space at its end held back until more text shows that it counts. */
  #emitText(text: string): void {
    const whole = this.#space + text;
    let body = trimEnd(whole);
    this.#space = whole.slice(body.length);
    if (!body) return;
    if (this.#called) {
      body = trimStart(body);
      this.#called = false;
    }
    this.#events.push({ kind: "text", value: body });
  }
}

/** What tells that a call begins, in plain text. */
export function triggers({ call }: ToolFormat): string[] {
  if (call.also.length && !call.wrapper_begin) {
    const heads = [call.begin, ...call.also].map((begin) => begin.split("{", 1)[0]!);
    return [...new Set(heads)];
  }
  return [call.trigger, call.lead].filter((mark) => mark !== "");
}

/** Length of the longest end of `text` that begins one of the marks. */
function overlap(text: string, marks: readonly string[]): number {
  const longest = Math.max(1, ...marks.map((mark) => mark.length)) - 1;
  for (let size = Math.min(longest, text.length); size > 0; size -= 1) {
    const end = text.slice(text.length - size);
    if (marks.some((mark) => mark.startsWith(end))) return size;
  }
  return 0;
}
