/**
 * <diffusion-sampler>: a run of a diffusion model in a page, on the visitor's own GPU.
 *
 * Nothing is downloaded before it is wanted: the element shows a poster, says how much there is to download, and waits for
 * its button, unless the author says otherwise. All elements of a page share one device and one copy of each model, and
 * take their steps in turns.
 *
 * Importing this module registers nothing, and works where there is no DOM; `define.ts` registers.
 *
 * Reason for the length of this file: all public names are here with their documentation, which the manifest is made from.
 */

import { megabytes } from '../../core/format.ts';
import { DiffusionError } from '../../core/errors.ts';
import { openGpu } from '../../engine/gpu/device.ts';
import { runtime } from '../../loading/runtime.ts';
import { paced } from '../../session/pace.ts';
import type { Player } from '../../session/player.ts';
import type { SampleOptions } from '../../session/sample_options.ts';
import { saveFile } from '../../ui/dom.ts';
import { stepInterval } from '../../ui/motion.ts';
import { Painter } from '../../ui/painter.ts';
import { MODEL_ATTRIBUTES, OTHER_ATTRIBUTES, RUN_ATTRIBUTES, SamplerAttributes } from './attributes.ts';
import { Automation } from './automation.ts';
import type { SamplerEventMap } from './events.ts';
import { mountLecture } from './lecture_host.ts';
import { dress } from './look.ts';
import { ModelRun, type RunHost } from './model_run.ts';
import { optionsOf } from './run_options.ts';
import {
  build,
  drawPoster,
  GREY,
  isStateView,
  render,
  showProgress,
  type SamplerStatus,
} from './template.ts';
import { watchVisibility } from './visibility.ts';

export type { SamplerEventMap, SamplerStatus };

/** Set by the build of the package. */
declare const __VERSION__: string | undefined;

/** A run takes about this long on a fast GPU, in milliseconds: it is there to be watched. */
const RUN_TIME = 5000;
/** A step takes this long at most, however few there are. */
const MOST_STEP_TIME = 100;

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
export class DiffusionSampler extends SamplerAttributes {
  static readonly version: string = typeof __VERSION__ === 'string' ? __VERSION__ : 'development';
  /** Where bundled models are: the folder of models.json. `weights/` beside this script, else beside the page. */
  static base: string | URL | null = null;
  /**
   * Which GPU to use on a machine with two, for all elements of the page: `high-performance` or `low-power`; default the
   * browser's choice. Set it before the first model loads. Chrome on Windows ignores it.
   */
  static get powerPreference(): GPUPowerPreference | undefined {
    return runtime.powerPreference;
  }
  static set powerPreference(value: GPUPowerPreference | undefined) {
    runtime.powerPreference = value;
  }
  static readonly formAssociated = true;
  static readonly observedAttributes: readonly string[] = [...MODEL_ATTRIBUTES, ...RUN_ATTRIBUTES, ...OTHER_ATTRIBUTES]; // prettier-ignore

  readonly #internals: ElementInternals;
  readonly #ui: ReturnType<typeof build>;
  readonly #showState: (state: string) => void;
  #shape = GREY;
  #value = '';
  readonly #run: ModelRun;
  readonly #painter: Painter;
  /** Takes a view of the lecture away. */
  #unmount: (() => void) | null = null;
  /** While the element is in a document; takes its listeners away. */
  #connection: AbortController | null = null;
  readonly #automation: Automation;
  #disabled = false;

  constructor() {
    super();
    this.#internals = this.attachInternals();
    const root = this.attachShadow({ mode: 'open' });
    this.#showState = dress(root, this.#internals);
    const ui = (this.#ui = build());
    root.append(ui.frame, ui.controls, ui.host);
    const view = () => (isStateView(this.view) ? this.view : 'x_t');
    const side = () => Math.min(Math.max(Math.round(this.clientWidth * devicePixelRatio), 128), 1024);
    const target = { canvas: ui.canvas, view, side, missing: 'picture' } as const;
    this.#painter = new Painter([target], (error) => this.#run.fail(error));
    this.#run = new ModelRun(this.#host());
    this.#automation = new Automation(this, (work) => void this.#quietly(work));
    const on = (target: HTMLElement, type: string, act: () => unknown): void =>
      target.addEventListener(type, () => {
        this.#automation.handOver();
        void this.#quietly(async () => act());
      });
    for (const button of [ui.run, ui.play, ui.toggle, ui.retry])
      on(button, 'click', () => (this.#run.status === 'running' ? this.pause() : this.play()));
    for (const button of [ui.cancel, ui.stop]) on(button, 'click', () => this.stop());
    on(ui.step, 'click', () => this.step());
    on(ui.back, 'click', () => this.stepBack());
    on(ui.save, 'click', () => this.save());
    on(ui.timeline, 'input', () => this.seek(ui.timeline.valueAsNumber));
    on(ui.view, 'change', () => (this.view = ui.view.value));
  }

  // ---- state ----------------------------------------------------------------------------------------------

  get status(): SamplerStatus {
    return this.#run.status;
  }
  /** The run itself, once the model is ready: its states on the GPU, and its forks. */
  get player(): Player | null {
    return this.#run.player;
  }
  /** The error of the last `error` event, until it is tried again. */
  get error(): DiffusionError | null {
    return this.#run.error;
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
    this.#automation.decided();
    this.#refuseIfUnable();
    await this.#run.play();
  }

  /** Stops after the step under way. */
  pause(): void {
    this.#automation.decided();
    this.#run.player?.pause();
  }

  /** One step on, then waits; the first one shows the noise. @throws DiffusionError */
  async step(): Promise<void> {
    this.#automation.decided();
    this.#refuseIfUnable();
    await this.#run.step();
  }

  /** One step back, then waits. */
  stepBack(): void {
    this.#automation.decided();
    this.#run.player?.stepBack();
  }

  /** Shows the state after k steps, then waits. */
  seek(k: number): void {
    this.#automation.decided();
    void this.#run.player?.seek(k);
  }

  /** Ends the run, or the download; the next `play` starts anew. */
  stop(): void {
    this.#automation.decided();
    this.#run.stop();
  }

  /** Goes on from state k with other settings; the states up to it stay. */
  fork(k: number, changes: Partial<SampleOptions>): void {
    this.#automation.decided();
    void this.#run.player?.fork(k, changes);
  }

  /**
   * What is shown, as PNG, a pixel for a pixel of the model, several pictures as a grid; with the recipe in its metadata
   * when the run is done. @throws bad-option while there is no picture
   */
  async toBlob(): Promise<Blob> {
    const { lease, player } = this.#run;
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
    const onlook = (inView: boolean): void => {
      if (!this.#unmount) this.#automation.look(inView, this.#disabled);
    };
    watchVisibility(this, signal, () => void this.#approach(), onlook);
    this.#drawPoster();
    this.#mountView();
    if (this.loading === 'eager' && !this.#unmount) void this.#quietly(() => this.#run.load());
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
    if (RUN_ATTRIBUTES.includes(name)) this.#run.stale = true;
    if (MODEL_ATTRIBUTES.includes(name)) this.#run.forgetSource();
    if (!this.#connection) return;
    if (MODEL_ATTRIBUTES.includes(name)) {
      this.#drop();
      void this.#approach();
    }
    if (name === 'view' || (this.#unmount && MODEL_ATTRIBUTES.includes(name))) this.#mountView();
    if (name === 'seed' || name === 'poster') this.#drawPoster();
    this.#update();
    if (name === 'view') this.#painter.paint();
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

  /** Near the viewport: the size is asked for, and what makes a run impossible is said. */
  async #approach(): Promise<void> {
    if (this.#unmount) return;
    const { run, title } = this.#ui;
    try {
      if (!globalThis.navigator.gpu) await openGpu(); // says why
      const source = await this.#run.describe();
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
      if (this.#connection && this.#run.status === 'poster') this.#run.fail(error);
      return;
    }
    if (this.loading === 'lazy' && this.#connection) void this.#quietly(() => this.#run.load());
  }

  /** @throws bad-option, if the element has no picture of its own or is in no document */
  #refuseIfUnable(): void {
    if (this.#unmount)
      throw new DiffusionError(
        'bad-option',
        `The view ${this.view} plays by itself.`,
        'Use its own controls.',
      );
    if (!this.#connection)
      throw new DiffusionError('bad-option', 'The element is in no document.', 'Add it to the page first.');
  }

  /** What the run asks of the element, and tells it. */
  #host(): RunHost {
    const pace = paced(() => stepInterval(this.#run.player?.steps ?? 1, RUN_TIME, MOST_STEP_TIME));
    return {
      address: () => this.#address,
      base: () => DiffusionSampler.base,
      options: (classes) => optionsOf(this, classes),
      pace,
      alternative: () => this.#alternative(),
      onstatus: () => this.#update(),
      onstart: () => this.#setValue(''),
      onprogress: (received, total) => {
        showProgress(this.#ui, received, total);
        if (received > 0) this.#emit('progress', { received, total });
      },
      onready: (player, { source: { title, bytes }, model: { parameters }, gpu: { adapter } }) => {
        this.#painter.show(player);
        this.#run.status = 'ready';
        this.#update();
        this.#emit('ready', { title, bytes, parameters, adapter });
      },
      onstep: ({ index, steps, t }) => {
        this.#update();
        this.#emit('step', { index, steps, t });
      },
      ondone: (player, seconds) => void this.#onDone(player, seconds),
      onerror: (error) => this.#emit('error', error),
    };
  }

  /** Gives the run and the model back; the poster is shown again. */
  #drop(): void {
    this.#automation.decided();
    this.#painter.destroy();
    this.#automation.handOver();
    this.#setValue('');
    this.#run.drop();
  }

  #release(): void {
    this.#connection?.abort();
    this.#connection = null;
    this.#unmount?.();
    this.#unmount = null;
    this.#drop();
  }

  // ---- the run --------------------------------------------------------------------------------------------

  async #onDone(player: Player, seconds: number): Promise<void> {
    const { steps, forks, options } = player;
    const { decisions } = this.#automation;
    try {
      const { recipeOf } = await import('./picture.ts');
      if (this.#run.player !== player || player.status !== 'done') return;
      // With a fork there are other options before it than after it.
      this.#setValue(forks.length === 0 ? recipeOf(player, this.#address) : '');
    } catch (error) {
      console.warn('diffusion-sampler: the recipe of the run could not be written.', error);
    }
    this.#emit('done', { steps, seed: options?.seed ?? 0, seconds });
    if (this.#connection) this.#automation.loop(decisions);
  }

  #setValue(value: string): void {
    this.#value = value;
    this.#internals.setFormValue(value || null, value || null);
  }

  // ---- what is seen ---------------------------------------------------------------------------------------

  /** The picture in words. */
  #alternative(): string {
    if (this.alt) return this.alt;
    const { count, label, seed } = this;
    return `${count > 1 ? `${count} pictures` : 'Picture'}${label ? ` of ${label}` : ''}, drawn by the model ${this.#address} from seed ${seed}`;
  }

  /** Everything that is seen, but the picture, follows from the state. */
  #update(): void {
    const { status, player, stale, error } = this.#run;
    const lecture = this.#unmount !== null;
    this.#showState(lecture ? 'view' : status);
    render(this.#ui, {
      ...{ status, stale, error },
      player: player?.at(player.index) ? player : null,
      disabled: this.#disabled,
      lecture,
      controls: this.controls,
      count: this.count,
      view: this.view,
      alternative: this.#alternative(),
    });
  }

  #drawPoster(): void {
    drawPoster(this.#ui, this.poster, this.seed, this.#shape);
  }

  /** A view of the lecture fills the element. */
  #mountView(): void {
    const name = this.view;
    this.#unmount?.();
    this.#unmount = null;
    if (isStateView(name)) return this.#update();
    this.#drop();
    const { host } = this.#ui;
    this.#unmount = mountLecture(name, {
      host,
      params: Object.fromEntries(Object.entries(this.dataset).map(([key, value]) => [key, value ?? ''])),
      describe: () => this.#run.describe(),
      onfail: (error) => {
        this.#unmount = null;
        this.#run.fail(error);
      },
    });
    this.#update();
  }

  // ---- helpers --------------------------------------------------------------------------------------------

  #emit<K extends keyof SamplerEventMap>(type: K, detail: SamplerEventMap[K]['detail']): void {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /** For what nobody awaits: an error of ours that was shown already is not thrown once more. */
  async #quietly(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#run.fail(error);
    }
  }
}

// ---- without state ----------------------------------------------------------------------------------------

declare global {
  interface HTMLElementTagNameMap {
    'diffusion-sampler': DiffusionSampler;
  }
}
