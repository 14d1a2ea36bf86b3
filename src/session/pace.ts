/** The speed of a run that somebody watches. */

import { sleep } from '../core/abort.ts';

/**
 * Resolves when the browser has had the chance to show what was drawn: after the next frame. Hidden tabs and Node have no
 * frames, and resolve soon.
 * @param most milliseconds to wait at most
 */
export const nextFrame = (most = 100): Promise<void> =>
  new Promise((resolve) => {
    const frames = globalThis.document?.hidden === false && 'requestAnimationFrame' in globalThis;
    const timer = setTimeout(resolve, frames ? most : 0);
    if (frames)
      requestAnimationFrame(() => {
        clearTimeout(timer);
        setTimeout(resolve); // after the frame is painted, not before
      });
  });

/**
 * A pace for a Player: a frame for every step, and some milliseconds from one step to the next.
 * @param interval asked after every step; 0 for as fast as it goes
 */
export function paced(interval: () => number): () => Promise<void> {
  let last = -Infinity;
  return async () => {
    await nextFrame();
    const wait = last + interval() - performance.now();
    if (wait > 0) await sleep(wait);
    last = performance.now();
  };
}
