/**
 * Times masks: `node build/bench/fills.js JOB`, where JOB is a JSON file with {wasm, vocab, rounds,
 * workloads: [{name, schema | regex | ebnf, tokens}]}. Prints {name: {cold, warm}}: microseconds of
 * each fill, by round and step. benchmarks/bench_wasm_masks.py writes the job and compares.
 */
import { readFile } from "node:fs/promises";
import { Compiler, Grammar, loadCore, maskRows, Vocab, type Core } from "../src/node.js";

interface Workload {
  name: string;
  schema?: object | boolean;
  regex?: string;
  ebnf?: string;
  tokens: number[];
}
interface Job {
  wasm: string;
  vocab: string;
  rounds: number;
  workloads: Workload[];
}

const job = JSON.parse(await readFile(process.argv[2] ?? "", "utf8")) as Job;
const core = await loadCore(await WebAssembly.compile(await readFile(job.wasm)));
const started = performance.now();
const vocab = new Vocab(core, new Uint8Array(await readFile(job.vocab)));
const vocabMs = performance.now() - started;
const rows = maskRows(1, vocab.size);

function grammarOf(workload: Workload, core: Core): Grammar {
  if (workload.schema !== undefined) return Grammar.jsonSchema(core, workload.schema);
  if (workload.regex !== undefined) return Grammar.regex(core, workload.regex);
  return Grammar.ebnf(core, workload.ebnf ?? "");
}

const figures: Record<string, { cold: number[][]; warm: number[][] }> = {};
for (const workload of job.workloads) {
  const times = { cold: [] as number[][], warm: [] as number[][] };
  for (let round = 0; round < job.rounds; round += 1) {
    const compiler = new Compiler(vocab);
    const grammar = grammarOf(workload, core);
    const matcher = compiler.compile(grammar).matcher();
    for (const pass of ["cold", "warm"] as const) {
      matcher.reset();
      const steps: number[] = [];
      times[pass].push(steps);
      for (const token of workload.tokens) {
        const start = performance.now();
        matcher.fill(rows);
        steps.push((performance.now() - start) * 1000);
        if (!matcher.accept(token)) throw new Error(`${workload.name}: token ${token} is refused`);
      }
    }
    for (const owner of [matcher, grammar, compiler]) owner.dispose();
  }
  figures[workload.name] = times;
}
console.log(JSON.stringify({ vocabMs, memoryBytes: core.memoryBytes, figures }));
