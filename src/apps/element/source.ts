/** Where an element finds its model. */

import { DiffusionError } from '../../core/errors.ts';
import { runtime } from '../../loading/runtime.ts';
import type { ModelSource } from '../../loading/source.ts';

/** Looks for bundled models beside this script, then beside the page; every other address is complete. */
export async function describe(address: string, base: string | URL | null): Promise<ModelSource> {
  const page = document.baseURI;
  if (base !== null) return runtime.describe(address, { base: new URL(base, page) });
  if (!/^[\w-]+$/.test(address)) return runtime.describe(address);
  const script: string = import.meta.url;
  try {
    return await runtime.describe(address, { base: new URL('./weights/', script) });
  } catch (error) {
    if (!(error instanceof DiffusionError && error.code === 'file-not-found')) throw error;
    return runtime.describe(address, { base: new URL('weights/', page) });
  }
}
