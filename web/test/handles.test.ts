/** The C ABI against bad callers: stale handles, foreign handles, addresses, options. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Compiler, Grammar, maskRows, packVocab, Vocab, type Core } from "../src/node.js";
import { freshCore, tableOf, thrown } from "./support.js";

const table = tableOf(["ab"]);
const stale = /handle \d+ stands for nothing/;

async function made(): Promise<{ core: Core; handles: Record<string, number>; all: Vocab }> {
  const core = await freshCore();
  const all = new Vocab(core, table);
  const grammar = Grammar.literal(core, "ab");
  const compiler = new Compiler(all);
  const compiled = compiler.compile(grammar);
  const matcher = compiled.matcher();
  const handles = {
    vocab: all.handle,
    grammar: grammar.handle,
    compiler: compiler.handle,
    compiled: compiled.handle,
    matcher: matcher.handle,
  };
  return { core, handles, all };
}

/** Every call that takes a handle first, and what it wants. */
const calls: [string, string, number[]][] = [
  ["tr_vocab_info", "vocab", [0, 0]],
  ["tr_compiler", "vocab", [0, 0]],
  ["tr_vocab_free", "vocab", []],
  ["tr_grammar_info", "grammar", [0, 0]],
  ["tr_grammar_ebnf", "grammar", [0, 0]],
  ["tr_grammar_free", "grammar", []],
  ["tr_compile", "compiler", [1]],
  ["tr_compiler_memory", "compiler", []],
  ["tr_compiler_clear", "compiler", []],
  ["tr_compiler_free", "compiler", []],
  ["tr_compiled_memory", "compiled", []],
  ["tr_matcher_new", "compiled", [0, -1]],
  ["tr_compiled_free", "compiled", []],
  ["tr_matcher_accept", "matcher", [0]],
  ["tr_matcher_accept_bytes", "matcher", [0, 0]],
  ["tr_matcher_fill", "matcher", [0, 0]],
  ["tr_matcher_forced", "matcher", [0, 0]],
  ["tr_matcher_canonical", "matcher", [0, 0, 0, 0]],
  ["tr_matcher_fill_tree", "matcher", [0, 0, 0, 0, 0, 0]],
  ["tr_matcher_temperature", "matcher", [0]],
  ["tr_matcher_validate", "matcher", [0, 0]],
  ["tr_matcher_rollback", "matcher", [0]],
  ["tr_matcher_fork", "matcher", []],
  ["tr_matcher_reset", "matcher", []],
  ["tr_matcher_accepting", "matcher", []],
  ["tr_matcher_finished", "matcher", []],
  ["tr_matcher_steps", "matcher", []],
  ["tr_matcher_error", "matcher", [0, 0]],
  ["tr_matcher_free", "matcher", []],
];

/** Every call that takes a list of matchers first, and what follows it and its length. */
const batches: [string, number[]][] = [
  ["tr_batch_fill", [0, 0, 0]],
  ["tr_batch_mask_ids", [0, 0]],
  ["tr_batch_accept", [0, 0]],
];

test("every call refuses handles of another type, of nothing, and of the freed", async () => {
  const { core, handles } = await made();
  const freed = { ...handles };
  for (const [name, type, rest] of calls) {
    const wrong = Object.entries(handles).filter(([other]) => other !== type);
    for (const handle of [...wrong.map(([, other]) => other), 0, -1, 1 << 30, 0x7fffffff]) {
      const error = thrown(() => core.call(name, handle, ...rest));
      assert.match(error.message, stale, `${name} took ${handle}`);
    }
  }
  for (const type of Object.keys(handles)) core.call(`tr_${type}_free`, handles[type] ?? 0);
  const all = new Vocab(core, table);
  assert.equal(core.live, 1);
  for (const [name, type, rest] of calls) {
    const error = thrown(() => core.call(name, freed[type] ?? 0, ...rest));
    assert.match(error.message, stale, `${name} took a freed handle`);
  }
  assert.equal(all.size, new Vocab(core, table).size);
});

test("a batch refuses handles of another type, of nothing, and of the freed", async () => {
  const { core, handles } = await made();
  const { matcher = 0, compiled = 0 } = handles;
  const freed = core.call("tr_matcher_fork", matcher);
  core.call("tr_matcher_free", freed);
  const staged = core.stage(64);
  for (const [name, rest] of batches) {
    for (const handle of [compiled, freed, 0]) {
      const list = new Uint8Array(Uint32Array.of(matcher, handle).buffer);
      const call = (at = 0): number => core.call(name, at, 2, ...rest.map(() => staged));
      assert.match(thrown(() => core.lend([list], call)).message, stale, name);
    }
    assert.equal(thrown(() => core.call(name, -4, 2, ...rest)).code, "invalid_request", name);
  }
  assert.equal(core.epoch, 0);
});

test("the lists above are the whole ABI", async () => {
  const module = await WebAssembly.compile(await (await import("node:fs/promises")).readFile(
    (await import("./support.js")).wasmPath));
  assert.deepEqual(WebAssembly.Module.imports(module), []);
  const others = ["tr_alloc", "tr_free", "tr_exhausted", "tr_live", "tr_error", "tr_limits"];
  const listed = [...others, "tr_vocab_load", "tr_grammar", ...calls.map(([name]) => name),
    ...batches.map(([name]) => name)];
  const exported = WebAssembly.Module.exports(module).map(({ name }) => name);
  assert.deepEqual(
    exported.filter((name) => name.startsWith("tr_")).sort(),
    listed.sort(),
  );
});

test("a place that is used again gives another handle, for as long as there are any", async () => {
  const { core } = await made();
  const seen = new Set<number>();
  for (let i = 0; i < 20_000; i += 1) {
    const grammar = core.call("tr_grammar", 8, 0, 0, 0, 0);
    assert(!seen.has(grammar), `handle ${grammar} came twice`);
    seen.add(grammar);
    core.call("tr_grammar_free", grammar);
  }
});

test("addresses outside the memory are errors", async () => {
  const { core, handles } = await made();
  const { matcher = 0, vocab = 0 } = handles;
  const outside: [string, number[]][] = [
    ["tr_vocab_load", [-16, 32]],
    ["tr_grammar", [3, core.memoryBytes, 1, 0, 0]],
    ["tr_grammar", [3, 0, 0, -1, 8]],
    ["tr_grammar", [9, 2, 8, 0, 0]],
    ["tr_compiler", [vocab, -8, 100]],
    ["tr_matcher_fill", [matcher, core.memoryBytes - 4, 9]],
    ["tr_matcher_fill", [matcher, 6, 9]],
    ["tr_matcher_accept_bytes", [matcher, -1, 2]],
    ["tr_matcher_validate", [matcher, 0, -1]],
    ["tr_matcher_forced", [matcher, -4, 100]],
    ["tr_matcher_canonical", [matcher, -1, 2, 0, 0]],
    ["tr_matcher_canonical", [matcher, 0, 0, -8, 4]],
    ["tr_matcher_temperature", [matcher, -4]],
    ["tr_matcher_fill_tree", [matcher, 0, 0, -8, 4, 0, 1]],
    ["tr_matcher_fill_tree", [matcher, 0, 0, 0, 2, -64, 1]],
    ["tr_matcher_fill_tree", [matcher, 0, 0, 0, 0x10000, 0, 0x10000]],
    ["tr_error", [-4, 100]],
  ];
  for (const [name, numbers] of outside) {
    assert.equal(thrown(() => core.call(name, ...numbers)).code, "invalid_request", name);
  }
  assert.equal(core.epoch, 0);
});

test("options are checked by name, type and kind of grammar", async () => {
  const core = await freshCore();
  const vocab = new Vocab(core, table);
  const make = (options: object) => Grammar.jsonSchema(core, true, options);
  const wrong: [() => unknown, RegExp][] = [
    [() => make({ ordr: "any" }), /^options\/ordr: /],
    [() => make({ order: "some" }), /^options\/order: give "any" or "declared"/],
    [() => make({ lenient: 1 }), /^options\/lenient: give true or false/],
    [() => make({ whitespace: -1 }), /^options\/whitespace: give a whole number/],
    [() => make({ whitespace: 1.5 }), /^options\/whitespace: /],
    [() => make({ indent: -1 }), /^options\/indent: give a whole number/],
    [() => make({ separators: [","] }), /^options\/separators: give two texts/],
    [() => make({ separators: [";", ":"] }), /^separators: a separator is one ','/],
    [() => make({ formats: "some" }), /^options\/formats: give true, false, "assert"/],
    [() => make({ closed: 1 }), /^options\/closed: give true or false/],
    [() => make({ limits: { irNodes: 2 ** 33 } }), /^options\/limits\/ir_nodes: /],
    [() => make({ limits: { irNode: 1 } }), /^options\/limits\/ir_node: /],
    [() => Grammar.json(core, { order: "any" } as object), /^options\/order: /],
    [() => Grammar.regex(core, "a", { root: "x" } as object), /^options\/root: /],
    [() => new Compiler(vocab, { stepFuel: NaN }), /^limits: not a JSON value/],
    [() => new Compiler(vocab, { steps: 1 } as object), /^options\/steps: /],
  ];
  for (const [run, message] of wrong) {
    const error = thrown(run);
    assert.equal(error.code, "invalid_request");
    assert.match(error.message, message);
  }
});

test("values without JSON, lone surrogates and stray flags are refused, not replaced", async () => {
  const core = await freshCore();
  const cycle: Record<string, unknown> = {};
  cycle["self"] = cycle;
  const schemas = [{ minimum: NaN }, { enum: [undefined] }, new Map(), cycle, { a: () => 1 }, { a: 1n }];
  for (const schema of schemas) {
    assert.match(thrown(() => Grammar.jsonSchema(core, schema)).message, /^\/: not a JSON value/);
  }
  assert.equal(thrown(() => Grammar.regex(core, "\ud800")).code, "invalid_request");
  assert.equal(thrown(() => Grammar.choice(core, ["\udc00x"])).code, "grammar_error");
  assert.match(thrown(() => Grammar.regex(core, /a/i)).message, /flags i mean nothing/);
});

test("packed vocabularies are read with care", async () => {
  const core = await freshCore();
  const good = packVocab(table);
  const word = (at: number, value: number) => {
    const bad = good.slice();
    new DataView(bad.buffer).setUint32(at, value, true);
    return bad;
  };
  const kinds = good.length - table.data.reduce((sum, token) => sum + token.length, 0);
  const wrongKind = good.slice();
  wrongKind[kinds - 1] = 4;
  const bad = [
    new Uint8Array(), good.subarray(0, 19), good.subarray(0, -1), word(0, 7), word(4, 0xffffffff),
    word(12, 2), word(16, 1), word(24, 0xffffffff), word(24, 1), wrongKind,
  ];
  for (const [i, block] of bad.entries()) {
    assert.equal(thrown(() => new Vocab(core, block)).reason, "format", `block ${i}`);
  }
  for (const [at, value] of [[8, 0xffffff0], [20, 5000]] as const) {
    assert.match(thrown(() => new Vocab(core, word(at, value))).code, /invalid_request|limit_exceeded/);
  }
  assert.equal(core.live, 0);
});

test("objects of two modules do not mix", async () => {
  const [one, two] = [await freshCore(), await freshCore()];
  const compiler = new Compiler(new Vocab(one, table));
  assert.equal(thrown(() => compiler.compile(Grammar.json(two))).code, "invalid_request");
  assert.throws(() => Grammar.concat(Grammar.json(one), Grammar.json(two)), /different modules/);
});

test("a disposed object says so; what was made from it lives on", async () => {
  const core = await freshCore();
  const vocab = new Vocab(core, table);
  const compiler = new Compiler(vocab);
  const grammar = Grammar.literal(core, "ab");
  const compiled = compiler.compile(grammar);
  const matcher = compiled.matcher();
  for (const owner of [vocab, compiler, grammar, compiled]) {
    owner.dispose();
    owner.dispose();
    assert(owner.disposed);
  }
  assert.match(thrown(() => compiler.compile(grammar)).message, /^Compiler: it was disposed of/);
  assert.equal(matcher.accept(0), true);
  assert.equal(matcher.fill(maskRows(1, vocab.size)), true);
  assert.equal(core.live, 1);
});
