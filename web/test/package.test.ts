/** What is published works as it lies there. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type * as Package from "../src/node.js";
import { tableOf } from "./support.js";

const dist = new URL("../../dist/", import.meta.url);
const fromNode = (await import(new URL("node.js", dist).href)) as typeof Package;
const fromPage = (await import(new URL("index.js", dist).href)) as typeof Package;

function tryOut({ Compiler, Grammar, Vocab }: typeof Package, core: Package.Core): void {
  const vocab = new Vocab(core, tableOf(["ab"]));
  const matcher = new Compiler(vocab).compile(Grammar.choice(core, ["ab", "ac"])).matcher();
  assert.equal(new TextDecoder().decode(matcher.forced()), "a");
}

test("in node the package finds its own module", async () => {
  tryOut(fromNode, await fromNode.loadCore());
});

test("a page fetches it, whatever its MIME type, and names a wrong address", async () => {
  const bytes = await readFile(new URL("core.wasm", dist));
  const server = createServer((request, response) => {
    response.statusCode = request.url === "/core.wasm" ? 200 : 404;
    response.end(bytes);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  try {
    const address = `http://127.0.0.1:${port}/core.wasm`;
    tryOut(fromPage, await fromPage.loadCore(address));
    tryOut(fromPage, await fromPage.loadCore(await fetch(address)));
    const error = await fromPage.loadCore(`${address}x`).catch((caught: unknown) => caught);
    assert.match(String(error), /core.wasmx: the answer has status 404/);
  } finally {
    server.close();
    server.closeAllConnections();
  }
});

test("one module compiled serves many cores, apart from each other", async () => {
  const module = await fromNode.compileCore(await readFile(new URL("core.wasm", dist)));
  const [one, two] = [new fromNode.Core(module), new fromNode.Core(module)];
  const grammar = fromNode.Grammar.json(one);
  assert.deepEqual([one.live, two.live], [1, 0]);
  assert.equal(grammar.kind, "json");
  assert.throws(() => two.call("tr_grammar_free", grammar.handle), /stands for nothing/);
});
