/** Hostile input ends in an answer or a typed error, never in a trap; memory comes back. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { Compiler, Core, Grammar, loadCore, maskRows, Vocab, type Matcher } from "../src/node.js";
import { freshCore, tableOf, thrown, wasmPath } from "./support.js";

const table = tableOf(["aa", '{"', "((", "[[", "  "]);
const hanging = { timeout: 240_000 }; // for a loop without an end; the budgets are the measure
const encode = (text: string) => new TextEncoder().encode(text);

const hostile: [string, (core: Core) => Grammar][] = [
  ["nested groups", (core) => Grammar.regex(core, "(".repeat(1e5) + ")".repeat(1e5))],
  ["nested repeats", (core) => Grammar.regex(core, "((a*)*)*{1,1000000000}")],
  ["a huge count", (core) => Grammar.regex(core, "(a{1,100000}){1,100000}")],
  ["a long pattern", (core) => Grammar.regex(core, "a?".repeat(100_000))],
  ["many alternatives", (core) => Grammar.choice(core, Array.from({ length: 1e5 }, (_, i) => `k${i}`))],
  ["deep JSON", (core) => Grammar.jsonSchema(core, '{"not":'.repeat(1e5) + "{}" + "}".repeat(1e5))],
  ["a cycle", (core) => Grammar.jsonSchema(core, { $ref: "#" })],
  ["mutual left recursion", (core) => Grammar.ebnf(core, 'root ::= a\na ::= root | a a | ""')],
  ["nested rules", (core) => Grammar.ebnf(core, `root ::= ${"(".repeat(1e5)}"a"${")".repeat(1e5)}`)],
  ["bytes that are no text", (core) => Grammar.literal(core, Uint8Array.of(0xff, 0, 0xc3))],
  ["an open string", (core) => Grammar.lark(core, 'start: "')],
  ["a tag of tags", (core) => Grammar.tag(core, nested(900))],
];

function nested(depth: number): object {
  let format: object = { type: "any_text" };
  for (let i = 0; i < depth; i += 1) format = { type: "star", content: format };
  return format;
}

test("hostile sources end in success or a typed error, and the next call works", hanging, async () => {
  const core = await freshCore();
  const vocab = new Vocab(core, table);
  const rows = maskRows(1, vocab.size);
  const outcomes = new Set<string>();
  for (const [name, make] of hostile) {
    const compiler = new Compiler(vocab);
    try {
      const matcher = compiler.compile(make(core)).matcher();
      matcher.fill(rows);
      matcher.forced();
      outcomes.add("made");
    } catch (error) {
      outcomes.add(thrown(() => { throw error; }).code);
    }
    assert.equal(core.epoch, 0, `${name} trapped`);
    compiler.dispose();
    assert.equal(new Compiler(vocab).compile(Grammar.literal(core, "aa")).matcher().accept(0), true);
  }
  assert.deepEqual([...outcomes].sort(), ["grammar_error", "limit_exceeded", "made"]);
});

test("a spent budget sticks to one matcher until it goes back", async () => {
  const core = await freshCore();
  const compiler = new Compiler(new Vocab(core, table), { stackDepth: 40 });
  const matcher = compiler.compile(Grammar.json(core)).matcher();
  const other = compiler.compile(Grammar.json(core)).matcher();
  for (let depth = 0; depth < 10; depth += 1) assert(matcher.accept(3));
  const error = thrown(() => matcher.acceptBytes(encode("[".repeat(100))));
  assert.deepEqual([error.code, error.limit, error.maximum], ["limit_exceeded", "stack_depth", 40]);
  assert.equal(matcher.error?.limit, "stack_depth");
  assert.equal(thrown(() => matcher.fill(maskRows(1, 1000))).limit, "stack_depth");
  assert.equal(other.error, null);
  assert.equal(other.accept(3), true);
  matcher.rollback(1);
  assert.equal(matcher.error, null);
  assert.equal(matcher.accept(3), true);
});

function walk(core: Core, vocab: Vocab): Matcher {
  const compiler = new Compiler(vocab);
  const schema = { type: "object", additionalProperties: { type: "string", maxLength: 50 } };
  const grammar = Grammar.jsonSchema(core, schema);
  const compiled = compiler.compile(grammar);
  const matcher = compiled.matcher();
  const rows = maskRows(1, vocab.size);
  for (const byte of encode('{"a": "bcd", "e": "f"}')) {
    matcher.fill(rows);
    assert(matcher.accept(5 + byte));
  }
  const fork = matcher.fork();
  for (const owner of [fork, compiled, grammar, compiler]) owner.dispose();
  return matcher;
}

test("memory returns after dispose", async () => {
  const core = await freshCore();
  const vocab = new Vocab(core, table);
  for (let i = 0; i < 5; i += 1) walk(core, vocab).dispose();
  const before = core.memoryBytes;
  for (let i = 0; i < 200; i += 1) walk(core, vocab).dispose();
  assert.equal(core.live, 1);
  assert.equal(core.memoryBytes, before);
});

test("what nobody holds any more is released by itself", async () => {
  const core = await freshCore();
  const vocab = new Vocab(core, table);
  for (let i = 0; i < 50; i += 1) walk(core, vocab);
  const collect = globalThis.gc;
  assert(collect, "run node with --expose-gc");
  for (let turn = 0; turn < 50 && core.live > 1; turn += 1) {
    collect();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.equal(core.live, 1);
});

/** The module with `pages` of memory at most: a limit in its memory section. */
function limited(binary: Uint8Array, pages: number): Uint8Array {
  const bytes = binary.slice();
  let at = 8;
  const leb = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++] ?? 0;
      value |= (byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  for (;;) {
    const section = bytes[at++];
    const end = leb() + at;
    if (section !== 5) {
      at = end;
      continue;
    }
    leb(); // one memory
    leb(); // its flags: there is a maximum
    leb(); // least pages
    const start = at;
    leb();
    for (let i = start; i < at; i += 1, pages >>>= 7) {
      bytes[i] = (pages & 127) | (i === at - 1 ? 0 : 128);
    }
    return bytes;
  }
}

test("without memory the module starts anew, and says so to whoever held a part of it", async () => {
  const core = await loadCore(new Uint8Array(limited(await readFile(wasmPath), 80)));
  const vocab = new Vocab(core, table);
  const compiler = new Compiler(vocab);
  const choices = Array.from({ length: 2e5 }, (_, i) => `key ${i} of many`);
  const error = thrown(() => compiler.compile(Grammar.choice(core, choices)));
  assert.equal(error.code, "out_of_memory");
  assert.equal(thrown(() => core.stage(1 << 29)).code, "out_of_memory");
  assert.equal(core.live, core.epoch === 0 ? 2 : 0);
  if (core.epoch > 0) assert.equal(thrown(() => vocab.handle).code, "out_of_memory");
  compiler.dispose();
  vocab.dispose();
  const again = new Compiler(new Vocab(core, table)).compile(Grammar.json(core)).matcher();
  assert.equal(again.accept(3), true);
  assert(core.memoryBytes <= 80 * 65536);
});
