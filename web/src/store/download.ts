/** Opens a bundle: its files fetched, verified, kept, and handed out. */
import { throwIfAborted, TreadleError } from "../errors.js";
import type { Bundle, Progress } from "../executor.js";
import { parseManifest } from "../manifest.js";
import type { BundleManifest } from "../types.js";
import { openCache, type FileCache } from "./cache.js";
import { sourceOf, type BundleSource, type Source } from "./source.js";

export interface OpenOptions {
  /** "auto" (default): OPFS, else the Cache API. Files from disk are never cached. */
  cache?: "auto" | "opfs" | "cache" | "none";
  onProgress?: (progress: Progress) => void;
  onWarning?: (error: TreadleError) => void;
  signal?: AbortSignal;
}

type FileEntry = BundleManifest["files"][number];

const MANIFEST_BYTES = 1 << 20;
const TRIES = 3;
const FIRST_PAUSE = 500; // milliseconds, doubled by each further try
const REPORT_EVERY = 100;

/** Reads and checks the manifest; files are fetched when they are read. */
export async function openBundle(given: BundleSource, options: OpenOptions = {}): Promise<Bundle> {
  const source = sourceOf(given);
  const head = { path: "manifest.json", bytes: MANIFEST_BYTES };
  const bytes = await persist(source, head, () => undefined, options.signal);
  const manifest = parseManifest(bytes);
  const cache = source.remote ? await openCache(options.cache) : undefined;
  return new Files(source, manifest, cache, options);
}

class Files implements Bundle {
  readonly manifest: BundleManifest;
  readonly #entries: ReadonlyMap<string, FileEntry>;
  readonly #meter: Meter;
  #cache: FileCache | undefined;

  constructor(
    readonly source: Source,
    manifest: BundleManifest,
    cache: FileCache | undefined,
    readonly options: OpenOptions,
  ) {
    this.manifest = manifest;
    this.#entries = new Map(manifest.files.map((file) => [file.path, file]));
    this.#cache = cache;
    const total = manifest.files.reduce((sum, file) => sum + file.bytes, 0);
    this.#meter = new Meter(total, options.onProgress);
  }

  async read(path: string, signal = this.options.signal): Promise<Uint8Array> {
    const file = this.#entries.get(path);
    if (!file) {
      const hint = "export the model again";
      throw new TreadleError("not_found", "is not in the bundle", { at: path, hint });
    }
    throwIfAborted(signal);
    const kept = await this.#cache?.get(file.sha256).catch(() => undefined);
    if (kept?.length === file.bytes && (await sha256(kept)) === file.sha256) {
      this.#meter.add(path, kept.length);
      return kept;
    }
    if (kept) await this.#cache?.delete(file.sha256);
    const bytes = await this.#fetch(file, signal);
    await this.#keep(file, bytes);
    return bytes;
  }

  // A file that is not what the manifest says is fetched once more.
  async #fetch(file: FileEntry, signal: AbortSignal | undefined): Promise<Uint8Array> {
    for (let again = false; ; again = true) {
      const bytes = await persist(this.source, file, (n) => this.#meter.add(file.path, n), signal);
      const found = bytes.length === file.bytes ? await sha256(bytes) : `${bytes.length} bytes`;
      if (found === file.sha256) return bytes;
      this.#meter.add(file.path, -bytes.length);
      if (again || !this.source.remote) {
        const hint = "the host serves another version, or the file is damaged: fetch or export the bundle again";
        throw new TreadleError("integrity", `is ${found}, the manifest says ${file.sha256}`, { at: file.path, hint });
      }
    }
  }

  // A cache that is full costs the next visit, not this one.
  async #keep(file: FileEntry, bytes: Uint8Array): Promise<void> {
    try {
      await this.#cache?.put(file.sha256, bytes);
    } catch (error) {
      this.#cache = undefined;
      if (error instanceof TreadleError) this.options.onWarning?.(error);
    }
  }
}

/** The whole file, through cut connections: what has arrived is not asked for again. */
async function persist(
  source: Source,
  file: { path: string; bytes: number },
  arrived: (bytes: number) => void,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for (let attempt = 1; ; attempt += 1) {
    try {
      for await (const part of source.open(file.path, length, signal)) {
        parts.push(part);
        length += part.length;
        arrived(part.length);
        if (length > file.bytes) break; // another file: its length tells
      }
      return joined(parts, length);
    } catch (error) {
      const passing = error instanceof TreadleError && error.code === "network" && source.remote;
      if (!passing || attempt === TRIES) throw error;
      await pause(FIRST_PAUSE * 2 ** (attempt - 1), signal);
    }
  }
}

function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  if (parts.length === 1 && parts[0]) return parts[0];
  const out = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

async function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
  throwIfAborted(signal);
}

/** Lower-case hexadecimal. Throws `unsupported` where the page has no cryptography. */
export async function sha256(bytes: Uint8Array): Promise<string> {
  if (typeof crypto === "undefined" || !crypto.subtle) {
    const hint = "serve the page over https, or from localhost";
    throw new TreadleError("unsupported", "files cannot be verified here", { at: "crypto.subtle", hint });
  }
  const digest = await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Bytes of the whole bundle, told at most ten times a second. */
class Meter {
  #loaded = 0;
  #most = 0;
  #told = 0;
  readonly #began = Date.now();

  constructor(
    readonly total: number,
    readonly tell: ((progress: Progress) => void) | undefined,
  ) {}

  add(file: string, bytes: number): void {
    this.#loaded += bytes;
    const now = Date.now();
    if (!this.tell || this.#loaded <= this.#most) return; // refetched bytes are not news
    this.#most = Math.min(this.#loaded, this.total);
    if (now - this.#told < REPORT_EVERY && this.#most < this.total) return;
    this.#told = now;
    const bytesPerSecond = (this.#most * 1000) / Math.max(1, now - this.#began);
    const etaSeconds = (this.total - this.#most) / Math.max(1, bytesPerSecond);
    this.tell({ phase: "download", loaded: this.#most, total: this.total, file, bytesPerSecond, etaSeconds });
  }
}
