/** Promises that an AbortSignal ends early. */

import { abortError } from './errors.ts';

/**
 * Settles as `promise` does, or rejects as soon as the signal fires. The work behind the promise goes on.
 * @throws aborted
 */
export function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | null | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise<T>((resolve, reject) => {
    const leave = (): void => reject(abortError());
    signal.addEventListener('abort', leave, { once: true });
    if (signal.aborted) leave();
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave));
  });
}

/** Waits for some milliseconds. @throws aborted, as soon as the signal fires */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  let timer: ReturnType<typeof setTimeout>;
  const wait = new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)));
  return untilAborted(wait, signal).finally(() => clearTimeout(timer));
}
