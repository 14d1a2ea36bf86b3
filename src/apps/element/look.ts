/** What styles the element: its sheets, and the custom state that an author's CSS can ask for. */

import css from './style.css?inline';

let shared: CSSStyleSheet | undefined;

/**
 * Gives the element's shadow root its style sheets.
 * @returns a function that takes the element's state: it becomes the custom state (`:state(running)`), and `view`, a view
 *   of the lecture, is as wide as its place. It never throws, whatever the browser makes of custom states: Chrome before
 *   125 wants a name with two dashes (`:--running`), others have no `states`.
 */
export function dress(root: ShadowRoot, internals: ElementInternals): (state: string) => void {
  if (!shared) (shared = new CSSStyleSheet()).replaceSync(css);
  const wide = new CSSStyleSheet();
  wide.replaceSync(':host { max-inline-size: var(--diffusion-sampler-size, none) }');
  wide.disabled = true;
  root.adoptedStyleSheets = [shared, wide];
  return (state) => {
    wide.disabled = state !== 'view';
    for (const name of [state, `--${state}`])
      try {
        internals.states.clear();
        internals.states.add(name);
        return;
      } catch {
        // The other name, or none.
      }
  };
}
