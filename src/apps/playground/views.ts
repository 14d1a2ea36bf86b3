/** The four views of a state, small under the stage; the chosen one is large. */

import type { StateView } from '../../session/state_view.ts';
import { byId, check, h } from '../../ui/dom.ts';
import type { Target } from '../../ui/painter.ts';
import { VIEWS, type View } from './fragment.ts';
import type { Store } from './store.ts';

/** Symbol (with its subscript and hat) and name. */
export const VIEW_NAMES: Readonly<Record<View, readonly [symbol: () => Node, name: string]>> = {
  x_t: [() => h('i', { class: 'math' }, 'x', h('sub', {}, 't')), 'the picture now'],
  x0: [() => h('i', { class: 'math hat' }, 'x', h('sub', {}, '0')), 'its guess of the end'],
  eps: [() => h('i', { class: 'math hat' }, 'ε'), 'the noise it sees'],
  update: [() => document.createTextNode('Δ'), 'the last change'],
};

/**
 * Makes the chooser.
 * @param onchange called when another view is chosen
 * @returns what the stage paints: the large canvas, then the small ones
 */
export function makeViews(store: Store, onchange: () => void): Target[] {
  const small = VIEWS.map((view, i) => {
    const [symbol, name] = VIEW_NAMES[view];
    const choose = (): void => store.set({ view }, { touch: false });
    const radio = h('input', { type: 'radio', name: 'view', value: view, title: `${name} (${i + 1})`, 'aria-label': name, onchange: choose }); // prettier-ignore
    const canvas = h('canvas', { id: `small-${view}`, 'aria-hidden': 'true' });
    const what = h('span', { class: 'what' }, h('span', { class: 'name' }, symbol()), ` ${name}`);
    byId('views').append(h('label', { 'data-view': view }, radio, canvas, what));
    return target(canvas, () => view, 192);
  });
  let last = store.state.view;
  store.subscribe(() => {
    const { view } = store.state;
    check('view', view);
    if (view !== last) onchange();
    last = view;
  });
  return [target(byId<HTMLCanvasElement>('canvas'), () => store.state.view, 768), ...small];
}

const target = (canvas: HTMLCanvasElement, view: () => StateView, side: number): Target => ({
  canvas,
  view,
  side: () => side,
  missing: 'nothing',
});
