/**
 * Keeps the page, the script and the engine for the time without a network. Models are kept by the
 * engine's own store. What the server has is newer than what is kept: the network is asked first.
 */
export {};

interface Worker {
  addEventListener(type: "install" | "activate", listener: (event: { waitUntil(work: Promise<unknown>): void }) => void): void;
  addEventListener(type: "fetch", listener: (event: { request: Request; respondWith(answer: Promise<Response>): void }) => void): void;
  skipWaiting(): Promise<void>;
  clients: { claim(): Promise<void> };
  registration: { scope: string };
}
const worker = globalThis as unknown as Worker;

const NAME = "treadle-page";
/** Every file beside this one, written in by the build. */
declare const FILES: readonly string[];
const PAGE = ["./", ...FILES];
const WAIT_MS = 3000; // a server that says nothing is one that is not there

worker.addEventListener("install", (event) => {
  const keep = async () => {
    const cache = await caches.open(NAME);
    await Promise.all(PAGE.map((path) => cache.add(path)));
    await worker.skipWaiting();
  };
  event.waitUntil(keep());
});
worker.addEventListener("activate", (event) => event.waitUntil(worker.clients.claim()));
worker.addEventListener("fetch", (event) => {
  const { request } = event;
  const { origin, pathname } = new URL(request.url);
  const scope = new URL(worker.registration.scope);
  const path = pathname.slice(scope.pathname.length);
  // Files of the page lie beside it; of a bundle only the manifest is kept, for the picker.
  const ours = origin === scope.origin && request.method === "GET" && (!path.includes("/") || path.endsWith("/manifest.json"));
  if (ours) event.respondWith(answer(request));
});

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(NAME);
  try {
    const fresh = await fetch(request, { signal: AbortSignal.timeout(WAIT_MS) });
    if (fresh.ok && fresh.status === 200) await cache.put(request, fresh.clone());
    return fresh;
  } catch (error) {
    const kept = await cache.match(request, { ignoreSearch: true });
    if (kept) return kept;
    throw error;
  }
}
