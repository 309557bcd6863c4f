/** The page and the workers in Chromium: with the toy model, and with a tiny one on the CPU tier. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, afterEach, before, beforeEach, test } from "node:test";
import type { Browser, BrowserContext, Page } from "playwright-core";
import type * as Treadle from "../../src/treadle.js";
import { openBrowser, openSite, type Site } from "./site.js";

let site: Site;
let browser: Browser;
let context: BrowserContext;
let page: Page;
const faults: string[] = [];
const outside: string[] = [];

before(async () => {
  [site, browser] = await Promise.all([openSite(), openBrowser()]);
});
after(async () => {
  await browser.close();
  site.close();
});
beforeEach(async () => {
  context = await browser.newContext({ viewport: { width: 1200, height: 800 } });
  page = await context.newPage();
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("console", (line) => line.type() === "error" && faults.push(line.text()));
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== new URL(site.url).origin && !request.url().startsWith("data:")) outside.push(request.url());
  });
});
afterEach(async () => {
  await context.close();
  assert.deepEqual(faults.splice(0), []);
  assert.deepEqual(outside.splice(0), [], "something was fetched from elsewhere");
});

async function loaded(path = "toy/"): Promise<void> {
  await page.goto(site.url + path);
  await page.getByRole("button", { name: "Load" }).first().click();
  await page.waitForSelector('#badge[data-state="ready"]');
}

async function ask(text: string): Promise<string> {
  const before = await page.locator(".assistant").count();
  await page.fill("#prompt", text);
  await page.press("#prompt", "Enter");
  const turn = page.locator(".assistant:not(.running)").nth(before);
  await turn.locator(".foot span").first().waitFor();
  return turn.innerText();
}

test("by keyboard alone: load, ask, stop, ask again, edit", async () => {
  await page.goto(`${site.url}toy/`);
  await page.waitForSelector("#start button");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Skip to the message field");
  for (let i = 0; i < 9; i += 1) {
    if (await page.evaluate(() => document.activeElement?.textContent === "Load")) break;
    await page.keyboard.press("Tab");
  }
  await page.keyboard.press("Enter");
  await page.waitForSelector("progress");
  await page.waitForSelector('#badge[data-state="ready"]');
  assert.equal(await page.evaluate(() => document.activeElement?.id), "prompt");
  await page.keyboard.type("hello");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".assistant:not(.running)");
  assert.match(await page.innerText(".assistant"), /I am a toy[\s\S]*tokens · [\d.]+ tok\/s · first after/);
  assert.match(await page.innerText("#spoken"), /^Answer: Hello!/);
  await page.keyboard.type("something endless");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#stop:not([hidden])");
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => document.querySelectorAll(".assistant:not(.running)").length === 2);
  assert.match(await page.innerText(".assistant >> nth=1"), /stopped/);
  await page.getByRole("button", { name: "Edit this message" }).nth(1).press("Enter");
  assert.equal(await page.inputValue("#prompt"), "something endless");
  assert.equal(await page.locator(".turn").count(), 2);
});

test("the schema holds for the answer, its mistakes are named, and tools are run", async () => {
  await loaded();
  await page.check("input[value=json]", { force: true });
  await page.click("text=Verdict");
  const answer = await ask("judge this");
  assert.match(answer, /valid/);
  const value = JSON.parse((await page.textContent(".assistant .said")) ?? "") as { mood: string };
  assert(["pleased", "neutral", "annoyed"].includes(value.mood));
  assert.equal(await page.innerText("#answer-state"), "valid");
  await page.fill("#schema", '{\n  "type": "object",\n  oops\n}');
  assert.match(await page.innerText("#schema-state"), /Line 3, column 3/);
  await page.fill("#schema", '{"type": "integer", "minimum": 3, "maximum": 2}');
  assert.match(await ask("impossible"), /response_format/);
  assert.match(await page.innerText("#schema-state"), /wrong/);
  await page.check("input[value=tools]", { force: true });
  await page.click("#fresh");
  const called = await ask("What is 17 * 23 + 4?");
  assert.match(called, /calculate\(\{"expression": "17 \* 23 \+ 4"\}\) → 395/);
  assert.match(called, /It is 395\./);
});

test("it fits 360 pixels, in light and dark, and passes an accessibility check", async () => {
  await loaded();
  await ask("hello");
  const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
  await page.evaluate(await readFile(axe, "utf8"));
  for (const [colorScheme, width] of [["light", 1200], ["dark", 360]] as const) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 740 });
    if (width === 360) await page.click("#drawer");
    await page.waitForTimeout(300); // the drawer slides
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert(wide <= width, `${wide} pixels in ${width}`);
    type Axe = { run(): Promise<{ violations: { id: string; nodes: { target: unknown }[] }[] }> };
    const found = await page.evaluate(() => (globalThis as unknown as { axe: Axe }).axe.run());
    const told = found.violations.map(({ id, nodes }) => `${id}: ${JSON.stringify(nodes.map((n) => n.target))}`);
    assert.deepEqual(told, [], colorScheme);
  }
});

test("one engine in every kind of worker, with aborts and OpenAI's fetch", async () => {
  await page.goto(`${site.url}toy/`);
  const said = await page.evaluate(async () => {
    const { connect, createEngine } = (await import(`${location.href}treadle.js` as string)) as typeof Treadle;
    const bundle = new URL("bundle/", location.href).href;
    const type = "module" as const;
    await navigator.serviceWorker.getRegistrations().then((all) => Promise.all(all.map((one) => one.unregister())));
    const registered = await navigator.serviceWorker.register("worker.js", { type, scope: "./nowhere/" });
    const service = registered.installing ?? registered.waiting ?? registered.active!;
    const active = new Promise<void>((resolve) => {
      if (service.state === "activated") resolve();
      service.addEventListener("statechange", () => service.state === "activated" && resolve());
    });
    await active;
    const targets = {
      dedicated: new Worker("worker.js", { type }),
      shared: new SharedWorker("worker.js", { type }),
      service,
    };
    const found: Record<string, unknown> = {};
    for (const [kind, target] of Object.entries(targets)) {
      const engine = await connect(target, bundle, { threads: 0 });
      const body = { model: engine.manifest.model.name, messages: [{ role: "user", content: "hello" }], temperature: 0 };
      const request = { method: "POST", body: JSON.stringify(body) };
      const response = await engine.fetch("http://treadle/v1/chat/completions", request);
      const { choices } = (await response.json()) as Treadle.ChatCompletion;
      const abort = new AbortController();
      setTimeout(() => abort.abort(), 30);
      const messages = [{ role: "user" as const, content: "endless ".repeat(900) }];
      const code = await engine.chat.completions
        .create({ messages, ignore_eos: true }, { signal: abort.signal })
        .catch((error: Treadle.TreadleError) => error.code);
      for (let i = 0; i < 100 && (await engine.stats()).requests; i += 1) await new Promise((r) => setTimeout(r, 10));
      const { requests, pages } = await engine.stats();
      found[kind] = [choices[0]?.message.content, code, requests, pages.held];
      await engine.close();
    }
    await registered.unregister();
    const own = await createEngine("bundle/");
    found["own"] = (await own.models.list()).data.length;
    await own.close();
    return found;
  });
  const wanted = ["Hello! I am a toy, and I say what I was told to say.", "cancelled", 0, 0];
  assert.deepEqual(said, { dedicated: wanted, shared: wanted, service: wanted, own: 1 });
});

test("a bundle on the CPU tier: from the network, from the store, without a network", async () => {
  await loaded("");
  assert.match(await page.innerText("#badge"), /cpu/);
  await page.evaluate(() => navigator.serviceWorker.ready);
  await page.waitForFunction(async () => caches.match("bundle/manifest.json"));
  const shards: string[] = [];
  page.on("request", (request) => request.url().includes("weights") && shards.push(request.url()));
  await context.setOffline(true);
  site.server.closeAllConnections();
  await page.reload();
  await page.getByRole("button", { name: "Load" }).first().click();
  await page.waitForSelector('#badge[data-state="ready"]');
  assert.deepEqual(shards, []);
  assert.match(await page.innerText("#catalog"), /kept here/);
  const answer = await page.evaluate(async () => {
    const { createEngine } = (await import(`${location.href}treadle.js` as string)) as typeof Treadle;
    const engine = await createEngine("bundle/", { tier: "wasm" });
    const schema = { enum: ["ja", "nein"] };
    const response_format = { type: "json_schema" as const, json_schema: { name: "x", schema } };
    const whole = await engine.completions.create({ prompt: "x", response_format, max_tokens: 60, seed: 3 });
    const { tier } = await engine.stats();
    await engine.close();
    return [whole.choices[0]?.text.trim(), tier.slice(0, 3)];
  });
  assert(['"ja"', '"nein"'].includes(answer[0] ?? ""), answer[0]);
  assert.equal(answer[1], "cpu");
  await context.setOffline(false);
  await page.reload();
  await page.getByRole("button", { name: /^Remove/ }).first().click();
  await page.waitForFunction(() => !document.querySelector("#catalog")?.textContent?.includes("kept"));
  await page.getByRole("button", { name: "Load" }).first().click();
  await page.waitForSelector('#badge[data-state="ready"]');
  assert.equal(shards.length, 1, "what was removed is fetched again, once");
  faults.length = 0; // requests without a network are errors in the console, and meant to be
});

test("a broken bundle is named, and the page goes on", async () => {
  const shard = new Uint8Array(await (await fetch(`${site.url}bundle/weights-00000.bin`)).arrayBuffer());
  shard[100]! ^= 1;
  site.instead.set("/bundle/weights-00000.bin", shard);
  await page.goto(site.url);
  await page.getByRole("button", { name: "Load" }).first().click();
  await page.waitForSelector('#badge[data-state="failed"]');
  assert.match(await page.innerText(".open-fault"), /weights-00000\.bin/);
  site.instead.delete("/bundle/weights-00000.bin");
  await page.getByRole("button", { name: "Load" }).first().click();
  await page.waitForSelector('#badge[data-state="ready"]');
  faults.length = 0;
});
