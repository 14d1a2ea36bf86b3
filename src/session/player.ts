/**
 * A run that can be played, paused, stepped, walked through backwards, and taken up from any of its states with other
 * options.
 *
 * After each step x_t, x0Hat and what the sampler remembers are copied, on the GPU. When the copies of all states would
 * take more than the budget, every k-th is kept and what lies between is computed again. A run is a chain of segments,
 * one for each fork: the state that a segment starts from is always kept, and every other state follows from it by the
 * same steps with the same noise, bit for bit.
 */

import { DiffusionError, toDiffusionError } from '../errors.ts';
import type { Gpu } from '../gpu/device.ts';
import { readTensor } from '../gpu/transfer.ts';
import { COPY_DST, COPY_SRC, STORAGE } from '../gpu/usage.ts';
import type { Lease } from '../runtime.ts';
import { copyTensors, sample, stepsOf, type Sample, type SampleOptions } from './sample.ts';
import { noiseLevels } from '../scheduler/index.ts';
import { slotsOf, type Step } from '../scheduler/step.ts';
import type { Tensor } from '../tensor.ts';

export type PlayerStatus = 'idle' | 'running' | 'paused' | 'done' | 'failed';

export interface PlayerOptions {
  /** Bytes of GPU memory for stored states; 64 MiB unless given. */
  readonly budget?: number;
  /** Awaited after every step that is shown; until the next frame unless given. */
  readonly pace?: () => Promise<void>;
}

/** A state of the run. Its tensors are copies, valid until the run is started anew, cut by a fork, or destroyed. */
export interface StoredState {
  readonly index: number;
  /** The timestep that the state stands at; -1 at the end. */
  readonly t: number;
  /** The step that led here; null at index 0. */
  readonly step: Step | null;
  readonly xT: Tensor;
  /** Null at index 0. */
  readonly x0Hat: Tensor | null;
  /** x_t before the step; null at index 0. */
  readonly before: Tensor | null;
}

interface Kept extends Omit<StoredState, 'before'> {
  /** That the tensors are of. */
  readonly gpu: Gpu;
  readonly history: Tensor | null;
  /** Null where it is the state kept before this one. */
  readonly ownBefore: Tensor | null;
}

/** How the states past `start` are made. An index of the run is one in the sampler's list plus `offset`. */
interface Segment {
  readonly start: number;
  readonly offset: number;
  readonly options: SampleOptions;
  /** Starts from its options; else from the state kept at `start`, in the middle of the sampler's list. */
  readonly own: boolean;
}

/** The sampler, standing at a state. */
interface Head {
  readonly segment: Segment;
  readonly run: AsyncGenerator<Sample, void, void>;
  readonly abort: AbortController;
  sample: Sample;
}

/** Events: `state` (the status has changed), `step` (another state is shown), `done`, `error`. */
export class Player extends EventTarget {
  readonly lease: Lease;
  /** Of the last `error` event. Options that make no sense leave the run before them as it was. */
  error: DiffusionError | null = null;
  readonly #budget: number;
  readonly #pace: () => Promise<void>;
  #status: PlayerStatus = 'idle';
  #segments: readonly Segment[] = [];
  readonly #stored = new Map<number, Kept>();
  /** The last state computed, where it is none of those that are kept. */
  #loose: Kept | null = null;
  #stride = 1;
  #refused = 0;
  #index = 0;
  #steps = 0;
  #head: Head | null = null;
  /** Commands run one after the other; a new one asks the one under way to end after its step. */
  #work: Promise<void> = Promise.resolve();
  #generation = 0;
  #destroyed = false;

  constructor(lease: Lease, { budget = 64 * 2 ** 20, pace = frame }: PlayerOptions = {}) {
    super();
    this.lease = lease;
    this.#budget = budget;
    this.#pace = pace;
    lease.addEventListener('rebuilt', this.#rebuilt);
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
  /** The timestep of the state shown; -1 at the end and while there is none. */
  get t(): number {
    return this.at(this.#index)?.t ?? -1;
  }
  /** Those that the steps after the state shown are taken with. */
  get options(): SampleOptions | null {
    return this.#segments.findLast((s) => s.start <= this.#index)?.options ?? null;
  }
  /** Indices of the states that can be shown without computing, ascending. */
  get stored(): readonly number[] {
    return [...this.#stored.keys()].sort((a, b) => a - b);
  }
  /** Where the run was forked, ascending. */
  get forks(): readonly number[] {
    return this.#segments.slice(1).map((s) => s.start);
  }

  /** What is stored of state k; null where it must be computed first (`seek` does, and the player after a lost device). */
  at(k: number): StoredState | null {
    const kept = this.#at(k);
    if (kept?.gpu !== this.lease.gpu) return null; // of a device that was lost since
    return { ...kept, before: kept.ownBefore ?? this.#stored.get(k - 1)?.xT ?? null };
  }

  /** A new run. Its errors come as an `error` event. @param paused stop at x_T */
  start(options: SampleOptions, paused = false): void {
    void this.#command('running', async (current) => {
      await this.#closeHead();
      const segment: Segment = { start: 0, offset: 0, options, own: true };
      const head = await this.#open(segment, null);
      this.#forget(); // not before: options that are refused leave the last run as it was
      this.#segments = [segment];
      this.#head = head;
      this.#steps = head.sample.steps;
      this.#keep(head, null);
      this.#show(0);
      await this.#drive(paused ? 0 : this.#steps, current);
    });
  }

  /** On to the end; from the end, from the start again. */
  play(): void {
    if (this.#segments.length === 0) return;
    void this.#command('running', async (current) => {
      if (this.#index >= this.#steps) await this.#bring(0, current);
      await this.#drive(this.#steps, current);
    });
  }

  /** Stops after the step under way, and gives the working memory back. */
  pause(): void {
    if (this.#status === 'running') void this.#command('paused', () => this.#rest());
  }

  /** One step on, then waits. Resolves when it is shown. */
  step(): Promise<void> {
    if (this.#segments.length === 0) return Promise.resolve();
    return this.#command('running', (current) =>
      this.#drive(Math.min(this.#index + 1, this.#steps), current),
    );
  }

  /** One step back, then waits. */
  stepBack(): void {
    this.seek(this.#index - 1);
  }

  /** Shows state k, computing it where it is not stored, then waits. k is rounded and clamped to the run. */
  seek(k: number): void {
    if (this.#segments.length === 0 || Number.isNaN(k)) return;
    const to = Math.round(Math.min(Math.max(k, 0), this.#steps));
    if (this.#at(to) && this.#status !== 'running') {
      this.#show(to);
      this.#setStatus(this.#restStatus());
      return;
    }
    void this.#command('running', async (current) => {
      await this.#bring(to, current);
      if (current()) await this.#rest();
    });
  }

  /** Ends the run and gives the working memory back; what is stored can still be looked at, or played on from. */
  stop(): void {
    if (this.#status === 'idle') return;
    this.#head?.abort.abort();
    void this.#command('idle', () => this.#closeHead());
  }

  /**
   * Goes on from state k with changed options, then to the end; waits at k where `paused`. Where nothing changes that the
   * steps depend on, the run comes out the same, bit for bit. A sampler with another list of steps starts anew in it, at
   * its first timestep that is not above that of state k; the state is carried there along the line of its last x0Hat.
   */
  fork(k: number, changes: Partial<SampleOptions>, paused = false): void {
    if (this.#segments.length === 0 || Number.isNaN(k)) return;
    void this.#command('running', async (current) => {
      await this.#bring(Math.round(Math.min(Math.max(k, 0), this.#steps)), current);
      if (!current()) return;
      await this.#closeHead();
      const at = this.#index;
      const { segment, steps } = await this.#continuation(at, changes);
      if (!current()) return;
      for (const [index, kept] of this.#stored)
        if (index > at) {
          this.#stored.delete(index);
          free(kept);
        }
      if (this.#loose?.index === at) {
        this.#stored.set(at, this.#loose); // where a segment starts is kept
        this.#loose = null;
      }
      this.#segments = [...this.#segments.filter((s, i) => i === 0 || s.start < at), segment];
      this.#steps = steps;
      this.#show(at);
      await this.#drive(paused ? at : steps, current);
    });
  }

  /**
   * Another player, resting at state k of the same run: its own copies of what is stored up to there. What is forked or
   * played in one leaves the other alone.
   */
  branch(k: number): Player {
    const other = new Player(this.lease, { budget: this.#budget, pace: this.#pace });
    if (this.#segments.length === 0) return other;
    other.#segments = this.#segments.filter((segment, i) => i === 0 || segment.start < k);
    const { options, offset } = other.#segments.at(-1)!;
    other.#steps = stepsOf(this.lease.model.schedulerConfig, options).length + offset;
    const at = Math.round(Math.min(Math.max(k, 0), other.#steps));
    other.#stride = this.#stride;
    for (const [index, kept] of this.#stored) {
      if (index > at) continue;
      const [xT, x0Hat, history, ownBefore] = other.#copies([
        kept.xT,
        kept.x0Hat,
        kept.history,
        kept.ownBefore,
      ]);
      other.#stored.set(index, { ...kept, xT: xT!, x0Hat: x0Hat!, history: history!, ownBefore: ownBefore! });
    }
    if (at > 0 && !other.#at(at)) other.seek(at);
    else if (other.#at(at)) {
      other.#show(at);
      other.#setStatus(other.#restStatus());
    }
    return other;
  }

  /** Frees everything, when the step under way has ended; the lease stays the caller's. */
  destroy(): void {
    this.#destroyed = true;
    this.#generation++;
    this.lease.removeEventListener('rebuilt', this.#rebuilt);
    this.#head?.abort.abort();
    this.#status = 'idle';
    this.#work = this.#work.then(async () => {
      await this.#closeHead();
      this.#forget();
      this.#segments = [];
    });
  }

  // ---- commands -------------------------------------------------------------------------------------------

  /** Runs when the command under way has ended, which it does at its next step. */
  #command(status: PlayerStatus, run: (current: () => boolean) => Promise<void>): Promise<void> {
    if (this.#destroyed) return Promise.resolve();
    const generation = ++this.#generation;
    const current = (): boolean => generation === this.#generation;
    this.#setStatus(status);
    this.#work = this.#work.then(async () => {
      if (!current()) return;
      try {
        await run(current);
      } catch (error) {
        await this.#closeHead();
        if (current()) this.#fail(error);
      }
    });
    return this.#work;
  }

  #fail(error: unknown): void {
    if (error instanceof DiffusionError && error.code === 'aborted') return;
    this.error = toDiffusionError(error, 'run');
    const harmless = this.error.code === 'bad-option' || this.error.code === 'bad-input';
    this.#setStatus(harmless && this.#at(this.#index) ? this.#restStatus() : 'failed');
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

  /** What rested when the device was lost is brought back; a run under way finds out by itself. */
  #rebuilt = (): void => {
    if (this.#status === 'running' || this.#segments.length === 0) return;
    const [index, status] = [this.#index, this.#status];
    void this.#command(status, async (current) => {
      await this.#closeHead();
      this.#forget();
      await this.#bring(index, current);
      await this.#closeHead();
    });
  };

  // ---- states ---------------------------------------------------------------------------------------------

  #at(k: number): Kept | null {
    return this.#stored.get(k) ?? (this.#loose?.index === k ? this.#loose : null);
  }

  /** Makes state k, from the nearest one before it that is kept, and shows it. A loss of the device is made good once. */
  async #bring(k: number, current: () => boolean): Promise<void> {
    try {
      await this.#compute(k, current);
    } catch (error) {
      if (!(await this.#isLoss(error))) throw error;
      await this.#closeHead();
      this.#forget();
      await this.lease.ready();
      await this.#compute(k, current);
    }
    if (current()) this.#show(k);
  }

  /** After a loss, promises may reject with anything: the device itself is asked. */
  async #isLoss(error: unknown): Promise<boolean> {
    if (error instanceof DiffusionError && error.code !== 'gpu-error') return error.code === 'device-lost';
    const later = new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 200));
    return Promise.race([this.lease.gpu.device.lost.then(() => true), later]);
  }

  async #compute(k: number, current: () => boolean): Promise<void> {
    while (!this.#at(k) && current()) {
      const segment = this.#segments.findLast((s) => s.start < k) ?? this.#segments[0]!;
      const standing = this.#head?.segment === segment ? this.#head.sample.index + segment.offset : -1;
      const nearest = Math.max(
        -1,
        ...[...this.#stored.keys(), this.#loose?.index ?? -1].filter((i) => i < k),
      );
      if (standing >= nearest && standing >= 0 && standing < k) {
        await this.#advance(this.#head!);
      } else if (nearest < segment.start && !segment.own) {
        await this.#compute(segment.start, current); // the trunk, after a loss
      } else {
        await this.#closeHead();
        const head = await this.#open(segment, nearest >= segment.start ? this.#at(nearest) : null);
        this.#head = head;
        if (!this.#at(head.sample.index + segment.offset)) this.#keep(head, null);
      }
    }
  }

  /** The sampler of a segment at a state that is kept, or where its options start it. */
  async #open(segment: Segment, kept: Kept | null): Promise<Head> {
    const abort = new AbortController();
    const options: SampleOptions = { ...segment.options, signal: abort.signal };
    const from = kept && !(segment.own && kept.index === segment.start) ? kept : null;
    const resume = from && { index: from.index - segment.offset, xT: from.xT, history: from.history };
    return this.lease.turn(async () => {
      const run = sample(this.lease.model, resume ? { ...options, resume } : options);
      const { value } = await run.next();
      return { segment, run, abort, sample: value as Sample };
    });
  }

  async #advance(head: Head): Promise<void> {
    await this.lease.turn(async () => {
      const index = head.sample.index + head.segment.offset;
      // The state before is copied where it may be gone when somebody wants to see the difference.
      const before =
        this.#stride === 1 && this.#stored.has(index) ? null : this.#copies([head.sample.xT])[0]!;
      try {
        const { value } = await head.run.next();
        head.sample = value as Sample;
        this.#keep(head, before);
      } catch (error) {
        before?.storage.buffer!.destroy();
        throw error;
      }
    });
  }

  #keep({ sample, segment }: Head, ownBefore: Tensor | null): void {
    const { t, step } = sample;
    const index = sample.index + segment.offset;
    const [xT, x0Hat, history] = this.#copies([sample.xT, sample.x0Hat, sample.history]);
    const kept: Kept = {
      gpu: this.lease.gpu,
      index,
      t,
      step,
      xT: xT!,
      x0Hat: x0Hat!,
      history: history!,
      ownBefore,
    };
    if (this.#loose) free(this.#loose);
    this.#loose = null;
    if (index === 0) {
      // Later states have x0Hat, too; where not all are kept, also the state before each.
      const bytes = 2 * sample.xT.storage.bytes + (sample.history?.storage.bytes ?? 0);
      const states = this.#steps + 1;
      this.#stride =
        bytes * states <= this.#budget
          ? 1
          : Math.ceil(((bytes + sample.xT.storage.bytes) * states) / this.#budget);
    }
    if (this.#pinned(index) || index % this.#stride === 0) this.#stored.set(index, kept);
    else this.#loose = kept;
  }

  #pinned(index: number): boolean {
    return index === 0 || index === this.#steps || this.#segments.some((s) => s.start === index);
  }

  /** Copies on the GPU. Where it has no room for them, fewer states are kept from now on. */
  #copies(tensors: readonly (Tensor | null)[]): (Tensor | null)[] {
    const { gpu } = this.lease;
    const { device } = gpu;
    if (this.#refused >= 3)
      throw new DiffusionError(
        'out-of-memory',
        'The GPU has no room for the states of the run.',
        'Draw fewer pictures at a time.',
      );
    device.pushErrorScope('validation');
    device.pushErrorScope('out-of-memory');
    const copies = tensors.map((tensor): Tensor | null => {
      if (!tensor) return null;
      const { bytes, label } = tensor.storage;
      const buffer = device.createBuffer({
        label: `state.${label}`,
        size: bytes,
        usage: STORAGE | COPY_SRC | COPY_DST,
      });
      return { ...tensor, storage: { bytes, label, buffer, pinned: true } };
    });
    copyTensors(
      device,
      tensors.map((tensor, i) => [tensor, copies[i]!]),
    );
    Promise.all([device.popErrorScope(), device.popErrorScope()]).then(
      ([memory]) => {
        if (memory) this.#thin(copies);
        else this.#refused = 0;
      },
      () => {}, // the device is gone, which the next step finds
    );
    return copies;
  }

  #thin(failed: readonly (Tensor | null)[]): void {
    this.#refused++;
    this.#stride *= 2;
    for (const [index, kept] of this.#stored)
      if (failed.includes(kept.xT) || (index % this.#stride !== 0 && !this.#pinned(index))) {
        this.#stored.delete(index);
        free(kept);
      }
    if (failed.includes(this.#loose?.xT ?? null)) this.#loose = null;
  }

  #forget(): void {
    for (const kept of this.#stored.values()) free(kept);
    this.#stored.clear();
    if (this.#loose) free(this.#loose);
    this.#loose = null;
  }

  async #closeHead(): Promise<void> {
    const head = this.#head;
    this.#head = null;
    await head?.run.return().catch(() => {});
  }

  /** How the run goes on from state `at` with other options, and how many steps it then has. */
  async #continuation(
    at: number,
    changes: Partial<SampleOptions>,
  ): Promise<{ segment: Segment; steps: number }> {
    const { gpu, model } = this.lease;
    const trunk = this.#segments.findLast((s) => s.start <= at)!;
    const options: SampleOptions = { ...trunk.options, ...changes };
    const count = (o: SampleOptions): number => o.labels?.length ?? o.count ?? 1;
    if (count(options) !== count(trunk.options))
      throw new DiffusionError(
        'bad-option',
        `The run has ${count(trunk.options)} pictures, and goes on with ${count(options)}.`,
        'Keep their number, or start a new run.',
      );
    const config = model.schedulerConfig;
    const [now, then] = [stepsOf(config, options), stepsOf(config, trunk.options)];
    const same = (a: Step, b: Step | undefined): boolean => a.t === b?.t && a.tPrev === b.tPrev;
    if (
      (options.scheduler ?? config.scheduler) === (trunk.options.scheduler ?? config.scheduler) &&
      now.length === then.length &&
      slotsOf(now) === slotsOf(then) &&
      now.every((step, i) => same(step, then[i]))
    ) {
      const own = trunk.own && at === trunk.start && at > 0;
      return { segment: { start: at, offset: trunk.offset, options, own }, steps: now.length + trunk.offset };
    }
    if (options.mask)
      throw new DiffusionError(
        'bad-option',
        'A run that keeps a part of a picture keeps its list of steps.',
        'Change the seed, the label or the guidance, or start a new run.',
      );

    const { init, ...rest }: { -readonly [K in keyof SampleOptions]: SampleOptions[K] } = options;
    delete rest.strength;
    delete rest.z;
    const state = this.at(at)!;
    const xT = await readTensor(gpu, state.xT);
    const clean = state.x0Hat ? await readTensor(gpu, state.x0Hat) : init;
    const from = (begin: number): Step | undefined => {
      try {
        return stepsOf(config, { ...rest, begin })[0];
      } catch (error) {
        if (begin === 0) throw error;
        return undefined; // nothing is left to do
      }
    };
    let begin = 0;
    if (clean) {
      for (let above = options.timesteps?.length ?? options.steps ?? config.T; begin < above;) {
        const middle = (begin + above) >> 1;
        if ((from(middle)?.t ?? -1) > state.t) begin = middle + 1;
        else above = middle;
      }
    }
    const first = from(begin);
    if (!first)
      throw new DiffusionError(
        'bad-option',
        `The new steps have nothing to do below timestep ${state.t}.`,
        'Fork earlier, or take more steps.',
      );
    if (clean && first.t !== state.t) {
      const level = noiseLevels(config);
      const [here, there] = [level(state.t), level(first.t)];
      const [ofX, ofClean] = [there.s / here.s, there.a - (here.a * there.s) / here.s];
      for (let i = 0; i < xT.length; i++) xT[i] = ofX * xT[i]! + ofClean * clean[i]!;
    }
    const continued: SampleOptions = { ...rest, xT, begin };
    const steps = at + stepsOf(config, continued).length;
    return { segment: { start: at, offset: at, options: continued, own: true }, steps };
  }
}

function free(kept: Kept): void {
  for (const tensor of [kept.xT, kept.x0Hat, kept.history, kept.ownBefore]) tensor?.storage.buffer!.destroy();
}

/** Until the browser has had the chance to show what was drawn; hidden tabs and Node get no frames. */
const frame = (): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, globalThis.document?.hidden === false ? 100 : 0);
    globalThis.requestAnimationFrame?.(() => {
      clearTimeout(timer);
      resolve();
    });
  });
