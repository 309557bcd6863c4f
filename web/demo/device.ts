/** What this machine and the engine say of themselves, and a measurement to take along. */
import type { Engine, EngineStats } from "../src/treadle.js";
import { $, duration, h, rate } from "./dom.js";

const BENCH_MS = 30_000;

interface GpuInfo {
  vendor?: string;
  architecture?: string;
  description?: string;
}

/** The adapter in words; WebGPU may be missing. */
async function gpu(): Promise<string> {
  const { gpu: api } = navigator as unknown as {
    gpu?: { requestAdapter(): Promise<{ info?: GpuInfo; features: Set<string> } | null> };
  };
  const adapter = await api?.requestAdapter().catch(() => null);
  if (!adapter) return "no WebGPU here";
  const { vendor, architecture, description } = adapter.info ?? {};
  const name = description || [vendor, architecture].filter(Boolean).join(" ") || "unnamed";
  const has = ["shader-f16", "subgroups"].filter((feature) => adapter.features.has(feature));
  return has.length ? `${name} (${has.join(", ")})` : name;
}

export class DevicePanel {
  #engine: Engine | undefined;
  #seconds = 0;
  readonly #gpu = gpu();

  constructor() {
    $("bench").addEventListener("click", () => void this.#bench());
    void this.refresh();
  }

  show(engine: Engine | undefined, seconds: number): void {
    this.#engine = engine;
    this.#seconds = seconds;
    $<HTMLButtonElement>("bench").disabled = !engine;
    void this.refresh();
  }

  async refresh(): Promise<void> {
    const stats = await this.#engine?.stats().catch(() => undefined);
    const memory = (performance as { memory?: { usedJSHeapSize: number } }).memory?.usedJSHeapSize;
    const rows: [string, string][] = [
      ["GPU", await this.#gpu],
      ["Processor", `${navigator.hardwareConcurrency} threads`],
      ["Threads in wasm", crossOriginIsolated ? "possible" : "no: the page is not isolated"],
      ...(memory ? [["Memory of the page", `${(memory / (1 << 20)).toFixed(0)} MB`] as [string, string]] : []),
      ...(stats ? told(stats, this.#seconds) : []),
    ];
    $("facts").replaceChildren(...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  }

  /** Decodes for half a minute and copies what it measured. */
  async #bench(): Promise<void> {
    const engine = this.#engine;
    if (!engine) return;
    const button = $<HTMLButtonElement>("bench");
    const state = $("bench-state");
    button.disabled = true;
    const end = performance.now() + BENCH_MS;
    const runs: number[] = [];
    try {
      while (performance.now() < end) {
        state.textContent = `${Math.ceil((end - performance.now()) / 1000)} s left`;
        const begun = performance.now();
        const answer = await engine.completions.create({ prompt: "Once upon a time", max_tokens: 64, ignore_eos: true, seed: 1 });
        runs.push(answer.usage!.completion_tokens / ((performance.now() - begun) / 1000));
      }
      const sorted = [...runs].sort((a, b) => a - b);
      const stats = await engine.stats();
      const result = { model: stats.model, tier: stats.tier, gpu: await this.#gpu, agent: navigator.userAgent, runs, median: sorted[sorted.length >> 1], stats };
      await navigator.clipboard.writeText(JSON.stringify(result, null, 2)).catch(() => undefined);
      state.textContent = `${rate(result.median ?? 0)} tok/s over ${runs.length} runs; copied as JSON`;
    } catch (error) {
      state.textContent = (error as Error).message;
    } finally {
      button.disabled = false;
      void this.refresh();
    }
  }
}

function told(stats: EngineStats, seconds: number): [string, string][] {
  const { pages, last } = stats;
  const speed = (value: number) => (value ? `${rate(value)} tok/s` : "not measured yet");
  return [
    ["Tier", stats.tier],
    ["Loaded in", duration(seconds * 1000)],
    ["Context", `${stats.context} tokens`],
    ["Prefill", speed(stats.prefillTokensPerSecond)],
    ["Decode", speed(stats.decodeTokensPerSecond)],
    ["Last first token", last ? duration(last.firstTokenMs) : "none yet"],
    ["Tokens, forced ones", `${stats.tokens}, ${stats.forcedTokens}`],
    ["Masks", duration(stats.maskMs)],
    ["KV pages held, kept, all", `${pages.held}, ${pages.cached}, ${pages.count}`],
    ...stats.notes.map((note): [string, string] => ["Note", note]),
  ];
}
