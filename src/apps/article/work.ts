/** Work of views: the latest wins, at most once a frame. */

import type { Frame } from './frame.ts';

/**
 * Runs `work`; the next call aborts the one before. Failures show in the frame.
 */
export function latest<A extends unknown[]>(
  frame: Frame,
  work: (signal: AbortSignal, ...args: A) => Promise<void>,
): (...args: A) => void {
  let last: AbortController | null = null;
  frame.after(() => last?.abort());
  let chain: Promise<void> = Promise.resolve();
  return (...args) => {
    last?.abort();
    const own = (last = new AbortController());
    chain = chain.then(async () => {
      if (own.signal.aborted || frame.signal.aborted) return;
      frame.works++;
      try {
        frame.fail(null);
        await work(own.signal, ...args);
      } catch (error) {
        if (!own.signal.aborted) frame.fail(error);
      } finally {
        frame.works--;
        if (own === last && frame.works === 0) frame.progress(null);
      }
    });
  };
}

/** `on` at most once a frame, and after the present work. */
export function soon(frame: Frame, on: () => void): () => void {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    queueMicrotask(() => {
      waiting = false;
      if (!frame.signal.aborted) on();
    });
  };
}
