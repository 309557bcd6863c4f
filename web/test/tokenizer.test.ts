/** Token tables of tokenizer.json files: the same vocabulary as Python's, by its hash. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { tokenTable, Vocab } from "../src/node.js";
import { freshCore, repositoryFile, thrown } from "./support.js";

const cases = JSON.parse(await repositoryFile("tests/web/tokenizers.json")) as {
  name: string;
  tokenizer: object;
  config: object;
  hash: string;
}[];

test("a tokenizer.json gives the vocabulary that Python makes of it", async () => {
  const core = await freshCore();
  assert(cases.length > 1);
  for (const { name, tokenizer, config, hash } of cases) {
    assert.equal(new Vocab(core, tokenTable(JSON.stringify(tokenizer), config)).hash, hash, name);
  }
});

test("a file that cannot be read says why", () => {
  const decoder = { type: "ByteLevel" };
  const wrong: [object | string, RegExp][] = [
    ["{", /not JSON/],
    [[], /the file is not an object/],
    [{ model: { type: "Unigram" } }, /model type Unigram is not supported/],
    [{ model: { type: "BPE", vocab: { a: -1 } }, decoder }, /token a has id -1/],
    [{ model: { type: "BPE", vocab: { a: 0 } } }, /decoder none is not supported/],
    [{ model: { type: "BPE", vocab: {} }, decoder, added_tokens: [{}] }, /added_tokens\[0\]/],
  ];
  for (const [file, message] of wrong) {
    const error = thrown(() => tokenTable(typeof file === "string" ? file : JSON.stringify(file)));
    assert.equal(error.code, "model_format_error");
    assert.match(error.message, message);
  }
});
