// What chromium.py measures, in a tab: the steps of a plan over random weights. Sends the adapter,
// then what each shape took, then that it is done.
const CHUNK = 18 << 20; // as plans.py's: a whole number of q4_0 blocks and of words
const [STORAGE, UNIFORM, QUERY_RESOLVE, MAP_READ, COPY_SRC, COPY_DST] = [0x80, 0x40, 0x200, 0x1, 0x4, 0x8];

const say = (what) => fetch("/said", { method: "POST", body: JSON.stringify(what) });
const middle = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
const spread = (list) => [Math.min(...list), middle(list), Math.max(...list)].map((value) => +value.toFixed(4));

function noise(bytes, head) {
  const words = new Uint32Array(bytes / 4);
  let state = 1;
  for (let i = 0; i < words.length; i += 1) words[i] = state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  const halves = new Uint16Array(words.buffer);
  if (head) for (let i = 0; i < halves.length; i += 9) halves[i] = 0x2a66; // 0.05: a q4_0 block's scale
  return words;
}

const fills = {
  noise: () => noise(CHUNK, false),
  blocks: () => noise(CHUNK, true),
  scales: () => new Uint32Array(CHUNK / 4).fill(0x1c191c19), // 0.004 as float16, twice
  ones: () => new Uint32Array(1 << 20).fill(0x3f800000),
};

class Plan {
  static async open(device, plan) {
    const made = new Plan();
    Object.assign(made, { device, plan, buffers: {}, weights: 0 });
    const sources = {};
    for (const [name, { bytes, fill }] of Object.entries(plan.buffers)) {
      const size = Math.ceil(Math.max(256, bytes) / 16) * 16;
      const buffer = (made.buffers[name] = device.createBuffer({ size, usage: STORAGE | COPY_SRC | COPY_DST }));
      if (!fill) continue;
      if (!name.startsWith("embed")) made.weights += size;
      sources[fill] ??= made.source(fills[fill]());
      const encoder = device.createCommandEncoder();
      for (let at = 0; at < size; at += sources[fill].size) {
        encoder.copyBufferToBuffer(sources[fill], 0, buffer, at, Math.min(sources[fill].size, size - at));
      }
      device.queue.submit([encoder.finish()]);
    }
    made.run = device.createBuffer({ size: 48, usage: UNIFORM | COPY_DST });
    device.queue.writeBuffer(made.buffers.draws, 0, new Uint32Array(plan.draw));
    const compiled = Object.entries(plan.kernels).map(async ([name, code]) => {
      const module = device.createShaderModule({ code });
      return [name, await device.createComputePipelineAsync({ layout: "auto", compute: { module } })];
    });
    const pipelines = Object.fromEntries(await Promise.all(compiled));
    made.steps = plan.steps.map(({ kernel, bind, uniform }) => {
      const pipeline = pipelines[kernel];
      const held = [...bind.map((name) => made.buffers[name]), ...(uniform ? [made.run] : [])];
      const entries = held.map((buffer, binding) => ({ binding, resource: { buffer } }));
      return { pipeline, group: device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }) };
    });
    made.stamps = device.createQuerySet({ type: "timestamp", count: 2 });
    made.resolved = device.createBuffer({ size: 16, usage: QUERY_RESOLVE | COPY_SRC });
    made.copies = [0, 1].map(() => device.createBuffer({ size: 16, usage: MAP_READ | COPY_DST }));
    return made;
  }

  source(words) {
    const buffer = this.device.createBuffer({ size: words.byteLength, usage: COPY_SRC | COPY_DST });
    this.device.queue.writeBuffer(buffer, 0, words);
    return buffer;
  }

  place(context) {
    const { batch, run, grids } = this.plan.places[context];
    this.device.queue.writeBuffer(this.buffers.batch, 0, new Int32Array(batch));
    this.device.queue.writeBuffer(this.run, 0, new Uint32Array(run));
    this.grids = grids;
  }

  /** One pass of `count` tokens; `copy`: a buffer that takes the drawn token, or the timestamps. */
  submit({ count = 1, stamped = false, copy } = {}) {
    const encoder = this.device.createCommandEncoder();
    const timestampWrites = { querySet: this.stamps, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 };
    const pass = encoder.beginComputePass(stamped ? { timestampWrites } : {});
    for (let k = 0; k < count; k += 1) {
      for (const [i, { pipeline, group }] of this.steps.entries()) {
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, group);
        pass.dispatchWorkgroups(...this.grids[i]);
      }
    }
    pass.end();
    if (stamped) encoder.resolveQuerySet(this.stamps, 0, 2, this.resolved, 0);
    if (stamped) encoder.copyBufferToBuffer(this.resolved, 0, copy, 0, 16);
    else if (copy) encoder.copyBufferToBuffer(this.buffers.drawn, 0, copy, 0, 4);
    this.device.queue.submit([encoder.finish()]);
  }

  async read(copy) {
    await copy.mapAsync(1);
    const words = new BigUint64Array(copy.getMappedRange()).slice();
    copy.unmap();
    return words;
  }

  /** GPU milliseconds of a token by timestamps around a pass of `count`. */
  async gpu(count) {
    this.submit({ count, stamped: true, copy: this.copies[0] });
    const [begin, end] = await this.read(this.copies[0]);
    return Number(end - begin) / 1e6 / count;
  }

  /** Wall milliseconds of a token: submitted ahead, one readback at the end. */
  async queued(count = 40) {
    const began = performance.now();
    for (let k = 1; k < count; k += 1) this.submit();
    this.submit({ copy: this.copies[1] });
    await this.read(this.copies[1]);
    return (performance.now() - began) / count;
  }

  /** Wall milliseconds of a token that is read before the next is begun. */
  async readback(count = 20) {
    const began = performance.now();
    for (let k = 0; k < count; k += 1) {
      this.submit({ copy: this.copies[1] });
      await this.read(this.copies[1]);
    }
    return (performance.now() - began) / count;
  }

  /** Wall milliseconds of a token, four on their way as the engine has them. */
  async ahead(count = 40, depth = 4) {
    const copies = (this.ring ??= Array.from({ length: depth }, () =>
      this.device.createBuffer({ size: 16, usage: MAP_READ | COPY_DST }),
    ));
    const waiting = [];
    const began = performance.now();
    for (let k = 0; k < count; k += 1) {
      if (waiting.length === depth) await waiting.shift();
      this.submit({ copy: copies[k % depth] });
      waiting.push(this.read(copies[k % depth]));
    }
    await Promise.all(waiting);
    return (performance.now() - began) / count;
  }

  free() {
    for (const buffer of Object.values(this.buffers)) buffer.destroy();
  }
}

async function taken(run, rounds) {
  const list = [];
  for (let i = 0; i < rounds; i += 1) list.push(await run());
  return spread(list);
}

const PERSON = {
  type: "object", required: ["name", "age", "skills"], additionalProperties: false,
  properties: {
    name: { type: "string", minLength: 1, maxLength: 8 },
    age: { type: "integer", minimum: 0, maximum: 120 },
    skills: { type: "array", minItems: 1, maxItems: 3, items: { type: "string", maxLength: 8 } },
  },
};

/** A chat under the schema of a person, three times: what came, and pieces a second of its stream. */
async function person(engine, tokens) {
  const said = [];
  for (let round = 0; round < 3; round += 1) {
    const body = {
      messages: [{ role: "user", content: "Describe a sailor." }], max_tokens: tokens, temperature: 0.8, seed: round,
      response_format: { type: "json_schema", json_schema: { name: "person", schema: PERSON } }, stream: true,
    };
    const times = [];
    let text = "";
    let why = "";
    for await (const { choices } of await engine.chat.completions.create(body)) {
      if (choices[0]?.delta?.content) times.push(performance.now());
      text += choices[0]?.delta?.content ?? "";
      why = choices[0]?.finish_reason ?? why;
    }
    let keys = [];
    try { keys = Object.keys(JSON.parse(text)); } catch { /* said below */ }
    const rate = (1000 * (times.length - 1)) / (times.at(-1) - times[0]);
    said.push({ text, finish_reason: why, keys, pieces: times.length, pieces_a_second: rate });
  }
  return said;
}

/** Tokens a second of the built engine: greedy streams of `tokens` at contexts up to the longest. */
async function engine(tier, longest, tokens) {
  const { createEngine } = await import("/dist/treadle.js");
  const opening = performance.now();
  const engine = await createEngine("/bundle/", { tier, contextLength: longest + 128 });
  const found = { open_ms: performance.now() - opening };
  for (const length of [128, 1024, 4096].filter((length) => length <= longest)) {
    const rates = [];
    for (let round = 0; round < 4; round += 1) {
      const prompt = Array.from({ length: length - Math.ceil(tokens / 2) }, (_, i) => 1 + ((i * 7 + round * 31) % 250));
      const body = { prompt, max_tokens: tokens, temperature: 0, ignore_eos: true, stream: true };
      const times = [];
      const began = performance.now();
      for await (const { choices } of await engine.completions.create(body)) {
        if (choices.length) times.push(performance.now());
      }
      if (round) rates.push([(1000 * (tokens - 1)) / (times.at(-1) - times[0]), (1000 * prompt.length) / (times[0] - began)]);
    }
    found[length] = { decode: spread(rates.map(([rate]) => rate)), prefill: spread(rates.map(([, rate]) => rate)) };
    const { tier: ran, notes } = await engine.stats();
    await say({ engine: { ...found, tier: ran, notes } });
  }
  found.person = await person(engine, Math.min(1000, longest / 3));
  const { tier: ran, notes } = await engine.stats();
  await say({ engine: { ...found, tier: ran, notes } });
  await engine.close();
}

async function main() {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw new Error("no adapter");
  const { vendor, architecture, device: part, description, isFallbackAdapter } = adapter.info;
  const features = [...adapter.features];
  const software = Boolean(isFallbackAdapter) || /swiftshader|llvmpipe/i.test(`${architecture} ${description}`);
  const browser = navigator.userAgent;
  await say({ adapter: { vendor, architecture, device: part, description, software, features, browser } });
  const wanted = ["shader-f16", "subgroups", "timestamp-query"].filter((name) => adapter.features.has(name));
  const requiredLimits = {};
  for (const name of ["maxBufferSize", "maxStorageBufferBindingSize", "maxComputeWorkgroupStorageSize"]) {
    requiredLimits[name] = adapter.limits[name];
  }
  const device = await adapter.requestDevice({ requiredFeatures: wanted, requiredLimits });
  device.addEventListener("uncapturederror", ({ error }) => void say({ error: error.message.slice(0, 2000) }));
  const rounds = software ? 1 : 9;
  for (const name of location.search.slice(1).split(",")) {
    const [kind, tier, longest, tokens] = name.split(":");
    if (kind === "engine") {
      await engine(tier, Number(longest), Number(tokens));
      continue;
    }
    const opening = performance.now();
    const plan = await Plan.open(device, await (await fetch(`/${name}.json`)).json());
    const found = { dispatches: plan.steps.length, bytes: plan.weights };
    for (const context of Object.keys(plan.plan.places)) {
      plan.place(context);
      for (let warm = 0; warm < (software ? 1 : 5); warm += 1) await plan.queued(software ? 1 : 40);
      found.ready_ms ??= performance.now() - opening;
      const one = {};
      if (device.features.has("timestamp-query")) {
        one.gpu_ms = await taken(() => plan.gpu(1), rounds);
        one.gpu_of_ten_ms = await taken(() => plan.gpu(software ? 1 : 10), rounds);
      }
      one.queued_ms = await taken(() => plan.queued(software ? 2 : 40), rounds);
      one.ahead_ms = await taken(() => plan.ahead(software ? 4 : 40), rounds);
      one.readback_ms = await taken(() => plan.readback(software ? 2 : 20), rounds);
      found[context] = one;
      await say({ [name]: found });
    }
    plan.free();
  }
  await say({ done: true });
}

main().catch((error) => say({ failed: String(error?.stack ?? error).slice(0, 2000) }));
