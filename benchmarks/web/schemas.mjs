// A model in a tab answers by JSON Schemas, and ajv judges what it says. Seeded: the first schemas
// of a shuffle that the engine compiles, until --count answers are whole. Those that max_tokens cut
// short are counted apart. --brief adds a bias to the tokens that end strings, lists and objects, so
// that a model that likes to go on comes to an end; what may be drawn is still the schema's word.
//
//   treadle export web smollm2-135m -o BUNDLE && make page
//   node benchmarks/web/schemas.mjs SCHEMAS --bundle BUNDLE [--count 200] [--seed 0] [--out FILE]
//
// SCHEMAS: a folder of JSON files, each a schema or an object with one at "schema". Exits with 1 if
// any whole answer is invalid. --minutes ends a run early; one with --resume goes on where FILE ends,
// and --from N begins later in the shuffle: several runs at a time.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { require, withEngine } from "./tab.mjs";

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    bundle: { type: "string" },
    count: { type: "string", default: "200" },
    seed: { type: "string", default: "0" },
    tokens: { type: "string", default: "256" },
    batch: { type: "string", default: "4" },
    brief: { type: "string", default: "0" },
    from: { type: "string", default: "0" },
    minutes: { type: "string", default: "Infinity" },
    resume: { type: "boolean", default: false },
    tier: { type: "string", default: "wasm" },
    out: { type: "string", default: "benchmarks/results/web_schemas.json" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
  },
});
const [folder] = positionals;
if (!folder || !given.bundle) throw new Error("give a folder of schemas and --bundle");
const [count, batch, maxTokens, brief] = [given.count, given.batch, given.tokens, given.brief].map(Number);
const ENDS = [ // of strings, lists and objects
  '"', "}", "]", '"}', '"]', '",', "},", "],", "}}", "]}", '"}}', '"]}',
]; // prettier-ignore

/** Fisher-Yates over xorshift32. */
function shuffled(list, seed) {
  const out = [...list];
  let state = (seed + 0x9e3779b9) >>> 0;
  for (let i = out.length - 1; i > 0; i -= 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    const j = (state >>> 0) % (i + 1);
    [out[i], out[j]] = [out[j], out[i]];
  }
  return out;
}

const DRAFTS = [
  [/draft-0?4/, "ajv-draft-04"],
  [/draft\/?2019-09/, "ajv/dist/2019"],
  [/draft\/?2020-12/, "ajv/dist/2020"],
];

/** What says whether a text is an instance; undefined: ajv does not take the schema. */
function judge(schema) {
  const draft = typeof schema === "object" ? String(schema.$schema ?? "") : "";
  const name = DRAFTS.find(([pattern]) => pattern.test(draft))?.[1] ?? "ajv";
  const { default: Ajv } = require(name);
  const { default: formats } = require("ajv-formats");
  const ajv = new Ajv({ strict: false, logger: false, validateSchema: false, allErrors: false });
  formats(ajv);
  try {
    const validate = ajv.compile(schema);
    return (text) => (validate(JSON.parse(text)) ? "" : ajv.errorsText(validate.errors));
  } catch (error) {
    return undefined;
  }
}

const files = shuffled(readdirSync(folder).filter((name) => name.endsWith(".json")).sort(), Number(given.seed));
const options = { count, seed: Number(given.seed), max_tokens: maxTokens, batch, brief, temperature: 0.7 };
const before = given.resume && existsSync(given.out) ? JSON.parse(readFileSync(given.out, "utf8")) : {};
for (const [name, value] of Object.entries(options)) {
  if (before.rows && before[name] !== value) throw new Error(`${given.out} has ${name} ${before[name]}`);
}
const found = { valid: 0, invalid: 0, cut: 0, failed: 0 };
const refused = before.refused ?? { engine: 0, ajv: 0 };
const rows = before.rows ?? [];
for (const { verdict } of rows) found[verdict] += 1;
const began = performance.now();
const whole = () => found.valid + found.invalid;
const enough = () => whole() >= count || performance.now() - began > Number(given.minutes) * 60_000;
let next = before.next ?? Number(given.from);

async function one(tab, name, number, bias) {
  const read = JSON.parse(readFileSync(join(folder, name), "utf8"));
  const schema = read.schema ?? read;
  const check = judge(schema);
  if (!check) return void (refused.ajv += 1);
  const topic = String(schema.title ?? schema.description ?? name.replace(/\.json$/, "")).slice(0, 120);
  const body = {
    messages: [{ role: "user", content: `Write one short JSON document: ${topic}` }],
    ...{ temperature: 0.7, seed: number, max_tokens: maxTokens, logit_bias: bias },
    response_format: { type: "json_schema", json_schema: { name: "answer", schema } },
  };
  const answer = await tab.evaluate(async (wanted) => {
    try {
      return await window.engine.chat.completions.create(wanted);
    } catch ({ code, message }) {
      return { error: { code, message } };
    }
  }, body);
  const { error, choices, usage } = answer;
  if (error && ["grammar_error", "unsupported", "limit_exceeded"].includes(error.code)) return void (refused.engine += 1);
  const text = choices?.[0]?.message.content ?? "";
  let verdict = error ? "failed" : choices[0].finish_reason === "length" ? "cut" : "valid";
  let why = error ? `${error.code}: ${error.message}` : "";
  if (verdict === "valid") {
    try {
      why = check(text);
    } catch (thrown) {
      why = String(thrown);
    }
    if (why) verdict = "invalid";
  }
  rows.push({ name, verdict, why, tokens: usage?.completion_tokens ?? 0, ...(why ? { text } : {}) });
  found[verdict] += 1;
  if (why) console.error(`${name}: ${verdict}: ${why}`);
}

const result = await withEngine(given, async (tab, machine) => {
  const { vocab } = JSON.parse(readFileSync(join(given.bundle, "tokenizer.json"), "utf8")).model;
  const ends = ENDS.filter((text) => text in vocab);
  const bias = brief ? Object.fromEntries(ends.map((text) => [vocab[text], brief])) : {};
  const worker = async () => {
    while (!enough() && next < files.length) {
      const number = next++;
      await one(tab, files[number], number, bias);
      const seconds = Math.round((performance.now() - began) / 1000);
      if (rows.length % 10 === 0) console.error(`${whole()}/${count} ${JSON.stringify(found)} ${seconds} s`);
    }
  };
  await Promise.all(Array.from({ length: batch }, worker));
  return machine;
});
const seconds = (performance.now() - began) / 1000 + (before.seconds ?? 0);
const tokens = rows.reduce((sum, row) => sum + row.tokens, 0);
const told = { ...result, ...options, seconds, tokens, answers: rows.length, ...found, refused, next, rows };
writeFileSync(given.out, `${JSON.stringify(told, null, 1)}\n`);
console.log(JSON.stringify({ answers: rows.length, ...found, refused, tokens, seconds: Math.round(seconds) }));
const missing = whole() < count && next >= files.length;
process.exitCode = found.invalid || found.failed || missing ? 1 : 0;
