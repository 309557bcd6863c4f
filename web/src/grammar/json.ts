/** Values to JSON text, without the silent losses of `JSON.stringify`. */
import { invalidRequest } from "../errors.js";

/** Throws `invalid_request` for what is no JSON value: NaN, functions, Maps, cycles. */
export function dump(value: unknown, at: string): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value, function (this: unknown, _key: string, inner: unknown): unknown {
      check(inner, Array.isArray(this));
      return inner;
    });
  } catch (error) {
    throw invalidRequest(at || "/", `not a JSON value: ${(error as Error).message}`);
  }
  if (text === undefined) throw invalidRequest(at || "/", "not a JSON value: undefined");
  return text;
}

// An undefined member stands for an absent one, as everywhere in JavaScript.
function check(value: unknown, inArray: boolean): void {
  const nothing = typeof value === "undefined" && inArray;
  if (typeof value === "function" || typeof value === "symbol" || nothing) {
    throw new TypeError(`a ${typeof value} has no JSON`);
  }
  if (typeof value === "number" && !Number.isFinite(value)) {
    throw new TypeError(`${value} has no JSON`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    throw new TypeError(`a ${value.constructor.name} has no JSON of its own; give a plain object`);
  }
}
