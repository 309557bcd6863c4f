/** A small model for tests: a real tokeniser, a real template, the real grammar engine, a toy. */
import { apiOver, invokeOn, type Api } from "../src/openai/api.js";
import { LocalEngine, type EngineOptions, type Texts } from "../src/engine/engine.js";
import { tokenTable } from "../src/grammar/tokenizer.js";
import { packVocab } from "../src/grammar/vocab.js";
import type { ToolFormat } from "../src/types.js";
import { freshCore, repositoryFile } from "./support.js";
import { Words } from "./scripted.js";
import { Toy, type ToyOptions } from "./toy.js";

export async function data<T>(name: string): Promise<T> {
  return JSON.parse(await repositoryFile(`web/test/data/${name}`)) as T;
}

const tokenizer = await repositoryFile("web/test/data/tokenizer.json");
export const table = tokenTable(tokenizer, { eos_token: "<|im_end|>" });
export const vocab = packVocab(table);
export const formats = await data<Record<string, ToolFormat>>("formats.json");
const chatml = await repositoryFile("tests/text/templates/chatml.jinja");
const words = new Words(table);

/** The id of a piece. */
export function id(text: string): number {
  return words.id(text);
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
  return new Toy({ ...words.toy(options.script), ...options.toy });
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
