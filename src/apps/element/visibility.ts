/** Whether an element is seen, and when it comes near. */

/**
 * Watches an element until the signal fires.
 * @param onnear called once, when the element comes near the viewport
 * @param onchange called when the element is scrolled into view or out of it, and when the tab is hidden or shown
 */
export function watchVisibility(
  element: Element,
  signal: AbortSignal,
  onnear: () => void,
  onchange: (inView: boolean) => void,
): void {
  let inView = false;
  document.addEventListener('visibilitychange', () => onchange(inView), { signal });
  const near = new IntersectionObserver(
    (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      near.disconnect();
      onnear();
    },
    { rootMargin: '300px' },
  );
  const seen = new IntersectionObserver(
    (entries) => {
      inView = entries.at(-1)!.isIntersecting;
      onchange(inView);
    },
    { threshold: 0.4 },
  );
  near.observe(element);
  seen.observe(element);
  signal.addEventListener('abort', () => {
    near.disconnect();
    seen.disconnect();
  });
}

/** Whether the visitor saves data, as far as the browser says. */
export function savesData(): boolean {
  const { connection } = navigator as { connection?: { saveData?: boolean } };
  return connection?.saveData === true;
}
