/** Grammars: what the output may be, independent of any vocabulary. */
import { utf8, type Core } from "../core.js";
import { invalidRequest, TreadleError } from "../errors.js";
import { dump } from "./json.js";
import { limitsObject, type GrammarLimits } from "./limits.js";
import { Owned } from "./owned.js";

/** Something that was dropped, narrowed or taken as an annotation. `at` is a JSON pointer. */
export interface Note {
  readonly at: string;
  readonly keyword: string;
  readonly text: string;
}

export interface Limited {
  limits?: GrammarLimits;
}

/** How a JSON value may be written. Every field narrows the spellings, never the values. */
export interface Spelling extends Limited {
  /** Longest optional run, in bytes (default 64). */
  whitespace?: number;
  /** No whitespace but a line for each item, indented by this many blanks a level, as json.dumps. */
  indent?: number;
  /** No whitespace but what stands around these two, a comma and a colon. */
  separators?: readonly [string, string];
  /** `minimal`: only the shortest spelling of a character that RFC 8259 allows. */
  escapes?: "any" | "minimal";
  /** `plain`: integers by their digits alone, others with at most 24 digits. */
  numbers?: "any" | "plain";
}

export interface SchemaOptions extends Spelling {
  /** Keys in any order (default), or as declared. A JavaScript object puts integer keys first. */
  order?: "any" | "declared";
  /** Drop what cannot be enforced and list it in `notes`. */
  lenient?: boolean;
  /**
   * `assert` (default): enforce `format`, of some formats by a subset, which a note says; `exact`
   * refuses those; `annotate`: enforce none.
   */
  formats?: boolean | "assert" | "annotate" | "exact";
  /** Forbid keys and items that no schema for the same value mentions, where some are mentioned. */
  closed?: boolean;
  /** Schemas by URI, as objects or JSON text, for references to them. Nothing is fetched. */
  resources?: Record<string, object | boolean | string>;
  /** Prefix of JSON pointers in errors. */
  at?: string;
}

export interface EbnfOptions extends Limited {
  /** The first rule (default `root`). */
  root?: string;
}

export interface LarkOptions extends Limited {
  /** The first rule (default `start`). */
  start?: string;
  /** What `@name` refers to: Lark texts whose first rule is `start`, or JSON Schemas. */
  grammars?: Record<string, string | object>;
}

/** In the order of the core's SourceKind. */
export const KINDS = [
  "json_schema",
  "json",
  "json_object",
  "regex",
  "ebnf",
  "lark",
  "choice",
  "structural_tag",
  "literal",
  "concat",
  "any_of",
] as const;
export type Kind = (typeof KINDS)[number];

/**
 * The description of a language over bytes. Immutable. Every constructor reads its source at once
 * and throws `TreadleError`: `grammar_error` (with `at`, `keyword`, `reason`) or `limit_exceeded`.
 */
export class Grammar extends Owned {
  /** The source language. */
  readonly kind: Kind;
  /** What was dropped or narrowed, in source order. */
  readonly notes: readonly Note[];

  /** The static methods make them. */
  constructor(core: Core, handle: number) {
    super(core, "tr_grammar_free", handle);
    const text = core.text((at, n) => core.call("tr_grammar_info", handle, at, n));
    const info = JSON.parse(text) as { kind: Kind; notes: Note[] };
    this.kind = info.kind;
    this.notes = info.notes;
  }

  /** JSON texts that satisfy `schema`: a plain object, a boolean, or JSON text. */
  static jsonSchema(core: Core, schema: object | boolean | string, options: SchemaOptions = {}) {
    const text = typeof schema === "string" ? schema : dump(schema, options.at ?? "");
    const { resources = {}, ...rest } = options;
    const known = Object.entries(resources).map(([uri, schema]) => [
      uri,
      typeof schema === "string" ? schema : dump(schema, uri),
    ]);
    const given = { ...rest, resources: Object.fromEntries(known) as object };
    return make(core, "json_schema", utf8(text, "schema"), given);
  }

  /** Any JSON value (RFC 8259). */
  static json(core: Core, options: Spelling = {}): Grammar {
    return make(core, "json", new Uint8Array(), options);
  }

  /** Any JSON object. */
  static jsonObject(core: Core, options: Spelling = {}): Grammar {
    return make(core, "json_object", new Uint8Array(), options);
  }

  /** Texts that match `pattern` as a whole. Source: ECMA-262 syntax, Unicode mode. */
  static regex(core: Core, pattern: string | RegExp, options: Limited = {}): Grammar {
    if (typeof pattern === "string") return make(core, "regex", utf8(pattern, "regex"), options);
    if (pattern.flags !== "" && pattern.flags !== "u") {
      throw invalidRequest("regex", `the flags ${pattern.flags} mean nothing here`, "use none, or u");
    }
    return make(core, "regex", utf8(pattern.source, "regex"), options);
  }

  /** Texts derived from the rule `root` of an EBNF (GBNF) grammar. */
  static ebnf(core: Core, text: string, options: EbnfOptions = {}): Grammar {
    return make(core, "ebnf", utf8(text, "ebnf"), { root: "root", ...options });
  }

  /** Texts derived from the rule `start` of a Lark grammar; terminals match in place. */
  static lark(core: Core, text: string, options: LarkOptions = {}): Grammar {
    const { start = "start", grammars = {}, ...rest } = options;
    const named = Object.entries(grammars).map(([name, grammar]) => [
      name,
      typeof grammar === "string" ? grammar : `start: %json ${dump(grammar, "")}`,
    ]);
    const given = { ...rest, root: start, grammars: Object.fromEntries(named) as object };
    return make(core, "lark", utf8(text, "lark"), given);
  }

  /** Exactly one of `strings`. */
  static choice(core: Core, strings: readonly string[], options: Limited = {}): Grammar {
    return make(core, "choice", utf8(dump(strings, "choice"), "choice"), options);
  }

  /** A structural tag: `{type: "structural_tag", format: {...}}` or a bare format. */
  static tag(core: Core, tag: object, options: Limited = {}): Grammar {
    return make(core, "structural_tag", utf8(dump(tag, ""), "tag"), options);
  }

  /** This text and nothing else. */
  static literal(core: Core, text: string | Uint8Array, options: Limited = {}): Grammar {
    const bytes = typeof text === "string" ? utf8(text, "literal") : text;
    return make(core, "literal", bytes, options);
  }

  /** One after the other; Python's `+`. */
  static concat(...parts: readonly [Grammar, ...Grammar[]]): Grammar {
    return join("concat", parts);
  }

  /** Either; Python's `|`. */
  static anyOf(...parts: readonly [Grammar, ...Grammar[]]): Grammar {
    return join("any_of", parts);
  }

  /**
   * EBNF that parses back to the same language, with the root rule `root`. JSON values have no such
   * text: a grammar with some is only named, and so is every one where core-json.wasm runs.
   */
  override toString(): string {
    const { core, handle } = this;
    try {
      return core.text((at, n) => core.call("tr_grammar_ebnf", handle, at, n));
    } catch (error) {
      if (error instanceof TreadleError && /^(grammar_error|unsupported)$/.test(error.code)) {
        return `Grammar(${this.kind})`;
      }
      throw error;
    }
  }
}

function make(core: Core, kind: Kind, text: Uint8Array, options: Limited): Grammar {
  const { limits = {}, ...rest } = options;
  const opts = utf8(dump({ ...rest, limits: limitsObject(limits) }, "options"), "options");
  const handle = core.lend([text, opts], (source = 0, given = 0) =>
    core.call("tr_grammar", KINDS.indexOf(kind), source, text.length, given, opts.length),
  );
  return new Grammar(core, handle);
}

function join(kind: Kind, parts: readonly [Grammar, ...Grammar[]]): Grammar {
  const { core } = parts[0];
  for (const part of parts) {
    if (part.core !== core) throw invalidRequest(kind, "the parts belong to different modules");
  }
  const handles = new Uint8Array(Uint32Array.from(parts, (part) => part.handle).buffer);
  const handle = core.lend([handles], (address = 0) =>
    core.call("tr_grammar", KINDS.indexOf(kind), address, handles.length, 0, 0),
  );
  return new Grammar(core, handle);
}
