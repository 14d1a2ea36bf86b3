/** The page: what a visitor does, joined to the players, the stage and the address. Every computation is below src/demo. */

import { DiffusionError, toDiffusionError } from '../errors.ts';
import { megabytes } from '../core/format.ts';
import { grid, type Pixels } from '../core/pixels.ts';
import {
  formatRecipe,
  makeRecipe,
  readRecipe,
  recipeOptions,
  type Fork,
  type Recipe,
} from '../session/recipe.ts';
import { openGpu } from '../gpu/device.ts';
import type { Variants } from '../gpu/tape.ts';
import { readTensor } from '../gpu/transfer.ts';
import { variantsFor } from '../ops/variants.ts';
import { Player } from '../session/player.ts';
import { acquire, type Lease } from '../runtime.ts';
import { imageCount, type SampleOptions } from '../session/sample_options.ts';
import { SCHEDULERS } from '../scheduler/index.ts';
import { cachedModels, deleteCached } from '../weights/cache.ts';
import { droppedFiles, type Notice } from '../weights/source.ts';
import { Compare } from './compare.ts';
import { paintPixels } from '../ui/canvas.ts';
import { byId, check, fill, h, input, saveFile, select } from '../ui/dom.ts';
import { reducedMotion } from '../ui/motion.ts';
import { Edit, SLIDE } from './edit.ts';
import { format, INITIAL, parse, VIEWS, type Branch, type State, type View } from './fragment.ts';
import { Gallery } from './gallery.ts';
import { bundledModels, defaultModel, look, memoryOf, type Bundled, type ModelInfo } from './models.ts';
import {
  changesOf,
  nameOf,
  noisy,
  optionsOf,
  SAMPLERS,
  SPACING_NAMES,
  spacingFits,
  spacingOptions,
} from './options.ts';
import { readPicture } from './pictures.ts';
import { apngFile, embedCode, framesOf, pngFile, shownPicture, videoFile } from './share.ts';
import { Stage, type Target } from './stage.ts';

// ---- what the page knows -------------------------------------------------------------------------------------

let state: State = parse(location.hash);
let models: readonly Bundled[] = [];
let info: ModelInfo | null = null;
let lease: Lease | null = null;
/** Ends the download or the run that is being prepared. */
let opening: AbortController | null = null;
/** A setting was touched since the last run: Draw takes the settings as they are, else the next seed. */
let touched = true;
/** No device can be had: nothing can be drawn before that changes. */
let broken = false;
/** The adapter computes on the CPU. */
let software = false;
let variants: Variants | undefined;

/** A run on the timeline: the trunk, or a fork of another lane. */
interface Lane {
  readonly player: Player;
  readonly options: SampleOptions;
  readonly forks: readonly Fork[];
  readonly from: number;
  readonly at: number;
  readonly name: string;
  began: number;
  counted: boolean;
}
let lanes: Lane[] = [];
let active = 0;
const lane = (): Lane | undefined => lanes[active];

const VIEW_NAMES: Readonly<Record<View, readonly [html: string, text: string]>> = {
  x_t: ['<i class="math">x<sub>t</sub></i>', 'the picture now'],
  x0: ['<i class="math hat">x<sub>0</sub></i>', 'its guess of the end'],
  eps: ['<i class="math hat">ε</i>', 'the noise it sees'],
  update: ['Δ', 'the last change'],
};
const canvas = byId<HTMLCanvasElement>('canvas');
makeViews();
const small = VIEWS.map((view): Target => ({ canvas: byId<HTMLCanvasElement>(`small-${view}`), view: () => view, side: 192 })); // prettier-ignore
const stage = new Stage([{ canvas, view: () => state.view, side: 768 }, ...small]);
const edit = new Edit(() => state);
const compare = new Compare();
const gallery = new Gallery(({ picture, recipe, caption }) => {
  void guarded(() => bringBack(recipe, picture, `${caption}: its settings are back. Draw makes it again.`));
});

// ---- state and address ------------------------------------------------------------------------------------------

function set(change: Partial<State>, { touch = true } = {}): void {
  state = { ...state, ...change };
  if (!spacingFits(state.sampler, state.spacing)) state = { ...state, spacing: '' };
  if (!spacingFits(state.sampler2, state.spacing2)) state = { ...state, spacing2: '' };
  if (touch) touched = true;
  history.replaceState(null, '', format(state) || location.pathname + location.search);
  render();
}

/** A number that is no number stays in the field, and is refused when it is run. */
let wrong: Partial<Record<keyof State, number>> = {};

function bindNumber(id: string, key: 'seed' | 'steps' | 'count' | 'seed2' | 'steps2'): void {
  const field = input(id);
  field.addEventListener('input', () => {
    const value = field.value.trim() === '' ? NaN : Number(field.value);
    const legal = Number.isSafeInteger(value) && parse(`#${key}=${value}`)[key] === value;
    const others = { ...wrong };
    delete others[key];
    wrong = legal ? others : { ...others, [key]: value };
    set(legal ? { [key]: value } : {});
  });
  field.addEventListener('blur', () => render());
}

function render(): void {
  const put = (id: string, value: number | string, key?: keyof State): void => {
    const field = input(id);
    if (document.activeElement !== field && !(key && key in wrong)) field.value = String(value);
  };
  put('seed', state.seed, 'seed');
  put('steps', state.steps, 'steps');
  put('count', state.count, 'count');
  put('steps2', state.steps2, 'steps2');
  put('slide-a', state.seed, 'seed');
  put('slide-b', state.seed2, 'seed2');
  select('sampler').value = state.sampler;
  select('spacing').value = state.spacing;
  select('sampler2').value = state.sampler2;
  select('spacing2').value = state.spacing2;
  for (const [list, sampler] of [
    ['spacing', state.sampler],
    ['spacing2', state.sampler2],
  ] as const)
    // prettier-ignore
    for (const option of select(list).options)
      option.disabled = !spacingFits(sampler, option.value as State['spacing']);
  for (const key of ['guidance', 'eta', 'strength', 'walks'] as const) put(key, state[key]);
  byId('guidance-value').textContent = String(state.guidance);
  byId('eta-value').textContent = String(state.eta);
  byId('strength-value').textContent = `${Math.round(state.strength * 100)} %`;
  byId('walks-value').textContent = state.walks === 1 ? 'once' : `${state.walks} times`;
  byId('eta-field').hidden = state.sampler !== 'ddim';
  byId('guidance-field').hidden = !info?.hasAny;
  check('class', String(state.label));
  check('view', state.view);
  check('edit', state.edit);
  const slides = state.edit === 'slide';
  byId('pad-part').hidden = slides;
  byId('slide-part').hidden = !slides;
  byId('noised-part').hidden = byId('strength-field').hidden = state.edit !== 'draw';
  byId('walks-field').hidden = state.edit !== 'paint' || !['ddim', 'ddpm'].includes(state.sampler);
  byId('pad-hint').textContent =
    state.edit === 'draw'
      ? 'Draw, drop or open a picture. It is noised, and the model takes the noise away again.'
      : 'Paint over what the model should make anew; the rest stays.';
  byId('edit-go').textContent = { draw: 'Denoise it', paint: 'Repaint it', slide: 'Slide' }[state.edit];
  for (const button of document.querySelectorAll<HTMLButtonElement>('[data-tab]')) {
    const open = button.dataset['tab'] === state.tab;
    button.setAttribute('aria-expanded', String(open));
    byId(`tab-${button.dataset['tab']}`).hidden = !open;
  }
  const comparing = state.tab === 'compare';
  byId('comparison').hidden = !comparing;
  byId('stage').hidden = comparing;
  edit.render();
  renderShare();
  renderRun();
}

function renderShare(): void {
  const model = modelName();
  const { init, mask, interpolate } = lane()?.options ?? {};
  // Who follows a link wants to draw, not to share.
  const shared: State = { ...state, tab: interpolate ? 'edit' : '' };
  input('link').value = new URL(format(shared) || '#', location.href).href.replace(/#$/, '');
  byId('not-in-link').hidden = !init && !mask;
  const { tag, frame } = embedCode(state, model);
  byId<HTMLTextAreaElement>('embed-tag').value = tag;
  byId<HTMLTextAreaElement>('embed-frame').value = frame;
}

// ---- the run, as the visitor sees it ------------------------------------------------------------------------------

const isRunning = (): boolean =>
  opening !== null || compare.running || lanes.some(({ player }) => player.status === 'running');

function renderRun(): void {
  const own = lane();
  const player = own?.player;
  const running = isRunning();
  const draw = byId<HTMLButtonElement>('draw');
  draw.textContent = running ? 'Stop' : own && !touched ? 'Draw another' : own ? 'Draw' : 'Draw one';
  draw.disabled = !running && (broken || !info);
  for (const id of ['edit-go', 'compare-go'])
    byId<HTMLButtonElement>(id).disabled = running || broken || !info;
  const there = Boolean(player && player.steps > 0);
  for (const id of ['transport', 'views', 'lanes']) byId(id).hidden = !there;
  byId('stage').toggleAttribute('data-fresh', !there);
  byId('lanes').hidden = lanes.length < 2;
  canvas.hidden = !there;
  byId('poster').hidden = there;
  for (const id of ['save-png', 'save-apng', 'save-json'])
    byId<HTMLButtonElement>(id).disabled = !there || (running && id !== 'save-json');
  for (const id of ['save-webm', 'save-mp4']) byId<HTMLButtonElement>(id).disabled = !there || running;
  byId<HTMLButtonElement>('take').disabled = player?.status !== 'done';
  if (!player || !there) return;
  const { index, steps, status, t } = player;
  const timeline = input('timeline');
  timeline.max = String(steps);
  timeline.value = String(index);
  const text = index === 0 ? `Pure noise; ${steps} steps to go.` : `Step ${index} of ${steps}${t >= 0 ? `, t = ${Number(t.toFixed(1))}` : ': the picture'}.`; // prettier-ignore
  timeline.setAttribute('aria-valuetext', text);
  byId('caption').textContent = text;
  canvas.setAttribute('aria-label', `${VIEW_NAMES[state.view][1]}, after step ${index} of ${steps}; seed ${own!.options.seed ?? 0}`); // prettier-ignore
  byId('play').classList.toggle('running', status === 'running');
  byId('play').setAttribute('aria-label', status === 'running' ? 'Pause' : 'Play');
  byId<HTMLButtonElement>('back').disabled = index === 0;
  byId<HTMLButtonElement>('step').disabled = status === 'running' || index >= steps;
  byId<HTMLButtonElement>('fork-open').disabled = status === 'running' || index >= steps || lanes.length > 5;
  byId('fork-at').textContent = `step ${index}`;
  renderLanes();
}

function renderLanes(): void {
  const host = byId('lanes');
  if (host.childElementCount !== lanes.length)
    host.replaceChildren(
      ...lanes.map((own, i) => {
        const button = h('button', { type: 'button', class: 'lane' });
        button.append(h('span', { class: 'rail' }, h('span', { class: 'bar' }), h('span', { class: 'now' })), h('span', { class: 'name' }, own.name)); // prettier-ignore
        button.addEventListener('click', () => activate(i));
        return button;
      }),
    );
  const longest = Math.max(...lanes.map(({ player }) => player.steps), 1);
  lanes.forEach(({ player, at }, i) => {
    const button = host.children[i] as HTMLElement;
    button.setAttribute('aria-pressed', String(i === active));
    const style = (name: string, value: number): void =>
      button.style.setProperty(name, `${((100 * value) / longest).toFixed(2)}%`);
    style('--from', at);
    style('--to', player.steps);
    style('--now', player.index);
  });
}

function activate(i: number): void {
  active = i;
  stage.show(lanes[i]?.player ?? null);
  renderRun();
}

function say(text: string): void {
  byId('status').textContent = text;
}

// ---- errors ---------------------------------------------------------------------------------------------------------

const AGAIN = [
  'download-failed',
  'integrity-failed',
  'device-lost',
  'out-of-memory',
  'gpu-error',
  'internal',
  'no-adapter',
];
let again: () => void = () => {};

/** What happened and what to do, from a typed error; anything else is a fault of ours and says so. */
function showError(error: unknown, retry: () => void = () => {}): void {
  const box = byId('message');
  box.hidden = !error;
  if (!error) return;
  const known = toDiffusionError(error, 'page');
  box.dataset['code'] = known.code;
  byId('message-text').textContent = known.message;
  box.scrollIntoView({ block: 'nearest' });
  again = retry;
  byId('retry').hidden = !AGAIN.includes(known.code);
  if (known !== error) console.error(error);
}

/** Runs something whose error is shown; stopping is none. */
async function guarded(work: () => Promise<void> | void, retry?: () => void): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof DiffusionError && error.code === 'aborted')) {
      say('');
      showError(error, retry);
    }
  }
  renderRun();
}

// ---- models ---------------------------------------------------------------------------------------------------------

/** Stands until another model is chosen: the status beside it changes at once. */
const onNotice = ({ message }: Notice): void => {
  const told = byId('notice');
  told.hidden = false;
  if (!told.textContent.includes(message)) told.textContent = `${told.textContent} ${message}`.trim();
};

/** What the state names, without its weights. An address that came with a link is shown, and looked up when asked to. */
async function chooseModel(address: string | readonly File[], { keepLabel = false } = {}): Promise<void> {
  byId('notice').hidden = true;
  byId('notice').textContent = '';
  const found = await look(address, onNotice);
  if (found.source.key !== info?.source.key) dropLease();
  info = found;
  const legal = typeof state.label !== 'number' || state.label < found.classes;
  if (!legal || (!keepLabel && found.classes === 0)) state = { ...state, label: 'any' };
  makeClasses(found);
  edit.use(found);
  const size = found.source.bytes;
  const guided = found.hasAny && state.guidance !== 1;
  const memory = memoryOf(found, state.count, guided, variants);
  const stored = (await cachedModels()).some(({ key, bytes }) => key === found.source.key && bytes > 0.9 * (size ?? Infinity)); // prettier-ignore
  byId('size').textContent = stored || !size ? '' : `${megabytes(size)} to download, once`;
  byId('about').textContent = [
    found.source.title,
    size ? megabytes(size) : '',
    memory ? `about ${megabytes(memory)} of GPU memory` : '',
    found.source.licence ?? '',
  ]
    .filter(Boolean)
    .join(' · ');
  render();
}

function dropLease(): void {
  clearLanes();
  compare.clear();
  lease?.release();
  lease = null;
}

function makeClasses({ classes, labels, hasAny }: ModelInfo): void {
  const host = byId('classes');
  const named = (k: number): string => labels[k] ?? String(k);
  const choices: [string, string][] = Array.from({ length: Math.min(classes, 60) }, (_, k) => [
    String(k),
    named(k),
  ]);
  if (classes > 0) choices.push(['each', 'One of each']);
  if (hasAny || classes > 0) choices.unshift(['any', 'Anything']);
  host.hidden = choices.length === 0;
  host.replaceChildren(
    host.querySelector('legend')!,
    ...choices.map(([value, text]) =>
      h('label', {}, h('input', { type: 'radio', name: 'class', value }), h('span', {}, text)),
    ),
  );
  check('class', String(state.label));
  fill(select('fork-label'), [['', 'the same'], ...Array.from({ length: classes }, (_, k) => [String(k), named(k)] as const)]); // prettier-ignore
  byId('fork-label-field').hidden = classes === 0;
}

function makeModels(): void {
  const host = byId('models');
  host.replaceChildren(
    host.querySelector('legend')!,
    ...models.map(({ name, title, bytes, licence }) => {
      const radio = h('input', { type: 'radio', name: 'model', value: name });
      return h('label', {}, radio, h('span', {}, h('b', {}, title), h('small', {}, `${megabytes(bytes)} · ${licence}`))); // prettier-ignore
    }),
  );
  check('model', state.src ? '' : modelName());
}

const modelName = (): string =>
  models.some(({ name }) => name === state.model) ? state.model : defaultModel(models, software);

async function showCached(): Promise<void> {
  const kept = await cachedModels();
  byId('cache-part').hidden = kept.length === 0;
  byId('cached').replaceChildren(
    ...kept.map(({ key, title, bytes }) => {
      const button = h('button', { type: 'button' }, 'Delete');
      button.setAttribute('aria-label', `Delete ${title}`);
      button.addEventListener('click', () => void deleteCached(key).then(showCached));
      return h('li', {}, `${title}, ${megabytes(bytes)} `, button);
    }),
  );
}

async function ready(): Promise<Lease> {
  if (lease && !lease.failure) return lease;
  lease?.release();
  lease = null;
  const bar = byId<HTMLProgressElement>('progress');
  bar.hidden = false;
  say('Downloading the model …');
  try {
    const got = await acquire(info!.source, {
      signal: opening!.signal,
      onNotice,
      onProgress(received, total) {
        if (total) bar.value = received / total;
        else bar.removeAttribute('value');
        say(received === total ? 'Preparing the network …' : `Downloading: ${megabytes(received)}${total ? ` of ${megabytes(total)}` : ''}`); // prettier-ignore
      },
    });
    got.addEventListener('error', () => showError(got.failure, () => void draw()));
    lease = got;
    byId('size').textContent = '';
    void showCached();
    return got;
  } finally {
    bar.hidden = true;
    bar.value = 0;
  }
}

// ---- runs -----------------------------------------------------------------------------------------------------------

/** A whole run takes some seconds at least, or nobody would see the picture appear. */
const pace = (steps: number) => (): Promise<void> =>
  new Promise((resolve) => {
    const least = document.hidden || reducedMotion() ? 0 : 2500 / steps;
    const began = performance.now();
    const go = (): void => void setTimeout(resolve, Math.max(0, least - (performance.now() - began)));
    if (document.hidden) return go();
    const timer = setTimeout(go, 100);
    requestAnimationFrame(() => {
      clearTimeout(timer);
      go();
    });
  });

function clearLanes(): void {
  stage.show(null);
  for (const { player } of lanes) player.destroy();
  lanes = [];
  active = 0;
  byId('fork').hidden = true;
}

function addLane(lane: Omit<Lane, 'began' | 'counted'>): Lane {
  const own: Lane = { ...lane, began: performance.now(), counted: false };
  const { player } = own;
  player.addEventListener('step', () => {
    if (lanes[active] === own) renderRun();
  });
  player.addEventListener('state', () => renderRun());
  player.addEventListener('done', () => void finished(own));
  player.addEventListener('error', () => showError(player.error, () => void draw()));
  lanes.push(own);
  return own;
}

/** The settings' options; a field that makes no sense goes to the sampler, which says so. */
function options(): SampleOptions {
  const {
    seed = state.seed,
    steps = state.steps,
    count = state.count,
    seed2 = state.seed2,
  } = wrong as Partial<State>;
  const asked = state.tab === 'edit' && editing ? edit.options() : optionsOf(state, info!, Number.isInteger(count) && count >= 1 && count <= 64 ? count : 1); // prettier-ignore
  if (count !== state.count) {
    const rest: { -readonly [K in keyof SampleOptions]: SampleOptions[K] } = { ...asked, count };
    delete rest.labels;
    return rest;
  }
  return { ...asked, seed, steps, ...(asked.interpolate ? { interpolate: [seed, seed2] } : {}) };
}
let editing = false;

async function draw(): Promise<void> {
  if (broken || !info || isRunning()) return;
  showError(null);
  opening = new AbortController();
  renderRun();
  try {
    const model = await ready();
    if (lanes.length > 0 && !touched) state = { ...state, seed: state.seed + state.count };
    const asked = options();
    const player = new Player(model, { pace: pace(asked.steps ?? 50) });
    // Options that are refused leave the last picture where it is.
    await player.start(asked).catch((error: unknown) => {
      player.destroy();
      throw error;
    });
    clearLanes();
    state = { ...state, branches: [] };
    addLane({ player, options: asked, forks: [], from: 0, at: 0, name: laneName(asked) });
    touched = false;
    if (location.hash !== format(state))
      history.pushState(null, '', format(state) || location.pathname + location.search);
    activate(0);
    say('Drawing …');
  } catch (error) {
    if (!(error instanceof DiffusionError && error.code === 'aborted')) {
      showError(error, () => void retry());
      say('');
    } else say('Stopped.');
  }
  opening = null;
  render();
}

async function retry(): Promise<void> {
  if (broken || !info) await start();
  else await draw();
}

const laneName = (asked: SampleOptions): string =>
  `${nameOf(asked.scheduler ?? 'ddim')}, seed ${asked.seed ?? 0}`;

async function finished(own: Lane): Promise<void> {
  const seconds = (performance.now() - own.began) / 1000;
  say(`Done in ${seconds.toFixed(seconds < 10 ? 1 : 0)} s.`);
  if (lanes[active] === own) stage.paint();
  if (!own.counted && info) await keep(own);
  document.dispatchEvent(new CustomEvent('finished'));
}

/** The pictures of a run go to the gallery, each with a recipe of its own. */
async function keep(own: Lane): Promise<void> {
  const { player, forks } = own;
  own.counted = true;
  await guarded(async () => {
    const last = player.at(player.steps);
    if (!last) return;
    const { shape } = last.xT;
    const numbers = await readTensor(player.lease.gpu, last.xT);
    const model = modelOf(player);
    const [count, ...one] = shape;
    const asked = own.options;
    const seed = asked.seed ?? 0;
    if (asked.interpolate) showSlide(numbers, shape);
    if (forks.length > 0 || asked.interpolate || asked.mask || asked.init || count === 1) {
      const caption = asked.interpolate ? `seeds ${asked.interpolate.join(' to ')}` : `seed ${forks.at(-1)?.options.seed ?? seed}${forks.length ? ', forked' : asked.mask ? ', repainted' : asked.init ? ', from a picture' : ''}`; // prettier-ignore
      gallery.add({ picture: grid(numbers, shape), recipe: makeRecipe(model, asked, shape, forks), caption });
      return;
    }
    const size = numbers.length / count;
    for (let n = count - 1; n >= 0; n--) {
      const single: SampleOptions = { ...asked, seed: seed + n, ...(asked.labels ? { labels: [asked.labels[n]!] } : { count: 1 }) }; // prettier-ignore
      const picture = grid(numbers.subarray(n * size, (n + 1) * size), [1, ...one]);
      gallery.add({ picture, recipe: makeRecipe(model, single, [1, ...one]), caption: `seed ${seed + n}` });
    }
  });
}

const modelOf = (player: Player) => ({
  source: info!.address,
  key: player.lease.source!.key,
  dtype: player.lease.model.dtype,
});

function recipeOf({ player, options: asked, forks }: Lane): Recipe {
  return makeRecipe(modelOf(player), asked, player.at(player.index)!.xT.shape, forks);
}

function stop(): void {
  opening?.abort();
  compare.stop();
  for (const { player } of lanes) player.pause();
  say('Stopped.');
}

// ---- forks ----------------------------------------------------------------------------------------------------------

function openFork(): void {
  const own = lane();
  if (!own || byId<HTMLButtonElement>('fork-open').disabled) return;
  const form = byId('fork');
  form.hidden = !form.hidden;
  byId('fork-open').setAttribute('aria-expanded', String(!form.hidden));
  if (form.hidden) return;
  input('fork-seed').value = String((own.options.seed ?? 0) + lanes.length);
  select('fork-sampler').value = noisy(own.player.options ?? own.options);
  select('fork-label').value = '';
  input('fork-seed').focus();
}

async function fork(from: number, at: number, branch: Omit<Branch, 'from' | 'at'>): Promise<void> {
  const parent = lanes[from];
  if (!parent) return;
  showError(null);
  const asked = parent.player.options ?? parent.options;
  const changes = changesOf(branch, imageCount(asked));
  const player = parent.player.branch(at);
  await player.settled();
  const name = `${branch.sampler ? `${nameOf(branch.sampler)}, ` : ''}seed ${branch.seed}${branch.label === null ? '' : `, ${info?.labels[branch.label] ?? branch.label}`}`; // prettier-ignore
  const before = player.error;
  addLane({
    player,
    options: parent.options,
    forks: [...parent.forks, { at, options: changes }],
    from,
    at,
    name,
  });
  activate(lanes.length - 1);
  player.fork(at, changes);
  await player.settled().catch(() => {});
  if (player.error !== before && player.forks.at(-1) !== at) {
    // refused: the lane goes again
    lanes = lanes.filter((l) => l.player !== player);
    player.destroy();
    activate(Math.min(from, lanes.length - 1));
  }
}

async function submitFork(): Promise<void> {
  const own = lane();
  if (!own) return;
  const value = input('fork-seed').value.trim();
  const seed = value === '' ? NaN : Number(value);
  const label = select('fork-label').value;
  const branch: Branch = {
    from: active,
    at: own.player.index,
    seed,
    sampler: select('fork-sampler').value as Branch['sampler'],
    label: label === '' ? null : Number(label),
  };
  const address = { ...INITIAL, branches: [...state.branches, branch] };
  if (parse(format(address)).branches.length === address.branches.length) set({ branches: address.branches }, { touch: false }); // prettier-ignore
  byId('fork').hidden = true;
  byId('fork-open').setAttribute('aria-expanded', 'false');
  await guarded(() => fork(branch.from, branch.at, branch));
}

/** A link with forks: the trunk, then each of them. */
async function drawWithForks(): Promise<void> {
  const { branches } = state;
  await draw();
  if (branches.length === 0 || !lanes[0]) return;
  state = { ...state, branches };
  await lanes[0].player.settled();
  for (const branch of branches) {
    if (lanes[branch.from]?.player.status !== 'done') return;
    await fork(branch.from, branch.at, branch);
  }
  set({}, { touch: false });
}

// ---- slide ------------------------------------------------------------------------------------------------------------

let slides: Pixels[] = [];

async function showSlide(
  numbers: Float32Array,
  [count, ...one]: readonly [number, number, number, number],
): Promise<void> {
  const size = numbers.length / count;
  slides = Array.from({ length: count }, (_, n) =>
    grid(numbers.subarray(n * size, (n + 1) * size), [1, ...one]),
  );
  byId('slider-part').hidden = false;
  input('slide-at').max = String(SLIDE - 1);
  paintSlide();
}

function paintSlide(): void {
  const picture = slides[Number(input('slide-at').value)];
  if (picture) paintPixels(byId<HTMLCanvasElement>('slide'), picture);
}

// ---- recipes and files that are dropped ---------------------------------------------------------------------------------

/** Settings of a recipe; its picture, where there is one, stands on the stage until something is drawn. */
async function bringBack(recipe: Recipe, picture: Pixels | null, text: string): Promise<void> {
  const { options: asked, forks = [] } = recipe;
  if (recipe.model.key !== info?.source.key) {
    const bundled = models.some(({ name }) => name === recipe.model.source);
    if (!bundled)
      throw new DiffusionError('bad-input', `The recipe is for the model ${recipe.model.source.slice(0, 100)}, which is not open.`, 'Open it under "Model" first.'); // prettier-ignore
    state = { ...state, model: recipe.model.source, src: '' };
    await chooseModel(recipe.model.source);
    if (recipe.model.key !== info?.source.key)
      throw new DiffusionError('bad-input', `The recipe was made with another version of ${recipe.model.source.slice(0, 100)}.`, 'It cannot be made again here.'); // prettier-ignore
  }
  pending = { recipe, hash: '' };
  const [label = null] = asked.labels ?? [];
  const count = imageCount(asked);
  const each = count > 1 && asked.labels?.every((k, n) => k === n % info!.classes);
  const run = recipeOptions(recipe);
  const [, c, height, width] = edit.shape;
  const area = height * width;
  const size = c * area;
  if (run.init?.length === count * size) edit.setPicture(Uint8Array.from(run.init.subarray(0, size), (x) => Math.round((x + 1) * 127.5))); // prettier-ignore
  if (run.mask?.length === count * size)
    edit.setMask(Uint8Array.from(run.mask.subarray(0, area), (x) => x * 255));
  const { scheduler = 'ddim' } = asked;
  wrong = {};
  set({
    label: each ? 'each' : (label ?? 'any'),
    seed: asked.interpolate?.[0] ?? asked.seed ?? 0,
    steps: asked.steps ?? 50,
    sampler: SCHEDULERS.find((s) => s === scheduler) ?? 'ddim',
    spacing: asked.sigmas ?? asked.spacing ?? '',
    eta: asked.eta ?? 0,
    guidance: asked.guidance ?? (asked.labels ? 1 : state.guidance),
    count: asked.interpolate ? state.count : count,
    branches: forks.flatMap(({ at, options: o }, i) => [{ from: i, at, seed: o.seed ?? asked.seed ?? 0, sampler: (o.scheduler === 'ddim' && o.eta === 1 ? 'ddim-1' : (o.scheduler ?? '')) as Branch['sampler'], label: o.labels?.[0] ?? null }]), // prettier-ignore
    ...(asked.interpolate ? { tab: 'edit', edit: 'slide', seed2: asked.interpolate[1] } : {}),
    ...(run.mask ? { tab: 'edit', edit: 'paint', walks: asked.jumps?.samples ?? 1 } : {}),
    ...(run.init && !run.mask ? { tab: 'edit', edit: 'draw', strength: asked.strength ?? 0.6 } : {}),
  });
  pending = { recipe, hash: format(state) };
  if (picture) {
    clearLanes();
    const image = byId('poster').querySelector('img')!;
    byId('poster').querySelector('source')?.remove();
    const canvas = h('canvas');
    paintPixels(canvas, picture);
    image.src = canvas.toDataURL();
    image.alt = text;
    byId('caption').textContent = text;
  }
  say(text);
  render();
}
/** A recipe that was brought back and not changed since is played to the letter. */
let pending: { readonly recipe: Recipe; readonly hash: string } | null = null;

async function drawPending(): Promise<void> {
  const { recipe } = pending!;
  pending = null;
  const { forks = [] } = recipe;
  showError(null);
  opening = new AbortController();
  renderRun();
  await guarded(async () => {
    const model = await ready();
    const asked = recipeOptions(recipe);
    const player = new Player(model, { pace: pace(asked.steps ?? 50) });
    await player.start(asked);
    clearLanes();
    addLane({ player, options: asked, forks: [], from: 0, at: 0, name: laneName(asked) });
    touched = false;
    activate(0);
    say('Drawing …');
    opening = null;
    await player.settled();
    for (const [i, { at, options: o }] of forks.entries()) {
      const parent = lanes[i];
      if (parent?.player.status !== 'done') return;
      const next = parent.player.branch(at);
      await next.settled();
      addLane({ player: next, options: asked, forks: forks.slice(0, i + 1), from: i, at, name: `seed ${o.seed ?? asked.seed ?? 0}` }); // prettier-ignore
      activate(lanes.length - 1);
      next.fork(at, o);
      await next.settled();
    }
  });
  opening = null;
  renderRun();
}

async function openFile(file: File): Promise<void> {
  const json = /\.json$/i.test(file.name) || file.type === 'application/json';
  if (json || file.type === 'image/png') {
    const bytes = file.size < 50e6 ? new Uint8Array(await file.arrayBuffer()) : new Uint8Array(0);
    let recipe: Recipe | null = null;
    try {
      recipe = readRecipe(bytes);
    } catch (error) {
      if (json || !(error instanceof DiffusionError) || !/carries no recipe/.test(error.message)) {
        if (json || bytes[0] === 0x89) throw error;
      }
    }
    if (recipe) return bringBack(recipe, null, 'The recipe is here. Draw makes its picture.');
  }
  if (!info) return;
  edit.setPicture(await readPicture(file, edit.shape));
  set({ tab: 'edit', edit: state.edit === 'paint' ? 'paint' : 'draw' });
  say('Your picture, as the model sees it.');
}

// ---- wiring -------------------------------------------------------------------------------------------------------------

function makeViews(): void {
  byId('views').append(
    ...VIEWS.map((view, i) => {
      const radio = h('input', {
        type: 'radio',
        name: 'view',
        value: view,
        title: `${VIEW_NAMES[view][1]} (${i + 1})`,
      });
      radio.setAttribute('aria-label', VIEW_NAMES[view][1]);
      const name = h('span', { class: 'name' });
      name.innerHTML = VIEW_NAMES[view][0];
      const canvas = h('canvas', { id: `small-${view}` });
      canvas.setAttribute('aria-hidden', 'true');
      const label = h(
        'label',
        {},
        radio,
        canvas,
        h('span', { class: 'what' }, name, ` ${VIEW_NAMES[view][1]}`),
      );
      label.dataset['view'] = view;
      radio.addEventListener('change', () => {
        set({ view }, { touch: false });
        stage.paint();
      });
      return label;
    }),
  );
}

/** On a small screen the stage may be out of sight of the button. */
const showStage = (): void =>
  byId(state.tab === 'compare' ? 'comparison' : 'frame').scrollIntoView({
    block: 'nearest',
    behavior: reducedMotion() ? 'auto' : 'smooth',
  });

const drawOrStop = (): void => {
  if (isRunning()) return stop();
  editing = false;
  if (state.tab === 'compare') set({ tab: '' }, { touch: false }); // there only what is compared is seen
  showStage();
  if (pending && pending.hash === format(state)) void drawPending();
  else if (state.branches.length > 0 && lanes.length === 0) void drawWithForks();
  else void draw();
};

fill(
  select('sampler'),
  SAMPLERS.map(([key, name, what]) => [key, `${name}: ${what}`]),
);
fill(
  select('sampler2'),
  SAMPLERS.map(([key, name, what]) => [key, `${name}: ${what}`]),
);
fill(select('fork-sampler'), [['', 'the same'], ['ddim-1', 'DDIM, η = 1'], ...SAMPLERS.map(([key, name]) => [key, name] as const)]); // prettier-ignore
fill(select('spacing'), SPACING_NAMES);
fill(select('spacing2'), SPACING_NAMES);
bindNumber('seed', 'seed');
bindNumber('steps', 'steps');
bindNumber('count', 'count');
bindNumber('steps2', 'steps2');
bindNumber('slide-a', 'seed');
bindNumber('slide-b', 'seed2');
for (const key of ['guidance', 'eta', 'strength', 'walks'] as const)
  input(key).addEventListener('input', () => set({ [key]: Number(input(key).value) }));
for (const key of ['sampler', 'sampler2', 'spacing', 'spacing2'] as const)
  select(key).addEventListener('change', () => set({ [key]: select(key).value } as Partial<State>));
byId('classes').addEventListener('change', (event) => {
  const { value } = event.target as HTMLInputElement;
  const label = value === 'any' || value === 'each' ? value : Number(value);
  // One of each is several pictures; what follows it is one again, as before.
  const each = Math.min(info?.classes ?? 1, 16);
  const count = label === 'each' ? (state.count === 1 ? each : state.count) : state.label === 'each' && state.count === each ? 1 : state.count; // prettier-ignore
  set({ label, count });
});
byId('edit').addEventListener('change', (event) => {
  set({ edit: (event.target as HTMLInputElement).value as State['edit'] }, { touch: false });
});
for (const button of document.querySelectorAll<HTMLButtonElement>('[data-tab]'))
  button.addEventListener('click', () => {
    const tab = button.dataset['tab'] as State['tab'];
    set({ tab: state.tab === tab ? '' : tab }, { touch: false });
    opened(state.tab);
  });
byId('controls').addEventListener('submit', (event) => {
  event.preventDefault();
  drawOrStop();
});
const dice = (): void => set({ seed: Math.floor(Math.random() * 1e6) });
byId('dice').addEventListener('click', dice);
byId('retry').addEventListener('click', () => {
  showError(null);
  again();
});

byId('play').addEventListener('click', () => {
  const player = lane()?.player;
  if (player?.status === 'running') player.pause();
  else player?.play();
});
byId('step').addEventListener('click', () => void lane()?.player.step());
byId('back').addEventListener('click', () => lane()?.player.stepBack());
input('timeline').addEventListener('input', () => lane()?.player.seek(Number(input('timeline').value)));
byId('fork-open').addEventListener('click', openFork);
byId('fork').addEventListener('submit', (event) => {
  event.preventDefault();
  void submitFork();
});

byId('edit-go').addEventListener('click', () => {
  if (isRunning()) return;
  showStage();
  if (state.edit !== 'slide' && edit.empty)
    return showError(new DiffusionError('bad-input', 'There is no picture yet.', 'Draw one, drop one, or take the result.')); // prettier-ignore
  editing = true;
  touched = true;
  void draw();
});
byId('take').addEventListener('click', () => {
  const player = lane()?.player;
  if (!player || player.status !== 'done') return;
  void guarded(async () => {
    const numbers = await readTensor(player.lease.gpu, player.at(player.index)!.xT);
    const [, c, h, w] = edit.shape;
    edit.setPicture(new Uint8Array(Uint8ClampedArray.from(numbers.subarray(0, c * h * w), (x) => (x / 2 + 0.5) * 255).buffer)); // prettier-ignore
    touched = true;
  });
});
input('slide-at').addEventListener('input', paintSlide);
byId('compare-go').addEventListener('click', () => {
  if (isRunning() || !info) return;
  showStage();
  showError(null);
  opening = new AbortController();
  renderRun();
  void guarded(async () => {
    try {
      const model = await ready();
      const first = optionsOf(state, info!);
      const rest = optionsOf({ ...state, eta: 0, spacing: '' }, info!);
      const second: SampleOptions = { ...rest, scheduler: state.sampler2, steps: state.steps2, ...spacingOptions(state.spacing2) }; // prettier-ignore
      const both = compare.run(model, [first, second], pace);
      opening = null;
      say('Drawing both …');
      renderRun();
      await both;
      say('Done.');
      document.dispatchEvent(new CustomEvent('finished'));
    } finally {
      opening = null;
    }
  });
});

for (const button of document.querySelectorAll<HTMLButtonElement>('[data-copy]'))
  button.addEventListener('click', () => {
    const field = byId<HTMLInputElement | HTMLTextAreaElement>(button.dataset['copy']!);
    field.select();
    navigator.clipboard.writeText(field.value).then(
      () => say('Copied.'),
      () => say('Press Ctrl+C to copy.'),
    );
  });

const fileName = (): string => `diffusion-seed-${lane()?.options.seed ?? 0}`;
function onSave(id: string, make: (own: Lane) => Promise<[Blob, string]>): void {
  byId(id).addEventListener('click', () => {
    const own = lane();
    if (!own) return;
    const done = say.bind(null, 'Saved.');
    void guarded(async () => {
      say('Saving …');
      const [blob, ending] = await make(own);
      saveFile(blob, `${fileName()}.${ending}`);
      done();
    });
  });
}
/** null where the run went on from numbers that no recipe holds. */
function recipeOrNull(own: Lane): Recipe | null {
  try {
    return recipeOf(own);
  } catch {
    return null;
  }
}
onSave('save-png', async (own) => [await pngFile(await shownPicture(own.player, state.view, 512), recipeOrNull(own)), 'png']); // prettier-ignore
onSave('save-apng', async (own) => [await apngFile(await framesOf(own.player, input('with-x0').checked), recipeOrNull(own)), 'animation.png']); // prettier-ignore
onSave('save-json', (own) => Promise.resolve([new Blob([formatRecipe(recipeOf(own))], { type: 'application/json' }), 'json'])); // prettier-ignore
for (const kind of ['webm', 'mp4'] as const)
  onSave(`save-${kind}`, async (own) => [await videoFile(await framesOf(own.player, input('with-x0').checked), kind), kind]); // prettier-ignore

/** What a drawer fetches when it is opened. */
function opened(tab: State['tab']): void {
  if (tab === 'model') void showCached();
  if (tab === 'share') void offerVideo();
}

let videoOffered = false;
async function offerVideo(): Promise<void> {
  if (videoOffered || !('VideoEncoder' in globalThis)) return;
  videoOffered = true;
  const { videoFormats } = await import('../export/video.ts');
  for (const kind of await videoFormats(768, 384)) byId(`save-${kind}`).hidden = false;
}

// Files that are dropped: a recipe, a picture, or a model's folder.
document.addEventListener('dragover', (event) => event.preventDefault());
document.addEventListener('drop', (event) => {
  event.preventDefault();
  const { dataTransfer } = event;
  if (!dataTransfer) return;
  const single = dataTransfer.files[0];
  const folder = dataTransfer.items[0]?.webkitGetAsEntry?.()?.isDirectory || dataTransfer.files.length > 1 || /\.safetensors$/.test(single?.name ?? ''); // prettier-ignore
  showError(null);
  void guarded(async () => {
    if (folder) await openFolder(await droppedFiles(dataTransfer));
    else if (single) await openFile(single);
  });
});
async function openFolder(files: readonly File[]): Promise<void> {
  if (isRunning()) stop();
  say('Reading the folder …');
  await chooseModel(files);
  state = { ...state, model: '', src: '' };
  check('model', '');
  say(`${info!.source.title} is open.`);
}
input('open').addEventListener('change', () => {
  const [file] = input('open').files ?? [];
  input('open').value = '';
  showError(null);
  if (file) void guarded(() => openFile(file));
});
input('folder').addEventListener('change', () => {
  const files = [...(input('folder').files ?? [])];
  input('folder').value = '';
  showError(null);
  if (files.length > 0) void guarded(() => openFolder(files));
});
byId('models').addEventListener('change', (event) => {
  const { value } = event.target as HTMLInputElement;
  showError(null);
  stop();
  say('');
  state = { ...state, model: value, src: '' };
  set({});
  const choose = (): void => void guarded(() => chooseModel(value), choose);
  choose();
});
function lookUp(): void {
  const address = input('src').value.trim();
  showError(null);
  void guarded(async () => {
    say('Looking …');
    await chooseModel(address);
    set({ src: parse(`#src=${encodeURIComponent(address)}`).src, model: '' });
    check('model', '');
    const { source } = info!;
    say(
      `${source.title}${source.bytes ? `: ${megabytes(source.bytes)} to download` : ''}. Draw starts the download.`,
    );
  }, lookUp);
}
byId('src-look').addEventListener('click', lookUp);
input('src').addEventListener('keydown', ({ key }) => {
  if (key === 'Enter') lookUp();
});

// Keys, where nothing else wants them.
const help = byId<HTMLDialogElement>('help');
byId('help-open').addEventListener('click', () => help.showModal());
document.addEventListener('keydown', (event) => {
  const target = event.target as HTMLElement;
  if (event.ctrlKey || event.metaKey || event.altKey || help.open || !input('keys-on').checked) return;
  if (target.matches('input:not([type=radio],[type=checkbox]), select, textarea, #pad')) return;
  const arrow = event.key.startsWith('Arrow');
  if (arrow && target.matches('input')) return;
  const player = lane()?.player;
  const act: Record<string, () => void> = {
    d: drawOrStop,
    n: dice,
    k: () => byId('play').click(),
    f: openFork,
    ArrowLeft: () => player?.stepBack(),
    ArrowRight: () => void (player?.status === 'running' ? null : player?.step()),
    '?': () => help.showModal(),
  };
  VIEWS.forEach((view, i) => {
    act[String(i + 1)] = () => {
      set({ view }, { touch: false });
      stage.paint();
    };
  });
  const run = act[arrow ? event.key : event.key.toLowerCase()];
  if (!run || (arrow && !player)) return;
  event.preventDefault();
  run();
});

addEventListener('hashchange', () => {
  const next = parse(location.hash);
  const other = next.model !== state.model || next.src !== state.src;
  state = next;
  touched = true;
  wrong = {};
  render();
  if (other) void guarded(openChosen);
});

async function openChosen(): Promise<void> {
  if (state.src) {
    input('src').value = state.src;
    set({ tab: 'model' }, { touch: false });
    opened('model');
    say(
      'This link names a model from elsewhere. Press Look to ask for its size; nothing is downloaded before.',
    );
    check('model', '');
    return;
  }
  await chooseModel(modelName(), { keepLabel: true });
  check('model', modelName());
}

/** What there is: a device, models, the one that the address names. No weights. */
async function start(): Promise<void> {
  showError(null);
  broken = false;
  await guarded(
    async () => {
      try {
        // A device for a moment: whether there is one, and whether it is a real one.
        const gpu = await openGpu();
        software = gpu.isSoftware;
        variants = variantsFor(gpu);
        gpu.destroy();
      } catch (error) {
        broken = true;
        throw error;
      }
    },
    () => void start(),
  );
  await guarded(
    async () => {
      models = await bundledModels();
      makeModels();
      await openChosen();
    },
    () => void start(),
  );
  render();
}

render();
opened(state.tab);
void start();
