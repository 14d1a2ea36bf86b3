/** Keys of the page, which act where nothing else wants them. */

import { byId, input } from '../../ui/dom.ts';
import { VIEWS } from './fragment.ts';
import type { ForkForm } from './fork_form.ts';
import type { Runs } from './runs.ts';
import type { SettingsPanel } from './settings_panel.ts';
import type { Store } from './store.ts';
import type { Transport } from './transport.ts';

export function bindKeys(parts: {
  readonly store: Store;
  readonly runs: Runs;
  readonly settings: SettingsPanel;
  readonly transport: Transport;
  readonly forkForm: ForkForm;
}): void {
  const { store, runs, settings, transport, forkForm } = parts;
  const help = byId<HTMLDialogElement>('help');
  byId('help-open').addEventListener('click', () => help.showModal());
  const act: Record<string, () => void> = {
    d: () => transport.drawOrStop(),
    n: () => settings.newSeed(),
    k: () => transport.playOrPause(),
    f: () => forkForm.toggle(),
    ArrowLeft: () => runs.lane?.player.stepBack(),
    ArrowRight: () => {
      const player = runs.lane?.player;
      if (player && player.status !== 'running') void player.step();
    },
    '?': () => help.showModal(),
  };
  VIEWS.forEach((view, i) => (act[String(i + 1)] = () => store.set({ view }, { touch: false })));
  document.addEventListener('keydown', (event) => {
    const target = event.target as HTMLElement;
    if (event.ctrlKey || event.metaKey || event.altKey || help.open || !input('keys-on').checked) return;
    if (target.matches('input:not([type=radio],[type=checkbox]), select, textarea, #pad')) return;
    const arrow = event.key.startsWith('Arrow');
    if (arrow && (target.matches('input') || !runs.lane)) return;
    const name = arrow ? event.key : event.key.toLowerCase();
    if (!Object.hasOwn(act, name)) return;
    event.preventDefault();
    act[name]!();
  });
}
