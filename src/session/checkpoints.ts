/** Copies of a run's states on the GPU: all of them, or every k-th if all would take more than a budget of memory. */

import { DiffusionError } from '../core/errors.ts';
import type { Gpu } from '../engine/gpu/device.ts';
import { scoped } from '../engine/gpu/scope.ts';
import { copyTensors } from '../engine/gpu/transfer.ts';
import { COPY_DST, COPY_SRC, STORAGE } from '../engine/gpu/usage.ts';
import type { Step } from '../schedule/step.ts';
import type { GpuTensor } from '../core/tensor.ts';
import type { ModelAccess } from './model_access.ts';
import type { Sample } from './sample.ts';

/** A state of the run. Its tensors are copies, valid until the run is started anew, cut by a fork, or destroyed. */
export interface StoredState {
  readonly index: number;
  /** The timestep of the state; -1 at the end. */
  readonly t: number;
  /** The step that led here; null at index 0. */
  readonly step: Step | null;
  readonly xT: GpuTensor;
  /** Null at index 0. */
  readonly x0Hat: GpuTensor | null;
  /** x_t before the step; null at index 0. */
  readonly before: GpuTensor | null;
}

export interface Checkpoint extends Omit<StoredState, 'before'> {
  /** The device of the tensors. */
  readonly gpu: Gpu;
  /** The sampler's memory; null for samplers without one. */
  readonly history: GpuTensor | null;
  /** x_t before the step; null if it is the checkpoint before this one. */
  readonly ownBefore: GpuTensor | null;
}

/** The GPU may refuse this many copies in a row; then the run fails. */
const MOST_REFUSALS = 3;

export class Checkpoints {
  readonly #access: ModelAccess;
  readonly #budget: number;
  readonly #pinned: (index: number) => boolean;
  readonly #stored = new Map<number, Checkpoint>();
  /** The most recent state, if it is not stored. */
  #loose: Checkpoint | null = null;
  #stride = 1;
  #refusals = 0;

  /**
   * @param budget bytes of GPU memory
   * @param pinned whether a state is kept whatever the budget
   */
  constructor(access: ModelAccess, budget: number, pinned: (index: number) => boolean) {
    this.#access = access;
    this.#budget = budget;
    this.#pinned = pinned;
  }

  /** Indices of what is stored, ascending. */
  get indices(): readonly number[] {
    return [...this.#stored.keys()].sort((a, b) => a - b);
  }

  at(index: number): Checkpoint | null {
    return this.#stored.get(index) ?? (this.#loose?.index === index ? this.#loose : null);
  }

  /** A state that can be shown: null if it must be computed, or belongs to a device that was lost. */
  state(index: number): StoredState | null {
    const checkpoint = this.at(index);
    if (checkpoint?.gpu !== this.#access.gpu) return null;
    return { ...checkpoint, before: checkpoint.ownBefore ?? this.#stored.get(index - 1)?.xT ?? null };
  }

  /** The last index below `index` that is here; -1 if there is none. */
  before(index: number): number {
    const all = [...this.#stored.keys(), this.#loose?.index ?? -1];
    return Math.max(-1, ...all.filter((i) => i < index));
  }

  /** Chooses which states of a run are stored, from its first state and the number of its states. */
  plan({ xT, history }: Sample, states: number): void {
    // Later states have x0Hat, too; if not all are kept, also the state before each.
    const bytes = 2 * xT.buffer.size + (history?.buffer.size ?? 0);
    this.#stride =
      bytes * states <= this.#budget ? 1 : Math.ceil(((bytes + xT.buffer.size) * states) / this.#budget);
  }

  /**
   * A copy of x_t before the step from state `index`, for the view of the step's change; null if the checkpoint of that
   * state will do.
   */
  copyBefore(index: number, xT: GpuTensor): GpuTensor | null {
    return this.#stride === 1 && this.#stored.has(index) ? null : this.#copies([xT])[0]!;
  }

  /** Copies a state. @param ownBefore from copyBefore */
  keep(index: number, sample: Sample, ownBefore: GpuTensor | null): void {
    const { t, step } = sample;
    const [xT, x0Hat, history] = this.#copies([sample.xT, sample.x0Hat, sample.history]);
    const checkpoint: Checkpoint = {
      ...{ gpu: this.#access.gpu, index, t, step, ownBefore },
      ...{ xT: xT!, x0Hat: x0Hat!, history: history! },
    };
    if (this.#loose) free(this.#loose);
    this.#loose = null;
    if (this.#pinned(index) || index % this.#stride === 0) this.#stored.set(index, checkpoint);
    else this.#loose = checkpoint;
  }

  /** Frees the states after `index`, and stores the one at it. */
  cut(index: number): void {
    for (const [i, checkpoint] of this.#stored)
      if (i > index) {
        this.#stored.delete(i);
        free(checkpoint);
      }
    if (this.#loose?.index !== index) return;
    this.#stored.set(index, this.#loose);
    this.#loose = null;
  }

  /** Copies what is stored up to an index into other checkpoints. */
  copyTo(other: Checkpoints, upTo: number): void {
    other.#stride = this.#stride;
    for (const [index, checkpoint] of this.#stored) {
      if (index > upTo) continue;
      const { xT, x0Hat, history, ownBefore } = checkpoint;
      const copies = other.#copies([xT, x0Hat, history, ownBefore]);
      other.#stored.set(index, {
        ...checkpoint,
        ...{ xT: copies[0]!, x0Hat: copies[1]!, history: copies[2]!, ownBefore: copies[3]! },
      });
    }
  }

  /** Frees everything. */
  clear(): void {
    for (const checkpoint of this.#stored.values()) free(checkpoint);
    this.#stored.clear();
    if (this.#loose) free(this.#loose);
    this.#loose = null;
  }

  /** Copies on the GPU. If the GPU has no room for them, fewer states are kept from now on. */
  #copies(tensors: readonly (GpuTensor | null)[]): (GpuTensor | null)[] {
    const { device } = this.#access.gpu;
    if (this.#refusals >= MOST_REFUSALS)
      throw new DiffusionError(
        'out-of-memory',
        'The GPU has no room for the states of the run.',
        'Draw fewer pictures at a time.',
      );
    const { result: copies, refused } = scoped(device, () => {
      const made = tensors.map((tensor): GpuTensor | null => {
        if (!tensor) return null;
        const { label, buffer } = tensor;
        const usage = STORAGE | COPY_SRC | COPY_DST;
        return {
          ...tensor,
          buffer: device.createBuffer({ label: `state.${label}`, size: buffer.size, usage }),
        };
      });
      copyTensors(
        device,
        tensors.map((tensor, i) => [tensor, made[i]!]),
      );
      return made;
    });
    void refused.then((refusal) => {
      if (refusal?.memory) this.#thin(copies);
      else this.#refusals = 0;
    });
    return copies;
  }

  /** Drops the copies that failed, and every second of the others. */
  #thin(failed: readonly (GpuTensor | null)[]): void {
    this.#refusals++;
    this.#stride *= 2;
    for (const [index, checkpoint] of this.#stored)
      if (failed.includes(checkpoint.xT) || (index % this.#stride !== 0 && !this.#pinned(index))) {
        this.#stored.delete(index);
        free(checkpoint);
      }
    if (failed.includes(this.#loose?.xT ?? null)) this.#loose = null;
  }
}

function free({ xT, x0Hat, history, ownBefore }: Checkpoint): void {
  for (const tensor of [xT, x0Hat, history, ownBefore]) tensor?.buffer.destroy();
}
