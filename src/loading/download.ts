/** One file over HTTP: streamed, retried, resumed where the server can, and checked before anyone sees it. */

import { sleep } from '../core/abort.ts';
import { DiffusionError, throwIfAborted } from '../core/errors.ts';

/** What a manifest promises of a file. */
export interface FilePromise {
  /** Below the folder, with slashes. */
  readonly path: string;
  readonly bytes: number;
  /** SHA-256, 64 hexadecimal digits; or, of a small file in a git repository, */
  readonly sha256?: string;
  /** the name that git gives its content: SHA-1 over a header and the bytes, 40 hexadecimal digits. */
  readonly gitBlob?: string;
}

/** Called with the bytes of the file so far; fewer than before when a transfer starts again. */
export type OnProgress = (received: number, total: number | null) => void;

/** Milliseconds; tests are less patient. */
export interface Timing {
  /** Before the first retry; doubled before each further one, times 0.5 to 1.5 by chance. */
  readonly backOff: number;
  /** Without a byte, after which a connection counts as broken. */
  readonly stall: number;
  /** The longest Retry-After that is waited for. */
  readonly patience: number;
}

export interface DownloadOptions {
  /** What to call the file in an error. */
  readonly label: string;
  readonly promise?: FilePromise | null;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly timing?: Partial<Timing> | undefined;
}

const RETRIES = 3;
const PATIENT: Timing = { backOff: 500, stall: 30_000, patience: 30_000 };
/** Of a file whose size nobody promised. */
const UNPROMISED_LIMIT = 4 * 2 ** 30;

/**
 * The bytes of a file; null when the server says that it is not there (404, 410) or, for a file that nobody promised,
 * shows a web page instead, as servers of single-page sites do.
 *
 * A broken connection, 408, 429 and 5xx are tried again, three times at most. A retry continues where the last
 * attempt ended if the server is seen to serve ranges (206, the same ETag, the right place), else it starts again.
 * The range is asked for without If-Range: that header would make a request to another origin a preflighted one, which
 * some file hosts refuse. What does not match its promise is fetched once more past the HTTP cache.
 *
 * @throws download-failed, integrity-failed, file-not-found, no-secure-context, out-of-memory, aborted
 */
export async function download(url: URL, options: DownloadOptions): Promise<Uint8Array<ArrayBuffer> | null> {
  allowed(url, options.label);
  const get = async (cache: RequestCache) => checked(await attempts(url, options, cache), options);
  try {
    return await get('default');
  } catch (error) {
    if (!(error instanceof DiffusionError && error.code === 'integrity-failed')) throw error;
    return get('reload');
  }
}

/** https, or http on this machine. @throws download-failed */
export function allowed(url: URL, label: string): void {
  const local = /^(localhost|.*\.localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(url.hostname);
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && local))
    throw new DiffusionError(
      'download-failed',
      `${label} is at ${url.protocol}//${url.host}, and models are downloaded over https only.`,
      'Use an address that begins with https://.',
    );
}

// ---- attempts ---------------------------------------------------------------------------------------------

/** What an attempt leaves to the next one. */
interface Progress {
  buffer: Uint8Array<ArrayBuffer>;
  received: number;
  /** The strong ETag of what was received, where the server serves ranges. */
  etag: string | null;
}

/** A fault that may be gone the next time. */
class Passing extends Error {
  /** Milliseconds, where the server says. */
  readonly waitFor: number | null;
  /** The server's own fault, not that of the way to it. */
  readonly busy: boolean;
  constructor(message: string, waitFor: number | null = null, busy = false, options?: ErrorOptions) {
    super(message, options);
    this.waitFor = waitFor;
    this.busy = busy;
  }
}

async function attempts(
  url: URL,
  options: DownloadOptions,
  cache: RequestCache,
): Promise<Uint8Array<ArrayBuffer> | null> {
  const { label, signal } = options;
  const { backOff, patience } = { ...PATIENT, ...options.timing };
  const progress: Progress = { buffer: new Uint8Array(0), received: 0, etag: null };
  for (let attempt = 0; ; attempt++) {
    throwIfAborted(signal);
    try {
      return await transfer(url, options, cache, progress);
    } catch (fault) {
      throwIfAborted(signal);
      if (!(fault instanceof Passing)) throw fault;
      const wait = fault.waitFor ?? backOff * 2 ** attempt * (0.5 + Math.random());
      if (attempt === RETRIES || wait > patience)
        throw new DiffusionError(
          'download-failed',
          `${label} could not be downloaded: ${fault.message}${attempt ? `, ${attempt + 1} times` : ''}.`,
          wait > patience
            ? `The server asks to wait ${Math.ceil(wait / 1000)} seconds; try again then.`
            : fault.busy
              ? 'Try again later.'
              : 'Check the connection and try again.',
          { cause: fault },
        );
      await sleep(wait, signal);
    }
  }
}

async function transfer(
  url: URL,
  { label, promise = null, signal, onProgress, timing }: DownloadOptions,
  cache: RequestCache,
  progress: Progress,
): Promise<Uint8Array<ArrayBuffer> | null> {
  const { stall } = { ...PATIENT, ...timing };
  const asked = progress.etag !== null && progress.received > 0;
  const { etag } = progress;
  if (asked)
    progress.etag = null; // if this fails, the next attempt starts again
  else progress.received = 0;

  const own = new AbortController();
  const stop = (): void => own.abort();
  signal?.addEventListener('abort', stop);
  let timer = setTimeout(stop, stall);
  let answered = false;
  try {
    const response = await fetch(url, {
      signal: own.signal,
      ...(asked
        ? { headers: { Range: `bytes=${progress.received}-` }, cache: 'no-store' as const }
        : { cache }),
    });
    answered = true;
    if (response.url) allowed(new URL(response.url), label); // where it was redirected to
    const { status, headers } = response;
    if (status === 404 || status === 410) return null;
    if (status === 416 && asked) throw new Passing('the server could not go on where it stopped', 0);
    if (status === 408 || status === 429 || status >= 500)
      throw new Passing(`the server answered ${status}`, retryAfter(headers), true);
    if (!response.ok)
      throw new DiffusionError(
        'download-failed',
        `${label} could not be downloaded: the server answered ${status}.`,
        status === 401 || status === 403
          ? 'It does not exist or is not public, or its address has expired; open the address in a browser to see why.'
          : 'Check the address.',
      );
    if (headers.get('content-type')?.startsWith('text/html')) {
      if (promise) throw integrity(label, 'the server sent a web page instead of it');
      return null;
    }

    // Headers of another origin are hidden unless it shows them; a hidden one must only cost the resuming.
    const encoded = headers.get('content-encoding') !== null;
    const length = encoded ? null : wholeNumber(headers.get('content-length'));
    if (status === 206) {
      const [, from, total] = /^bytes (\d+)-\d+\/(\d+)$/.exec(headers.get('content-range') ?? '') ?? [];
      const fits =
        asked &&
        Number(from) === progress.received &&
        headers.get('etag') === etag &&
        (!promise || Number(total) === promise.bytes);
      if (!fits) throw new Passing('the server could not go on where it stopped', 0);
    } else progress.received = 0;
    const begin = progress.received;
    const expected = promise?.bytes ?? (length === null ? null : begin + length);
    const ranges = status === 206 || headers.get('accept-ranges') === 'bytes';
    const tag = headers.get('etag');
    progress.etag = ranges && !encoded && tag?.startsWith('"') ? tag : null;
    if (begin === 0) progress.buffer = allocate(length !== null && length === expected ? length : 0, label);

    onProgress?.(progress.received, expected);
    const limit = promise?.bytes ?? UNPROMISED_LIMIT;
    for (const reader = response.body!.getReader(); ;) {
      const { done, value } = await reader.read();
      clearTimeout(timer);
      if (done) break;
      timer = setTimeout(stop, stall);
      const received = progress.received + value.length;
      if (received > limit) {
        if (!promise) throw integrity(label, `it is larger than ${limit} bytes`);
        throw integrity(label, `it has more than the ${limit} bytes that were promised`);
      }
      if (received > progress.buffer.length) {
        const larger = allocate(Math.min(Math.max(received, 2 * progress.buffer.length), limit), label);
        larger.set(progress.buffer.subarray(0, progress.received));
        progress.buffer = larger;
      }
      progress.buffer.set(value, progress.received);
      progress.received = received;
      onProgress?.(received, expected);
    }
    // Of another origin the content encoding is hidden, and the length may be that of other bytes than the ones here.
    const end = length === null ? null : begin + length;
    if (end !== null && progress.received < end && (response.type !== 'cors' || end === promise?.bytes))
      throw new Passing(`the connection ended after ${progress.received} of ${end} bytes`);
    return progress.received === progress.buffer.length
      ? progress.buffer
      : progress.buffer.slice(0, progress.received);
  } catch (fault) {
    if (fault instanceof DiffusionError || fault instanceof Passing) throw fault;
    const silent = own.signal.aborted && !signal?.aborted;
    // A browser does not tell a page which of the two it was.
    const elsewhere = globalThis.location && new URL(url).origin !== globalThis.location.origin;
    const none = `no connection came about${elsewhere ? ', or the server lets no other page read it (CORS)' : ''}`;
    const why = silent
      ? 'the server fell silent'
      : answered
        ? `the connection broke after ${progress.received} bytes`
        : none;
    throw new Passing(why, null, false, { cause: fault });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
    own.abort(); // whatever is left of the body is not wanted
  }
}

/** Milliseconds that a 429 or 503 asks to wait: seconds or a date. */
function retryAfter(headers: Headers): number | null {
  const text = headers.get('retry-after');
  if (text === null) return null;
  const wait = /^\d+$/.test(text.trim()) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isFinite(wait) ? Math.max(wait, 0) : null;
}

const wholeNumber = (text: string | null): number | null =>
  text !== null && /^\d{1,15}$/.test(text) ? Number(text) : null;

function allocate(bytes: number, label: string): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(bytes);
  } catch (cause) {
    throw new DiffusionError(
      'out-of-memory',
      `There is no room in memory for ${label} (${bytes} bytes).`,
      'Close other tabs, or choose a smaller model.',
      { cause },
    );
  }
}

// ---- checking ---------------------------------------------------------------------------------------------

const integrity = (label: string, what: string): DiffusionError =>
  new DiffusionError(
    'integrity-failed',
    `${label} is not what it should be: ${what}.`,
    'Try again later; if it happens again, the server holds a wrong file.',
  );

/** The bytes, when they are the promised ones, or nothing was promised. @throws integrity-failed, file-not-found */
async function checked(
  bytes: Uint8Array<ArrayBuffer> | null,
  { label, promise = null, signal }: DownloadOptions,
): Promise<Uint8Array<ArrayBuffer> | null> {
  if (!bytes) {
    if (!promise) return null;
    throw new DiffusionError(
      'file-not-found',
      `${label} is not on the server, although it was promised.`,
      'Try again later; if it happens again, the model is not complete.',
    );
  }
  const start = new TextDecoder().decode(bytes.subarray(0, 64)).trimStart().toLowerCase();
  if (start.startsWith('version https://git-lfs'))
    throw integrity(label, 'the server sent a Git LFS pointer, a note where the file is, instead of it');
  if (!promise) return bytes;
  if (start.startsWith('<!doctype') || start.startsWith('<html'))
    throw integrity(label, 'the server sent a web page instead of it');
  if (bytes.length !== promise.bytes)
    throw integrity(label, `it has ${bytes.length} bytes, and ${promise.bytes} were promised`);
  const right = await matches(bytes, promise);
  throwIfAborted(signal);
  if (!right) throw integrity(label, `its hash is not the promised one`);
  return bytes;
}

/** Whether length and hash are the promised ones. @throws no-secure-context where the browser computes no hashes */
export async function matches(bytes: Uint8Array<ArrayBuffer>, promise: FilePromise): Promise<boolean> {
  if (bytes.length !== promise.bytes) return false;
  if (promise.sha256 !== undefined) return (await hash('SHA-256', bytes)) === promise.sha256.toLowerCase();
  const head = new TextEncoder().encode(`blob ${bytes.length}\0`);
  const all = new Uint8Array(head.length + bytes.length);
  all.set(head);
  all.set(bytes, head.length);
  return (await hash('SHA-1', all)) === promise.gitBlob;
}

/** In hexadecimal digits. @throws no-secure-context */
export async function hash(name: 'SHA-256' | 'SHA-1', bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  if (!globalThis.crypto?.subtle)
    throw new DiffusionError(
      'no-secure-context',
      'This page was not loaded over a secure connection, so downloads cannot be verified.',
      'Open it with https:// or from localhost.',
    );
  const digest = new Uint8Array(await crypto.subtle.digest(name, bytes));
  return [...digest].map((b) => b.toString(16).padStart(2, '0')).join('');
}
