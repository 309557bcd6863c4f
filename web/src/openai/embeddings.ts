/** embeddings: the hidden state of each text's last token, of unit length. */
import type { LocalEngine } from "../engine/engine.js";
import { invalidRequest } from "../errors.js";
import { checkModel, promptsOf } from "./convert.js";
import { check, type Shape } from "./shape.js";

export interface EmbeddingBody {
  model?: string | null;
  /** A text, its token ids, or a list of either. */
  input: string | (string | number | number[])[];
  encoding_format?: "float" | "base64" | null;
  /** The first so many numbers, of unit length again. */
  dimensions?: number | null;
  user?: string | null;
}

export interface EmbeddingAnswer {
  object: "list";
  model: string;
  /** `embedding`: numbers, or the base64 of their 32-bit floats, little-endian. */
  data: { object: "embedding"; index: number; embedding: number[] | string }[];
  usage: { prompt_tokens: number; total_tokens: number };
}

const AT_ONCE = 16; // texts in the queue: more would keep others waiting

const name = { type: "string", maxLength: 512, null: true } as const;
const BODY: Shape = {
  properties: {
    model: name,
    input: { anyOf: [{ type: "string", maxLength: 4 << 20 }, { type: "array", minItems: 1, maxItems: 1 << 20 }] },
    encoding_format: { enum: ["float", "base64"], null: true },
    dimensions: { type: "integer", minimum: 1, null: true },
    user: name,
  },
  required: ["input"],
};

/** Throws `invalid_request`, `context_overflow`, `unsupported` where the tier gives no states. */
export async function embed(engine: LocalEngine, given: unknown, signal?: AbortSignal): Promise<EmbeddingAnswer> {
  check(given, BODY, {});
  const body = given as EmbeddingBody;
  checkModel(body.model, engine.name);
  const texts = promptsOf(body.input, "/input");
  const data: EmbeddingAnswer["data"] = [];
  let tokens = 0;
  for (let first = 0; first < texts.length; first += AT_ONCE) {
    const some = texts.slice(first, first + AT_ONCE);
    const made = await engine.embed(some, signal);
    for (const { state, promptTokens } of made) {
      tokens += promptTokens;
      const numbers = unit(state, body.dimensions ?? state.length);
      const embedding = body.encoding_format === "base64" ? base64(numbers) : [...numbers];
      data.push({ object: "embedding", index: data.length, embedding });
    }
  }
  return { object: "list", model: engine.name, data, usage: { prompt_tokens: tokens, total_tokens: tokens } };
}

function unit(state: Float32Array, size: number): Float32Array {
  if (size > state.length) {
    throw invalidRequest("/dimensions", `is ${size}`, `the model's states have ${state.length}`);
  }
  const numbers = state.subarray(0, size);
  const length = Math.sqrt(numbers.reduce((sum, value) => sum + value * value, 0)) || 1;
  return numbers.map((value) => value / length);
}

function base64(numbers: Float32Array): string {
  const view = new DataView(new ArrayBuffer(4 * numbers.length));
  numbers.forEach((value, i) => view.setFloat32(4 * i, value, true));
  let text = "";
  for (const byte of new Uint8Array(view.buffer)) text += String.fromCharCode(byte);
  return btoa(text);
}
