/** Where a model's files come from. */

import { DiffusionError, throwIfAborted } from '../errors.ts';

export interface ModelFiles {
  /** What to call the folder in an error. */
  readonly label: string;
  /** The bytes of a file, or null when it is not there. @throws download-failed, aborted */
  read(path: string, signal?: AbortSignal): Promise<Uint8Array | null>;
}

export interface HttpOptions {
  /** Bytes received of one file; `total` is null when the server does not say. */
  readonly onProgress?: (path: string, received: number, total: number | null) => void;
}

/** Files below an address, read by GET. A page of HTML with status 200 counts as "not there". */
export function httpFiles(base: string | URL, { onProgress }: HttpOptions = {}): ModelFiles {
  const label = String(base).replace(/\/?$/, '/');
  return {
    label,
    async read(path, signal) {
      throwIfAborted(signal);
      const failed = (why: string, cause?: unknown) =>
        new DiffusionError(
          'download-failed',
          `The file ${path} of ${label} could not be downloaded: ${why}.`,
          'Check the connection and try again.',
          { cause },
        );
      try {
        const response = await fetch(new URL(path, new URL(label, globalThis.location?.href)), { signal: signal ?? null });
        if (response.status === 404) return null;
        if (!response.ok) throw failed(`the server answered ${response.status}`);
        if (response.headers.get('content-type')?.startsWith('text/html')) return null;
        // With a content encoding, the length counts other bytes than the ones that arrive here.
        const length = response.headers.get('content-encoding') ? null : response.headers.get('content-length');
        const total = length === null ? null : Number(length);
        const chunks: Uint8Array[] = [];
        let received = 0;
        for (const reader = response.body!.getReader(); ; ) {
          const { done, value } = await reader.read();
          if (done) break;
          chunks.push(value);
          received += value.length;
          onProgress?.(path, received, total);
        }
        if (total !== null && received !== total) throw failed(`${received} of ${total} bytes came`);
        const bytes = new Uint8Array(received);
        let at = 0;
        for (const chunk of chunks) {
          bytes.set(chunk, at);
          at += chunk.length;
        }
        return bytes;
      } catch (cause) {
        throwIfAborted(signal);
        throw cause instanceof DiffusionError ? cause : failed('the connection failed', cause);
      }
    },
  };
}
