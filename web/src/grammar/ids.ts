/** Token ids on their way into the module. */
import { invalidRequest } from "../errors.js";

export const NO_TOKEN = 0xffffffff; // outside of every vocabulary, and so never legal

/** An id outside the vocabulary is simply not legal; what is no integer is a mistake. */
export function tokenId(token: number): number {
  if (!Number.isInteger(token)) throw invalidRequest("token", `got ${token}`, "give an integer");
  return token >= 0 && token < NO_TOKEN ? token : NO_TOKEN;
}

/** The ids as the module reads them: unsigned words. */
export function wordsOf(ids: readonly number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(ids, tokenId).buffer);
}
