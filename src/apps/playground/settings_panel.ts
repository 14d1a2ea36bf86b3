/** The form "What to draw" and the drawer "Settings": fields that follow the store, and set it. */

import { takesOption } from '../../schedule/samplers.ts';
import { byId, check, fill, h, input, select } from '../../ui/dom.ts';
import type { State } from './fragment.ts';
import type { ModelInfo } from './models.ts';
import { SAMPLERS, SPACING_NAMES, spacingFits } from './options.ts';
import type { Store } from './store.ts';

/** Classes of a model that are offered as buttons at most. */
const MOST_CLASSES = 60;
/** Pictures that "One of each" draws at most. */
const MOST_EACH = 16;

/** Number fields, by id, and what they set. */
const NUMBERS = { seed: 'seed', steps: 'steps', count: 'count', steps2: 'steps2', 'slide-a': 'seed', 'slide-b': 'seed2' } as const; // prettier-ignore
const SLIDERS = ['guidance', 'eta', 'strength', 'walks'] as const;
const LISTS = ['sampler', 'sampler2', 'spacing', 'spacing2'] as const;

export class SettingsPanel {
  readonly #store: Store;
  #info: ModelInfo | null = null;

  /** @param onopen called with the drawer that the visitor opens */
  constructor(store: Store, onopen: (tab: State['tab']) => void) {
    this.#store = store;
    store.subscribe(() => this.#render());
    for (const id of ['sampler', 'sampler2'])
      fill(select(id), SAMPLERS.map(([key, name, what]) => [key, `${name}: ${what}`])); // prettier-ignore
    for (const id of ['spacing', 'spacing2']) fill(select(id), SPACING_NAMES);
    for (const [id, key] of Object.entries(NUMBERS)) {
      const field = input(id);
      field.addEventListener('input', () => store.setNumber(key, field.value));
      field.addEventListener('blur', () => store.render());
    }
    for (const key of SLIDERS)
      input(key).addEventListener('input', () => store.set({ [key]: Number(input(key).value) }));
    for (const key of LISTS)
      select(key).addEventListener('change', () => store.set({ [key]: select(key).value } as Partial<State>));
    byId('classes').addEventListener('change', (event) =>
      this.#chooseClass((event.target as HTMLInputElement).value),
    );
    byId('edit').addEventListener('change', (event) => {
      store.set({ edit: (event.target as HTMLInputElement).value as State['edit'] }, { touch: false });
    });
    for (const button of document.querySelectorAll<HTMLButtonElement>('[data-tab]'))
      button.addEventListener('click', () => {
        const tab = button.dataset['tab'] as State['tab'];
        store.set({ tab: store.state.tab === tab ? '' : tab }, { touch: false });
        onopen(store.state.tab);
      });
    byId('dice').addEventListener('click', () => this.newSeed());
  }

  newSeed(): void {
    this.#store.set({ seed: Math.floor(Math.random() * 1e6) });
  }

  /** Offers the classes of a model. */
  use(info: ModelInfo): void {
    const { classes, labels, hasAny } = info;
    this.#info = info;
    const named = (k: number): string => labels[k] ?? String(k);
    const count = Math.min(classes, MOST_CLASSES);
    const choices = Array.from({ length: count }, (_, k): [string, string] => [String(k), named(k)]);
    if (classes > 0) choices.push(['each', 'One of each']);
    if (hasAny || classes > 0) choices.unshift(['any', 'Anything']);
    const host = byId('classes');
    host.hidden = choices.length === 0;
    host.replaceChildren(
      host.querySelector('legend')!,
      ...choices.map(([value, text]) =>
        h('label', {}, h('input', { type: 'radio', name: 'class', value }), h('span', {}, text)),
      ),
    );
    check('class', String(this.#store.state.label));
    const forkLabels = Array.from({ length: classes }, (_, k) => [String(k), named(k)] as const);
    fill(select('fork-label'), [['', 'the same'], ...forkLabels]);
    byId('fork-label-field').hidden = classes === 0;
  }

  /** One of each is several pictures; what follows it is one again, as before. */
  #chooseClass(value: string): void {
    const { state } = this.#store;
    const label = value === 'any' || value === 'each' ? value : Number(value);
    const each = Math.min(this.#info?.classes ?? 1, MOST_EACH);
    let { count } = state;
    if (label === 'each' && count === 1) count = each;
    else if (label !== 'each' && state.label === 'each' && count === each) count = 1;
    this.#store.set({ label, count });
  }

  #render(): void {
    const { state, invalid } = this.#store;
    const put = (id: string, key: keyof State): void => {
      const field = input(id);
      if (document.activeElement !== field && !(key in invalid)) field.value = String(state[key]);
    };
    for (const [id, key] of Object.entries(NUMBERS)) put(id, key);
    for (const key of SLIDERS) put(key, key);
    for (const key of LISTS) select(key).value = state[key];
    for (const [list, sampler] of [
      ['spacing', state.sampler],
      ['spacing2', state.sampler2],
    ] as const)
      // prettier-ignore
      for (const option of select(list).options)
        option.disabled = !spacingFits(sampler, option.value as State['spacing']);
    byId('guidance-value').textContent = String(state.guidance);
    byId('eta-value').textContent = String(state.eta);
    byId('strength-value').textContent = `${Math.round(state.strength * 100)} %`;
    byId('walks-value').textContent = state.walks === 1 ? 'once' : `${state.walks} times`;
    byId('eta-field').hidden = !takesOption(state.sampler, 'eta');
    byId('guidance-field').hidden = !this.#info?.hasAny;
    check('class', String(state.label));
    check('edit', state.edit);
    this.#renderEdit();
    for (const button of document.querySelectorAll<HTMLButtonElement>('[data-tab]')) {
      const open = button.dataset['tab'] === state.tab;
      button.setAttribute('aria-expanded', String(open));
      byId(`tab-${button.dataset['tab']}`).hidden = !open;
    }
    const comparing = state.tab === 'compare';
    byId('comparison').hidden = !comparing;
    byId('stage').hidden = comparing;
  }

  #renderEdit(): void {
    const { edit, sampler } = this.#store.state;
    const interpolating = edit === 'slide';
    byId('pad-part').hidden = interpolating;
    byId('slide-part').hidden = !interpolating;
    byId('noised-part').hidden = byId('strength-field').hidden = edit !== 'draw';
    byId('walks-field').hidden = edit !== 'paint' || !takesOption(sampler, 'jumpSamples');
    byId('pad-hint').textContent =
      edit === 'draw'
        ? 'Draw, drop or open a picture. It is noised, and the model takes the noise away again.'
        : 'Paint over what the model should make anew; the rest stays.';
    byId('edit-go').textContent = { draw: 'Denoise it', paint: 'Repaint it', slide: 'Slide' }[edit];
  }
}
