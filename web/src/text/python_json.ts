/** JSON as Python's `json.dumps(value, ensure_ascii=False)` spaces it: what models have seen. */

/** `indent`: undefined = one line. */
export function pythonJson(value: unknown, indent?: number, sorted = false): string {
  return write(value, indent, sorted, 0);
}

const MOST_DEPTH = 200; // of a value; a deeper one is an error, not a stack overflow

function write(value: unknown, indent: number | undefined, sorted: boolean, depth: number): string {
  if (depth > MOST_DEPTH) throw new RangeError("a value is nested too deeply");
  if (value instanceof Map) return write(Object.fromEntries(value), indent, sorted, depth);
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const isList = Array.isArray(value);
  const parts = isList
    ? value.map((item) => write(item, indent, sorted, depth + 1))
    : entries(value, sorted).map(
        ([key, item]) => `${JSON.stringify(key)}: ${write(item, indent, sorted, depth + 1)}`,
      );
  const [open, close] = isList ? ["[", "]"] : ["{", "}"];
  if (parts.length === 0 || indent === undefined) return open + parts.join(", ") + close;
  const pad = "\n" + " ".repeat(indent * (depth + 1));
  return open + pad + parts.join("," + pad) + "\n" + " ".repeat(indent * depth) + close;
}

function entries(value: object, sorted: boolean): [string, unknown][] {
  const found = Object.entries(value).filter(([, item]) => item !== undefined);
  return sorted ? found.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)) : found;
}
