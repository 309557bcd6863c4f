/** Native = wasm, bit for bit: replays what tests/web/write_corpus.py recorded. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { KINDS, type Kind } from "../src/grammar/grammar.js";
import { snake } from "../src/grammar/limits.js";
import {
  acceptBatch,
  Compiler,
  fillBatch,
  Grammar,
  maskIds,
  maskRows,
  TreadleError,
  Vocab,
  type Core,
  type GrammarLimits,
  type MaskRows,
  type Matcher,
  type TokenKind,
} from "../src/node.js";
import { freshCore, freshJsonCore, repositoryFile } from "./support.js";

interface Part {
  kind: Kind;
  source?: unknown;
  parts?: [Part, Part];
  options?: Record<string, unknown>;
  file?: string;
  maskbench?: string;
}
interface Case extends Part {
  vocabulary: string;
  tokens?: number[];
  steps?: string;
  forced?: string;
  error?: Record<string, unknown>;
}
interface Corpus {
  vocabularies: Record<string, { data: string[]; kinds: TokenKind[]; stops: number[] }>;
  cases: Case[];
}

const corpus = JSON.parse(await repositoryFile("tests/web/corpus.json")) as Corpus;
const data = "tests/grammar/data/";
const schemas = JSON.parse(await repositoryFile(`${data}maskbench.json`)) as {
  name: string;
  schema: object;
}[];
const files = new Map<string, string>();
for (const name of ["fence.lark", "sql.lark"]) files.set(name, await repositoryFile(data + name));

function sourceOf(part: Part): unknown {
  if (part.file !== undefined) return files.get(part.file);
  if (part.maskbench === undefined) return part.source;
  return schemas.find((entry) => entry.name === part.maskbench)?.schema;
}

function optionsOf(part: Part): Record<string, unknown> {
  const limits = (part.options?.["limits"] ?? {}) as Record<string, number>;
  const camel = (name: string) => name.replace(/_([a-z])/g, (_, c: string) => c.toUpperCase());
  const renamed = Object.entries(limits).map(([name, value]) => [camel(name), value]);
  return { ...part.options, limits: Object.fromEntries(renamed) as GrammarLimits };
}

function grammarOf(core: Core, part: Part): Grammar {
  const source = sourceOf(part);
  const options = optionsOf(part);
  switch (part.kind) {
    case "json_schema":
      return Grammar.jsonSchema(core, source as object, options);
    case "json":
      return Grammar.json(core, options);
    case "json_object":
      return Grammar.jsonObject(core, options);
    case "regex":
      return Grammar.regex(core, source as string, options);
    case "ebnf":
      return Grammar.ebnf(core, source as string, options);
    case "lark":
      return Grammar.lark(core, source as string, options);
    case "choice":
      return Grammar.choice(core, source as string[], options);
    case "structural_tag":
      return Grammar.tag(core, source as object, options);
    case "literal":
      return Grammar.literal(core, source as string, options);
    default: {
      const [left, right] = (part.parts ?? []).map((inner) => grammarOf(core, inner));
      assert(left && right);
      return part.kind === "concat" ? Grammar.concat(left, right) : Grammar.anyOf(left, right);
    }
  }
}

function sha(...blocks: Uint8Array[]): string {
  const hash = createHash("sha256");
  for (const block of blocks) hash.update(block);
  return hash.digest("hex").slice(0, 8);
}

/** The fields that Python records of an error. */
function fieldsOf(error: TreadleError): Record<string, unknown> {
  const { code, at, kind, keyword, reason, limit, value, maximum } = error;
  if (code === "limit_exceeded") return { code, at, limit, value, maximum };
  return code === "grammar_error" ? { code, at, kind, keyword, reason } : { code, at };
}

/** A row as `replay` records it, without the flags. */
function rowSha(rows: MaskRows, index: number): string {
  const row = rows.row(index);
  return sha(new Uint8Array(row.buffer, row.byteOffset, row.byteLength));
}

/**
 * What the recorded tokens say of drafts, numbers and batches: the next ones as a chain and with a
 * refused sibling have the masks of the steps that follow; equal numbers are equal masks.
 */
function lookAhead(matcher: Matcher, vocab: Vocab, recorded: Case, seen: Map<number, string>): void {
  const steps = (recorded.steps ?? "").split(" ").map((step) => step.slice(0, 8));
  const next = (recorded.tokens ?? []).slice(matcher.steps, matcher.steps + 3);
  const n = next.length + 2;
  const rows = maskRows(n, vocab.size);
  const chain = next.map((_, i) => i + 1);
  const child = [...chain, -1, -1];
  const sibling = Array.from({ length: n }, () => -1);
  if (next.length > 0) sibling[1] = n - 1;
  const before = matcher.steps;
  matcher.fillTree(child, sibling, [0, ...next, vocab.size + 1], rows);
  assert.equal(matcher.steps, before);
  for (let i = 0; i <= next.length; i += 1) {
    assert.equal(rowSha(rows, i), steps[before + i], `node ${i} of a draft`);
  }
  assert(rows.row(n - 1).every((word) => word === 0));
  const fork = matcher.fork();
  const pair = maskRows(2, vocab.size);
  assert.deepEqual(fillBatch([matcher, fork], pair, [1, 0]), []);
  assert.deepEqual([rowSha(pair, 0), rowSha(pair, 1)], [steps[before], steps[before]]);
  const [number, same] = maskIds([matcher, fork]);
  assert.equal(number, same);
  assert(number !== undefined && number !== -2);
  const known = seen.get(number);
  if (known === undefined) seen.set(number, steps[before] ?? "");
  else assert.equal(known, steps[before], "equal numbers are equal masks");
  const token = next[0] ?? vocab.size;
  assert.deepEqual(acceptBatch([fork], [token]), [next.length > 0]);
  assert.equal(fork.steps, before + Number(next.length > 0));
  fork.dispose();
}

function replay(
  matcher: Matcher,
  vocab: Vocab,
  recorded: Case,
  seen: Map<number, string> | undefined,
): Partial<Case> {
  const rows = maskRows(1, vocab.size);
  const tokens = recorded.tokens ?? [];
  const steps: string[] = [];
  const forced: Uint8Array[] = [];
  let error: Record<string, unknown> | undefined;
  try {
    for (let at = 0; ; at += 1) {
      const masked = matcher.fill(rows);
      forced.push(matcher.forced(), Uint8Array.of(0));
      const { accepting, finished } = matcher;
      const flags = Number(masked) + 2 * Number(accepting) + 4 * Number(finished);
      steps.push(rowSha(rows, 0) + String(flags));
      if (seen && recorded.error === undefined && at % 3 === 0) lookAhead(matcher, vocab, recorded, seen);
      const token = tokens[at];
      if (token === undefined) break;
      assert(rows.has(0, token) && matcher.accept(token), `token ${at}`);
    }
  } catch (caught) {
    if (!(caught instanceof TreadleError)) throw caught;
    error = fieldsOf(caught);
  }
  const record = { tokens, steps: steps.join(" "), forced: sha(...forced) };
  return error ? { ...record, error } : record;
}

function run(
  core: Core,
  compiler: Compiler,
  recorded: Case,
  seen: Map<number, string> | undefined,
): Partial<Case> {
  let grammar: Grammar;
  let matcher: Matcher;
  try {
    grammar = grammarOf(core, recorded);
    matcher = compiler.compile(grammar).matcher();
  } catch (error) {
    if (error instanceof TreadleError) return { error: fieldsOf(error) };
    throw error;
  }
  const record = replay(matcher, compiler.vocab, recorded, seen);
  matcher.dispose();
  grammar.dispose();
  return record;
}

/** What core-json.wasm has no front end for. */
const LEFT_OUT: readonly Kind[] = ["ebnf", "lark", "structural_tag"];

function isLeftOut({ kind, parts }: Part): boolean {
  return LEFT_OUT.includes(kind) || (parts?.some(isLeftOut) ?? false);
}

const builds = { "core.wasm": freshCore, "core-json.wasm": freshJsonCore };
for (const [build, start] of Object.entries(builds)) {
  for (const kind of KINDS) {
    test(`${build} says of ${kind} what native says`, async () => {
      const core = await start();
      const compilers = new Map<string, Compiler>();
      for (const [name, { data, kinds, stops }] of Object.entries(corpus.vocabularies)) {
        const bytes = data.map((token) => new Uint8Array(Buffer.from(token, "base64")));
        compilers.set(name, new Compiler(new Vocab(core, { data: bytes, kinds, stopIds: stops })));
      }
      const numbers = new Map([...compilers.keys()].map((name) => [name, new Map<number, string>()]));
      const cases = corpus.cases.filter((entry) => entry.kind === kind);
      assert(cases.length > 0);
      for (const recorded of cases) {
        const compiler = compilers.get(recorded.vocabulary);
        const seen = start === freshCore ? numbers.get(recorded.vocabulary) : undefined;
        assert(compiler);
        const { tokens, steps, forced, error } = recorded;
        const wanted = { tokens, steps, forced, error };
        const said = { ...Object.fromEntries(Object.keys(wanted).map((key) => [key, undefined])) };
        const name = JSON.stringify(recorded.maskbench ?? recorded.source ?? recorded.kind);
        const found = run(core, compiler, recorded, seen);
        if (start !== freshCore && isLeftOut(recorded)) {
          if (!error) assert.equal(found.error?.["reason"], "unsupported", name);
        } else assert.deepEqual({ ...said, ...found }, wanted, name);
      }
    });
  }
}

test("a call that was left out is refused by name, and the core goes on", async () => {
  const core = await freshJsonCore();
  const grammar = Grammar.json(core);
  assert.throws(() => core.call("tr_grammar_ebnf", 0, 0, 0), { code: "unsupported" });
  assert.equal(String(grammar), "Grammar(json)");
  assert.equal(core.live, 1);
  assert.equal(core.epoch, 0);
});

test("the names of limits survive the way to the core and back", async () => {
  const core = await freshCore();
  const text = core.text((at, n) => core.call("tr_limits", at, n));
  for (const name of Object.keys(JSON.parse(text) as object)) {
    const camel = name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
    assert.equal(snake(camel), name);
  }
});
