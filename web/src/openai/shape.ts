/**
 * Checks a value against a shape. The shapes are generated from the Python server's types, so both
 * sides refuse the same bodies: JSON Schema as far as bodies need it, in which `null: true` allows
 * null, `extends` names a shape whose members count too, and what names members is an object without
 * others.
 */
import { invalidRequest, limitExceeded } from "../errors.js";
import { LIMITS } from "../generated/limits.js";
import { isMap, type JsonObject } from "../types.js";

export interface Shape {
  readonly null?: boolean;
  readonly extends?: string;
  readonly $ref?: string;
  readonly anyOf?: readonly Shape[];
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Shape>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | Shape;
  readonly propertyNames?: Shape;
  readonly maxProperties?: number;
  readonly items?: Shape;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
}

export type Shapes = Readonly<Record<string, Shape>>;

/** Throws `invalid_request` whose `at` is the JSON pointer of the first field that is wrong. */
export function check(value: unknown, shape: Shape, shapes: Shapes, at = "", depth = 0): void {
  if (depth > LIMITS.jsonDepth) throw limitExceeded("jsonDepth", depth, LIMITS.jsonDepth, at);
  if (value === null && shape.null) return;
  if (shape.$ref !== undefined) return check(value, shapes[shape.$ref]!, shapes, at, depth);
  if (shape.anyOf) return checkAny(value, flat(shape.anyOf), shapes, at, depth);
  if (shape.enum && !shape.enum.includes(value)) {
    throw invalidRequest(at || "/", `got ${show(value)}`, `one of ${shape.enum.map(show).join(", ")}`);
  }
  const type = typeOf(shape);
  if (type !== undefined && !hasType(value, type)) {
    throw invalidRequest(at || "/", `expected ${type}, got ${typeName(value)}`);
  }
  if (typeof value === "string") checkText(value, shape, at);
  else if (typeof value === "number") checkNumber(value, shape, at);
  else if (Array.isArray(value)) {
    checkSize(value.length, shape.minItems, shape.maxItems, "items", at);
    const { items } = shape;
    if (items) value.forEach((item, i) => check(item, items, shapes, `${at}/${i}`, depth + 1));
  } else if (isMap(value)) checkObject(value, shape, shapes, at, depth);
}

function checkObject(value: JsonObject, shape: Shape, shapes: Shapes, at: string, depth: number): void {
  const more = shape.extends === undefined ? {} : shapes[shape.extends]!.properties;
  const properties = { ...more, ...shape.properties };
  const { additionalProperties: others = !shape.properties } = shape;
  checkSize(Object.keys(value).length, undefined, shape.maxProperties, "members", at);
  for (const [key, item] of Object.entries(value)) {
    if (item === undefined) continue; // an absent member, as everywhere in JavaScript
    const place = `${at}/${key}`;
    if (Object.hasOwn(properties, key)) check(item, properties[key]!, shapes, place, depth + 1);
    else if (others === false) {
      throw invalidRequest(place, "unknown field", "remove it or check its spelling");
    } else {
      if (shape.propertyNames) check(key, shape.propertyNames, shapes, place, depth + 1);
      if (typeof others === "object") check(item, others, shapes, place, depth + 1);
    }
  }
  for (const name of shape.required ?? []) {
    if (value[name] === undefined) {
      throw invalidRequest(`${at}/${name}`, "required field is missing", "add it");
    }
  }
}

/** The alternative that the value's type, and its `type` member, choose decides. */
function checkAny(value: unknown, shapes_: readonly Shape[], shapes: Shapes, at: string, depth: number): void {
  const options = shapes_.map((shape) => (shape.$ref === undefined ? shape : shapes[shape.$ref]!));
  let fitting = options.filter((shape) => {
    const type = typeOf(shape) ?? (shape.enum && typeof shape.enum[0]);
    return type === undefined || hasType(value, type);
  });
  if (fitting.length > 1 && isMap(value)) {
    const tagged = fitting.filter((shape) => shape.properties?.["type"]?.enum?.includes(value["type"]));
    if (!tagged.length && value["type"] === undefined) {
      throw invalidRequest(`${at}/type`, "required field is missing", "add it");
    }
    if (!tagged.length) throw invalidRequest(`${at}/type`, `got ${show(value["type"])}`);
    fitting = tagged;
  }
  const [first] = fitting;
  if (!first) throw invalidRequest(at || "/", `cannot be ${typeName(value)}`);
  check(value, first, shapes, at, depth);
}

function flat(shapes: readonly Shape[]): Shape[] {
  return shapes.flatMap((shape) => (shape.anyOf ? flat(shape.anyOf) : [shape]));
}

function checkText(value: string, shape: Shape, at: string): void {
  // Python counts code points; a surrogate pair is one.
  const { minLength = 0, maxLength = Infinity } = shape;
  const length = value.length > maxLength || minLength ? [...value].length : value.length;
  checkSize(length, minLength, maxLength, "characters", at);
  if (shape.pattern !== undefined && !new RegExp(shape.pattern, "u").test(value)) {
    throw invalidRequest(at || "/", `does not match ${shape.pattern}`);
  }
}

function checkNumber(value: number, shape: Shape, at: string): void {
  const { minimum = -Infinity, maximum = Infinity } = shape;
  const { exclusiveMinimum: above = -Infinity, exclusiveMaximum: below = Infinity } = shape;
  const fits = value >= minimum && value <= maximum && value > above && value < below;
  if (fits || (value === Infinity && maximum === Infinity && below === Infinity)) return;
  const low = shape.exclusiveMinimum === undefined ? `from ${minimum}` : `above ${above}`;
  const high = shape.exclusiveMaximum === undefined ? `to ${maximum}` : `below ${below}`;
  throw invalidRequest(at || "/", `${value} is out of range`, `give a number ${low} ${high}`);
}

function checkSize(size: number, low = 0, high = Infinity, what: string, at: string): void {
  if (size < low) throw invalidRequest(at || "/", `has ${size} ${what}`, `at least ${low}`);
  if (size > high) throw invalidRequest(at || "/", `has ${size} ${what}`, `at most ${high}`);
}

function typeOf(shape: Shape): string | undefined {
  return shape.type ?? (shape.properties && "object");
}

function hasType(value: unknown, type: string): boolean {
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  if (type === "object") return isMap(value);
  if (type === "integer") return Number.isInteger(value);
  return type === "number" ? Number.isFinite(value) : typeof value === type;
}

function typeName(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 60)}...` : text;
}
