/**
 * <diffusion-sampler>: a run of a diffusion model in a page, on the visitor's own GPU.
 *
 * Nothing is downloaded before it is wanted: the element shows a poster, says how much there is to download, and waits for
 * its button, unless the author says otherwise. All elements of a page share one device and one copy of each model, and
 * take their steps in turns.
 *
 * Importing this module registers nothing, and works where there is no DOM; `define.ts` registers.
 */

import { untilAborted } from '../core/abort.ts';
import { megabytes } from '../core/format.ts';
import { grid } from '../core/pixels.ts';
import { Display } from '../display/display.ts';
import { DiffusionError, isAbort, throwIfAborted, toDiffusionError } from '../errors.ts';
import { openGpu } from '../gpu/device.ts';
import type { Model } from '../model.ts';
import { Player } from '../session/player.ts';
import { termsOf, type StateView } from '../session/state_view.ts';
import { runtime, type AcquireOptions, type Lease } from '../runtime.ts';
import type { SampleOptions } from '../session/sample_options.ts';
import type { SchedulerName } from '../scheduler/index.ts';
import { normals, STREAM_X_T } from '../scheduler/noise.ts';
import type { Tensor } from '../tensor.ts';
import { paintPixels } from '../ui/canvas.ts';
import { h, saveFile } from '../ui/dom.ts';
import { reducedMotion } from '../ui/motion.ts';
import type { ModelSource } from '../weights/source.ts';
import { announce } from './announcer.ts';
import css from './style.css?inline';

/** Set by the build of the package. */
declare const __VERSION__: string | undefined;

export type SamplerStatus = 'poster' | 'loading' | 'ready' | 'running' | 'paused' | 'done' | 'failed';

/** What the events carry. None of them bubbles. */
export interface SamplerEventMap {
  /** The model is on the GPU. */
  ready: CustomEvent<{ title: string; bytes: number | null; parameters: number; adapter: string }>;
  /** Bytes of the download; total is null where nobody says. */
  progress: CustomEvent<{ received: number; total: number | null }>;
  /** Another state is shown: after `index` of `steps` steps, at timestep t; -1 is the clean image. */
  step: CustomEvent<{ index: number; steps: number; t: number }>;
  /** The run has come to its end. */
  done: CustomEvent<{ steps: number; seed: number; seconds: number }>;
  error: CustomEvent<DiffusionError>;
}

const STATE_VIEWS: Readonly<Record<StateView, string>> = {
  x_t: 'xₜ: picture',
  x0: 'x̂₀: guess',
  eps: 'ε̂: noise',
  update: 'Δx: change',
};
const isStateView = (view: string): view is StateView => Object.hasOwn(STATE_VIEWS, view);

const MODEL_ATTRIBUTES = ['model', 'src'];
/** Attributes of a run: the next `play` starts a new one when they have changed. */
const RUN_ATTRIBUTES = ['sampler', 'steps', 'seed', 'label', 'guidance', 'eta', 'count'];
const OTHER_ATTRIBUTES = ['view', 'loading', 'reveal', 'controls', 'autoplay', 'loop', 'poster', 'hidden-policy', 'alt']; // prettier-ignore

const ICONS = {
  play: 'M7 4v16l13-8z',
  pause: 'M6 4h4v16H6zM14 4h4v16h-4z',
  stop: 'M5 5h14v14H5z',
  step: 'M6 4v16l10-8zM17 4h3v16h-3z',
  back: 'M18 4v16L8 12zM4 4h3v16H4z',
  save: 'M11 3h2v9h4l-5 6-5-6h4zM4 19h16v2H4z',
};

/** The shape of the poster's noise until the model says another. */
const GREY: NonNullable<ModelSource['shape']> = [1, 32, 32];

/** Canvas updates are this far apart at least, in milliseconds: raw noise must not flicker. */
const FRAME = 100;
const REDUCED_FRAME = 334;
/** A run takes about so long, in milliseconds, where the GPU is fast: it is there to be watched. */
const RUN_TIME = 5000;
/** A finished picture is shown so long before the next one, with `loop`. */
const LOOP_PAUSE = 2500;

/** Without a DOM the class can be imported, not constructed. */
const Base = (globalThis.HTMLElement ?? class {}) as typeof HTMLElement;

let sheet: CSSStyleSheet | undefined;

/**
 * @element diffusion-sampler
 *
 * @attr {string} model - A bundled model, by its name in models.json; `digits` unless given.
 * @attr {string} src - Any other model: `huggingface:owner/name@revision`, or the address of a folder in diffusers layout. Wins over `model`.
 * @attr {string} sampler - ddim, ddpm, dpmpp-2m, heun ...; the model's own unless given.
 * @attr {number} steps - Steps of a run; 50 unless given.
 * @attr {number} seed - Whole number; the same seed draws the same picture. 0 unless given.
 * @attr {string} label - What to draw: a class by name or number; several, separated by commas, take turns in a batch.
 * @attr {number} guidance - Classifier-free guidance; 1 (off) unless given.
 * @attr {number} eta - Noise of ddim, 0 to 1.
 * @attr {string} view - What is shown: x_t (unless given), x0, eps or update; or the name of a view of the lecture, which then fills the element.
 * @attr {number} count - Pictures at a time; as many as labels, or 1.
 * @attr {auto|lazy|eager} loading - When the model is downloaded: when it is wanted (auto), when the element comes near the viewport (lazy), or at once (eager).
 * @attr {interaction|auto} reveal - Whether the poster waits for the visitor, or goes by itself when the element is seen.
 * @attr {boolean} controls - Shows the bar with timeline and buttons.
 * @attr {boolean} autoplay - Plays by itself while it is seen; not where the visitor prefers reduced motion or saves data.
 * @attr {boolean} loop - Draws the next seed when a picture is done.
 * @attr {string} poster - Address of a picture to show before.
 * @attr {pause|continue} hidden-policy - What happens while the tab is hidden (and, to what plays by itself, out of sight): pause unless given.
 * @attr {string} alt - Text alternative of the picture; made from the settings unless given.
 *
 * @slot poster - In place of the poster.
 * @slot progress - In place of the progress bar, while the model is downloaded.
 * @slot error - In place of the error message.
 *
 * @csspart frame - Around the picture.
 * @csspart canvas - The picture.
 * @csspart poster - What is shown before.
 * @csspart poster-image - The image of the `poster` attribute.
 * @csspart run - The button that starts.
 * @csspart title - Name and licence of the model, under the button.
 * @csspart progress - Around the progress of the download.
 * @csspart progress-bar - The bar.
 * @csspart progress-text - The bytes.
 * @csspart cancel - Ends the download.
 * @csspart error - Around the message of an error.
 * @csspart error-message - The message.
 * @csspart retry - Tries again.
 * @csspart toggle - Play and pause on the picture, where there are no controls.
 * @csspart controls - The bar.
 * @csspart button - Every button of the bar, and the toggle.
 * @csspart play - Play and pause.
 * @csspart stop - Ends the run or the download.
 * @csspart step-back - One step back.
 * @csspart step - One step on.
 * @csspart save - Saves the picture.
 * @csspart timeline - The slider over the steps.
 * @csspart status - The step in words.
 * @csspart view - The choice of what is shown.
 * @csspart view-host - Around a view of the lecture.
 *
 * @cssprop --diffusion-sampler-size - Greatest width; 24rem.
 * @cssprop --diffusion-sampler-aspect - Width by height; from `count`.
 * @cssprop --diffusion-sampler-accent - Main button and timeline.
 * @cssprop --diffusion-sampler-on-accent - Text on the accent.
 * @cssprop --diffusion-sampler-ink - Text.
 * @cssprop --diffusion-sampler-soft - Less important text.
 * @cssprop --diffusion-sampler-card - Buttons.
 * @cssprop --diffusion-sampler-well - Behind the picture.
 * @cssprop --diffusion-sampler-line - Borders.
 * @cssprop --diffusion-sampler-bad - Errors.
 * @cssprop --diffusion-sampler-radius - Corners.
 * @cssprop --diffusion-sampler-font - Font family.
 *
 * @fires {CustomEvent} ready - The model is on the GPU.
 * @fires {CustomEvent} progress - Bytes of the download.
 * @fires {CustomEvent} step - Another state is shown.
 * @fires {CustomEvent} done - The run has come to its end.
 * @fires {CustomEvent} error - A DiffusionError, as `detail`.
 */
export class DiffusionSampler extends Base {
  static readonly version: string = typeof __VERSION__ === 'string' ? __VERSION__ : 'development';
  /** Where bundled models are: the folder of models.json. `weights/` beside this script, else beside the page. */
  static base: string | URL | null = null;
  static readonly formAssociated = true;
  static readonly observedAttributes: readonly string[] = [...MODEL_ATTRIBUTES, ...RUN_ATTRIBUTES, ...OTHER_ATTRIBUTES]; // prettier-ignore

  readonly #internals: ElementInternals;
  readonly #ui: ReturnType<typeof build>;
  #status: SamplerStatus = 'poster';
  #shape = GREY;
  #error: DiffusionError | null = null;
  #value = '';
  #source: Promise<ModelSource> | null = null;
  #loading: Promise<Player> | null = null;
  #abort: AbortController | null = null;
  #lease: Lease | null = null;
  #player: Player | null = null;
  #display: Display | null = null;
  /** Takes a view of the lecture away. */
  #unmount: (() => void) | null = null;
  /** While the element is in a document; takes its listeners away. */
  #connection: AbortController | null = null;
  /** A run attribute has changed, or the run was stopped: `play` starts anew. */
  #stale = true;
  #began = 0;
  #quarter = 0;
  #lastStep = 0;
  #lastPaint = -Infinity;
  /** What is on the canvas. */
  #drawn: { readonly xT: Tensor; readonly view: StateView } | null = null;
  #paintTimer: ReturnType<typeof setTimeout> | undefined;
  #loopTimer: ReturnType<typeof setTimeout> | undefined;
  /** Of somebody, on what is to happen; so many so far. */
  #decisions = 0;
  #seen = false;
  /** Paused by us, because nobody could see it. */
  #resting = false;
  /** It plays because the author, not the visitor, wanted so. */
  #byItself = false;
  #disabled = false;

  constructor() {
    super();
    this.#internals = this.attachInternals();
    const root = this.attachShadow({ mode: 'open' });
    if (!sheet) {
      sheet = new CSSStyleSheet();
      sheet.replaceSync(css);
    }
    root.adoptedStyleSheets = [sheet];
    const ui = (this.#ui = build());
    root.append(ui.frame, ui.controls, ui.host);
    const on = (target: HTMLElement, type: string, act: () => unknown): void =>
      target.addEventListener(type, () => {
        this.#byItself = false;
        void this.#quietly(async () => act());
      });
    for (const button of [ui.run, ui.play, ui.toggle, ui.retry])
      on(button, 'click', () => (this.#status === 'running' ? this.pause() : this.play()));
    for (const button of [ui.cancel, ui.stop]) on(button, 'click', () => this.stop());
    on(ui.step, 'click', () => this.step());
    on(ui.back, 'click', () => this.stepBack());
    on(ui.save, 'click', () => this.save());
    on(ui.timeline, 'input', () => this.seek(ui.timeline.valueAsNumber));
    on(ui.view, 'change', () => (this.view = ui.view.value));
  }

  // ---- attributes as properties -----------------------------------------------------------------------------

  get model(): string {
    return this.getAttribute('model') ?? 'digits';
  }
  set model(value: string) {
    this.#reflect('model', value);
  }
  get src(): string {
    return this.getAttribute('src') ?? '';
  }
  set src(value: string) {
    this.#reflect('src', value);
  }
  get sampler(): string {
    return this.getAttribute('sampler') ?? '';
  }
  set sampler(value: string) {
    this.#reflect('sampler', value);
  }
  get steps(): number {
    return this.#number('steps', 50);
  }
  set steps(value: number) {
    this.setAttribute('steps', String(value));
  }
  get seed(): number {
    return this.#number('seed', 0);
  }
  set seed(value: number) {
    this.setAttribute('seed', String(value));
  }
  get label(): string {
    return this.getAttribute('label') ?? '';
  }
  set label(value: string) {
    this.#reflect('label', value);
  }
  get guidance(): number {
    return this.#number('guidance', 1);
  }
  set guidance(value: number) {
    this.setAttribute('guidance', String(value));
  }
  get eta(): number {
    return this.#number('eta', 0);
  }
  set eta(value: number) {
    this.setAttribute('eta', String(value));
  }
  get view(): string {
    return this.getAttribute('view') || 'x_t';
  }
  set view(value: string) {
    this.#reflect('view', value);
  }
  get count(): number {
    return this.#number('count', Math.max(this.#labels.length, 1));
  }
  set count(value: number) {
    this.setAttribute('count', String(value));
  }
  get loading(): 'auto' | 'lazy' | 'eager' {
    const value = this.getAttribute('loading');
    return value === 'lazy' || value === 'eager' ? value : 'auto';
  }
  set loading(value: 'auto' | 'lazy' | 'eager') {
    this.setAttribute('loading', value);
  }
  get reveal(): 'interaction' | 'auto' {
    return this.getAttribute('reveal') === 'auto' ? 'auto' : 'interaction';
  }
  set reveal(value: 'interaction' | 'auto') {
    this.setAttribute('reveal', value);
  }
  get controls(): boolean {
    return this.hasAttribute('controls');
  }
  set controls(value: boolean) {
    this.toggleAttribute('controls', value);
  }
  get autoplay(): boolean {
    return this.hasAttribute('autoplay');
  }
  set autoplay(value: boolean) {
    this.toggleAttribute('autoplay', value);
  }
  get loop(): boolean {
    return this.hasAttribute('loop');
  }
  set loop(value: boolean) {
    this.toggleAttribute('loop', value);
  }
  get poster(): string {
    return this.getAttribute('poster') ?? '';
  }
  set poster(value: string) {
    this.#reflect('poster', value);
  }
  get hiddenPolicy(): 'pause' | 'continue' {
    return this.getAttribute('hidden-policy') === 'continue' ? 'continue' : 'pause';
  }
  set hiddenPolicy(value: 'pause' | 'continue') {
    this.setAttribute('hidden-policy', value);
  }
  get alt(): string {
    return this.getAttribute('alt') ?? '';
  }
  set alt(value: string) {
    this.#reflect('alt', value);
  }
  /** Of the form field. */
  get name(): string {
    return this.getAttribute('name') ?? '';
  }
  set name(value: string) {
    this.#reflect('name', value);
  }

  // ---- state ----------------------------------------------------------------------------------------------

  get status(): SamplerStatus {
    return this.#status;
  }
  /** The run itself, once the model is ready: its states on the GPU, and its forks. */
  get player(): Player | null {
    return this.#player;
  }
  /** Of the last `error` event, until it is tried again. */
  get error(): DiffusionError | null {
    return this.#error;
  }
  get form(): HTMLFormElement | null {
    return this.#internals.form;
  }
  /** The value in a form: the recipe of the finished run as JSON, with which it can be drawn again; empty before. */
  get value(): string {
    return this.#value;
  }

  // ---- methods --------------------------------------------------------------------------------------------

  /**
   * Loads the model where it is not here, and plays: on from a pause, again from the end, anew where the settings have
   * changed. Resolves when it plays. @throws DiffusionError
   */
  async play(): Promise<void> {
    this.#rest();
    const player = await this.#load();
    if (player.status === 'running') return;
    if (this.#stale) await this.#start(player, false);
    else player.play();
  }

  /** Stops after the step under way. */
  pause(): void {
    this.#rest();
    this.#player?.pause();
  }

  /** One step on, then waits; the first one shows the noise. @throws DiffusionError */
  async step(): Promise<void> {
    this.#rest();
    const player = await this.#load();
    if (this.#stale) await this.#start(player, true);
    else
      await player.step().catch((error: unknown) => {
        if (!isAbort(error)) throw error;
      });
  }

  /** One step back, then waits. */
  stepBack(): void {
    this.#rest();
    this.#player?.stepBack();
  }

  /** Shows the state after k steps, then waits. */
  seek(k: number): void {
    this.#rest();
    void this.#player?.seek(k);
  }

  /** Ends the run, or the download; the next `play` starts anew. */
  stop(): void {
    this.#rest();
    this.#abort?.abort();
    this.#player?.stop();
    this.#stale = true;
    this.#update();
  }

  /** Goes on from state k with other settings; the states up to it stay. */
  fork(k: number, changes: Partial<SampleOptions>): void {
    this.#rest();
    void this.#player?.fork(k, changes);
  }

  /**
   * What is shown, as PNG, a pixel for a pixel of the model, several pictures as a grid; with the recipe in its metadata
   * when the run is done. @throws bad-option while there is no picture
   */
  async toBlob(): Promise<Blob> {
    const [lease, player] = [this.#lease, this.#player];
    const state = player?.at(player.index);
    if (!lease || !player || !state)
      throw new DiffusionError('bad-option', 'There is no picture yet.', 'Start a run first.');
    const { picture, recipeOf } = await import('./picture.ts');
    // The value of the form comes a moment after the end of the run.
    const whole = player.forks.length === 0;
    const recipe = whole
      ? this.#value || (player.status === 'done' ? recipeOf(player, this.#address) : '')
      : '';
    return picture(lease, state, isStateView(this.view) ? this.view : 'x_t', recipe);
  }

  /** Saves the picture on the visitor's disk. @throws as toBlob */
  async save(filename = `${this.src ? 'picture' : this.model}-${this.seed}.png`): Promise<void> {
    saveFile(await this.toBlob(), filename);
  }

  override addEventListener<K extends keyof SamplerEventMap>(
    type: K,
    listener: (this: DiffusionSampler, event: SamplerEventMap[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  override addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  override addEventListener(
    type: string,
    listener: unknown,
    options?: boolean | AddEventListenerOptions,
  ): void {
    super.addEventListener(type, listener as EventListener, options);
  }

  // ---- life -----------------------------------------------------------------------------------------------

  /** @internal */
  connectedCallback(): void {
    if (this.#connection) return; // moved
    // Properties that were set before the class was there.
    for (const name of [...DiffusionSampler.observedAttributes, 'hiddenPolicy', 'name'])
      if (Object.hasOwn(this, name)) {
        const value: unknown = Reflect.get(this, name);
        Reflect.deleteProperty(this, name);
        Reflect.set(this, name, value);
      }
    const connection = (this.#connection = new AbortController());
    const { signal } = connection;
    document.addEventListener('visibilitychange', () => this.#look(), { signal });
    const near = new IntersectionObserver(
      (entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        near.disconnect();
        void this.#approach();
      },
      { rootMargin: '300px' },
    );
    const seen = new IntersectionObserver(
      (entries) => {
        this.#seen = entries.at(-1)!.isIntersecting;
        this.#look();
      },
      { threshold: 0.4 },
    );
    near.observe(this);
    seen.observe(this);
    signal.addEventListener('abort', () => {
      near.disconnect();
      seen.disconnect();
    });
    this.#drawPoster();
    this.#mountView();
    if (this.loading === 'eager' && !this.#unmount) void this.#quietly(() => this.#load());
  }

  /** @internal */
  disconnectedCallback(): void {
    queueMicrotask(() => {
      if (!this.isConnected) this.#release(); // and not moved
    });
  }

  /** @internal Where the browser itself can move an element (`moveBefore`), nothing has to be done. */
  connectedMoveCallback(): void {}

  /** @internal */
  attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    if (before === after) return;
    if (RUN_ATTRIBUTES.includes(name)) this.#stale = true;
    if (MODEL_ATTRIBUTES.includes(name)) this.#source = null;
    if (!this.#connection) return;
    if (MODEL_ATTRIBUTES.includes(name)) {
      this.#drop();
      void this.#approach();
    }
    if (name === 'view' || (this.#unmount && MODEL_ATTRIBUTES.includes(name))) this.#mountView();
    if (name === 'seed' || name === 'poster') this.#drawPoster();
    this.#update();
    if (name === 'view') this.#paint();
  }

  /** @internal */
  formDisabledCallback(disabled: boolean): void {
    this.#disabled = disabled;
    if (disabled) this.pause();
    this.#update();
  }

  /** @internal */
  formResetCallback(): void {
    this.stop();
    this.#setValue('');
  }

  /** @internal The browser brings back what a form held before it was left. */
  formStateRestoreCallback(value: unknown): void {
    if (typeof value === 'string') this.#setValue(value);
  }

  // ---- the model ------------------------------------------------------------------------------------------

  get #address(): string {
    return this.src || this.model;
  }

  /** What is to be downloaded: asks for the list of bundled models, or Hugging Face for that of its files. */
  #describe(): Promise<ModelSource> {
    if (!this.#source) {
      const describing = (this.#source = describe(this.#address));
      describing.catch(() => {
        if (this.#source === describing) this.#source = null; // may be tried again
      });
    }
    return this.#source;
  }

  /** Near the viewport: the size is asked for, and what makes a run impossible is said. */
  async #approach(): Promise<void> {
    if (this.#unmount) return;
    const { run, title } = this.#ui;
    try {
      if (!globalThis.navigator.gpu) await openGpu(); // says why
      const source = await this.#describe();
      const { bytes } = source;
      run.textContent = `Run on my GPU${bytes === null ? '' : `, ${megabytes(bytes)}`}`;
      title.textContent = [source.title, source.licence].filter(Boolean).join(' · ');
      title.hidden = false;
      const shape = source.shape ?? GREY;
      if (String(shape) !== String(this.#shape)) {
        this.#shape = shape;
        this.#drawPoster();
      }
    } catch (error) {
      if (this.#connection && this.#status === 'poster') this.#fail(error);
      return;
    }
    if (this.loading === 'lazy' && this.#connection) void this.#quietly(() => this.#load());
  }

  /** @throws DiffusionError, which has been shown and told by an event */
  #load(): Promise<Player> {
    const refuse = (what: string, action: string) =>
      Promise.reject<Player>(new DiffusionError('bad-option', what, action));
    if (this.#unmount) return refuse(`The view ${this.view} plays by itself.`, 'Use its own controls.');
    if (!this.#connection) return refuse('The element is in no document.', 'Add it to the page first.');
    this.#loading ??= this.#open();
    return this.#loading;
  }

  async #open(): Promise<Player> {
    const abort = (this.#abort = new AbortController());
    const { signal } = abort;
    this.#error = null;
    this.#progress(0, null);
    this.#setStatus('loading');
    try {
      if (!globalThis.navigator.gpu) await openGpu(); // says why, before anything is downloaded
      const source = await untilAborted(this.#describe(), signal); // its answer is of use to others, too
      const onProgress = (received: number, total: number | null): void => {
        if (!signal.aborted) this.#progress(received, total);
      };
      const lease = await runtime.acquire(source, { signal, onProgress });
      if (signal.aborted) lease.release();
      throwIfAborted(signal);
      this.#lease = lease;
      const player = (this.#player = new Player(lease, { pace: () => this.#pace() }));
      player.addEventListener('state', () => this.#onState());
      player.addEventListener('step', () => this.#onStep());
      player.addEventListener('done', () => this.#onDone());
      player.addEventListener('error', () => this.#fail(player.error));
      lease.addEventListener('error', () => {
        if (this.#lease === lease) this.#fail(lease.failure);
      });
      this.#stale = true;
      this.#setStatus('ready');
      const { title, bytes } = source;
      this.#emit('ready', { title, bytes, parameters: lease.model.parameters, adapter: lease.gpu.adapter });
      return player;
    } catch (error) {
      if (this.#abort === abort) {
        this.#loading = null;
        if (signal.aborted) this.#setStatus('poster');
        else this.#fail(error);
      }
      throw error;
    }
  }

  #progress(received: number, total: number | null): void {
    const { bar, bytes } = this.#ui;
    if (total) Object.assign(bar, { max: total, value: Math.min(received, total) });
    else bar.removeAttribute('value');
    if (!total) bytes.textContent = 'Loading the model …';
    else if (received >= total) bytes.textContent = 'Preparing the GPU …';
    else bytes.textContent = `${megabytes(received)} of ${megabytes(total)}`;
    if (received > 0) this.#emit('progress', { received, total });
  }

  /** Away with the run and the model; the poster is back. */
  #drop(): void {
    this.#rest();
    clearTimeout(this.#paintTimer);
    this.#paintTimer = undefined;
    this.#abort?.abort();
    this.#abort = null;
    this.#close();
    this.#error = null;
    this.#byItself = false;
    this.#setValue('');
    this.#setStatus('poster');
  }

  #close(): void {
    this.#player?.destroy();
    this.#display?.destroy();
    this.#lease?.release();
    this.#loading = this.#player = this.#display = this.#lease = this.#drawn = null;
  }

  #release(): void {
    this.#connection?.abort();
    this.#connection = null;
    this.#seen = false;
    this.#unmount?.();
    this.#unmount = null;
    this.#drop();
  }

  // ---- the run --------------------------------------------------------------------------------------------

  get #labels(): string[] {
    return this.label
      .split(',')
      .map((text) => text.trim())
      .filter(Boolean);
  }

  #options({ labels: names }: Model): SampleOptions {
    const classes = this.#labels.map((text) => {
      const named = names.findIndex((name) => name.toLowerCase() === text.toLowerCase());
      if (named >= 0) return named;
      if (/^\d+$/.test(text)) return Number(text);
      const some = `${names.slice(0, 12).join(', ')}${names.length > 12 ? ' ...' : ''}`;
      throw new DiffusionError(
        'bad-option',
        `There is no class ${text}.`,
        some ? `Choose one of ${some}.` : 'Leave the label out.',
      );
    });
    const { count, sampler, steps, seed, guidance } = this;
    const possible = Number.isInteger(count) && count > 0 && count <= 4096; // else the sampler has a message
    return {
      ...(classes.length > 0 && possible
        ? { labels: Array.from({ length: count }, (_, n) => classes[n % classes.length]!) }
        : { count }),
      seed,
      steps,
      guidance,
      ...(sampler ? { scheduler: sampler as SchedulerName } : {}),
      ...(this.hasAttribute('eta') ? { eta: this.eta } : {}),
    };
  }

  /** Resolves when the first state is shown. */
  async #start(player: Player, paused: boolean): Promise<void> {
    this.#error = null;
    let options: SampleOptions;
    try {
      options = this.#options(player.lease.model);
    } catch (error) {
      this.#fail(error);
      throw error;
    }
    this.#began = performance.now();
    this.#quarter = 0;
    this.#setValue('');
    this.#stale = false;
    await player.start(options, paused).catch((error: unknown) => {
      if (!isAbort(error)) throw error; // stopped before the first state was there
    });
    if (player.error && player.status === 'failed') this.#stale = true;
  }

  /** Slow enough to be watched, and as fast as it goes where it is not. */
  async #pace(): Promise<void> {
    const watched = !document.hidden && !reducedMotion();
    const wait = watched ? Math.min(FRAME, RUN_TIME / this.#player!.steps) : 0;
    const since = performance.now() - this.#lastStep;
    await new Promise((resolve) => setTimeout(resolve, wait - since));
    this.#lastStep = performance.now();
  }

  #onState(): void {
    const player = this.#player;
    if (!player || player.status === 'failed') return; // the error follows
    const shown = player.at(player.index) !== null;
    this.#setStatus(player.status === 'idle' ? (shown ? 'paused' : 'ready') : player.status);
    if (player.status === 'running') announce(`${this.#alternative()}: running.`);
    else this.#paint();
  }

  #onStep(): void {
    const { index, steps, t } = this.#player!;
    const running = this.#status === 'running';
    // Where motion is to be reduced, what passes by is not drawn: the noise, where the visitor stops, and the end.
    if (!(reducedMotion() && running && index > 0 && index < steps)) this.#paint();
    const quarter = Math.floor((4 * index) / steps);
    if (running && quarter > this.#quarter && quarter < 4) announce(`Step ${index} of ${steps}.`);
    this.#quarter = quarter;
    this.#update();
    this.#emit('step', { index, steps, t });
  }

  async #onDone(): Promise<void> {
    const player = this.#player!;
    const { steps, forks, options } = player;
    const seconds = (performance.now() - this.#began) / 1000;
    const decisions = this.#decisions;
    announce(`${this.#alternative()}: done.`);
    try {
      const { recipeOf } = await import('./picture.ts');
      if (this.#player !== player || player.status !== 'done') return;
      // With a fork there are other options before it than after it.
      this.#setValue(forks.length === 0 ? recipeOf(player, this.#address) : '');
    } catch (error) {
      console.warn('diffusion-sampler: the recipe of the run could not be written.', error);
    }
    this.#emit('done', { steps, seed: options?.seed ?? 0, seconds });
    if (!this.loop || !this.#connection || decisions !== this.#decisions) return;
    this.#loopTimer = setTimeout(() => {
      this.seed += this.count;
      void this.#quietly(() => this.play());
    }, LOOP_PAUSE);
  }

  #setValue(value: string): void {
    this.#value = value;
    this.#internals.setFormValue(value || null, value || null);
  }

  #fail(error: unknown): void {
    const known = toDiffusionError(error, 'page');
    if (known.code === 'aborted' || known === this.#error) return;
    this.#error = known;
    this.#stale = true;
    // Trying again begins with the model.
    if (['device-lost', 'out-of-memory', 'gpu-error', 'internal'].includes(known.code)) this.#close();
    this.#setStatus('failed');
    announce(known.message);
    this.#emit('error', known);
  }

  /** Nothing happens by itself any more: somebody has decided what to do. */
  #rest(): void {
    this.#decisions++;
    clearTimeout(this.#loopTimer);
    this.#resting = false;
  }

  /** The tab was hidden or shown, the element scrolled to or away. */
  #look(): void {
    if (!this.#connection || this.#unmount) return;
    const visible = !document.hidden && (this.#seen || !this.#byItself);
    if (!visible) {
      if (this.hiddenPolicy !== 'pause' || this.#status !== 'running') return;
      this.pause();
      this.#resting = true;
    } else if (this.#resting) {
      void this.#quietly(() => this.play());
    } else if (this.#status === 'poster' && this.#seen && !this.#disabled) {
      const { connection } = navigator as { connection?: { saveData?: boolean } };
      if (connection?.saveData) return;
      if (this.autoplay && !reducedMotion()) {
        this.#byItself = true;
        void this.#quietly(() => this.play());
      } else if (this.reveal === 'auto') void this.#quietly(() => this.step());
    }
  }

  // ---- what is seen ---------------------------------------------------------------------------------------

  /** Draws the state that is shown: now, or as soon as the last drawing is long enough ago. */
  #paint(): void {
    if (this.#paintTimer !== undefined) return;
    const wait = this.#lastPaint + (reducedMotion() ? REDUCED_FRAME : FRAME) - performance.now();
    if (wait > 0)
      this.#paintTimer = setTimeout(() => {
        this.#paintTimer = undefined;
        this.#paint();
      }, wait);
    else this.#draw();
  }

  #draw(): void {
    const [player, lease] = [this.#player, this.#lease];
    const state = player?.at(player.index);
    if (!state || !lease || this.#unmount) return;
    const view = isStateView(this.view) ? this.view : 'x_t';
    const drawing = { xT: state.xT, view };
    const { xT: last, view: lastView } = this.#drawn ?? {};
    if (last === state.xT && lastView === view && this.#display?.gpu === lease.gpu) return; // it is there
    this.#lastPaint = performance.now();
    try {
      if (this.#display?.gpu !== lease.gpu) {
        const side = Math.min(Math.max(Math.round(this.clientWidth * devicePixelRatio), 128), 1024);
        this.#display = new Display(lease.gpu, this.#ui.canvas, { side });
      }
      const { schedulerConfig } = lease.model;
      this.#display.draw(termsOf(view, state, schedulerConfig) ?? termsOf('x_t', state, schedulerConfig)!);
      this.#drawn = drawing;
    } catch (error) {
      this.#fail(error);
    }
  }

  #setStatus(status: SamplerStatus): void {
    this.#status = status;
    this.#update();
  }

  /** The picture in words. */
  #alternative(): string {
    if (this.alt) return this.alt;
    const { count, label, seed } = this;
    return `${count > 1 ? `${count} pictures` : 'Picture'}${label ? ` of ${label}` : ''}, drawn by the model ${this.#address} from seed ${seed}`;
  }

  /** Everything that is seen, but the picture, follows from the state. */
  #update(): void {
    const ui = this.#ui;
    const status = this.#status;
    const player = this.#player;
    const shown = player?.at(player.index) ? player : null;
    const running = status === 'running';
    const loading = status === 'loading';
    const lecture = this.#unmount !== null;
    const { states } = this.#internals;
    states.clear();
    states.add(lecture ? 'view' : status);

    ui.host.hidden = !lecture;
    ui.frame.hidden = lecture;
    ui.controls.hidden = !this.controls || lecture;
    const columns = Math.ceil(Math.sqrt(Math.max(this.count, 1))) || 1;
    const rows = Math.ceil(this.count / columns) || 1;
    ui.frame.style.setProperty('--ds-aspect', `${columns} / ${rows}`);
    ui.poster.hidden = shown !== null;
    ui.fault.hidden = !this.#error;
    ui.over.hidden = shown !== null || loading || !ui.fault.hidden;
    ui.waiting.hidden = !loading;
    ui.message.textContent = this.#error?.message ?? '';
    // A browser does not change by itself.
    const code = this.#error?.code ?? '';
    ui.retry.hidden = ['no-webgpu-api', 'no-secure-context', 'unsupported-model'].includes(code);
    const where = shown ? words(shown) : 'not drawn yet';
    ui.canvas.setAttribute('aria-label', `${this.#alternative()}; ${where}`);
    ui.toggle.hidden = this.controls || !shown || !ui.fault.hidden;
    for (const button of [ui.play, ui.toggle]) setIcon(button, running ? 'pause' : 'play');

    for (const button of [ui.run, ui.toggle, ui.retry]) button.disabled = this.#disabled;
    ui.play.disabled = loading || this.#disabled;
    const atEnd = shown !== null && !this.#stale && shown.index >= shown.steps;
    ui.step.disabled = loading || atEnd || this.#disabled;
    ui.back.disabled = !shown || shown.index === 0 || this.#disabled;
    ui.stop.disabled = !loading && !running && !(status === 'paused' && !this.#stale);
    ui.save.disabled = !shown;
    ui.timeline.disabled = !shown || this.#disabled;
    ui.timeline.max = String(shown?.steps ?? 1);
    ui.timeline.value = String(shown?.index ?? 0);
    ui.timeline.setAttribute('aria-valuetext', where);
    ui.status.textContent = shown ? where : loading ? 'Loading …' : '';
    if (isStateView(this.view)) ui.view.value = this.view;
  }

  #drawPoster(): void {
    const { posterSlot, noise } = this.#ui;
    const { seed } = this;
    if (this.poster) return posterSlot.replaceChildren(h('img', { src: this.poster, alt: '', part: 'poster-image' })); // prettier-ignore
    posterSlot.replaceChildren(noise);
    if (!Number.isSafeInteger(seed) || seed < 0) return;
    // Of a bundled model, the very x_T that the run starts from.
    const [channels, height, width] = this.#shape;
    const x = normals(seed, STREAM_X_T, 0, channels * height * width);
    paintPixels(noise, grid(x, [1, channels, height, width]));
  }

  /** A view of the lecture fills the element; its code comes when it is asked for. */
  #mountView(): void {
    const name = this.view;
    this.#unmount?.();
    this.#unmount = null;
    const { host } = this.#ui;
    host.replaceChildren();
    if (isStateView(name)) return this.#update();
    this.#drop();
    const abort = new AbortController();
    const { signal } = abort;
    let unmount: (() => void) | null = null;
    this.#unmount = () => {
      abort.abort();
      unmount?.();
    };
    this.#update();
    const mount = async (): Promise<void> => {
      const { views } = await import('../views/index.ts');
      if (!Object.hasOwn(views, name))
        throw new DiffusionError(
          'bad-option',
          `There is no view ${name}.`,
          `Choose one of ${[...Object.keys(STATE_VIEWS), ...Object.keys(views)].join(', ')}.`,
        );
      const view = await views[name]!();
      if (signal.aborted) return;
      const acquire = async (onProgress?: AcquireOptions['onProgress']): Promise<Lease> =>
        runtime.acquire(await this.#describe(), { signal, ...(onProgress ? { onProgress } : {}) });
      const params = Object.fromEntries(Object.entries(this.dataset).map(([key, value]) => [key, value ?? ''])); // prettier-ignore
      unmount = view.mount(host, { acquire, signal, params, headingLevel: 3 });
    };
    mount().catch((error: unknown) => {
      if (signal.aborted) return;
      this.#unmount = null;
      this.#fail(error);
    });
  }

  // ---- helpers --------------------------------------------------------------------------------------------

  #number(name: string, absent: number): number {
    const text = this.getAttribute(name);
    if (text === null) return absent;
    return text.trim() === '' ? NaN : Number(text); // the sampler has a message for NaN
  }

  #reflect(name: string, value: string): void {
    if (value === '') this.removeAttribute(name);
    else this.setAttribute(name, value);
  }

  #emit<K extends keyof SamplerEventMap>(type: K, detail: SamplerEventMap[K]['detail']): void {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /** For what nobody awaits: an error of ours that was shown already is not thrown once more. */
  async #quietly(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#fail(error);
    }
  }
}

// ---- without state ----------------------------------------------------------------------------------------

function icon(name: keyof typeof ICONS): SVGSVGElement {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

function iconButton(part: string, name: keyof typeof ICONS, label: string, css = ''): HTMLButtonElement {
  const attributes = { type: 'button', part: `button ${part}`, title: label, 'aria-label': label };
  return h('button', css ? { ...attributes, class: css } : attributes, icon(name));
}

function setIcon(button: HTMLButtonElement, name: 'play' | 'pause'): void {
  const label = name === 'play' ? 'Play' : 'Pause';
  if (button.title === label) return;
  button.replaceChildren(icon(name));
  button.title = label;
  button.setAttribute('aria-label', label);
}

function build() {
  const noise = h('canvas', { class: 'noise', width: 32, height: 32, 'aria-hidden': 'true' });
  const posterSlot = h('slot', { name: 'poster' }, noise);
  const poster = h('div', { class: 'poster', part: 'poster' }, posterSlot);
  const canvas = h('canvas', { part: 'canvas', role: 'img' });
  const run = h('button', { type: 'button', class: 'run', part: 'run' }, 'Run on my GPU');
  const title = h('p', { class: 'title', part: 'title', hidden: true });
  const over = h('div', { class: 'over' }, run, title);
  const bar = h('progress', { part: 'progress-bar', 'aria-label': 'Download of the model' });
  const bytes = h('span', { part: 'progress-text' });
  const cancel = h('button', { type: 'button', part: 'cancel' }, 'Cancel');
  const waiting = h('div', { class: 'waiting', part: 'progress' }, h('slot', { name: 'progress' }, bar, bytes), cancel); // prettier-ignore
  const message = h('p', { part: 'error-message' });
  const retry = h('button', { type: 'button', part: 'retry' }, 'Try again');
  const fault = h('div', { class: 'over fault', part: 'error' }, h('slot', { name: 'error' }, message), retry); // prettier-ignore
  const toggle = iconButton('toggle', 'play', 'Play', 'corner');
  const frame = h('div', { class: 'frame', part: 'frame' }, canvas, poster, over, waiting, fault, toggle);

  const play = iconButton('play', 'play', 'Play');
  const back = iconButton('step-back', 'back', 'One step back');
  const step = iconButton('step', 'step', 'One step on');
  const stop = iconButton('stop', 'stop', 'Stop');
  const save = iconButton('save', 'save', 'Save the picture');
  const timeline = h('input', { type: 'range', part: 'timeline', min: 0, step: 1, 'aria-label': 'Step' });
  const status = h('output', { part: 'status', 'aria-live': 'off' });
  const view = h(
    'select',
    { part: 'view', 'aria-label': 'What is shown' },
    ...Object.entries(STATE_VIEWS).map(([value, text]) => h('option', { value }, text)),
  );
  const bar2 = [play, back, step, stop, timeline, save, status, view];
  const controls = h('div', { class: 'controls', part: 'controls', role: 'group', 'aria-label': 'Run' }, ...bar2); // prettier-ignore
  const host = h('div', { part: 'view-host', hidden: true });
  return { frame, canvas, poster, posterSlot, noise, over, run, title, waiting, bar, bytes, cancel, fault, message, retry, toggle, controls, play, back, step, stop, save, timeline, status, view, host }; // prettier-ignore
}

const words = ({ index, steps, t }: Player): string =>
  `step ${index} of ${steps}, ${t < 0 ? 'the picture' : `t = ${Math.round(t)}`}`;

/** Bundled models are beside this script, or beside the page; everything else says itself where it is. */
async function describe(address: string): Promise<ModelSource> {
  const page = document.baseURI;
  const { base } = DiffusionSampler;
  if (base !== null) return runtime.describe(address, { base: new URL(base, page) });
  if (!/^[\w-]+$/.test(address)) return runtime.describe(address);
  const script: string = import.meta.url;
  try {
    return await runtime.describe(address, { base: new URL('./weights/', script) });
  } catch (error) {
    if (!(error instanceof DiffusionError && error.code === 'file-not-found')) throw error;
    return runtime.describe(address, { base: new URL('weights/', page) });
  }
}

declare global {
  interface HTMLElementTagNameMap {
    'diffusion-sampler': DiffusionSampler;
  }
}
