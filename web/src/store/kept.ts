/** What this browser keeps of models, seen from a page: how much, and how to be rid of it. */
import type { BundleManifest } from "../types.js";
import { openCache } from "./cache.js";

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
