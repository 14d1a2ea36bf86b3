/** A network on a GPU, ready to run: from a folder of files to recorded dispatches. */

import { DiffusionError } from './errors.ts';
import type { Gpu } from './gpu/device.ts';
import { allocate } from './gpu/scope.ts';
import { LEAST, run, Tape, type Recording, type Variants } from './gpu/tape.ts';
import { readTensor } from './gpu/transfer.ts';
import { COPY_DST, STORAGE } from './gpu/usage.ts';
import { bindingLimit, checkMemory, convShapes, planMemory, smallestRun } from './memory.ts';
import { pack } from './ops/pack.ts';
import { tune, type TuneOptions } from './ops/tune.ts';
import { variantsFor } from './ops/variants.ts';
import { bufferSize, recordNetwork, recordStep, type Ahead, type StepShape } from './record.ts';
import { parseSchedulerConfig, type SchedulerConfig } from './schedule/config.ts';
import { normalTable } from './schedule/normal_table.ts';
import { selfCheck } from './self_check.ts';
import type { DType, Shape, Tensor } from './tensor.ts';
import { checkSize, parseUNetConfig, type UNetConfig } from './unet/config.ts';
import { parameterCount } from './unet/parameters.ts';
import { UNetWeights } from './unet/weights.ts';
import type { ModelFiles } from './weights/files.ts';
import { loadFolder } from './weights/load.ts';

export interface LoadOptions {
  /** Storage of weights and activations; sums are in f32 always. f32 unless given. */
  readonly dtype?: DType;
  readonly signal?: AbortSignal;
  /** Bytes of GPU memory that the model and its runs may take; unless given, what the machine is thought to have. */
  readonly memory?: number;
  /**
   * Whether the ways to compute a convolution are measured on this GPU, at most about a second at the first load; if not, a
   * rule decides. Unless given, on a GPU they are, and on a software adapter not. Numbers differ in their last bits.
   */
  readonly tune?: boolean | TuneOptions;
  /**
   * Whether each kernel is compared with known numbers at its first use on a device; default true. Only devices that
   * compile and compute nothing need false (tools/gpu-static).
   */
  readonly selfCheck?: boolean;
}

export type { StepShape, TuneOptions };

/** A recorded step, and the buffers that steer it. */
export interface StepPlan {
  readonly shape: StepShape;
  /** x_t -> x_{t-1}: network and update. */
  readonly step: Recording;
  /** Fills `x` with x_T. */
  readonly start: Recording;
  /** The state, planar (count, C, H, W). */
  readonly x: Tensor;
  readonly x0Hat: Tensor;
  /** What the sampler remembers, planar (slots * count, C, H, W); null without slots. */
  readonly history: Tensor | null;
  /** What the network takes from timesteps and classes, of many steps at a time; null where a step computes its own. */
  readonly ahead: Ahead<Recording> | null;
  /** (passes * count, 1, 1, 1): the timestep of every image that the network sees; without memory where nothing reads it. */
  readonly timestep: Tensor;
  /** The class of every image that the network sees, for each of the steps of `ahead`; null for an unconditional model. */
  readonly labels: GPUBuffer | null;
  readonly seeds: GPUBuffer;
  readonly uniforms: GPUBuffer;
  readonly fault: GPUBuffer;
  readonly z: Tensor | null;
  /** Null unless masked. */
  readonly repaint: {
    /** Noises the whole state (RePaint). */
    readonly jump: Recording;
    readonly known: Tensor;
    readonly mask: Tensor;
    readonly numbers: GPUBuffer;
  } | null;
  /** Of all images that the network sees in one step. */
  readonly flops: number;
  /** Bytes of GPU memory besides the weights. */
  readonly bytes: number;
  busy: boolean;
  destroy(): void;
}

/** A model on a GPU: owns its weights and the plan of its last run. */
export class Model {
  readonly gpu: Gpu;
  readonly label: string;
  readonly config: UNetConfig;
  readonly schedulerConfig: SchedulerConfig;
  /** Names of the classes; empty when the model has none. */
  readonly labels: readonly string[];
  readonly #weights: UNetWeights;
  readonly #memory: number | undefined;
  #variants: Variants;
  /** Used to build: without quads once a shader was refused. */
  #builder: Gpu;
  #plan: StepPlan | null = null;
  #compare = true;

  private constructor(
    gpu: Gpu,
    label: string,
    config: UNetConfig,
    schedulerConfig: SchedulerConfig,
    labels: readonly string[],
    weights: UNetWeights,
    memory: number | undefined,
    variants: Variants,
  ) {
    this.#variants = variants;
    this.gpu = this.#builder = gpu;
    this.label = label;
    this.config = config;
    this.schedulerConfig = schedulerConfig;
    this.labels = labels;
    this.#weights = weights;
    this.#memory = memory;
  }

  /**
   * Reads a folder in diffusers layout and brings its weights to the GPU. Whether they fit is known from the config,
   * before they are read.
   * @throws file-not-found, download-failed, integrity-failed, unsupported-model, limits-too-small, bad-weights,
   *   out-of-memory, aborted, bad-option
   */
  static async load(
    gpu: Gpu,
    files: ModelFiles,
    { dtype = 'f32', signal, memory, tune: tuning = !gpu.isSoftware, selfCheck: compare = true }: LoadOptions = {}, // prettier-ignore
  ): Promise<Model> {
    if (dtype !== 'f32' && dtype !== 'f16')
      throw new DiffusionError('bad-option', `There is no dtype ${String(dtype)}.`, 'Choose f32 or f16.');
    if (dtype === 'f16' && !gpu.f16)
      throw new DiffusionError(
        'bad-option',
        `This adapter (${gpu.adapter}) does not compute in 16-bit floats.`,
        'Choose f32.',
      );
    const folder = await loadFolder(files, signal);
    const config = parseUNetConfig(folder.unetConfig, `config.json of ${files.label}`);
    const scheduler = parseSchedulerConfig(folder.schedulerConfig, `scheduler_config.json of ${files.label}`);
    checkMemory(
      gpu,
      planMemory(config, smallestRun(config), dtype, bindingLimit(gpu), variantsFor(gpu)),
      files.label,
      dtype === 'f32' && gpu.f16
        ? 'Choose a smaller model, or load this one in f16.'
        : 'Choose a smaller model.',
      memory,
    );
    const tensors = await folder.readTensors();
    const weights = await UNetWeights.upload(gpu, config, tensors, dtype, files.label, signal);
    try {
      const options = { ...(signal ? { signal } : {}), ...(typeof tuning === 'object' ? tuning : {}) };
      const variants = tuning ? await tune(gpu, convShapes(config), dtype, options) : variantsFor(gpu);
      const model = new Model(gpu, files.label, config, scheduler, folder.labels, weights, memory, variants);
      model.#compare = compare;
      await model.#checkKernels();
      return model;
    } catch (error) {
      weights.destroy();
      throw error;
    }
  }

  get parameters(): number {
    return parameterCount(this.config);
  }

  /** Bytes of GPU memory that the weights take. */
  get weightBytes(): number {
    return this.#weights.bytes;
  }

  /** The network's output has a second half, the variance (Improved DDPM). */
  get learnsVariance(): boolean {
    return this.config.outChannels === 2 * this.config.inChannels;
  }

  /** How its layers are computed. */
  get variants(): Variants {
    return this.#variants;
  }

  get dtype(): DType {
    return this.#weights.dtype;
  }

  /**
   * Runs the network alone. All arrays row-major; eps comes back (N, outChannels, H, W).
   * @param inputs labels: one class an image; with class_embed_type timestep one number, with identity timeEmbeddingDim
   *   numbers an image
   * @throws bad-input, unsupported-model, limits-too-small, out-of-memory
   */
  async predict(inputs: {
    readonly shape: Shape;
    readonly sample: Float32Array<ArrayBuffer>;
    readonly timestep: Float32Array<ArrayBuffer>;
    readonly labels: readonly number[] | Float32Array<ArrayBuffer> | null;
  }): Promise<{ shape: Shape; eps: Float32Array<ArrayBuffer> }> {
    const { config } = this;
    const { shape, timestep } = inputs;
    const [n, c, h, w] = shape;
    if (c !== config.inChannels)
      throw new DiffusionError(
        'bad-input',
        `The sample has ${c} channels, and ${this.label} takes ${config.inChannels}.`,
        'Give a sample of the shape [N, C, H, W] that the model was trained with.',
      );
    if (timestep.length !== n)
      throw new DiffusionError(
        'bad-input',
        `There are ${n} samples and ${timestep.length} timesteps.`,
        'Give one timestep for each sample.',
      );
    checkSize(config, h, w, this.label);
    const labels = this.#checkLabels(inputs.labels && [...inputs.labels], n);
    return this.#plainly(() => this.#predict(inputs, labels));
  }

  async #predict(
    {
      shape,
      sample,
      timestep,
    }: { shape: Shape; sample: Float32Array<ArrayBuffer>; timestep: Float32Array<ArrayBuffer> },
    labels: readonly number[] | null,
  ): Promise<{ shape: Shape; eps: Float32Array<ArrayBuffer> }> {
    const { gpu, config } = this;
    const [n] = shape;
    const tape = new Tape(this.variants);
    const x = tape.pinned('sample', shape, 'f32');
    const t = tape.pinned('timestep', [n, 1, 1, 1], 'f32');
    const continuous = labels && config.classEmbedType !== null;
    const labelBuffer =
      labels && !continuous
        ? await allocate(gpu.device, 'class labels', () => this.#buffer('class_labels', n * 4, STORAGE | COPY_DST)) // prettier-ignore
        : null;
    const labelTensor = continuous ? tape.pinned('class_labels', [n, labels.length / n, 1, 1], 'f32') : null;
    const vectors =
      labelTensor && config.classEmbedType === 'identity'
        ? pack(tape, 'class_vectors', labelTensor, { dtype: this.dtype })
        : labelTensor;
    const classes = vectors ?? labelBuffer;
    const out = recordNetwork(tape, config, this.#weights, { x, timestep: t, labels: classes, passes: 1 }, bindingLimit(gpu)); // prettier-ignore
    let recording: Recording | null = null;
    try {
      recording = await tape.build(this.#builder, 'eps');
      gpu.device.queue.writeBuffer(x.storage.buffer!, 0, sample);
      gpu.device.queue.writeBuffer(t.storage.buffer!, 0, timestep);
      if (labelBuffer) gpu.device.queue.writeBuffer(labelBuffer, 0, Uint32Array.from(labels!));
      if (labelTensor)
        gpu.device.queue.writeBuffer(labelTensor.storage.buffer!, 0, Float32Array.from(labels!));
      for (const piece of recording.split()) run(gpu.device, recording, piece);
      return { shape: out.shape, eps: await readTensor(gpu, out) };
    } finally {
      recording?.destroy();
      labelBuffer?.destroy();
    }
  }

  /** A plan for steps of this shape, free to use until it is given back. @throws limits-too-small, out-of-memory */
  async takePlan(shape: StepShape): Promise<StepPlan> {
    const last = this.#plan;
    if (last && !last.busy && JSON.stringify(last.shape) === JSON.stringify(shape)) {
      last.busy = true;
      return last;
    }
    if (last && !last.busy) {
      last.destroy();
      this.#plan = null;
    }
    const plan = await this.#plainly(() => this.#makePlan(shape));
    this.#plan ??= plan;
    return plan;
  }

  givePlanBack(plan: StepPlan): void {
    plan.busy = false;
    if (plan !== this.#plan) plan.destroy();
  }

  destroy(): void {
    this.#plan?.destroy();
    this.#weights.destroy();
  }

  /** Replaces kernels that give wrong numbers here by the fallback ones. @throws gpu-error, if these are wrong or refused, too */
  async #checkKernels(): Promise<void> {
    const { gpu, config, dtype } = this;
    const shapes = convShapes(config);
    const last = this.#variants === LEAST;
    let wrong: string | null;
    try {
      wrong = await selfCheck(this.#builder, config, shapes, dtype, this.#variants, this.#compare);
    } catch (error) {
      if (last || !(error instanceof DiffusionError) || error.code !== 'gpu-error') throw error;
      gpu.check(); // a device that is broken stays so
      wrong = error.what;
    }
    if (wrong === null) return;
    if (!last) {
      console.warn(`diffusion-sampler: fallback kernels on ${gpu.adapter}: ${wrong}`);
      this.#useFallback();
      return this.#checkKernels();
    }
    console.warn(`diffusion-sampler: ${gpu.adapter}: ${wrong}`);
    throw new DiffusionError(
      'gpu-error',
      `This graphics adapter (${gpu.adapter}) computes wrong numbers.`,
      'Update the graphics driver and the browser, or use another browser.',
    );
  }

  #useFallback(): void {
    this.#variants = LEAST;
    this.#builder = { ...this.gpu, quads: false };
  }

  /** If the driver refuses a shader, builds once more with the fallback kernels: slower, but they run. */
  async #plainly<R>(build: () => Promise<R>): Promise<R> {
    try {
      return await build();
    } catch (error) {
      const refused = error instanceof DiffusionError && error.code === 'gpu-error';
      if (!refused || this.#variants === LEAST) throw error;
      this.gpu.check(); // a device that is broken stays so
      this.#useFallback();
      await this.#checkKernels();
      return build();
    }
  }

  async #makePlan(shape: StepShape): Promise<StepPlan> {
    const { gpu, config, label } = this;
    const limit = bindingLimit(gpu);
    const planned = planMemory(config, shape, this.dtype, limit, this.variants);
    checkMemory(
      gpu,
      planned,
      `${shape.count} x ${shape.height} x ${shape.width} with ${label}`,
      'Draw fewer pictures at a time, or smaller ones.',
      this.#memory,
    );
    const buffers: GPUBuffer[] = [];
    const make = (name: string, bytes: number, usage: number): GPUBuffer => {
      const buffer = this.#buffer(name, bytes, usage);
      buffers.push(buffer);
      return buffer;
    };
    const built: Recording[] = [];
    const build = async (recorded: Tape, name: string): Promise<Recording> => {
      const recording = await recorded.build(this.#builder, name);
      built.push(recording);
      return recording;
    };
    const destroy = (): void => {
      built.forEach((recording) => recording.destroy());
      buffers.forEach((buffer) => buffer.destroy());
    };
    try {
      const what = `${shape.count} x ${shape.height} x ${shape.width} with ${label}`;
      const recorded = await allocate(gpu.device, what, () => {
        const made = recordStep(config, this.#weights, shape, make, label, limit, this.variants);
        gpu.device.queue.writeBuffer(made.normalTable, 0, normalTable);
        return made;
      });
      const { known, mask, repaintNumbers } = recorded;
      const step = await build(recorded.step, label);
      const start = await build(recorded.start, 'x_T');
      const jump = recorded.jump && (await build(recorded.jump, 'jump'));
      const { ahead } = recorded;
      return {
        ...recorded,
        shape,
        step,
        start,
        ahead: ahead && { ...ahead, tables: await build(ahead.tables, `${label}.times`) },
        repaint: jump && { jump, known: known!, mask: mask!, numbers: repaintNumbers! },
        flops: recorded.step.flops,
        bytes: planned.working,
        busy: true,
        destroy,
      };
    } catch (error) {
      destroy();
      throw error;
    }
  }

  #checkLabels(labels: readonly number[] | null, n: number): readonly number[] | null {
    const { numClassEmbeds: classes, classEmbedType: type, timeEmbeddingDim } = this.config;
    if (type !== null) {
      const each = type === 'identity' ? timeEmbeddingDim : 1;
      if (labels?.length !== n * each)
        throw new DiffusionError(
          'bad-input',
          `There are ${n} samples and ${labels?.length ?? 0} class labels.`,
          `${this.label} takes ${each} for each sample (class_embed_type ${type}).`,
        );
      return labels;
    }
    if (classes === null) {
      if (labels)
        throw new DiffusionError('bad-input', `${this.label} has no classes.`, 'Leave the class labels out.');
      return null;
    }
    if (!labels)
      throw new DiffusionError(
        'bad-input',
        `${this.label} is conditional on a class, and no class labels are given.`,
        `Give one of 0 to ${classes - 1} for each sample.`,
      );
    if (labels.length !== n)
      throw new DiffusionError(
        'bad-input',
        `There are ${n} samples and ${labels.length} class labels.`,
        'Give one label for each sample.',
      );
    const bad = labels.find((k) => !Number.isInteger(k) || k < 0 || k >= classes);
    if (bad !== undefined)
      throw new DiffusionError(
        'bad-input',
        `The class label ${bad} does not exist.`,
        `${this.label} knows 0 to ${classes - 1}.`,
      );
    return labels;
  }

  #buffer(label: string, bytes: number, usage: number): GPUBuffer {
    return this.gpu.device.createBuffer({ label, size: bufferSize(bytes), usage });
  }
}
