/** Calls and tools as OpenAI writes them and as templates want them. */
import { invalidRequest } from "../errors.js";
import { isMap, type JsonObject, type Tool } from "../types.js";

/** [name, arguments] of a call as OpenAI writes it. Throws `invalid_request` below `at`. */
export function calledFunction(call: JsonObject, at: string): [string, JsonObject] {
  const called = call["function"];
  const name = isMap(called) ? called["name"] : undefined;
  if (!isMap(called) || typeof name !== "string") {
    throw invalidRequest(`${at}/function`, "needs a function with a name");
  }
  let value: unknown = called["arguments"] ?? {};
  if (typeof value === "string") {
    try {
      value = value.trim() ? (JSON.parse(value) as unknown) : {};
    } catch {
      throw invalidRequest(`${at}/function/arguments`, "is not JSON", "send a JSON object");
    }
  }
  if (isMap(value)) return [name, value];
  throw invalidRequest(`${at}/function/arguments`, "is not a JSON object", "send a JSON object");
}

/** A tool as templates know it (and as OpenAI sends it). */
export function toolObject({ name, description, parameters }: Tool): JsonObject {
  return { type: "function", function: { name, description, parameters } };
}
