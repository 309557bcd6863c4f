/** The classes behave as those of python/treadle/grammar. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { applyMask, Compiler, Grammar, maskRows, packVocab, Vocab } from "../src/node.js";
import { freshCore, tableOf, thrown } from "./support.js";

const table = tableOf(["true", "tru", "12", '{"', '": '].map(String));
const stop = table.stopIds[0] ?? -1;
const encode = (text: string) => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

test("a matcher walks, forks, rolls back and ends", async () => {
  const vocab = new Vocab(await freshCore(), table);
  const matcher = new Compiler(vocab).compile(Grammar.regex(vocab.core, "tru+e12")).matcher();
  const rows = maskRows(2, vocab.size);
  assert.equal(matcher.fill(rows, 1), true);
  assert.deepEqual([0, 1, 2, stop].map((token) => rows.has(1, token)), [true, true, false, false]);
  assert(rows.row(0).every((word) => word === 0), "another row was touched");

  const fork = matcher.fork();
  assert.equal(matcher.accept(0), true);
  assert.equal(decode(matcher.forced()), "12");
  assert.deepEqual([matcher.steps, fork.steps], [1, 0]);
  assert.equal(matcher.accept(0), false);
  assert.equal(matcher.validateTokens([2, stop, 0]), 2);
  assert.equal(matcher.acceptBytes(encode("1")), true);
  assert.equal(matcher.accepting, false);
  matcher.rollback(1);
  assert.equal(matcher.accept(2) && matcher.accepting && matcher.accept(stop), true);
  assert.equal(matcher.finished, true);
  matcher.fill(rows, 1);
  assert(rows.row(1).every((word) => word === 0), "something is legal after a stop token");
  matcher.reset();
  assert.equal(matcher.steps, 0);
  assert.equal(thrown(() => matcher.rollback(1)).code, "invalid_request");
  assert.equal(fork.accept(1) && fork.acceptBytes(encode("uue12")) && fork.accepting, true);
});

test("tokens from anywhere: out of range is illegal, no integer is a mistake", async () => {
  const vocab = new Vocab(await freshCore(), table);
  const matcher = new Compiler(vocab).compile(Grammar.json(vocab.core)).matcher();
  for (const token of [-1, vocab.size, 2 ** 32, 2 ** 40]) assert.equal(matcher.accept(token), false);
  for (const token of [1.5, NaN, Infinity]) {
    assert.equal(thrown(() => matcher.accept(token)).code, "invalid_request");
  }
});

test("stop tokens are the vocabulary's unless a matcher says otherwise", async () => {
  const vocab = new Vocab(await freshCore(), table);
  assert.deepEqual(vocab.stopIds, [stop]);
  const compiled = new Compiler(vocab).compile(Grammar.literal(vocab.core, "12"));
  const matcher = compiled.matcher([0]);
  assert.equal(matcher.accept(2) && !matcher.accept(stop) && matcher.accept(0), true);
  assert.match(thrown(() => compiled.matcher([vocab.size])).message, /^stop_tokens: .*outside/);
});

test("a packed vocabulary is the table; a size widens or narrows it", async () => {
  const core = await freshCore();
  const vocab = new Vocab(core, table);
  assert.equal(new Vocab(core, packVocab(table)).hash, vocab.hash);
  assert.equal(new Vocab(core, table, 300).size, 300);
  const narrow = new Vocab(core, table, 10);
  assert.deepEqual([narrow.size, narrow.stopIds], [10, []]);
});

test("grammars print, join and note what they drop", async () => {
  const core = await freshCore();
  const joined = Grammar.concat(Grammar.literal(core, "a"), Grammar.choice(core, ["b", "c"]));
  assert.equal(joined.kind, "concat");
  assert.equal(Grammar.ebnf(core, String(joined)).kind, "ebnf");
  assert.equal(String(Grammar.json(core)), "Grammar(json)");
  const noted = Grammar.jsonSchema(core, { type: "string", format: "colour" });
  assert.deepEqual(noted.notes.map((note) => [note.at, note.keyword]), [["/format", "format"]]);
});

test("applyMask bars what is not legal, and logits beyond the row", () => {
  const rows = maskRows(1, 40);
  rows.data.set([-1, 0b101]);
  const logits = new Float32Array(70).fill(1);
  applyMask(logits, rows);
  const legal = [...logits.keys()].filter((token) => logits[token] === 1);
  assert.deepEqual(legal, [...Array(33).keys(), 34]);
  assert.throws(() => applyMask(logits, rows, 1), /row 1 of 1/);
});

test("equal grammars share a compiled one; clear forgets it", async () => {
  const vocab = new Vocab(await freshCore(), table);
  const compiler = new Compiler(vocab, { cacheBytes: 8 << 20 });
  const first = compiler.compile(Grammar.json(vocab.core));
  first.matcher().fill(maskRows(1, vocab.size));
  assert.equal(compiler.compile(Grammar.json(vocab.core)).memory, first.memory);
  assert(compiler.memory > 0);
  compiler.clear();
  assert(compiler.compile(Grammar.json(vocab.core)).memory < first.memory);
});
