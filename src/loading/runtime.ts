/**
 * One device and one copy of each model for all who draw on a page, and turns for them.
 *
 * A lease is the right to use a model: the first one downloads and uploads it, the last one to be released frees it, and
 * the device with the last model. When the device is lost it is opened again once, with all models; lost again within a
 * minute, all leases fail with `device-lost`.
 */

import { untilAborted } from '../core/abort.ts';
import { DiffusionError, throwIfAborted } from '../core/errors.ts';
import { openGpu, type Gpu } from '../engine/gpu/device.ts';
import type { LoadOptions, Model, TuneOptions } from '../engine/model.ts';
import type { DType } from '../core/tensor.ts';
import { openSource, type ModelSource, type Notice } from './source.ts';

export interface AcquireOptions {
  /** Where the bundled models are; `weights/` beside the page unless given. */
  readonly base?: URL;
  /** Storage of weights and activations; f32 unless given. */
  readonly dtype?: DType;
  /** As in Model.load. Results are cached in localStorage if available. The first caller's setting applies to a model. */
  readonly tune?: LoadOptions['tune'];
  /** Leaves while the model loads; the download ends when the last one who waits for it has left. */
  readonly signal?: AbortSignal;
  /** Bytes that have come, of how many; `total` is null where the source does not say. */
  readonly onProgress?: (received: number, total: number | null) => void;
  /** What a visitor should know of where the model comes from. */
  readonly onNotice?: (notice: Notice) => void;
}

/**
 * The right to use a model. Events: `rebuilt` when `gpu` and `model` are new ones after a loss (all tensors of the old
 * ones are gone), `error` when there will be none (`failure` says why).
 */
export interface Lease extends EventTarget {
  readonly gpu: Gpu;
  readonly model: Model;
  readonly source: ModelSource;
  readonly failure: DiffusionError | null;
  /** Runs `work` when all who asked before have had their turn. */
  turn<T>(work: () => Promise<T>): Promise<T>;
  /** Resolves when `gpu` and `model` can be used (again). @throws device-lost and what opening a model throws */
  ready(): Promise<void>;
  /** Ends the lease; the second time it does nothing. */
  release(): void;
}

export interface RuntimeOptions {
  /** WebGPU's entry point: `navigator.gpu` unless given. */
  readonly gpu?: () => Promise<GPU | undefined>;
  readonly open?: typeof openSource;
  /** Milliseconds that an unused model waits for another user before it is freed; 1000 unless given. */
  readonly linger?: number;
}

/** Two losses closer than this are one too many. */
const LOSS_INTERVAL = 60_000;

interface Loaded {
  readonly gpu: Gpu;
  readonly model: Model;
}

/** A model and those who use it or wait for it. */
interface Shared {
  readonly key: string;
  readonly source: ModelSource;
  readonly dtype: DType;
  readonly tune: LoadOptions['tune'];
  readonly leases: Set<HeldLease>;
  /** Users that wait. */
  readonly waiting: Set<AcquireOptions>;
  readonly abort: AbortController;
  loading: Promise<Loaded>;
  loaded: Loaded | null;
  received: number;
  total: number | null;
}

export class Runtime {
  readonly #options: RuntimeOptions;
  #gpu: Promise<Gpu> | null = null;
  readonly #shared = new Map<string, Shared>();
  readonly #sources = new Map<string, Promise<ModelSource>>();
  #queue: Promise<unknown> = Promise.resolve();
  #lastLoss = -Infinity;
  /**
   * Which GPU to use on a machine with two; default the browser's choice, mostly the one that saves power. Set it before
   * the first model is asked for. Chrome on Windows ignores it.
   */
  powerPreference: GPUPowerPreference | undefined;

  constructor(options: RuntimeOptions = {}) {
    this.#options = options;
  }

  /**
   * A model, ready to run: from those that are here, or downloaded.
   * @param source as in openSource, or a source that is open already
   * @throws what opening a device and loading a model throw; aborted
   */
  async acquire(
    source: string | URL | readonly File[] | ModelSource,
    options: AcquireOptions = {},
  ): Promise<Lease> {
    const { signal, onProgress, dtype = 'f32' } = options;
    throwIfAborted(signal);
    const opened = await this.#open(source, options);
    throwIfAborted(signal);
    const shared = this.#share(opened, dtype, options.tune);
    shared.waiting.add(options);
    if (shared.received > 0) onProgress?.(shared.received, shared.total);
    try {
      await untilAborted(shared.loading, signal);
    } catch (error) {
      shared.waiting.delete(options);
      this.#leave(shared);
      throw error;
    }
    const lease = new HeldLease(this, shared);
    shared.leases.add(lease);
    shared.waiting.delete(options);
    return lease;
  }

  /** What is known of a model before it is downloaded: its size, its licence. */
  async describe(source: string | URL | readonly File[], options: AcquireOptions = {}): Promise<ModelSource> {
    return this.#open(source, options);
  }

  /** @internal */
  release(shared: Shared, lease: HeldLease): void {
    if (shared.leases.delete(lease)) this.#leave(shared);
  }

  /** @internal First come, first served; a failed turn does not stop the next. */
  turn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work);
    this.#queue = result.catch(() => {});
    return result;
  }

  async #open(
    source: string | URL | readonly File[] | ModelSource,
    asking: AcquireOptions,
  ): Promise<ModelSource> {
    const { base } = asking;
    if (isSource(source)) return source;
    const { open = openSource } = this.#options;
    let key = '';
    const users = (): AcquireOptions[] =>
      [...this.#shared.values()].flatMap((shared) => (shared.source.key === key ? [...shared.waiting] : []));
    const onProgress = (received: number, total: number | null): void => {
      for (const shared of this.#shared.values())
        if (shared.source.key === key)
          Object.assign(shared, { received, total: total ?? shared.source.bytes });
      for (const user of users()) user.onProgress?.(received, total);
    };
    const onNotice = (notice: Notice): void => {
      for (const user of new Set([asking, ...users()])) user.onNotice?.(notice);
    };
    const start = async (): Promise<ModelSource> => {
      const found = await open(source, { ...(base ? { base } : {}), onProgress, onNotice });
      key = found.key;
      return found;
    };
    if (typeof source !== 'string' && !(source instanceof URL)) return start();
    const address = `${String(base)} ${String(source)}`;
    let opening = this.#sources.get(address);
    if (!opening) {
      opening = start();
      this.#sources.set(address, opening);
      opening.catch(() => this.#sources.delete(address)); // a failed one may be tried again
    }
    return opening;
  }

  #share(source: ModelSource, dtype: DType, tune: LoadOptions['tune']): Shared {
    const key = `${dtype} ${source.key}`;
    let shared = this.#shared.get(key);
    if (!shared) {
      const abort = new AbortController();
      shared = {
        key,
        source,
        dtype,
        tune,
        abort,
        leases: new Set(),
        waiting: new Set(),
        loading: Promise.resolve(null as never),
        loaded: null,
        received: 0,
        total: source.bytes,
      };
      this.#shared.set(key, shared);
      this.#load(shared);
    }
    return shared;
  }

  #load(shared: Shared): void {
    const load = async (): Promise<Loaded> => {
      const engine = importEngine();
      engine.catch(() => {}); // awaited below
      const gpu = await this.#device();
      const { signal } = shared.abort;
      throwIfAborted(signal);
      const { Model } = await engine;
      const model = await Model.load(gpu, shared.source.files, {
        dtype: shared.dtype,
        tune:
          shared.tune === undefined ? !gpu.isSoftware && keeping({}) : shared.tune && keeping(shared.tune),
        signal,
      });
      if (signal.aborted) model.destroy();
      throwIfAborted(signal);
      return (shared.loaded = { gpu, model });
    };
    shared.loading = load();
    shared.loading.catch(() => {
      if (this.#shared.get(shared.key) === shared) this.#shared.delete(shared.key);
      this.#closeIfUnused();
    });
  }

  #device(): Promise<Gpu> {
    if (!this.#gpu) {
      const { powerPreference } = this;
      const options = powerPreference ? { powerPreference } : {};
      const opening = (async () => openGpu(await this.#options.gpu?.(), options))();
      this.#gpu = opening;
      opening.then(
        (gpu) => void gpu.device.lost.then(() => this.#lost(opening)),
        () => {
          if (this.#gpu === opening) this.#gpu = null;
        },
      );
    }
    return this.#gpu;
  }

  #leave(shared: Shared): void {
    const unused = () => shared.leases.size === 0 && shared.waiting.size === 0;
    if (!unused()) return;
    if (!shared.loaded) return this.#drop(shared);
    const { linger = 1000 } = this.#options;
    setTimeout(() => {
      if (unused()) this.#drop(shared);
    }, linger);
  }

  #drop(shared: Shared): void {
    if (this.#shared.get(shared.key) === shared) this.#shared.delete(shared.key);
    shared.abort.abort();
    // In a turn of its own: a step of the last user may be under way.
    void this.turn(() => {
      shared.loaded?.model.destroy();
      shared.loaded = null;
      this.#closeIfUnused();
      return Promise.resolve();
    });
  }

  #closeIfUnused(): void {
    if (this.#shared.size > 0 || !this.#gpu) return;
    const closing = this.#gpu;
    this.#gpu = null;
    closing.then(
      (gpu) => gpu.destroy(),
      () => {},
    );
  }

  /** The device has gone, and not because nobody needs it: once more from the start, for all who use it. */
  #lost(gpu: Promise<Gpu>): void {
    if (this.#gpu !== gpu) return;
    this.#gpu = null;
    const again = performance.now() - this.#lastLoss > LOSS_INTERVAL;
    this.#lastLoss = performance.now();
    for (const shared of [...this.#shared.values()]) {
      const wasLoaded = shared.loaded !== null;
      shared.loaded = null;
      if (again && wasLoaded) {
        this.#load(shared);
        shared.loading.then(
          () => shared.leases.forEach((lease) => lease.dispatchEvent(new Event('rebuilt'))),
          (error: unknown) => shared.leases.forEach((lease) => lease.fail(error)),
        );
      } else if (wasLoaded) {
        this.#shared.delete(shared.key);
        const error = new DiffusionError(
          'device-lost',
          'The GPU device was lost twice within a minute.',
          'Close other heavy tabs, then try again.',
        );
        shared.leases.forEach((lease) => lease.fail(error));
      } // what was loading fails by itself, with device-lost
    }
  }
}

/** Imports the larger part of all code, which a page needs with its first model only. @throws download-failed */
const importEngine = () =>
  import('../engine/model.ts').catch((cause: unknown) => {
    throw new DiffusionError(
      'download-failed',
      'A script of the sampler did not load.',
      'Check the connection, then reload the page.',
      { cause },
    );
  });

class HeldLease extends EventTarget implements Lease {
  readonly #runtime: Runtime;
  readonly #shared: Shared;
  #last: Loaded;
  failure: DiffusionError | null = null;

  constructor(runtime: Runtime, shared: Shared) {
    super();
    this.#runtime = runtime;
    this.#shared = shared;
    this.#last = shared.loaded!;
  }

  get #loaded(): Loaded {
    return (this.#last = this.#shared.loaded ?? this.#last);
  }
  get gpu(): Gpu {
    return this.#loaded.gpu;
  }
  get model(): Model {
    return this.#loaded.model;
  }
  get source(): ModelSource {
    return this.#shared.source;
  }

  turn<T>(work: () => Promise<T>): Promise<T> {
    return this.#runtime.turn(work);
  }

  async ready(): Promise<void> {
    if (this.failure) throw this.failure;
    await this.#shared.loading;
  }

  release(): void {
    this.#runtime.release(this.#shared, this);
  }

  /** @internal */
  fail(error: unknown): void {
    this.failure =
      error instanceof DiffusionError
        ? error
        : new DiffusionError('device-lost', `The GPU device was lost (${String(error)}).`, 'Try again.');
    this.dispatchEvent(new Event('error'));
  }
}

const isSource = (source: object | string): source is ModelSource =>
  typeof source === 'object' && 'files' in source && 'key' in source;

/** The page's own. */
export const runtime = new Runtime();

/** A model for use on this page; see Runtime. */
export const acquire: Runtime['acquire'] = (source, options) => runtime.acquire(source, options);

/** Caches tuning results between visits, so start-up is fast and the same kernels, hence the same bits, are used again. */
function keeping(options: true | TuneOptions): true | TuneOptions {
  try {
    return 'document' in globalThis ? { store: localStorage, ...(options === true ? {} : options) } : options;
  } catch {
    return options; // forbidden here
  }
}
