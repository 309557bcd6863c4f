/** What the tests share: the module, small vocabularies, and errors caught. */
import { readFile } from "node:fs/promises";
import { Core, loadCore, TokenKind, TreadleError, type TokenTable } from "../src/node.js";

const root = new URL("../../../", import.meta.url); // from web/build/test

export const wasmPath = new URL("build/wasm/core.wasm", root);
const jsonPath = new URL("build/wasm/core-json.wasm", root);

export function repositoryFile(path: string): Promise<string> {
  return readFile(new URL(path, root), "utf8");
}

const module = WebAssembly.compile(await readFile(wasmPath));

/** A module of its own, so that tests do not see each other's objects. */
export async function freshCore(): Promise<Core> {
  return loadCore(await module);
}

/** One with the front ends for JSON, expressions and choices only. */
export async function freshJsonCore(): Promise<Core> {
  return loadCore(await readFile(jsonPath));
}

/** `texts`, the 256 bytes, and one stop token. */
export function tableOf(texts: readonly string[]): TokenTable {
  const encoder = new TextEncoder();
  const bytes = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));
  const data = [...texts.map((text) => encoder.encode(text)), ...bytes, encoder.encode("</s>")];
  const kinds = data.map((_, id): TokenKind =>
    id === data.length - 1 ? TokenKind.control : TokenKind.normal,
  );
  return { data, kinds, stopIds: [data.length - 1] };
}

/** The error that `run` throws; fails when there is none, or another class. */
export function thrown(run: () => unknown): TreadleError {
  try {
    run();
  } catch (error) {
    if (error instanceof TreadleError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}
