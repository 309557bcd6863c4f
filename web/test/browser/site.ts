/** What the browser tests share: the built page on a server of their own, and Debian's Chromium. */
import { existsSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium, type Browser } from "playwright-core";

const web = new URL("../../../", import.meta.url); // from web/build/test/browser
const CHROMIUM = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
// Without the last two no adapter is found; without the others it looks for a network.
const FLAGS = [
  ...["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"],
  ...["--disable-component-update", "--disable-sync"],
  ...["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"],
];
const KINDS: Record<string, string> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".json": "application/json",
  ".wasm": "application/wasm",
  ".webmanifest": "application/manifest+json",
};

export interface Site {
  /** Its address: the page at `/`, the same with the toy at `/toy/`. */
  readonly url: string;
  readonly server: Server;
  /** Changes what is served, by path: other bytes, or null for 404. */
  readonly instead: Map<string, Uint8Array | null>;
  close(): void;
}

/** `/bundle/` is the tiny model of the CPU tier's tests. */
export async function openSite(): Promise<Site> {
  const toy = await build({
    entryPoints: [fileURLToPath(new URL("test/browser/toy_worker.ts", web))],
    ...{ bundle: true, format: "esm", target: "es2022", write: false, logLevel: "error" },
  });
  const worker = toy.outputFiles[0]!.contents;
  const instead = new Map<string, Uint8Array | null>([["/toy/worker.js", worker]]);
  const server = createServer(async (request, response) => {
    let path = new URL(request.url ?? "/", "http://x").pathname;
    if (path.endsWith("/")) path += "index.html";
    const body = instead.has(path) ? instead.get(path) : await file(path);
    response.statusCode = body ? 200 : 404;
    response.setHeader("content-type", KINDS[extname(path)] ?? "application/octet-stream");
    response.setHeader("cross-origin-opener-policy", "same-origin");
    response.setHeader("cross-origin-embedder-policy", "require-corp");
    response.setHeader("content-security-policy", "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'");
    response.end(body ?? "");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { url: `http://localhost:${port}/`, server, instead, close };
}

async function file(path: string): Promise<Uint8Array | null> {
  const from: [RegExp, string][] = [
    [/^(?:\/toy)?\/bundle\//, "test/tiny/"],
    [/^\/data\/(?=chatml\.jinja$)/, "../tests/text/templates/"],
    [/^\/data\//, "test/data/"],
    [/^(?:\/toy)?\//, "dist/"],
  ];
  const [pattern, folder] = from.find(([one]) => one.test(path))!;
  const found = new URL(folder + path.replace(pattern, ""), web);
  const isFile = await stat(found).then((told) => told.isFile(), () => false);
  return isFile ? readFile(found) : null;
}

export async function openBrowser(): Promise<Browser> {
  if (!existsSync(CHROMIUM)) throw new Error(`${CHROMIUM} is missing: apt-get install chromium`);
  return chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
}
