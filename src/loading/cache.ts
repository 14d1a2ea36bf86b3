/**
 * Verified files, kept in the browser from one visit to the next.
 *
 * The Cache API, not OPFS: `put` makes an entry whole or not at all, it is there in every browser with WebGPU and in
 * workers, and users see it under "site data". (OPFS would only help with files that are read in parts.) An entry's
 * address is the hash of its bytes, so no entry can be stale; its headers say whose it is.
 *
 * No function here throws but for a fault of ours: a browser may refuse storage at any moment, and pictures need none.
 */

import { matches, type FilePromise } from './download.ts';

const NAME = 'diffusion-sampler-1';

/** What a refused storage means for the visitor: the model works, and is downloaded again next time. */
export type StorageFault = 'storage-refused' | 'storage-full';

/** A model in storage, or what there is of it. */
export interface CachedModel {
  readonly key: string;
  readonly title: string;
  /** Of its files that are stored. */
  readonly bytes: number;
}

/** An address that no server answers; only its path means something. */
const address = (promise: FilePromise): string =>
  new URL(
    `/.diffusion-sampler/${promise.sha256 ? `sha256/${promise.sha256.toLowerCase()}` : `git/${promise.gitBlob}`}`,
    globalThis.location?.href ?? 'https://localhost',
  ).href;

/** null where the browser refuses: no such API, an opaque origin, blocked site data. */
async function open(): Promise<Cache | null> {
  try {
    return await caches.open(NAME);
  } catch {
    return null;
  }
}

/** The promised bytes, or null; an entry that holds others is deleted. */
export async function readCached(promise: FilePromise): Promise<Uint8Array<ArrayBuffer> | null> {
  const cache = await open();
  try {
    const response = await cache?.match(address(promise));
    if (!response) return null;
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (await matches(bytes, promise)) return bytes;
  } catch {
    // An entry that cannot be read is as bad as a wrong one.
  }
  await cache?.delete(address(promise)).catch(() => false);
  return null;
}

/** Stores verified bytes. Returns what was in the way, or null. */
export async function writeCached(
  promise: FilePromise,
  bytes: Uint8Array<ArrayBuffer>,
  model: { readonly key: string; readonly title: string },
): Promise<StorageFault | null> {
  const cache = await open();
  if (!cache) return 'storage-refused';
  try {
    const headers = {
      'content-type': 'application/octet-stream',
      'x-model-bytes': String(bytes.length),
      'x-model-key': encodeURIComponent(model.key),
      'x-model-title': encodeURIComponent(model.title),
    };
    await cache.put(address(promise), new Response(bytes, { headers }));
    return null;
  } catch (error) {
    await cache.delete(address(promise)).catch(() => false);
    return error instanceof DOMException && error.name === 'QuotaExceededError'
      ? 'storage-full'
      : 'storage-refused';
  }
}

/** The models in storage, largest first. A file that two models share counts for the one that brought it. */
export async function cachedModels(): Promise<CachedModel[]> {
  const models = new Map<string, CachedModel>();
  const cache = await open();
  for (const { headers } of (await cache?.matchAll().catch(() => [])) ?? []) {
    const key = decodeURIComponent(headers.get('x-model-key') ?? '');
    const title = decodeURIComponent(headers.get('x-model-title') ?? '');
    const bytes = (models.get(key)?.bytes ?? 0) + Number(headers.get('x-model-bytes'));
    models.set(key, { key, title, bytes });
  }
  return [...models.values()].sort((a, b) => b.bytes - a.bytes);
}

/** Deletes one model from storage, or all. A model in use goes on; it is downloaded again next time. */
export async function deleteCached(key?: string): Promise<void> {
  try {
    if (key === undefined) {
      await caches.delete(NAME);
      return;
    }
    const cache = await caches.open(NAME);
    for (const request of await cache.keys()) {
      const response = await cache.match(request);
      if (response?.headers.get('x-model-key') === encodeURIComponent(key)) await cache.delete(request);
    }
  } catch {
    // Where nothing can be stored, nothing is.
  }
}
