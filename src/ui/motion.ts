/** How fast things may move on a page, and when the next frame is. */

/** Whether the visitor prefers that nothing moves by itself. */
export const reducedMotion = (): boolean => matchMedia('(prefers-reduced-motion: reduce)').matches;
