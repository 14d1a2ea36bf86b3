/** How fast things may move on a page. */

/** Whether the visitor prefers that nothing moves by itself. */
export const reducedMotion = (): boolean => matchMedia('(prefers-reduced-motion: reduce)').matches;

/**
 * Milliseconds from one step of a run to the next, so that a visitor can watch; 0 if nobody watches, or if the visitor
 * prefers reduced motion.
 * @param run of a whole run, at least
 * @param most of one step, however few there are
 */
export const stepInterval = (steps: number, run: number, most = Infinity): number =>
  document.hidden || reducedMotion() ? 0 : Math.min(most, run / Math.max(steps, 1));
