/** A worker with the toy model in the place of a bundle; the grammar engine is the real one. */
import { loadCore } from "../../src/grammar.js";
import { LocalEngine } from "../../src/engine/engine.js";
import { TreadleError } from "../../src/errors.js";
import { tokenTable } from "../../src/grammar/tokenizer.js";
import { packVocab } from "../../src/grammar/vocab.js";
import type { BundleManifest, ToolFormat } from "../../src/types.js";
import { serveWorker } from "../../src/worker/host.js";
import { Words } from "../scripted.js";
import { Toy } from "../toy.js";

const SCRIPT = {
  hello: "Hello! I am a toy, and I say what I was told to say.",
  "17 * 23": '<tool_call>{"name": "calculate", "arguments": {"expression": "17 * 23 + 4"}}</tool_call>',
  "call:\n395": "It is 395.",
};

const text = async (path: string) => (await fetch(path)).text();

serveWorker(async (source, options, { onProgress, signal }) => {
  const manifest = JSON.parse(await text(new URL("manifest.json", String(source)).href)) as BundleManifest;
  for (let loaded = 0; loaded <= 10; loaded += 1) {
    onProgress({ phase: "download", loaded: loaded << 20, total: 10 << 20, bytesPerSecond: 9 << 20, etaSeconds: 1 });
    await new Promise((resolve) => setTimeout(resolve, 15));
    if (signal.aborted) throw new TreadleError("cancelled", "the caller left");
  }
  const tokenizer = await text("/data/tokenizer.json");
  const formats = JSON.parse(await text("/data/formats.json")) as Record<string, ToolFormat>;
  const table = tokenTable(tokenizer, { eos_token: "<|im_end|>" });
  const core = await loadCore("/core.wasm");
  const delay = options.threads ?? 1; // a toy has no threads: here it says how slow it is
  const toy = new Toy({ ...new Words(table).toy(SCRIPT), pages: 256, delay });
  const limits = { vocab: table.data.length, context: 4096, page: 16 };
  const chat = { ...manifest.chat, bos: null, eos: table.stopIds, tools: formats["neutral"]! };
  const told = { ...manifest, limits, chat, tiers: { toy: {} } };
  const template = await text("/data/chatml.jinja");
  return new LocalEngine(core, { manifest: told, tokenizer, vocab: packVocab(table), template }, toy);
});
