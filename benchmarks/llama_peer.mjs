// llama.cpp behind node-llama-cpp, as a process that answers a line with a line:
//   node llama_peer.mjs FOLDER_OF_NODE_MODULES MODEL.gguf THREADS
//   {"prompt": 512, "tokens": 0}   -> {"prefill_s": ..., "decode_s": 0, "ids": []}
//   {"ids": [1, 2], "tokens": 64}  -> the same, greedy, from those tokens
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, modelPath, threads] = process.argv.slice(2);
const require = createRequire(join(folder, "package.json"));
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(require.resolve("node-llama-cpp")));

const llama = await getLlama({
  gpu: false,
  build: "never",
  maxThreads: Number(threads),
  logLevel: LlamaLogLevel.error,
});
const model = await llama.loadModel({ modelPath });
const context = await model.createContext({
  contextSize: 2048,
  batchSize: 512,
  sequences: 1,
  threads: Number(threads),
});
const sequence = context.getSequence();
const seconds = () => Number(process.hrtime.bigint()) / 1e9;
console.log(JSON.stringify({ ready: true, system: llama.systemInfo }));

for await (const line of createInterface({ input: process.stdin })) {
  const { ids, prompt, tokens } = JSON.parse(line);
  const given = ids ?? Array.from({ length: prompt }, (_, i) => 1000 + ((i * 7919) % 20000));
  await sequence.clearHistory();
  const begin = seconds();
  await sequence.evaluateWithoutGeneratingNewTokens(given.slice(0, -1));
  const filled = seconds();
  const made = [];
  let first = filled;
  if (tokens > 0) {
    for await (const token of sequence.evaluate(given.slice(-1), { temperature: 0 })) {
      made.push(token);
      if (made.length === 1) first = seconds();
      if (made.length > tokens) break;
    }
  }
  const end = seconds();
  console.log(
    JSON.stringify({ prefill_s: filled - begin, decode_s: tokens > 0 ? end - first : 0, ids: made }),
  );
}
