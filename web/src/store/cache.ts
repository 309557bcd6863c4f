/** Verified files kept between visits, by their SHA-256: OPFS, else the Cache API, else nothing. */
import { TreadleError } from "../errors.js";

/** Files by hash. Entries are whole: one that was cut off while it was written is not found. */
export interface FileCache {
  readonly kind: "opfs" | "cache";
  get(hash: string): Promise<Uint8Array | undefined>;
  /** Throws `quota`. */
  put(hash: string, bytes: Uint8Array): Promise<void>;
  delete(hash: string): Promise<boolean>;
  /** Hashes and sizes. */
  list(): Promise<ReadonlyMap<string, number>>;
}

const FOLDER = "treadle";
const HASH = /^[0-9a-f]{64}$/;

/** What this page may use; `kind` asks for one. Undefined where there is none (node, private tabs). */
export async function openCache(kind: "auto" | "opfs" | "cache" | "none" = "auto"): Promise<FileCache | undefined> {
  if (kind === "none") return undefined;
  if (kind !== "cache" && typeof navigator !== "undefined" && "storage" in navigator) {
    try {
      const root = await navigator.storage.getDirectory();
      return opfs(await root.getDirectoryHandle(FOLDER, { create: true }));
    } catch {
      // A private tab, or a browser without it.
    }
  }
  if (kind !== "opfs" && typeof caches !== "undefined") {
    try {
      return byRequest(await caches.open(FOLDER));
    } catch {
      // An origin that may store nothing.
    }
  }
  return undefined;
}

function full(cause: unknown, hash: string): unknown {
  if (!(cause instanceof DOMException && cause.name === "QuotaExceededError")) return cause;
  const hint = "delete models that are not used, or go on without a cache";
  return new TreadleError("quota", "the browser has no room left", { at: hash, cause, hint });
}

function opfs(folder: FileSystemDirectoryHandle): FileCache {
  const find = async (name: string) => {
    try {
      return await (await folder.getFileHandle(name)).getFile();
    } catch {
      return undefined;
    }
  };
  const remove = async (name: string) => {
    try {
      await folder.removeEntry(name);
      return true;
    } catch {
      return false;
    }
  };
  return {
    kind: "opfs",
    async get(hash) {
      const file = await find(hash);
      return file && new Uint8Array(await file.arrayBuffer());
    },
    async put(hash, bytes) {
      try {
        // A writable replaces the file when it is closed, so what is cut off leaves nothing.
        const handle = await folder.getFileHandle(hash, { create: true });
        const out = await handle.createWritable();
        await out.write(bytes as Uint8Array<ArrayBuffer>);
        await out.close();
      } catch (cause) {
        await remove(hash);
        throw full(cause, hash);
      }
    },
    delete: remove,
    async list() {
      const found = new Map<string, number>();
      // The iterator is missing from the DOM's types of some versions.
      const names = (folder as unknown as { keys(): AsyncIterable<string> }).keys();
      for await (const name of names) {
        const file = HASH.test(name) ? await find(name) : undefined;
        if (file) found.set(name, file.size);
      }
      return found;
    },
  };
}

function byRequest(cache: Cache): FileCache {
  const key = (hash: string) => `https://treadle.invalid/${hash}`;
  return {
    kind: "cache",
    async get(hash) {
      const found = await cache.match(key(hash));
      return found && new Uint8Array(await found.arrayBuffer());
    },
    async put(hash, bytes) {
      try {
        const headers = { "content-length": String(bytes.length) };
        await cache.put(key(hash), new Response(bytes as Uint8Array<ArrayBuffer>, { headers }));
      } catch (cause) {
        throw full(cause, hash);
      }
    },
    delete: (hash) => cache.delete(key(hash)),
    async list() {
      const found = new Map<string, number>();
      for (const request of await cache.keys()) {
        const response = await cache.match(request);
        found.set(new URL(request.url).pathname.slice(1), Number(response?.headers.get("content-length") ?? 0));
      }
      return found;
    },
  };
}
