/** Where the files of a bundle come from. */
import { cancelled, invalidRequest, TreadleError } from "../errors.js";

/** What reads parts of files itself: an archive, say. Returns fewer bytes only at a file's end. */
export interface Reader {
  read(path: string, offset: number, length: number): Promise<Uint8Array>;
}

/** A URL of the folder, its files as picked or dropped, its handle, or a reader. */
export type BundleSource = string | URL | readonly File[] | FileSystemDirectoryHandle | Reader;

/** Files by path. `remote`: worth keeping in a cache, and worth trying again. */
export interface Source {
  readonly remote: boolean;
  /** The bytes of a file from `offset` on. Throws `network`, `not_found`, `cancelled`. */
  open(path: string, offset: number, signal?: AbortSignal): AsyncIterable<Uint8Array>;
}

const PART = 1 << 20;

export function sourceOf(given: BundleSource): Source {
  if (typeof given === "string" || given instanceof URL) return urlSource(given);
  if (Array.isArray(given)) return filesSource(given as readonly File[]);
  if ("getFileHandle" in given) {
    return blobSource(async (path) => (await given.getFileHandle(path)).getFile());
  }
  if ("read" in given) return readerSource(given);
  throw invalidRequest("source", "is no bundle", "give a URL, files, a folder or an object with read()");
}

function urlSource(given: string | URL): Source {
  const base = new URL(given, typeof location === "undefined" ? undefined : location.href);
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  return {
    remote: true,
    async *open(path, offset, signal) {
      const url = new URL(path, base);
      const headers: Record<string, string> = offset ? { range: `bytes=${offset}-` } : {};
      try {
        const response = await fetch(url, { headers, ...(signal && { signal }) });
        if (!response.ok || !response.body) throw unanswered(url, response.status);
        let skip = response.status === 206 ? 0 : offset; // a host without ranges sends it all again
        for await (const part of parts(response.body)) {
          const rest = part.subarray(Math.min(skip, part.length));
          skip -= part.length - rest.length;
          if (rest.length) yield rest;
        }
      } catch (cause) {
        if (signal?.aborted) throw cancelled(signal.reason);
        if (cause instanceof TreadleError) throw cause;
        throw new TreadleError("network", "the connection failed", { at: url.href, cause, hint: "try again" });
      }
    },
  };
}

function unanswered(url: URL, status: number): TreadleError {
  const hint = "check the address and what the host serves";
  const code = status === 404 || status === 410 ? "not_found" : "network";
  return new TreadleError(code, `the answer has status ${status}`, { at: url.href, hint });
}

async function* parts(body: ReadableStream<Uint8Array>): AsyncIterable<Uint8Array> {
  const reader = body.getReader(); // not every browser iterates streams
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

function filesSource(files: readonly File[]): Source {
  const byName = new Map(files.map((file) => [file.name, file]));
  return blobSource((path) => {
    const file = byName.get(path);
    if (file) return Promise.resolve(file);
    const hint = "give all files of the bundle's folder";
    return Promise.reject(new TreadleError("not_found", "is not among the files", { at: path, hint }));
  });
}

function blobSource(find: (path: string) => Promise<Blob>): Source {
  return readerSource({
    async read(path, offset, length) {
      try {
        const blob = await find(path);
        return new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
      } catch (cause) {
        if (cause instanceof TreadleError) throw cause;
        throw new TreadleError("not_found", "cannot be read", { at: path, cause, hint: "pick the folder again" });
      }
    },
  });
}

function readerSource(reader: Reader): Source {
  return {
    remote: false,
    async *open(path, offset, signal) {
      for (let at = offset; ; ) {
        if (signal?.aborted) throw cancelled(signal.reason);
        const part = await reader.read(path, at, PART);
        if (!part.length) return;
        yield part;
        at += part.length;
        if (part.length < PART) return;
      }
    },
  };
}
