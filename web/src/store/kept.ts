/** What this browser keeps of models, seen from a page: how much, and how to be rid of it. */
import type { BundleManifest } from "../types.js";
import { openCache } from "./cache.js";
import { sha256 } from "./download.js";

/** Bytes of the bundle's files that are kept. */
export async function kept(manifest: BundleManifest): Promise<number> {
  const found = await (await openCache())?.list();
  return manifest.files.reduce((sum, { sha256 }) => sum + (found?.get(sha256) ?? 0), 0);
}

/** Removes the bundle's files; files that another bundle shares go too, and are fetched again. */
export async function remove(manifest: BundleManifest): Promise<void> {
  const cache = await openCache();
  await Promise.all(manifest.files.map(({ sha256 }) => cache?.delete(sha256)));
}

/** Bytes used and granted, and whether the browser may drop them when it needs room. */
export async function room(): Promise<{ used: number; most: number; lasting: boolean }> {
  const { usage = 0, quota = 0 } = await navigator.storage.estimate();
  return { used: usage, most: quota, lasting: await navigator.storage.persisted() };
}

/** Asks the browser not to drop what is kept; it may say no. */
export function persist(): Promise<boolean> {
  return navigator.storage.persist();
}

/** All files that are kept, of any bundle: hashes and bytes. */
export async function list(): Promise<{ sha256: string; bytes: number }[]> {
  const found = await (await openCache())?.list();
  return [...(found ?? [])].map(([hash, bytes]) => ({ sha256: hash, bytes }));
}

/** What of a bundle is kept and whole, by path; what is damaged goes, and is fetched again. */
export async function verify(
  manifest: BundleManifest,
): Promise<{ good: string[]; damaged: string[]; missing: string[] }> {
  const cache = await openCache();
  const told = { good: [] as string[], damaged: [] as string[], missing: [] as string[] };
  for (const { path, bytes, sha256: wanted } of manifest.files) {
    const kept = await cache?.get(wanted);
    const state = !kept ? "missing" : kept.length === bytes && (await sha256(kept)) === wanted ? "good" : "damaged";
    told[state].push(path);
    if (state === "damaged") await cache?.delete(wanted);
  }
  return told;
}

/** Removes everything that is kept; bytes that this has freed. */
export async function clear(): Promise<number> {
  const cache = await openCache();
  const files = await list();
  await Promise.all(files.map((file) => cache?.delete(file.sha256)));
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}
