/** What a page shows, as events for tests. Runs in the page: as an init script, before the page's own code. */

/**
 * Dispatches `painted` on a canvas when it shows another state (`detail.index`, from data-step), and `finished` on the
 * document when the status line says that a run is done.
 */
export function watchPage(): void {
  new MutationObserver((records) => {
    for (const { target, type } of records) {
      const element = target as HTMLElement;
      if (type === 'attributes') {
        const detail = { index: Number(element.dataset['step']) };
        element.dispatchEvent(new CustomEvent('painted', { bubbles: true, detail }));
      } else if (element.id === 'status' && element.textContent.startsWith('Done')) {
        document.dispatchEvent(new CustomEvent('finished'));
      }
    }
  }).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ['data-step'] });
}
