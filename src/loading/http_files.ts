/** A model's files by HTTP. */

import { throwIfAborted } from '../core/errors.ts';
import type { ModelFiles } from '../engine/formats/files.ts';
import { download, type OnProgress, type Timing } from './download.ts';

export interface HttpOptions {
  readonly onProgress?: (path: string, ...of: Parameters<OnProgress>) => void;
  readonly timing?: Partial<Timing>;
}

/** Files below an address, as the server has them: nothing says what they should be. */
export function httpFiles(base: string | URL, { onProgress, timing }: HttpOptions = {}): ModelFiles {
  const label = String(base).replace(/\/?$/, '/');
  return {
    label,
    async read(path, signal) {
      throwIfAborted(signal);
      return download(new URL(path, new URL(label, globalThis.location?.href)), {
        label: `${path} of ${label}`,
        signal,
        timing,
        onProgress: onProgress && ((received, total) => onProgress(path, received, total)),
      });
    },
  };
}
