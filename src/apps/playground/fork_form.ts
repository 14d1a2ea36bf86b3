/** The form "Fork here": what a fork of the lane that is shown changes. */

import { byId, fill, input, select } from '../../ui/dom.ts';
import { format, INITIAL, parse, type Branch } from './fragment.ts';
import { noisy, SAMPLERS } from './options.ts';
import type { Runs } from './runs.ts';
import type { Store } from './store.ts';

export class ForkForm {
  readonly #store: Store;
  readonly #runs: Runs;

  constructor(store: Store, runs: Runs) {
    this.#store = store;
    this.#runs = runs;
    const samplers = SAMPLERS.map(([key, name]) => [key, name] as const);
    fill(select('fork-sampler'), [['', 'the same'], ['ddim-1', 'DDIM, η = 1'], ...samplers]);
    byId('fork-open').addEventListener('click', () => this.toggle());
    byId('fork').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
    runs.addEventListener('change', () => {
      if (runs.lanes.length === 0) this.#show(false);
    });
  }

  toggle(): void {
    const { lane, lanes } = this.#runs;
    if (!lane || byId<HTMLButtonElement>('fork-open').disabled) return;
    const open = byId('fork').hidden === true;
    this.#show(open);
    if (!open) return;
    input('fork-seed').value = String((lane.options.seed ?? 0) + lanes.length);
    select('fork-sampler').value = noisy(lane.player.options ?? lane.options);
    select('fork-label').value = '';
    input('fork-seed').focus();
  }

  #show(open: boolean): void {
    byId('fork').hidden = !open;
    byId('fork-open').setAttribute('aria-expanded', String(open));
  }

  #submit(): void {
    const { lane, active } = this.#runs;
    if (!lane) return;
    const seed = input('fork-seed').value.trim();
    const label = select('fork-label').value;
    const branch: Branch = {
      from: active,
      at: lane.player.index,
      seed: seed === '' ? NaN : Number(seed),
      sampler: select('fork-sampler').value as Branch['sampler'],
      label: label === '' ? null : Number(label),
    };
    // Into the address, if it can say so; otherwise the sampler refuses it in a moment.
    const branches = [...this.#store.state.branches, branch];
    const legal = parse(format({ ...INITIAL, branches })).branches.length === branches.length;
    if (legal) this.#store.set({ branches }, { touch: false });
    this.#show(false);
    void this.#runs.fork(branch);
  }
}
