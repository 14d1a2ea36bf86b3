/** Where a model's files come from. */

import { throwIfAborted } from '../errors.ts';
import { download, type OnProgress, type Timing } from './download.ts';

export interface ModelFiles {
  /** What to call the folder in an error. */
  readonly label: string;
  /** The bytes of a file, not to be changed; or null when it is not there. @throws download-failed, aborted ... */
  read(path: string, signal?: AbortSignal): Promise<Uint8Array | null>;
}

/** Nothing else is ever asked for: no pickles (.bin, .pt, .ckpt), no code. */
export const isModelFile = (path: string): boolean =>
  /^[\w.-]+(\/[\w.-]+)*\.(json|safetensors)$/.test(path) && !path.split('/').some((part) => /^\.+$/.test(part));

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
