/**
 * The one error of this package. `code` is shared with Python and the core; the message names the
 * place (`at`), what is wrong, and what to do (`hint`).
 */
import { STATUS } from "./generated/codes.js";

/** What happens to a browser's device, memory and storage; Python has no such errors. */
const BROWSER = {
  no_device: 503, // no tier can run here
  device_lost: 503,
  out_of_memory: 503, // the module's or the device's memory is used up
  shader_failed: 500,
  network: 502,
  integrity: 502, // a file is not what its bundle says
  quota: 507, // no room to store a bundle
} as const;

/** Codes of `treadle.errors`, and the browser's own. */
export type ErrorCode = keyof typeof STATUS | keyof typeof BROWSER;

const STATUS_OF: Readonly<Record<ErrorCode, number>> = { ...STATUS, ...BROWSER };

/** Why a grammar cannot be used; "" for errors that are not about a grammar. */
export type Reason = "" | "syntax" | "unsupported" | "unsatisfiable" | "stuck" | "format";

export interface ErrorFields {
  hint?: string;
  at?: string;
  /** The source language: json_schema, regex, ebnf, ... */
  kind?: string;
  /** The offending schema keyword, when there is one. */
  keyword?: string;
  reason?: Reason;
  limit?: string;
  value?: number;
  maximum?: number;
  cause?: unknown;
}

export class TreadleError extends Error {
  override readonly name = "TreadleError";
  readonly code: ErrorCode;
  /** What is wrong, without the place and the hint. */
  readonly text: string;
  readonly hint: string;
  readonly at: string;
  readonly kind: string;
  readonly keyword: string;
  readonly reason: Reason;
  readonly limit: string;
  readonly value: number;
  readonly maximum: number;

  constructor(code: ErrorCode, text: string, fields: ErrorFields = {}) {
    const { hint = "", at = "" } = fields;
    const message = (at ? `${at}: ` : "") + text + (hint ? `; ${hint}` : "");
    super(message, fields.cause === undefined ? {} : { cause: fields.cause });
    this.code = code;
    this.text = text;
    this.hint = hint;
    this.at = at;
    this.kind = fields.kind ?? "";
    this.keyword = fields.keyword ?? "";
    this.reason = fields.reason ?? "";
    this.limit = fields.limit ?? "";
    this.value = fields.value ?? 0;
    this.maximum = fields.maximum ?? 0;
  }

  /** The HTTP status that a server would answer with. */
  get status(): number {
    return STATUS_OF[this.code] ?? 500;
  }

  /** What crosses to another thread; `revive` makes the error of it. */
  toJSON(): Record<string, unknown> {
    return { code: this.code, text: this.text, ...this.#fields() };
  }

  static revive(data: unknown): TreadleError {
    const { code, text, ...fields } = data as ErrorFields & { code: ErrorCode; text: string };
    return new TreadleError(code in STATUS_OF ? code : "treadle_error", text, fields);
  }

  /** Anything thrown, as this error. */
  static from(thrown: unknown): TreadleError {
    if (thrown instanceof TreadleError) return thrown;
    if (thrown instanceof DOMException && thrown.name === "AbortError") return cancelled(thrown);
    const text = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
    return new TreadleError("treadle_error", text, { hint: "please report it", cause: thrown });
  }

  #fields(): ErrorFields {
    const { hint, at, kind, keyword, reason, limit, value, maximum } = this;
    return { hint, at, kind, keyword, reason, limit, value, maximum };
  }
}

export function invalidRequest(at: string, text: string, hint = ""): TreadleError {
  return new TreadleError("invalid_request", text, { at, hint });
}

export function limitExceeded(limit: string, value: number, maximum: number, at = "", hint = "") {
  const text = `${limit} is ${value}, the maximum is ${maximum}`;
  return new TreadleError("limit_exceeded", text, { limit, value, maximum, at, hint });
}

export function cancelled(cause?: unknown): TreadleError {
  return new TreadleError("cancelled", "the caller left", { cause });
}

/** Throws `cancelled` once the signal is aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw cancelled(signal.reason);
}
