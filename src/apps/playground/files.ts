/** Files that a visitor opens or drops: a recipe, a picture, the folder of a model. And recipes, brought back as settings. */

import { toBytes, type Pixels } from '../../core/pixels.ts';
import { DiffusionError } from '../../core/errors.ts';
import { SCHEDULERS } from '../../schedule/samplers.ts';
import type { Fork, Recipe } from '../../session/recipe.ts';
import { imageCount } from '../../session/sample_options.ts';
import { paintPixels } from '../../ui/canvas.ts';
import { byId, h, input } from '../../ui/dom.ts';
import { droppedFiles } from '../../loading/source.ts';
import type { Edit } from './edit.ts';
import type { Branch, State } from './fragment.ts';
import { guarded, say, showError } from './messages.ts';
import type { ModelPanel } from './model_panel.ts';
import type { Runs } from './runs.ts';
import type { Store } from './store.ts';

/** No recipe has more bytes. */
const MOST_BYTES = 50e6;
const PNG_START = 0x89;

export class Files {
  readonly #store: Store;
  readonly #runs: Runs;
  readonly #models: ModelPanel;
  readonly #edit: Edit;

  constructor(store: Store, runs: Runs, models: ModelPanel, edit: Edit) {
    this.#store = store;
    this.#runs = runs;
    this.#models = models;
    this.#edit = edit;
    document.addEventListener('dragover', (event) => event.preventDefault());
    document.addEventListener('drop', (event) => {
      event.preventDefault();
      if (event.dataTransfer) this.#drop(event.dataTransfer);
    });
    input('open').addEventListener('change', () => {
      const [file] = input('open').files ?? [];
      input('open').value = '';
      showError(null);
      if (file) void guarded(() => this.#open(file));
    });
  }

  /**
   * Takes the settings of a recipe. Its picture, if there is one, stands on the stage until something is drawn.
   * @throws bad-input, if the recipe is for a model that is not here
   */
  async bringBack(recipe: Recipe, picture: Pixels | null, text: string): Promise<void> {
    await this.#openModel(recipe);
    const { recipeOptions } = await import('../../session/recipe.ts');
    const run = recipeOptions(recipe);
    const [, c, height, width] = this.#edit.shape;
    const [area, count] = [height * width, imageCount(run)];
    if (run.init?.length === count * c * area) this.#edit.setPicture(toBytes(run.init.subarray(0, c * area)));
    if (run.mask?.length === count * c * area)
      this.#edit.setMask(Uint8Array.from(run.mask.subarray(0, area), (x) => x * 255));
    this.#store.clearInvalid();
    this.#store.set(settingsOf(recipe, this.#store.state, this.#models.info!.classes));
    this.#runs.offer(recipe);
    if (picture) {
      this.#runs.clear();
      showPoster(picture, text);
    }
    say(text);
    this.#store.render();
  }

  async #openModel({ model: { source, key } }: Recipe): Promise<void> {
    if (key === this.#models.info?.source.key) return;
    const name = source.slice(0, 100);
    if (!this.#models.isBundled(source))
      throw new DiffusionError(
        'bad-input',
        `The recipe is for the model ${name}, which is not open.`,
        'Open it under "Model" first.',
      );
    this.#store.set({ model: source, src: '' }, { touch: false });
    await this.#models.choose(source);
    if (key !== this.#models.info?.source.key)
      throw new DiffusionError(
        'bad-input',
        `The recipe was made with another version of ${name}.`,
        'It cannot be made again here.',
      );
  }

  #drop(data: DataTransfer): void {
    const [file] = data.files;
    const isFolder =
      data.items[0]?.webkitGetAsEntry?.()?.isDirectory ||
      data.files.length > 1 ||
      /\.safetensors$/.test(file?.name ?? '');
    showError(null);
    void guarded(async () => {
      if (isFolder) await this.#models.openFolder(await droppedFiles(data));
      else if (file) await this.#open(file);
    });
  }

  async #open(file: File): Promise<void> {
    const recipe = await recipeIn(file);
    if (recipe) return this.bringBack(recipe, null, 'The recipe is here. Draw makes its picture.');
    if (!this.#models.info) return;
    const { readPicture } = await import('./pictures.ts');
    this.#edit.setPicture(await readPicture(file, this.#edit.shape));
    this.#store.set({ tab: 'edit', edit: this.#store.state.edit === 'paint' ? 'paint' : 'draw' });
    say('Your picture, as the model sees it.');
  }
}

/** The recipe of a file; null for a picture without one. @throws bad-input, if there is one that cannot be read */
async function recipeIn(file: File): Promise<Recipe | null> {
  const json = /\.json$/i.test(file.name) || file.type === 'application/json';
  if (!json && file.type !== 'image/png') return null;
  const bytes = file.size < MOST_BYTES ? new Uint8Array(await file.arrayBuffer()) : new Uint8Array(0);
  const { readRecipe } = await import('../../session/recipe.ts');
  try {
    return readRecipe(bytes);
  } catch (error) {
    const none = error instanceof DiffusionError && error.code === 'no-recipe';
    if (json || (bytes[0] === PNG_START && !none)) throw error;
    return null; // a picture, or what readPicture refuses
  }
}

/** The settings of the page that a recipe stands for. */
function settingsOf(recipe: Recipe, state: State, classes: number): Partial<State> {
  const { options, forks = [], init, mask } = recipe;
  const { labels, interpolate, scheduler = 'ddim', seed = 0 } = options;
  const count = imageCount(options);
  const each = count > 1 && labels?.every((k, n) => k === n % classes);
  return {
    label: each ? 'each' : (labels?.[0] ?? 'any'),
    seed: interpolate?.[0] ?? seed,
    steps: options.steps ?? 50,
    sampler: SCHEDULERS.find((s) => s === scheduler) ?? 'ddim',
    spacing: options.sigmas ?? options.spacing ?? '',
    eta: options.eta ?? 0,
    guidance: options.guidance ?? (labels ? 1 : state.guidance),
    count: interpolate ? state.count : count,
    branches: forks.map((fork, from) => branchOf(fork, from, seed)),
    ...(interpolate ? { tab: 'edit', edit: 'slide', seed2: interpolate[1] } : {}),
    ...(mask ? { tab: 'edit', edit: 'paint', walks: options.jumpSamples ?? 1 } : {}),
    ...(init && !mask ? { tab: 'edit', edit: 'draw', strength: options.strength ?? 0.6 } : {}),
  };
}

const branchOf = ({ at, options }: Fork, from: number, seed: number): Branch => ({
  from,
  at,
  seed: options.seed ?? seed,
  sampler: options.scheduler === 'ddim' && options.eta === 1 ? 'ddim-1' : (options.scheduler ?? ''),
  label: options.labels?.[0] ?? null,
});

function showPoster(picture: Pixels, text: string): void {
  const image = byId('poster').querySelector('img')!;
  byId('poster').querySelector('source')?.remove();
  const canvas = h('canvas');
  paintPixels(canvas, picture);
  image.src = canvas.toDataURL();
  image.alt = text;
  byId('caption').textContent = text;
}
