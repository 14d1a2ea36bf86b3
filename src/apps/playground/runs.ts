/** The runs of the page: a trunk and its forks, drawn, stopped, kept. Events: `change` (anything that is seen of them). */

import { untilAborted } from '../../core/abort.ts';
import { grid } from '../../core/pixels.ts';
import { isAbort } from '../../core/errors.ts';
import { readTensor } from '../../engine/gpu/transfer.ts';
import { paced } from '../../session/pace.ts';
import { Player } from '../../session/player.ts';
import type { Fork, Recipe } from '../../session/recipe.ts';
import { imageCount, type SampleOptions } from '../../session/sample_options.ts';
import { stepInterval } from '../../ui/motion.ts';
import type { Painter } from '../../ui/painter.ts';
import type { Compare } from './compare.ts';
import type { Edit } from './edit.ts';
import { format, type Branch, type State } from './fragment.ts';
import type { Gallery } from './gallery.ts';
import { guarded, say, showError } from './messages.ts';
import type { ModelPanel } from './model_panel.ts';
import { changesOf, nameOf, optionsOf, spacingOptions } from './options.ts';
import type { Slide } from './slide.ts';
import type { Store } from './store.ts';

/** A run takes this many milliseconds at least, or nobody would see the picture appear. */
const RUN_TIME = 2500;
/** Loaded when it is wanted: at the end of the first run, or for a file. */
const recipes = () => import('../../session/recipe.ts');
/** With the trunk. */
export const MOST_LANES = 6;

/** A run on the timeline: the trunk, or a fork of another lane. */
export interface Lane {
  readonly player: Player;
  /** Of the trunk. */
  readonly options: SampleOptions;
  /** From the trunk to this lane. */
  readonly forks: readonly Fork[];
  /** The lane that it leaves, and the step. */
  readonly from: number;
  readonly at: number;
  readonly name: string;
  readonly began: number;
  /** Its picture is in the gallery. */
  kept: boolean;
}

/** A fork that is to be drawn: of lane `from`, after `at` steps. */
interface PlannedFork extends Fork {
  readonly from: number;
  readonly name: string;
}

/** What is to be drawn, and how the settings change with it. */
interface Plan {
  readonly options: SampleOptions;
  readonly forks: readonly PlannedFork[];
  readonly change: Partial<State>;
}

interface Parts {
  readonly store: Store;
  readonly models: ModelPanel;
  readonly edit: Edit;
  readonly stage: Painter;
  readonly compare: Compare;
  readonly gallery: Gallery;
  readonly slide: Slide;
}

const pace = (steps = 50) => paced(() => stepInterval(steps, RUN_TIME));

export class Runs extends EventTarget {
  lanes: readonly Lane[] = [];
  active = 0;
  readonly #parts: Parts;
  /** Ends the download or the run that is being prepared. */
  #opening: AbortController | null = null;
  /** A recipe that was brought back, and the address of its settings: unchanged, it is played to the letter. */
  #pending: { readonly recipe: Recipe; readonly hash: string } | null = null;

  constructor(parts: Parts) {
    super();
    this.#parts = parts;
    parts.models.addEventListener('interrupt', () => this.busy && this.stop());
    parts.models.addEventListener('release', () => {
      this.clear();
      parts.compare.clear();
    });
  }

  /** The lane that is shown. */
  get lane(): Lane | undefined {
    return this.lanes[this.active];
  }

  get busy(): boolean {
    const running = this.lanes.some(({ player }) => player.status === 'running');
    return this.#opening !== null || this.#parts.compare.running || running;
  }

  get ready(): boolean {
    const { models } = this.#parts;
    return !this.busy && !models.broken && models.info !== null;
  }

  activate(i: number): void {
    this.active = i;
    this.#parts.stage.show(this.lanes[i]?.player ?? null);
    this.#changed();
  }

  clear(): void {
    this.#parts.stage.show(null);
    for (const { player } of this.lanes) player.destroy();
    this.lanes = [];
    this.active = 0;
    this.#changed();
  }

  stop(): void {
    this.#opening?.abort();
    this.#parts.compare.stop();
    for (const { player } of this.lanes) player.pause();
    say('Stopped.');
  }

  /** The next Draw plays this recipe, unless the settings change before. */
  offer(recipe: Recipe): void {
    this.#pending = { recipe, hash: format(this.#parts.store.state) };
  }

  /** Draws what the settings say; the next seed, if they were not touched since the last run. */
  async draw(): Promise<void> {
    if (!this.ready) return;
    const pending = this.#pending;
    this.#pending = null;
    if (pending?.hash === format(this.#parts.store.state))
      await this.#draw(() => this.#planOf(pending.recipe));
    else await this.#draw(() => this.#planSettings());
  }

  /** Draws what the drawer "Edit" says. */
  async drawEdit(): Promise<void> {
    this.#parts.store.touch();
    await this.#draw(() => {
      const { state } = this.#parts.store;
      const options = this.#checked(this.#parts.edit.options(), state);
      return { options, forks: [], change: { branches: [] } };
    });
  }

  /** Forks the lane that is shown, at the state that it shows. */
  async fork(branch: Branch): Promise<void> {
    showError(null);
    const lane = this.lanes[branch.from];
    if (lane) await guarded(() => this.#fork(this.#planFork(branch, lane.player.options ?? lane.options)));
  }

  /** Runs two samplers beside each other. */
  async runBoth(): Promise<void> {
    if (!this.ready) return;
    const { models, store, compare } = this.#parts;
    await this.#prepared(async (signal) => {
      const lease = await this.#lease(signal);
      const { state } = store;
      const first = optionsOf(state, models.info!);
      const second: SampleOptions = {
        ...optionsOf({ ...state, eta: 0, spacing: '' }, models.info!),
        ...{ scheduler: state.sampler2, steps: state.steps2 },
        ...spacingOptions(state.spacing2),
      };
      say('Drawing both …');
      if (await compare.run(lease, [first, second], pace)) say('Done.');
    });
  }

  /** @throws bad-input, if the run went on from numbers that a recipe cannot hold */
  async recipeOf({ player, options, forks }: Lane): Promise<Recipe> {
    const { makeRecipe } = await recipes();
    return makeRecipe(this.#modelOf(player), options, player.at(player.index)!.xT.shape, forks);
  }

  // ---- drawing ----------------------------------------------------------------------------------------------

  #changed(): void {
    this.dispatchEvent(new Event('change'));
  }

  #lease(signal: AbortSignal) {
    return this.#parts.models.ready(signal, ({ failure }) => showError(failure, () => void this.draw()));
  }

  /** Runs work that `stop` may end by the signal, and shows its error. */
  async #prepared(work: (signal: AbortSignal) => Promise<void>, retry?: () => void): Promise<void> {
    showError(null);
    const opening = (this.#opening = new AbortController());
    this.#changed();
    await guarded(() => work(opening.signal), retry);
    this.#opening = null;
    this.#parts.store.render();
  }

  async #draw(plan: () => Plan | Promise<Plan>): Promise<void> {
    const { models, store } = this.#parts;
    if (!this.ready) return;
    const retry = (): void => void (models.broken || !models.info ? models.start() : this.#draw(plan));
    let forks: readonly PlannedFork[] = [];
    await this.#prepared(async (signal) => {
      const lease = await this.#lease(signal);
      const planned = await plan();
      const { options, change } = planned;
      const player = new Player(lease, { pace: pace(options.steps) });
      try {
        await untilAborted(player.start(options), signal);
      } catch (error) {
        player.destroy(); // options that are refused leave the last picture where it is
        throw error;
      }
      this.clear();
      forks = planned.forks;
      const name = `${nameOf(options.scheduler ?? 'ddim')}, seed ${options.seed ?? 0}`;
      this.#add({ player, options, forks: [], from: 0, at: 0, name });
      store.touched = false;
      store.set(change, { touch: false, push: true });
      this.activate(0);
      say('Drawing …');
    }, retry);
    if (forks.length > 0) await guarded(() => this.#drawForks(forks));
  }

  async #drawForks(forks: readonly PlannedFork[]): Promise<void> {
    await this.lanes[0]!.player.settled();
    for (const fork of forks) {
      if (this.lanes[fork.from]?.player.status !== 'done') return; // stopped
      await this.#fork(fork);
    }
  }

  /** Draws a fork to its end. A fork whose options are refused leaves no lane. */
  async #fork({ from, at, options, name }: PlannedFork): Promise<void> {
    const parent = this.lanes[from];
    if (!parent) return;
    const player = parent.player.branch(at);
    await player.settled();
    const forks = [...parent.forks, { at, options }];
    this.#add({ player, options: parent.options, forks, from, at, name });
    this.activate(this.lanes.length - 1);
    try {
      await player.fork(at, options);
    } catch (error) {
      if (isAbort(error)) return;
      this.lanes = this.lanes.filter((lane) => lane.player !== player);
      player.destroy();
      this.activate(Math.min(from, this.lanes.length - 1));
      return; // the player's event shows the error
    }
    await player.settled().catch(() => {});
  }

  #add(lane: Omit<Lane, 'began' | 'kept'>): void {
    const own: Lane = { ...lane, began: performance.now(), kept: false };
    const { player } = own;
    player.addEventListener('step', () => {
      if (this.lane === own) this.#changed();
    });
    player.addEventListener('state', () => this.#changed());
    player.addEventListener('done', () => void this.#finished(own));
    player.addEventListener('error', () => showError(player.error, () => void this.draw()));
    this.lanes = [...this.lanes, own];
  }

  async #finished(lane: Lane): Promise<void> {
    const seconds = (performance.now() - lane.began) / 1000;
    if (this.lane === lane) this.#parts.stage.paint();
    await guarded(async () => {
      if (!lane.kept) await this.#keep(lane);
      say(`Done in ${seconds.toFixed(seconds < 10 ? 1 : 0)} s.`);
    });
  }

  /** Puts the pictures of a run into the gallery, each with a recipe of its own. */
  async #keep(lane: Lane): Promise<void> {
    const { player, forks, options } = lane;
    const { gallery, slide } = this.#parts;
    lane.kept = true;
    const last = player.at(player.steps);
    if (!last) return;
    const { shape } = last.xT;
    const numbers = await readTensor(player.lease.gpu, last.xT);
    const { makeRecipe } = await recipes();
    const model = this.#modelOf(player);
    const [count, ...one] = shape;
    const seed = options.seed ?? 0;
    if (options.interpolate) slide.show(numbers, shape);
    if (forks.length > 0 || options.interpolate || options.mask || options.init || count === 1) {
      const recipe = makeRecipe(model, options, shape, forks);
      return gallery.add({ picture: grid(numbers, shape), recipe, caption: captionOf(options, forks) });
    }
    const size = numbers.length / count;
    for (let n = count - 1; n >= 0; n--) {
      const label = options.labels ? { labels: [options.labels[n]!] } : { count: 1 };
      const recipe = makeRecipe(model, { ...options, seed: seed + n, ...label }, [1, ...one]);
      const picture = grid(numbers.subarray(n * size, (n + 1) * size), [1, ...one]);
      gallery.add({ picture, recipe, caption: `seed ${seed + n}` });
    }
  }

  #modelOf({ lease }: Player) {
    const { address, source } = this.#parts.models.info!;
    return { source: address, key: lease.source?.key ?? source.key, dtype: lease.model.dtype };
  }

  // ---- plans ------------------------------------------------------------------------------------------------

  #planSettings(): Plan {
    const { store, models } = this.#parts;
    const first = this.lanes.length === 0;
    const { state } = store;
    const seed = first || store.touched ? state.seed : state.seed + state.count;
    const { count = state.count } = store.invalid;
    const legal = Number.isInteger(count) && count >= 1 && count <= 64;
    const next = { ...state, seed };
    const options = this.#checked(optionsOf(next, models.info!, legal ? count : 1), next);
    // A link with forks: the trunk, then each of them.
    const branches = first ? state.branches : [];
    return { options, forks: branches.map((b) => this.#planFork(b, options)), change: { seed, branches } };
  }

  /** With what stands in the fields and makes no sense, so that the sampler refuses it in its own words. */
  #checked(options: SampleOptions, state: State): SampleOptions {
    const { seed = state.seed, steps = state.steps, count, seed2 = state.seed2 } = this.#parts.store.invalid;
    if (count !== undefined) {
      const rest: { -readonly [K in keyof SampleOptions]: SampleOptions[K] } = { ...options, count };
      delete rest.labels;
      return rest;
    }
    return { ...options, seed, steps, ...(options.interpolate ? { interpolate: [seed, seed2] } : {}) };
  }

  #planFork({ from, at, ...branch }: Branch, options: SampleOptions): PlannedFork {
    const label = branch.label === null ? '' : `, ${this.#parts.models.info!.labels[branch.label] ?? branch.label}`; // prettier-ignore
    const name = `${branch.sampler ? `${nameOf(branch.sampler)}, ` : ''}seed ${branch.seed}${label}`;
    return { from, at, name, options: changesOf(branch, imageCount(options)) };
  }

  async #planOf(recipe: Recipe): Promise<Plan> {
    const { recipeOptions } = await recipes();
    const options = recipeOptions(recipe);
    const forks = (recipe.forks ?? []).map((fork, from) => {
      return { ...fork, from, name: `seed ${fork.options.seed ?? options.seed ?? 0}` };
    });
    return { options, forks, change: {} };
  }
}

function captionOf({ interpolate, seed = 0, mask, init }: SampleOptions, forks: readonly Fork[]): string {
  if (interpolate) return `seeds ${interpolate.join(' to ')}`;
  const how = forks.length > 0 ? ', forked' : mask ? ', repainted' : init ? ', from a picture' : '';
  return `seed ${forks.at(-1)?.options.seed ?? seed}${how}`;
}
