/**
 * A run that can be played, paused, stepped, walked through backwards, and forked from any of its states.
 *
 * After each step x_t, x0Hat and the sampler's memory are copied on the GPU. If the copies of all states would exceed the
 * budget, every k-th is kept and the states between are computed again. A run is a chain of segments, one for each fork:
 * the state that a segment starts from is always kept, and every other state follows from it by the same steps with the
 * same noise, bit for bit.
 */

import { abortError, DiffusionError, toDiffusionError } from '../core/errors.ts';
import type { Gpu } from '../engine/gpu/device.ts';
import { readTensor } from '../engine/gpu/transfer.ts';
import type { Model } from '../engine/model.ts';
import { withCurrentNames } from '../schedule/run_options.ts';
import { Checkpoints, type Checkpoint, type StoredState } from './checkpoints.ts';
import { continuation, type ForkState, type Segment } from './fork.ts';
import { accessTo, type ModelAccess } from './model_access.ts';
import { nextFrame } from './pace.ts';
import { sample, type Sample } from './sample.ts';
import { stepsOf, type SampleOptions } from './sample_options.ts';

export type { StoredState };
export type PlayerStatus = 'idle' | 'running' | 'paused' | 'done' | 'failed';

export interface PlayerOptions {
  /** Bytes of GPU memory for stored states; default 64 MiB. */
  readonly budget?: number;
  /** Awaited after every step that is shown; default: a moment, so that the browser can paint. */
  readonly pace?: () => Promise<void>;
}

/** The sampler, standing at a state. */
interface Head {
  readonly segment: Segment;
  readonly run: AsyncGenerator<Sample, void, void>;
  readonly abort: AbortController;
  sample: Sample;
}

/**
 * Events: `state` (the status has changed), `step` (another state is shown), `done`, `error`.
 *
 * Methods that compute return promises. A failure rejects the promise and fires `error`, so a caller may ignore either. A
 * command that another one overtakes rejects with `aborted`.
 */
export class Player extends EventTarget {
  readonly lease: ModelAccess;
  /** The error of the last `error` event. Options that are refused leave the run before them as it was. */
  error: DiffusionError | null = null;
  readonly #budget: number;
  readonly #pace: () => Promise<void>;
  #status: PlayerStatus = 'idle';
  #segments: readonly Segment[] = [];
  readonly #states: Checkpoints;
  #index = 0;
  #steps = 0;
  #head: Head | null = null;
  /** Commands run one after the other; a new one makes the one under way end after its step. */
  #work: Promise<void> = Promise.resolve();
  /** Settles with the last command. */
  #outcome: Promise<void> = Promise.resolve();
  #generation = 0;
  #destroyed = false;

  /** @param on a lease; or a model that the caller loaded, and frees after the player */
  constructor(
    on: Model | ModelAccess,
    { budget = 64 * 2 ** 20, pace = () => nextFrame(0) }: PlayerOptions = {},
  ) {
    super();
    this.lease = accessTo(on);
    this.#budget = budget;
    this.#pace = pace;
    this.#states = new Checkpoints(this.lease, budget, (k) => this.#pinned(k));
    this.lease.addEventListener('rebuilt', this.#rebuilt);
  }

  get status(): PlayerStatus {
    return this.#status;
  }
  /** The state shown: 0 is x_T. */
  get index(): number {
    return this.#index;
  }
  /** Number of steps of the run; 0 before the first state of the first run. */
  get steps(): number {
    return this.#steps;
  }
  /** The timestep of the state shown; -1 at the end, and while there is no state. */
  get t(): number {
    return this.at(this.#index)?.t ?? -1;
  }
  /** The options of the steps after the state shown. */
  get options(): SampleOptions | null {
    return this.#segments.findLast((s) => s.start <= this.#index)?.options ?? null;
  }
  /** Indices of the states that can be shown without computing, ascending. */
  get stored(): readonly number[] {
    return this.#states.indices;
  }
  /** The states at which the run was forked, ascending. */
  get forks(): readonly number[] {
    return this.#segments.slice(1).map((s) => s.start);
  }

  /** State k, if it is stored; null if it must be computed first, as `seek` does. */
  at(k: number): StoredState | null {
    return this.#states.state(k);
  }

  /**
   * Starts a new run. Resolves when its first state is shown; the run goes on.
   * @param paused stops at x_T
   * @throws what `sample` throws, if the options are refused; aborted
   */
  start(options: SampleOptions, paused = false): Promise<void> {
    return this.#command('running', async (current, reached) => {
      await this.#closeHead();
      const segment: Segment = { start: 0, offset: 0, options: withCurrentNames(options), own: true };
      const head = await this.#open(segment, null);
      this.#states.clear(); // not before: options that are refused leave the last run as it was
      this.#segments = [segment];
      this.#head = head;
      this.#steps = head.sample.steps;
      this.#keep(head, null);
      this.#show(0);
      reached();
      await this.#drive(paused ? 0 : this.#steps, current);
    });
  }

  /** Plays on to the end; from the end, again from the start. */
  play(): void {
    if (this.#segments.length === 0) return;
    void this.#command('running', async (current) => {
      if (this.#index >= this.#steps) await this.#bring(0, current);
      await this.#drive(this.#steps, current);
    });
  }

  /** Stops after the step under way, and frees the working memory. */
  pause(): void {
    if (this.#status === 'running') void this.#command('paused', () => this.#rest());
  }

  /** Takes one step, then waits. Resolves when it is shown. @throws what `sample` throws; aborted */
  step(): Promise<void> {
    if (this.#segments.length === 0) return Promise.resolve();
    return this.#command('running', (current) =>
      this.#drive(Math.min(this.#index + 1, this.#steps), current),
    );
  }

  /** Shows the state before, then waits. */
  stepBack(): void {
    void this.seek(this.#index - 1);
  }

  /**
   * Shows state k, computed if it is not stored, then waits. Resolves when it is shown.
   * @param k rounded and clamped to the run
   * @throws what `sample` throws; aborted
   */
  seek(k: number): Promise<void> {
    if (this.#segments.length === 0 || Number.isNaN(k)) return Promise.resolve();
    const to = this.#clamp(k, this.#steps);
    if (this.#states.at(to) && this.#status !== 'running') {
      this.#outcome = Promise.resolve();
      this.#show(to);
      this.#setStatus(this.#restStatus());
      return this.#outcome;
    }
    return this.#command('running', async (current) => {
      await this.#bring(to, current);
      if (current()) await this.#rest();
    });
  }

  /** Ends the run and frees the working memory; the stored states can still be shown, or played on from. */
  stop(): void {
    if (this.#status === 'idle') return;
    this.#head?.abort.abort();
    void this.#command('idle', () => this.#closeHead());
  }

  /**
   * Continues from state k with changed options to the end, or waits at k if `paused`. Resolves when the options are
   * accepted and state k is shown. If nothing changes that the steps depend on, the run comes out the same, bit for bit. A
   * sampler with another list of steps starts in it at its first timestep that is not above that of state k; the state is
   * carried there along the line of its last x0Hat.
   * @throws bad-option and what `sample` throws; aborted
   */
  fork(k: number, changes: Partial<SampleOptions>, paused = false): Promise<void> {
    if (this.#segments.length === 0 || Number.isNaN(k)) return Promise.resolve();
    return this.#command('running', async (current, reached) => {
      await this.#bring(this.#clamp(k, this.#steps), current);
      if (!current()) return;
      await this.#closeHead();
      const at = this.#index;
      const trunk = this.#segments.findLast((s) => s.start <= at)!;
      const { schedulerConfig } = this.lease.model;
      const { segment, steps } = await continuation(schedulerConfig, trunk, at, changes, () =>
        this.#read(at),
      );
      if (!current()) return;
      this.#states.cut(at);
      this.#segments = [...this.#segments.filter((s, i) => i === 0 || s.start < at), segment];
      this.#steps = steps;
      this.#show(at);
      reached();
      await this.#drive(paused ? at : steps, current);
    });
  }

  /**
   * Another player, resting at state k of the same run, with copies of the states stored up to there. Each of the two may
   * be forked and played without an effect on the other.
   */
  branch(k: number): Player {
    const other = new Player(this.lease, { budget: this.#budget, pace: this.#pace });
    if (this.#segments.length === 0) return other;
    other.#segments = this.#segments.filter((segment, i) => i === 0 || segment.start < k);
    const { options, offset } = other.#segments.at(-1)!;
    other.#steps = stepsOf(this.lease.model.schedulerConfig, options).length + offset;
    const at = this.#clamp(k, other.#steps);
    this.#states.copyTo(other.#states, at);
    if (other.#states.at(at)) {
      other.#show(at);
      other.#setStatus(other.#restStatus());
    } else if (at > 0) void other.seek(at);
    return other;
  }

  /** Resolves when the player has come to rest. @throws the error that the last command ended with */
  async settled(): Promise<void> {
    for (let outcome: Promise<void> | null = null; outcome !== this.#outcome;)
      await (outcome = this.#outcome);
  }

  /** Frees everything, after the step under way; the lease stays the caller's. */
  destroy(): void {
    this.#destroyed = true;
    this.#generation++;
    this.lease.removeEventListener('rebuilt', this.#rebuilt);
    this.#head?.abort.abort();
    this.#status = 'idle';
    this.#work = this.#work.then(async () => {
      await this.#closeHead();
      this.#states.clear();
      this.#segments = [];
    });
  }

  // ---- commands -------------------------------------------------------------------------------------------

  /**
   * Runs when the command under way has ended, which it does at its next step.
   * @param run `reached` settles the promise before the command ends
   */
  #command(
    status: PlayerStatus,
    run: (current: () => boolean, reached: () => void) => Promise<void>,
  ): Promise<void> {
    const generation = ++this.#generation;
    const current = (): boolean => generation === this.#generation && !this.#destroyed;
    let reached!: () => void;
    let refused!: (error: DiffusionError) => void;
    const result = new Promise<void>((resolve, reject) => ([reached, refused] = [resolve, reject]));
    result.catch(() => {}); // the caller may listen to `error` instead
    if (this.#destroyed) refused(abortError());
    else this.#setStatus(status);
    const outcome = this.#work.then(async () => {
      try {
        if (current()) await run(current, reached);
        if (current()) reached();
        else refused(abortError());
      } catch (cause) {
        await this.#closeHead();
        const error = toDiffusionError(cause, 'run');
        refused(error);
        if (!current() || error.code === 'aborted') return;
        this.#fail(error);
        throw error;
      }
    });
    this.#outcome = outcome;
    this.#work = outcome.catch(() => {});
    return result;
  }

  #fail(error: DiffusionError): void {
    this.error = error;
    const harmless = error.code === 'bad-option' || error.code === 'bad-input';
    this.#setStatus(harmless && this.#states.at(this.#index) ? this.#restStatus() : 'failed');
    this.dispatchEvent(new Event('error'));
  }

  #setStatus(status: PlayerStatus): void {
    if (this.#status === status) return;
    this.#status = status;
    this.dispatchEvent(new Event('state'));
  }

  #restStatus(): PlayerStatus {
    return this.#index >= this.#steps ? 'done' : 'paused';
  }

  async #rest(): Promise<void> {
    await this.#closeHead();
    this.#setStatus(this.#restStatus());
  }

  #show(index: number): void {
    this.#index = index;
    this.dispatchEvent(new Event('step'));
  }

  /** Step by step to the target, then waits. */
  async #drive(target: number, current: () => boolean): Promise<void> {
    while (current() && this.#index < target) {
      await this.#bring(this.#index + 1, current);
      if (current() && this.#index < target) await this.#pace();
    }
    if (!current()) return;
    await this.#closeHead();
    if (!current()) return;
    this.#setStatus(this.#restStatus());
    if (this.#status === 'done') this.dispatchEvent(new Event('done'));
  }

  /** After a lost device: computes again what was shown at rest. A run under way notices the loss by itself. */
  #rebuilt = (): void => {
    if (this.#status === 'running' || this.#segments.length === 0) return;
    const [index, status] = [this.#index, this.#status];
    void this.#command(status, async (current) => {
      await this.#closeHead();
      this.#states.clear();
      await this.#bring(index, current);
      await this.#closeHead();
    });
  };

  // ---- states ---------------------------------------------------------------------------------------------

  #clamp = (k: number, steps: number): number => Math.round(Math.min(Math.max(k, 0), steps));

  #pinned(index: number): boolean {
    return index === 0 || index === this.#steps || this.#segments.some((s) => s.start === index);
  }

  async #read(k: number): Promise<ForkState> {
    const { gpu } = this.lease;
    const { t, xT, x0Hat } = this.at(k)!;
    const [x, clean] = await Promise.all([readTensor(gpu, xT), x0Hat && readTensor(gpu, x0Hat)]);
    return { t, xT: x, x0Hat: clean };
  }

  /** Makes state k, from the nearest one before it that is kept, and shows it. Recovers once from a lost device. */
  async #bring(k: number, current: () => boolean): Promise<void> {
    const { gpu } = this.lease; // after a loss the lease has another one
    try {
      await this.#compute(k, current);
    } catch (error) {
      if (!(await isLoss(error, gpu))) throw error;
      await this.#closeHead();
      this.#states.clear();
      await this.lease.ready();
      await this.#compute(k, current);
    }
    if (current()) this.#show(k);
  }

  async #compute(k: number, current: () => boolean): Promise<void> {
    while (!this.#states.at(k) && current()) {
      const segment = this.#segments.findLast((s) => s.start < k) ?? this.#segments[0]!;
      const standing = this.#head?.segment === segment ? this.#head.sample.index + segment.offset : -1;
      const nearest = this.#states.before(k);
      if (standing >= nearest && standing >= 0 && standing < k) {
        await this.#advance(this.#head!);
      } else if (nearest < segment.start && !segment.own) {
        await this.#compute(segment.start, current); // the trunk, after a loss
      } else {
        await this.#closeHead();
        const head = await this.#open(segment, nearest >= segment.start ? this.#states.at(nearest) : null);
        this.#head = head;
        if (!this.#states.at(head.sample.index + segment.offset)) this.#keep(head, null);
      }
    }
  }

  /** Opens the sampler of a segment at a checkpoint, or at the start that its options give. */
  async #open(segment: Segment, from: Checkpoint | null): Promise<Head> {
    const abort = new AbortController();
    const options: SampleOptions = { ...segment.options, signal: abort.signal };
    const middle = from && !(segment.own && from.index === segment.start) ? from : null;
    const resume = middle && {
      index: middle.index - segment.offset,
      xT: middle.xT,
      history: middle.history,
    };
    return this.lease.turn(async () => {
      const run = sample(this.lease.model, resume ? { ...options, resume } : options);
      const { value } = await run.next();
      return { segment, run, abort, sample: value as Sample };
    });
  }

  /** Takes a step and copies its state, in one turn. */
  async #advance(head: Head): Promise<void> {
    await this.lease.turn(async () => {
      const index = head.sample.index + head.segment.offset;
      const before = this.#states.copyBefore(index, head.sample.xT);
      try {
        const { value } = await head.run.next();
        head.sample = value as Sample;
        this.#keep(head, before);
      } catch (error) {
        before?.buffer.destroy();
        throw error;
      }
    });
  }

  #keep({ sample, segment }: Head, ownBefore: Checkpoint['ownBefore']): void {
    const index = sample.index + segment.offset;
    if (index === 0) this.#states.plan(sample, this.#steps + 1);
    this.#states.keep(index, sample, ownBefore);
  }

  async #closeHead(): Promise<void> {
    const head = this.#head;
    this.#head = null;
    await head?.run.return().catch(() => {});
  }
}

/** Firefox reports a loss up to 120 ms after commands have failed by it, and later on a busy machine; in milliseconds. */
const LOSS_WAIT = 2000;

/** Whether an error comes from a lost device. After a loss, promises may reject with anything, so the device decides. */
async function isLoss(error: unknown, { device }: Gpu): Promise<boolean> {
  if (error instanceof DiffusionError && error.code !== 'gpu-error') return error.code === 'device-lost';
  let timer: ReturnType<typeof setTimeout> | undefined;
  const later = new Promise<boolean>((resolve) => (timer = setTimeout(() => resolve(false), LOSS_WAIT)));
  const lost = await Promise.race([device.lost.then(() => true), later]);
  clearTimeout(timer);
  return lost;
}
