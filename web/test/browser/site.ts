/** What the browser tests share: the built page on a server of their own, and Debian's Chromium. */
import { existsSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium, type Browser } from "playwright-core";

const web = new URL("../../../", import.meta.url); // from web/build/test/browser
const CHROMIUM = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
// Without these it looks for a network,
const FLAGS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"];
FLAGS.push("--disable-component-update", "--disable-sync");
// and without these no adapter is found.
const GPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];
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
  /** Cuts the connection once, after so many bytes of a path; after Infinity: it says no more. */
  readonly cut: Map<string, number>;
  /** Ranges that were asked for, in their order: path and first byte. */
  readonly ranges: [string, number][];
  /** Whether pages are isolated from other origins, which threads ask for. */
  isolated: boolean;
  close(): void;
}

/** `/bundle/` is the tiny model of the CPU tier's tests; `folders` adds others, by path. */
export async function openSite(folders: Readonly<Record<string, string>> = {}): Promise<Site> {
  const toy = await build({
    entryPoints: [fileURLToPath(new URL("test/browser/toy_worker.ts", web))],
    ...{ bundle: true, format: "esm", target: "es2022", write: false, logLevel: "error" },
  });
  const worker = toy.outputFiles[0]!.contents;
  const instead = new Map<string, Uint8Array | null>([["/toy/worker.js", worker]]);
  const cut = new Map<string, number>();
  const ranges: [string, number][] = [];
  const server = createServer(async (request, response) => {
    let path = new URL(request.url ?? "/", "http://x").pathname;
    if (path.endsWith("/")) path += "index.html";
    const [, top = "", rest = ""] = /^(\/[^/]*\/)(.*)$/.exec(path) ?? [];
    let body = instead.get(path) ?? null;
    if (!instead.has(path)) body = top in folders ? await readFile(join(folders[top]!, rest)) : await file(path);
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    if (from) ranges.push([path, from]);
    response.statusCode = body ? (from ? 206 : 200) : 404;
    body = body?.subarray(from) ?? new Uint8Array();
    response.setHeader("content-length", body.length);
    response.setHeader("content-type", KINDS[extname(path)] ?? "application/octet-stream");
    if (site.isolated) {
      response.setHeader("cross-origin-opener-policy", "same-origin");
      response.setHeader("cross-origin-embedder-policy", "require-corp");
    }
    response.setHeader("content-security-policy", "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'");
    const bytes = cut.get(path);
    cut.delete(path);
    if (bytes === undefined) return void response.end(body);
    response.write(body.subarray(0, Math.min(bytes, body.length >> 1)));
    if (bytes < Infinity) setTimeout(() => request.socket.destroy(), 50);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  const site: Site = { url: `http://localhost:${port}/`, server, instead, cut, ranges, isolated: true, close };
  return site;
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

export async function openBrowser(gpu = true): Promise<Browser> {
  if (!existsSync(CHROMIUM)) throw new Error(`${CHROMIUM} is missing: apt-get install chromium`);
  return chromium.launch({ executablePath: CHROMIUM, args: gpu ? [...FLAGS, ...GPU] : FLAGS });
}
