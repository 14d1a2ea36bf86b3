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

/** What a manifest promises of a file. */
export interface FilePromise {
  readonly path: string;
  readonly bytes: number;
  /** SHA-256, 64 hexadecimal digits. */
  readonly sha256: string;
}

/**
 * The same files, each checked against its promise; a file without one is "not there".
 * @throws integrity-failed, on reading
 */
export function verifiedFiles(files: ModelFiles, promises: readonly FilePromise[]): ModelFiles {
  return {
    label: files.label,
    async read(path, signal) {
      const promise = promises.find((p) => p.path === path);
      const bytes = promise ? await files.read(path, signal) : null;
      if (!bytes) return null;
      const digest = await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>);
      const hex = [...new Uint8Array(digest)].map((b) => b.toString(16).padStart(2, '0')).join('');
      if (hex !== promise!.sha256)
        throw new DiffusionError(
          'integrity-failed',
          `The file ${path} of ${files.label} is not the one that its manifest promises (${bytes.length} bytes, expected ${promise!.bytes}).`,
          'Reload the page; if it happens again, the server holds a wrong file.',
        );
      return bytes;
    },
  };
}
