/** Budgets of the core; those left out keep the defaults of `treadle.limits.GrammarLimits`. */
export interface GrammarLimits {
  /** Bytes of one schema, regex or grammar. */
  sourceBytes?: number;
  /** Nesting of the source text. */
  sourceDepth?: number;
  /** Bytes of one pattern. */
  regexBytes?: number;
  /** Nodes of one grammar. */
  irNodes?: number;
  /** Nodes derived lazily while one grammar runs. */
  derivedNodes?: number;
  /** Work units of reading and compiling. */
  compileFuel?: number;
  /** Work units of one mask. */
  stepFuel?: number;
  /** Nesting of the output. */
  stackDepth?: number;
  /** Alternatives of one value. */
  branches?: number;
  /** Parallel readings of one text. */
  configs?: number;
  /** Digits of one number. */
  numberDigits?: number;
  /** Items of one array that are told apart by value. */
  seenValues?: number;
  /** Longest run of optional whitespace in JSON. */
  whitespace?: number;
  /** Bytes of masks and transitions. */
  cacheBytes?: number;
}

/** `limits` as the module reads them. */
export function limitsObject(limits: GrammarLimits): Record<string, unknown> {
  const entries = Object.entries(limits).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries.map(([name, value]) => [snake(name), value]));
}

/** `sourceBytes` -> `source_bytes`. */
export function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
