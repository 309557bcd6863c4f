/** The grammar engine for itself: grammars, compilers, matchers and packed token masks. */
import { compileCore, type CoreSource } from "./compile.js";
import { Core } from "./core.js";

export { compileCore, type CoreSource } from "./compile.js";
export { Core } from "./core.js";
export { acceptBatch, fillBatch, maskIds } from "./grammar/batch.js";
export { Compiled, Compiler } from "./grammar/compiler.js";
export {
  Grammar,
  type EbnfOptions,
  type Kind,
  type LarkOptions,
  type Note,
  type SchemaOptions,
  type Spelling,
} from "./grammar/grammar.js";
export type { GrammarLimits } from "./grammar/limits.js";
export { applyMask, MaskRows, maskRows } from "./grammar/masks.js";
export { Matcher } from "./grammar/matcher.js";
export { tokenTable, type TokenizerConfig } from "./grammar/tokenizer.js";
export { packVocab, TokenKind, unpackVocab, Vocab, type TokenTable } from "./grammar/vocab.js";

/** Loads the module; everything after it is synchronous. Default: `core.wasm` beside this file. */
export async function loadCore(
  source: CoreSource = new URL("./core.wasm", import.meta.url),
): Promise<Core> {
  return new Core(await compileCore(source));
}
