/** What an element loads and runs, without its DOM: the model, the player, and the status that follows from them. */

import { untilAborted } from '../../core/abort.ts';
import type { DiffusionError } from '../../core/errors.ts';
import { isAbort, throwIfAborted, toDiffusionError } from '../../core/errors.ts';
import { openGpu } from '../../engine/gpu/device.ts';
import { runtime, type Lease } from '../../loading/runtime.ts';
import { Player } from '../../session/player.ts';
import type { SampleOptions } from '../../session/sample_options.ts';
import type { ModelSource } from '../../loading/source.ts';
import { announce } from './announcer.ts';
import { describe } from './source.ts';
import type { SamplerStatus } from './template.ts';

/** What the element tells, and what it is told. */
export interface RunHost {
  /** Of the model. */
  address(): string;
  /** The folder of the bundled models; null for `weights/` beside the script, or beside the page. */
  base(): string | URL | null;
  /** @param classes names of the model's classes @throws bad-option */
  options(classes: readonly string[]): SampleOptions;
  pace(): Promise<void>;
  /** The picture in words. */
  alternative(): string;
  onstatus(): void;
  onprogress(received: number, total: number | null): void;
  /** The model is on the GPU; nothing is drawn yet. */
  onready(player: Player, lease: Lease): void;
  /** A run starts: what was finished before is no more. */
  onstart(): void;
  onstep(player: Player): void;
  ondone(player: Player, seconds: number): void;
  onerror(error: DiffusionError): void;
}

/** Errors after which trying again begins with the model. */
const LOST: readonly DiffusionError['code'][] = ['device-lost', 'out-of-memory', 'gpu-error', 'internal'];

export class ModelRun {
  status: SamplerStatus = 'poster';
  error: DiffusionError | null = null;
  lease: Lease | null = null;
  player: Player | null = null;
  /** The settings have changed, or the run was stopped: `play` starts anew. */
  stale = true;
  readonly #host: RunHost;
  #source: Promise<ModelSource> | null = null;
  #loading: Promise<Player> | null = null;
  #abort: AbortController | null = null;
  #began = 0;
  #quarter = 0;

  constructor(host: RunHost) {
    this.#host = host;
  }

  // ---- the model ------------------------------------------------------------------------------------------

  /** What is to be downloaded: asks for the list of bundled models, or Hugging Face for that of its files. */
  describe(): Promise<ModelSource> {
    if (!this.#source) {
      const describing = (this.#source = describe(this.#host.address(), this.#host.base()));
      describing.catch(() => {
        if (this.#source === describing) this.#source = null; // may be tried again
      });
    }
    return this.#source;
  }

  /** The address is another. */
  forgetSource(): void {
    this.#source = null;
  }

  /** The player, on a model that is downloaded if it is not here. @throws DiffusionError, which `onerror` had before */
  load(): Promise<Player> {
    return (this.#loading ??= this.#open());
  }

  async #open(): Promise<Player> {
    const host = this.#host;
    const abort = (this.#abort = new AbortController());
    const { signal } = abort;
    this.error = null;
    host.onprogress(0, null);
    this.#setStatus('loading');
    try {
      if (!globalThis.navigator.gpu) await openGpu(); // says why, before anything is downloaded
      const source = await untilAborted(this.describe(), signal);
      const onProgress = (received: number, total: number | null): void => {
        if (!signal.aborted) host.onprogress(received, total);
      };
      const lease = await runtime.acquire(source, { signal, onProgress });
      if (signal.aborted) lease.release();
      throwIfAborted(signal);
      this.lease = lease;
      const player = (this.player = new Player(lease, { pace: () => host.pace() }));
      this.stale = true;
      host.onready(player, lease);
      player.addEventListener('state', () => this.#onState(player));
      player.addEventListener('step', () => this.#onStep(player));
      player.addEventListener('done', () => this.#onDone(player));
      player.addEventListener('error', () => this.fail(player.error));
      lease.addEventListener('error', () => {
        if (this.lease === lease) this.fail(lease.failure);
      });
      return player;
    } catch (error) {
      if (this.#abort === abort) {
        this.#loading = null;
        if (signal.aborted) this.#setStatus('poster');
        else this.fail(error);
      }
      throw error;
    }
  }

  /** Ends a download, and gives the run and the model back. */
  drop(): void {
    this.#abort?.abort();
    this.#abort = null;
    this.#close();
    this.error = null;
    this.#setStatus('poster');
  }

  #close(): void {
    this.player?.destroy();
    this.lease?.release();
    this.#loading = this.player = this.lease = null;
  }

  // ---- the run --------------------------------------------------------------------------------------------

  async play(): Promise<void> {
    const player = await this.load();
    if (player.status === 'running') return;
    if (this.stale) await this.#start(player, false);
    else player.play();
  }

  async step(): Promise<void> {
    const player = await this.load();
    if (this.stale) await this.#start(player, true);
    else await unlessAborted(player.step());
  }

  stop(): void {
    this.#abort?.abort();
    this.player?.stop();
    this.stale = true;
    this.#host.onstatus();
  }

  /** Resolves when the first state is shown. */
  async #start(player: Player, paused: boolean): Promise<void> {
    this.error = null;
    let options: SampleOptions;
    try {
      options = this.#host.options(player.lease.model.labels);
    } catch (error) {
      this.fail(error);
      throw error;
    }
    this.#began = performance.now();
    this.#quarter = 0;
    this.#host.onstart();
    this.stale = false;
    await unlessAborted(player.start(options, paused));
  }

  fail(error: unknown): void {
    const known = toDiffusionError(error, 'page');
    if (known.code === 'aborted' || known === this.error) return;
    this.error = known;
    this.stale = true;
    if (LOST.includes(known.code)) this.#close();
    this.#setStatus('failed');
    announce(known.message);
    this.#host.onerror(known);
  }

  #setStatus(status: SamplerStatus): void {
    this.status = status;
    this.#host.onstatus();
  }

  #onState(player: Player): void {
    if (player !== this.player || player.status === 'failed') return; // the error follows
    const shown = player.at(player.index) !== null;
    this.#setStatus(player.status === 'idle' ? (shown ? 'paused' : 'ready') : player.status);
    if (player.status === 'running') announce(`${this.#host.alternative()}: running.`);
  }

  #onStep(player: Player): void {
    const { index, steps } = player;
    const quarter = Math.floor((4 * index) / steps);
    const passing = this.status === 'running' && quarter > this.#quarter && quarter < 4;
    if (passing) announce(`Step ${index} of ${steps}.`);
    this.#quarter = quarter;
    this.#host.onstep(player);
  }

  #onDone(player: Player): void {
    announce(`${this.#host.alternative()}: done.`);
    this.#host.ondone(player, (performance.now() - this.#began) / 1000);
  }
}

/** Stopping, or another command, is no error. */
const unlessAborted = (work: Promise<void>): Promise<void> =>
  work.catch((error: unknown) => {
    if (!isAbort(error)) throw error;
  });
