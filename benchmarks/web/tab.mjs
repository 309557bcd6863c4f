// A tab with the built page's engine in it: what the benchmarks of the browser share.
import { createReadStream, existsSync, statSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { cpus } from "node:os";
import { dirname, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
export const require = createRequire(join(root, "web", "package.json"));

const FLAGS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"];
FLAGS.push("--disable-component-update", "--disable-sync");
const TYPES = { ".js": "text/javascript", ".wasm": "application/wasm", ".json": "application/json" };

/** Serves web/dist at / and the bundle at /bundle/; an empty page at /blank. */
function serve(bundle) {
  const server = createServer((request, out) => {
    const path = (request.url ?? "/").split("?")[0];
    out.setHeader("cross-origin-opener-policy", "same-origin");
    out.setHeader("cross-origin-embedder-policy", "require-corp");
    if (path === "/blank") return out.setHeader("content-type", "text/html").end("<!doctype html>");
    const file = path.startsWith("/bundle/") ? join(bundle, path.slice(8)) : join(root, "web", "dist", path.slice(1));
    if (path.includes("..") || !existsSync(file) || !statSync(file).isFile()) return out.writeHead(404).end();
    out.setHeader("content-type", TYPES[extname(file)] ?? "application/octet-stream");
    out.setHeader("content-length", statSync(file).size);
    createReadStream(file).pipe(out);
  });
  return new Promise((done) => server.listen(0, "127.0.0.1", () => done(server)));
}

/** Calls `use` with a tab in which `window.engine` has the bundle open, and what it was measured on. */
export async function withEngine({ bundle, tier, threads, chromium: path }, use) {
  const { chromium } = require("playwright-core");
  const server = await serve(bundle);
  const browser = await chromium.launch({ executablePath: path, headless: true, args: FLAGS });
  try {
    const tab = await browser.newPage();
    tab.on("pageerror", (error) => console.error("page:", error.message));
    await tab.goto(`http://127.0.0.1:${server.address().port}/blank`);
    await tab.evaluate(
      async (wanted) => {
        const { createEngine } = await import("/treadle.js");
        window.engine = await createEngine("/bundle/", { contextLength: 4096, ...wanted });
      },
      { tier, ...(threads && { threads }) },
    );
    const told = await tab.evaluate(() => window.engine.stats());
    const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { cwd: root }).toString().trim();
    const machine = { cpu: cpus()[0]?.model, cores: cpus().length, browser: browser.version() };
    return await use(tab, { ...machine, commit, model: told.model, tier: told.tier });
  } finally {
    await browser.close();
    server.close();
    server.closeAllConnections();
  }
}
