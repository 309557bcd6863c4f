/** The protocol over real channels: values, streams, back-pressure, aborts, errors, deaths. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import OpenAI from "openai";
import { TreadleError } from "../src/errors.js";
import type { Bundle, Progress } from "../src/executor.js";
import { LocalEngine } from "../src/engine/engine.js";
import { openEngine, type Tier } from "../src/open.js";
import { connect, Link, type Target } from "../src/worker/client.js";
import { Host, serveWorker, type OpenEngine } from "../src/worker/host.js";
import { Server, type Port } from "../src/worker/rpc.js";
import { all, rejected, texts, toyOf, vocab, type ModelOptions } from "./model.js";
import { freshCore } from "./support.js";

const engines: LocalEngine[] = [];
const ports: MessagePort[] = [];
after(() => ports.forEach((port) => port.close()));

function channel(): MessageChannel {
  const made = new MessageChannel();
  ports.push(made.port1, made.port2);
  return made;
}

function opener(options: ModelOptions = {}): OpenEngine {
  return async (source, _options, { onProgress, signal }) => {
    if (source === "nowhere") throw new TreadleError("network", "there is nothing", { at: "nowhere" });
    for (let loaded = 1; loaded <= 3; loaded += 1) {
      onProgress({ phase: "download", loaded, total: 3 });
      await new Promise((resolve) => setTimeout(resolve, 3));
      if (signal.aborted) throw new TreadleError("cancelled", "the caller left");
    }
    const engine = new LocalEngine(await freshCore(), texts(options), toyOf(options));
    engines.push(engine);
    return engine;
  };
}

/** A host and the ends of two ports to it. */
function hosted(options: ModelOptions = {}) {
  const host = new Host(opener(options));
  const port = () => {
    const { port1, port2 } = channel();
    host.attach(port2 as unknown as Port);
    return port1 as unknown as Target;
  };
  return { host, port };
}

async function idle(): Promise<void> {
  const engine = engines.at(-1)!;
  for (let i = 0; i < 400 && engine.stats().requests; i += 1) await new Promise((r) => setTimeout(r, 2));
  assert.equal(engine.stats().requests, 0);
  engine.check();
}

const messages = [{ role: "user" as const, content: "hello" }];
const script = { hello: "Hi there." };

test("the same methods across a channel, with progress, errors and OpenAI's client", async () => {
  const { port } = hosted({ script });
  const seen: Progress[] = [];
  const engine = await connect(port(), "toy", { onProgress: (progress) => seen.push(progress) });
  assert.deepEqual(seen.map(({ loaded }) => loaded), [1, 2, 3]);
  assert.equal(engine.manifest.model.name, "toy");
  const whole = await engine.chat.completions.create({ messages, temperature: 0 });
  assert.equal(whole.choices[0]?.message.content, script.hello);
  const chunks = await all(await engine.chat.completions.create({ messages, temperature: 0, stream: true }));
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""), script.hello);
  const error = await rejected(engine.chat.completions.create({ messages, temperature: 7 }));
  assert(error instanceof TreadleError && error.code === "invalid_request" && error.at === "/temperature");
  const openai = new OpenAI({ apiKey: "local", baseURL: "http://treadle/v1", fetch: engine.fetch as typeof fetch });
  const said = await openai.chat.completions.create({ model: "toy", messages, temperature: 0 });
  assert.equal(said.choices[0]?.message.content, script.hello);
  const unclonable = { messages, metadata: { a: (() => 1) as unknown as string } };
  assert.equal((await rejected(engine.chat.completions.create(unclonable))).code, "invalid_request");
  await engine.close();
  assert.equal((await rejected(engine.stats())).code, "engine_dead");
});

test("loading can fail, and can be left", async () => {
  const { port } = hosted();
  const error = await rejected(connect(port(), "nowhere"));
  assert.deepEqual([error.code, error.at], ["network", "nowhere"]);
  const abort = new AbortController();
  setTimeout(() => abort.abort(), 4);
  assert.equal((await rejected(connect(port(), "toy", { signal: abort.signal }))).code, "cancelled");
  assert.equal((await connect(port(), "toy")).manifest.model.name, "toy");
  // One that leaves does not take the model from another that waits for it.
  const both = hosted();
  const leaving = new AbortController();
  const left = rejected(connect(both.port(), "toy", { signal: leaving.signal }));
  const stays = connect(both.port(), "toy");
  setTimeout(() => leaving.abort(), 4);
  assert.deepEqual([(await left).code, (await stays).manifest.model.name], ["cancelled", "toy"]);
});

test("two ports share one engine; one that leaves ends only its own", async () => {
  const { port } = hosted();
  const before = engines.length;
  const [one, two] = await Promise.all([connect(port(), "toy"), connect(port(), "toy")]);
  assert.equal(engines.length, before + 1);
  const long = { messages, max_tokens: 300, ignore_eos: true, stream: true as const };
  const first = await one.chat.completions.create(long);
  const second = two.chat.completions.create({ messages, max_tokens: 30, ignore_eos: true });
  await first[Symbol.asyncIterator]().next();
  await first[Symbol.asyncIterator]().return?.();
  assert.equal((await second).usage.completion_tokens, 30);
  await idle();
  assert.equal((await rejected(connect(port(), "other"))).code, "invalid_request");
});

test("aborts cross: of a whole answer, of a stream, of a reader that leaves", async () => {
  const { port } = hosted({ toy: { delay: 1 } });
  const engine = await connect(port(), "toy");
  const body = { messages, max_tokens: 400, ignore_eos: true };
  const abort = new AbortController();
  const whole = engine.chat.completions.create(body, { signal: abort.signal });
  setTimeout(() => abort.abort(), 10);
  assert.equal((await rejected(whole)).code, "cancelled");
  await idle();
  const again = new AbortController();
  const stream = await engine.chat.completions.create({ ...body, stream: true }, { signal: again.signal });
  let heard = 0;
  const error = await rejected(
    (async () => {
      for await (const _chunk of stream) if ((heard += 1) === 4) again.abort();
    })(),
  );
  assert.deepEqual([error.code, heard], ["cancelled", 4]);
  await idle();
  for await (const _chunk of await engine.chat.completions.create({ ...body, stream: true })) break;
  await idle();
  const aborted = AbortSignal.abort();
  assert.equal((await rejected(engine.chat.completions.create(body, { signal: aborted }))).code, "cancelled");
});

test("a slow reader slows the sender: nothing is sent that was not asked for", async () => {
  const { port1, port2 } = channel();
  let made = 0;
  const server = new Server(port2 as unknown as Port, async () =>
    (async function* () {
      while (made < 100) yield (made += 1);
    })(),
  );
  const link = new Link(port1 as unknown as Target);
  const items = (await link.call("count", null)) as AsyncIterable<number>;
  for await (const item of items) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    assert(made <= item + 1, `${made} made at ${item}`);
    if (item === 20) break;
  }
  server.close();
});

test("a worker that dies ends every call with engine_dead", async () => {
  const { port1, port2 } = channel();
  const worker = port1 as unknown as EventTarget & Target;
  const server = new Server(port2 as unknown as Port, () => new Promise(() => undefined));
  const link = new Link(worker);
  const call = link.call("never", null);
  worker.dispatchEvent(new Event("error"));
  assert.equal((await rejected(call)).code, "engine_dead");
  assert.equal((await link.dead).code, "engine_dead");
  await assert.rejects(async () => link.call("more", null), { code: "engine_dead" });
  server.close();
});

test("every kind of worker scope is served", async () => {
  const connectTo = async (serve: (port: Port) => void) => {
    const { port1, port2 } = channel();
    serve(port2 as unknown as Port);
    const engine = await connect(port1 as unknown as Target, "toy");
    assert.equal((await engine.models.list()).data.length, 1);
    await engine.close();
  };
  await connectTo((port) => void serveWorker(opener(), port as never));
  const shared: { onconnect: ((event: { ports: MessagePort[] }) => void) | null } = { onconnect: null };
  serveWorker(opener(), shared as never);
  await connectTo((port) => shared.onconnect?.({ ports: [port as unknown as MessagePort] }));
  const service = Object.assign(new EventTarget(), { clients: {} });
  serveWorker(opener(), service as never);
  await connectTo((port) => {
    const event = Object.assign(new Event("message"), { data: "treadle-connect", ports: [port] });
    service.dispatchEvent(event);
  });
});

test("the first tier that can run is taken, the others are noted; one can be forced", async () => {
  const told = texts();
  const files: Record<string, Uint8Array> = {
    "tokenizer.json": new TextEncoder().encode(told.tokenizer),
    "vocab.bin": vocab,
    "chat_template.jinja": new TextEncoder().encode(told.template),
  };
  const manifest = { ...told.manifest, tiers: { t0: {}, cpu: {} } };
  const bundle: Bundle = { manifest, read: async (path) => files[path]! };
  const refusal = (name: string): Tier => ({
    name,
    open: async () => {
      throw new TreadleError("no_device", `no ${name}`);
    },
  });
  const cpu: Tier = { name: "cpu", alias: "wasm", open: async () => toyOf({ script }) };
  const core = await freshCore();
  const engine = await openEngine(bundle, async () => core, [refusal("t2"), refusal("t0"), cpu]);
  assert.deepEqual(engine.stats().notes, ["t0: no t0"]);
  engine.close();
  const forced = await openEngine(bundle, async () => core, [refusal("t0"), cpu], { tier: "wasm", contextLength: 64 });
  assert.deepEqual([forced.stats().notes, forced.context], [[], 64]);
  forced.close();
  const none = await rejected(openEngine(bundle, async () => core, [refusal("t0"), cpu], { tier: "t0" }));
  assert.deepEqual([none.code, /no t0/.test(none.message)], ["no_device", true]);
  const broken = { ...cpu, open: async () => Promise.reject(new TreadleError("integrity", "bad shard")) };
  assert.equal((await rejected(openEngine(bundle, async () => core, [broken, cpu]))).code, "integrity");
});
