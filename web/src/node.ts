/** The same for node, which cannot fetch files. */
import { readFile } from "node:fs/promises";
import { compileCore, type CoreSource } from "./compile.js";
import { Core } from "./core.js";

export * from "./index.js";

/** Loads the module; everything after it is synchronous. Default: `core.wasm` beside this file. */
export async function loadCore(
  source: CoreSource = new URL("./core.wasm", import.meta.url),
): Promise<Core> {
  const isFile = source instanceof URL && source.protocol === "file:";
  return new Core(await compileCore(isFile ? await readFile(source) : source));
}
