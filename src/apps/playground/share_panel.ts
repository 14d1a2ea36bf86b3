/** The drawer "Share": the link, what an author pastes, and saving. */

import type { Recipe } from '../../session/recipe.ts';
import { byId, input, saveFile } from '../../ui/dom.ts';
import { format, type State } from './fragment.ts';
import { guarded, say } from './messages.ts';
import type { ModelPanel } from './model_panel.ts';
import type { Lane, Runs } from './runs.ts';
import { apngFile, embedCode, framesOf, pngFile, shownPicture, videoFile } from './share.ts';
import type { Store } from './store.ts';

/** Pixels a side of a saved picture, about. */
const SIDE = 512;

export class SharePanel {
  readonly #store: Store;
  readonly #runs: Runs;
  readonly #models: ModelPanel;
  #videoOffered = false;

  constructor(store: Store, runs: Runs, models: ModelPanel) {
    this.#store = store;
    this.#runs = runs;
    this.#models = models;
    store.subscribe(() => this.#render());
    for (const button of document.querySelectorAll<HTMLButtonElement>('[data-copy]'))
      button.addEventListener('click', () => copy(button.dataset['copy']!));
    this.#onSave('save-png', 'png', async (lane) => {
      const picture = await shownPicture(lane.player, store.state.view, SIDE);
      return pngFile(picture, await this.#recipeOrNull(lane));
    });
    this.#onSave('save-apng', 'animation.png', async (lane) =>
      apngFile(await frames(lane), await this.#recipeOrNull(lane)),
    );
    this.#onSave('save-json', 'json', async (lane) => {
      const { formatRecipe } = await import('../../session/recipe.ts');
      return new Blob([formatRecipe(await runs.recipeOf(lane))], { type: 'application/json' });
    });
    for (const kind of ['webm', 'mp4'] as const)
      this.#onSave(`save-${kind}`, kind, async (lane) => videoFile(await frames(lane), kind));
  }

  /** Offers the videos that this browser encodes; asked when the drawer is opened first. */
  async offerVideo(): Promise<void> {
    if (this.#videoOffered || !('VideoEncoder' in globalThis)) return;
    this.#videoOffered = true;
    const { videoFormats } = await import('../../ui/export/video.ts');
    for (const kind of await videoFormats(768, 384)) byId(`save-${kind}`).hidden = false;
  }

  #render(): void {
    const { state } = this.#store;
    const { init, mask, interpolate } = this.#runs.lane?.options ?? {};
    // Whoever follows a link wants to draw, not to share.
    const shared: State = { ...state, tab: interpolate ? 'edit' : '' };
    input('link').value = new URL(format(shared) || '#', location.href).href.replace(/#$/, '');
    byId('not-in-link').hidden = !init && !mask;
    const { tag, frame } = embedCode(state, this.#models.name);
    byId<HTMLTextAreaElement>('embed-tag').value = tag;
    byId<HTMLTextAreaElement>('embed-frame').value = frame;
  }

  #onSave(id: string, ending: string, make: (lane: Lane) => Promise<Blob>): void {
    byId(id).addEventListener('click', () => {
      const { lane } = this.#runs;
      if (!lane) return;
      void guarded(async () => {
        say('Saving …');
        saveFile(await make(lane), `diffusion-seed-${lane.options.seed ?? 0}.${ending}`);
        say('Saved.');
      });
    });
  }

  /** null if the run went on from numbers that no recipe holds. */
  async #recipeOrNull(lane: Lane): Promise<Recipe | null> {
    try {
      return await this.#runs.recipeOf(lane);
    } catch {
      return null;
    }
  }
}

const frames = ({ player }: Lane) => framesOf(player, input('with-x0').checked);

function copy(id: string): void {
  const field = byId<HTMLInputElement | HTMLTextAreaElement>(id);
  field.select();
  navigator.clipboard.writeText(field.value).then(
    () => say('Copied.'),
    () => say('Press Ctrl+C to copy.'),
  );
}
