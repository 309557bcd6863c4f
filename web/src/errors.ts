/**
 * The one error of this package. `code` is shared with Python and the core; the message names the
 * place (`at`), what is wrong, and what to do (`hint`).
 */

/** Codes of `treadle.errors` that the grammar part can raise, and the browser's own. */
export type ErrorCode =
  | "grammar_error"
  | "limit_exceeded"
  | "invalid_request"
  | "model_format_error"
  | "out_of_memory" // the module's memory is used up: it was started anew, what it held is gone
  | "treadle_error"; // a fault of the module: started anew as well

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
}

export function invalidRequest(at: string, text: string, hint = ""): TreadleError {
  return new TreadleError("invalid_request", text, { at, hint });
}
