/** A small model for tests: a real tokeniser, a real template, the real grammar engine, a toy. */
import { apiOver, invokeOn, type Api } from "../src/openai/api.js";
import { LocalEngine, type EngineOptions, type Texts } from "../src/engine/engine.js";
import { tokenTable } from "../src/grammar/tokenizer.js";
import { packVocab } from "../src/grammar/vocab.js";
import type { ToolFormat } from "../src/types.js";
import { freshCore, repositoryFile } from "./support.js";
import { Toy, type ToyOptions } from "./toy.js";

export async function data<T>(name: string): Promise<T> {
  return JSON.parse(await repositoryFile(`web/test/data/${name}`)) as T;
}

const tokenizer = await repositoryFile("web/test/data/tokenizer.json");
export const table = tokenTable(tokenizer, { eos_token: "<|im_end|>" });
export const vocab = packVocab(table);
export const formats = await data<Record<string, ToolFormat>>("formats.json");
const chatml = await repositoryFile("tests/text/templates/chatml.jinja");
const pieces = table.data.map((bytes) => String.fromCharCode(...bytes));
const byBytes = new Map(pieces.map((piece, id) => [piece, id]));

/** The id of a piece. */
export function id(text: string): number {
  const found = byBytes.get(bytewise(text));
  if (found === undefined) throw new Error(`no token ${text}`);
  return found;
}

export interface ModelOptions extends EngineOptions {
  format?: string;
  template?: string;
  context?: number;
  toy?: Partial<ToyOptions>;
  /** What it says after the last prompt that contains the key. */
  script?: Record<string, string>;
}

export interface Model {
  readonly engine: LocalEngine;
  readonly api: Api;
  readonly toy: Toy;
}

export function texts(options: ModelOptions = {}): Texts {
  const context = options.context ?? 512;
  return {
    manifest: {
      format: 1,
      model: { name: "toy", family: "llama", graph: "0123456789abcdef" },
      limits: { vocab: table.data.length, context, page: 16 },
      chat: {
        template: "chat_template.jinja",
        bos: null,
        eos: table.stopIds,
        tools: formats[options.format ?? "neutral"]!,
      },
      tiers: { toy: {} },
      files: [],
    },
    tokenizer,
    vocab,
    template: options.template ?? chatml,
  };
}

export async function model(options: ModelOptions = {}): Promise<Model> {
  const toy = toyOf(options);
  const engine = new LocalEngine(await freshCore(), texts(options), toy, options);
  return { engine, api: apiOver(invokeOn(engine)), toy };
}

export function toyOf(options: ModelOptions = {}): Toy {
  // Quotes, closing brackets and ends are liked, so that free JSON is not endless.
  const liked = ['"', "}", "]", "<|im_end|>"].map((text) => [id(text), 1.2] as const);
  const script = options.script ? { prefer: scripted(options.script) } : {};
  return new Toy({ vocab: table.data.length, likes: new Map(liked), ...script, ...options.toy });
}

/** Says the rest of the text whose key the prompt holds, then the end. Everything in bytes. */
function scripted(script: Record<string, string>): (context: readonly number[]) => number | undefined {
  const lines = Object.entries(script).map(([key, text]) => [bytewise(key), bytewise(text)] as const);
  const turn = "<|im_start|>assistant\n";
  return (context) => {
    const whole = context.map((token) => pieces[token]).join("");
    const last = whole.lastIndexOf(turn);
    const prompt = last < 0 ? whole : whole.slice(0, last);
    const line = lines.findLast(([key]) => prompt.includes(key));
    if (!line) return undefined;
    const [key, text] = line;
    const begun = last < 0 ? whole.slice(whole.lastIndexOf(key) + key.length) : whole.slice(last + turn.length);
    if (!text.startsWith(begun)) return undefined;
    const rest = text.slice(begun.length);
    if (!rest) return table.stopIds[0];
    for (let size = Math.min(rest.length, 16); size > 0; size -= 1) {
      const found = byBytes.get(rest.slice(0, size));
      if (found !== undefined) return found;
    }
    return undefined;
  };
}

function bytewise(text: string): string {
  return String.fromCharCode(...new TextEncoder().encode(text));
}

/** Everything of an async iterable. */
export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

/** The error a promise rejects with. */
export async function rejected(promise: Promise<unknown>): Promise<{ code: string; at: string; message: string }> {
  try {
    await promise;
  } catch (error) {
    return error as { code: string; at: string; message: string };
  }
  throw new Error("nothing was thrown");
}
