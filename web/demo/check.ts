/**
 * An independent check of the answers: whether a value satisfies a JSON Schema, written without a
 * look at the grammar engine that made it. It names the first thing that is wrong.
 */

export interface Fault {
  readonly at: string;
  readonly text: string;
}

type Schema = boolean | Record<string, unknown>;
type Value = unknown;

const MOST = 200; // nesting of schema and value together

export function check(value: Value, schema: unknown, root = schema, at = "", depth = 0): Fault | null {
  if (schema === false) return { at, text: "nothing is allowed here" };
  if (typeof schema !== "object" || schema === null || depth > MOST) return null;
  const s = schema as Record<string, unknown>;
  const into = (inner: unknown, v = value, place = at) => check(v, inner, root, place, depth + 1);
  const fault = (text: string) => ({ at, text });

  if (typeof s["$ref"] === "string") {
    const found = into(resolve(root as Schema, s["$ref"]));
    if (found) return found;
  }
  if (s["type"] !== undefined) {
    const types = [s["type"]].flat() as string[];
    if (!types.some((type) => isType(value, type))) return fault(`is no ${types.join(" or ")}`);
  }
  if (Array.isArray(s["enum"]) && !s["enum"].some((one) => same(one, value))) return fault("is none of the listed values");
  if ("const" in s && !same(s["const"], value)) return fault(`is not ${JSON.stringify(s["const"])}`);

  for (const inner of list(s["allOf"])) {
    const found = into(inner);
    if (found) return found;
  }
  const any = list(s["anyOf"]);
  if (any.length && any.every((inner) => into(inner))) return fault("fits none of anyOf");
  const one = list(s["oneOf"]);
  if (one.length && one.filter((inner) => !into(inner)).length !== 1) return fault("does not fit exactly one of oneOf");
  if (s["not"] !== undefined && !into(s["not"])) return fault("is what not forbids");
  if (s["if"] !== undefined) {
    const found = into(into(s["if"]) ? (s["else"] ?? true) : (s["then"] ?? true));
    if (found) return found;
  }

  if (typeof value === "number") return checkNumber(value, s, fault);
  if (typeof value === "string") return checkText(value, s, fault);
  if (Array.isArray(value)) return checkList(value, s, at, into, fault);
  if (typeof value === "object" && value !== null) {
    return checkObject(value as Record<string, unknown>, s, at, into, fault);
  }
  return null;
}

type Into = (inner: unknown, value?: Value, place?: string) => Fault | null;
type Told = (text: string) => Fault;

function checkNumber(value: number, s: Record<string, unknown>, fault: Told): Fault | null {
  const limit = (name: string) => (typeof s[name] === "number" ? (s[name] as number) : undefined);
  const [low, high, above, below] = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"].map(limit);
  if (low !== undefined && value < low) return fault(`is below ${low}`);
  if (high !== undefined && value > high) return fault(`is above ${high}`);
  if (above !== undefined && value <= above) return fault(`is not above ${above}`);
  if (below !== undefined && value >= below) return fault(`is not below ${below}`);
  const step = limit("multipleOf");
  if (step && Math.abs(value / step - Math.round(value / step)) > 1e-9) return fault(`is no multiple of ${step}`);
  return null;
}

function checkText(value: string, s: Record<string, unknown>, fault: Told): Fault | null {
  const length = [...value].length;
  if (length < Number(s["minLength"] ?? 0)) return fault(`is shorter than ${String(s["minLength"])}`);
  if (length > Number(s["maxLength"] ?? Infinity)) return fault(`is longer than ${String(s["maxLength"])}`);
  const { pattern } = s;
  if (typeof pattern === "string" && !new RegExp(pattern, "u").test(value)) return fault(`does not match ${pattern}`);
  return null;
}

function checkList(value: unknown[], s: Record<string, unknown>, at: string, into: Into, fault: Told): Fault | null {
  if (value.length < Number(s["minItems"] ?? 0)) return fault(`has fewer than ${String(s["minItems"])} items`);
  if (value.length > Number(s["maxItems"] ?? Infinity)) return fault(`has more than ${String(s["maxItems"])} items`);
  if (s["uniqueItems"] === true) {
    const twice = value.some((a, i) => value.slice(0, i).some((b) => same(a, b)));
    if (twice) return fault("holds an item twice");
  }
  const first = list(s["prefixItems"]);
  for (const [i, item] of value.entries()) {
    const inner = i < first.length ? first[i] : (s["items"] ?? true);
    const found = into(inner, item, `${at}/${i}`);
    if (found) return found;
  }
  return null;
}

function checkObject(value: Record<string, unknown>, s: Record<string, unknown>, at: string, into: Into, fault: Told): Fault | null {
  const missing = list(s["required"]).find((name) => !Object.hasOwn(value, String(name)));
  if (missing !== undefined) return fault(`lacks ${String(missing)}`);
  const keys = Object.keys(value);
  if (keys.length < Number(s["minProperties"] ?? 0)) return fault("has too few members");
  if (keys.length > Number(s["maxProperties"] ?? Infinity)) return fault("has too many members");
  const known = (s["properties"] ?? {}) as Record<string, unknown>;
  const patterns = Object.entries((s["patternProperties"] ?? {}) as Record<string, unknown>);
  for (const key of keys) {
    const place = `${at}/${key}`;
    const fitting = patterns.filter(([pattern]) => new RegExp(pattern, "u").test(key)).map(([, inner]) => inner);
    if (Object.hasOwn(known, key)) fitting.push(known[key]);
    if (!fitting.length) fitting.push(s["additionalProperties"] ?? true);
    for (const inner of fitting) {
      const found = into(inner, value[key], place);
      if (found) return found;
    }
  }
  return null;
}

function isType(value: Value, type: string): boolean {
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  if (type === "integer") return Number.isInteger(value);
  if (type === "object") return typeof value === "object" && value !== null && !Array.isArray(value);
  return typeof value === type;
}

function same(a: unknown, b: unknown): boolean {
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return a === b;
  const [x, y] = [a, b] as Record<string, unknown>[];
  const keys = Object.keys(x!);
  return Array.isArray(a) === Array.isArray(b) && keys.length === Object.keys(y!).length && keys.every((key) => Object.hasOwn(y!, key) && same(x![key], y![key]));
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function resolve(root: Schema, reference: string): unknown {
  const steps = reference.split("/").slice(1).map((step) => decodeURIComponent(step).replaceAll("~1", "/").replaceAll("~0", "~"));
  return steps.reduce<unknown>((at, step) => (at as Record<string, unknown> | undefined)?.[step], root) ?? false;
}

/** Where a text stops being JSON, counted from 1; null when it is JSON. */
export function syntaxFault(text: string): { line: number; column: number; text: string } | null {
  try {
    JSON.parse(text);
    return null;
  } catch (error) {
    const { message } = error as Error;
    const position = Number(/position (\d+)/.exec(message)?.[1] ?? text.length);
    const before = text.slice(0, position).split("\n");
    const plain = message.replace(/ in JSON at position.*| \(line.*|, ".*$/s, "");
    return { line: before.length, column: (before.at(-1) ?? "").length + 1, text: plain };
  }
}
