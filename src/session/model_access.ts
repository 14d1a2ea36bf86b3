/** A model and the order of those who compute with it: a Lease of the runtime, or a plain Model. */

import type { Gpu } from '../engine/gpu/device.ts';
import type { Model } from '../engine/model.ts';
import type { ModelSource } from '../loading/source.ts';

/** What a run needs of a model. A `Lease` has it, and takes turns with all who draw on the page. */
export interface ModelAccess extends EventTarget {
  readonly gpu: Gpu;
  readonly model: Model;
  /** Where the model comes from; absent for a model that the caller loaded. */
  readonly source?: ModelSource;
  /** Runs `work` after all who asked before. */
  turn<T>(work: () => Promise<T>): Promise<T>;
  /** Resolves when `gpu` and `model` can be used (again, after a loss). @throws device-lost */
  ready(): Promise<void>;
}

/** Those who use the same Model share its queue. */
const shared = new WeakMap<Model, ModelAccess>();

/** Access to a model that the caller loaded itself, as by `loadModel`. A lost device is not opened again. */
export function accessTo(model: Model | ModelAccess): ModelAccess {
  if ('turn' in model) return model;
  let access = shared.get(model);
  if (!access) shared.set(model, (access = new OwnModel(model)));
  return access;
}

class OwnModel extends EventTarget implements ModelAccess {
  readonly model: Model;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(model: Model) {
    super();
    this.model = model;
  }

  get gpu(): Gpu {
    return this.model.gpu;
  }

  turn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work);
    this.#queue = result.catch(() => {});
    return result;
  }

  ready(): Promise<void> {
    return Promise.resolve().then(() => this.gpu.check());
  }
}
