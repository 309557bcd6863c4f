/** Bodies of any origin, checked: unknown fields are refused by name, values by their range. */
import { TreadleError } from "../errors.js";
import { BODIES } from "../generated/bodies.js";
import type { ChatBody, CompletionBody } from "./bodies.js";
import { check } from "./shape.js";

/** Throws `invalid_request` naming the field. */
export function chatBody(body: unknown): ChatBody {
  check(body, BODIES["ChatBody"]!, BODIES);
  return body as ChatBody;
}

export function completionBody(body: unknown): CompletionBody {
  // The one field that OpenAI has and this engine cannot serve, refused by what it means.
  if (typeof body === "object" && body !== null && "suffix" in body && body.suffix != null) {
    const text = "filling in the middle is not supported";
    throw new TreadleError("unsupported", text, { at: "/suffix", hint: "leave it out" });
  }
  check(body, BODIES["CompletionBody"]!, BODIES);
  return body as CompletionBody;
}
