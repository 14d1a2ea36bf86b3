/** A network on a GPU, ready to run: from a folder of files to recorded dispatches. */

import { DiffusionError } from '../core/errors.ts';
import type { Gpu } from './gpu/device.ts';
import { buildProgram, run, type Program } from './gpu/program.ts';
import { readTensor } from './gpu/transfer.ts';
import { bindingLimit, checkMemory, convShapes, memoryPlan, smallestRun } from './memory.ts';
import { kernelPolicyFor } from './kernels/conv_variants.ts';
import { FALLBACK_KERNELS, NetworkRecorder, type KernelPolicy } from './kernels/kernel_policy.ts';
import { pack } from './kernels/layout_convert.ts';
import { tune, type TuneOptions } from './kernels/tune.ts';
import { parseSchedulerConfig, type SchedulerConfig } from '../schedule/config.ts';
import { selfCheck } from './self_check.ts';
import { recordStep, stepShapeKey, type StepShape } from './step_graph.ts';
import { buildStep, type StepPlan } from './step_plan.ts';
import { bufferHandle, type DType, type Shape } from '../core/tensor.ts';
import { checkSize, parseUNetConfig, type UNetConfig } from './unet/config.ts';
import { recordNetwork } from './unet/network.ts';
import { parameterCount } from './unet/parameters.ts';
import { GpuWeights, WeightLayout } from './unet/weights.ts';
import type { ModelFiles } from './formats/files.ts';
import { loadFolder } from './formats/load.ts';

export interface LoadOptions {
  /** Storage of weights and activations; sums are always in f32. Default f32. */
  readonly dtype?: DType;
  readonly signal?: AbortSignal;
  /** Bytes of GPU memory that the model and its runs may take; default an estimate of what the machine has. */
  readonly memory?: number;
  /**
   * Measures the variants of each convolution on this GPU, for about a second at most, at the first load; if false, a rule
   * decides. Default true on a GPU, false on a software adapter. Numbers differ in their last bits.
   */
  readonly tune?: boolean | TuneOptions;
  /**
   * Whether each kernel is compared with known numbers at its first use on a device; default true. Only devices that
   * compile and compute nothing need false (tools/gpu-static).
   */
  readonly selfCheck?: boolean;
}

export type { StepPlan, StepShape, TuneOptions };

/** A model on a GPU: owns its weights and the plan of its last run. */
export class Model {
  readonly gpu: Gpu;
  readonly label: string;
  readonly config: UNetConfig;
  readonly schedulerConfig: SchedulerConfig;
  /** Names of the classes; empty when the model has none. */
  readonly labels: readonly string[];
  readonly #weights: GpuWeights;
  readonly #memory: number | undefined;
  #policy: KernelPolicy;
  /** The GPU that kernels are built for: without quad operations once the fallback kernels are in use. */
  #kernelGpu: Gpu;
  #plan: StepPlan | null = null;
  #selfCheck = true;

  private constructor(
    gpu: Gpu,
    label: string,
    config: UNetConfig,
    schedulerConfig: SchedulerConfig,
    labels: readonly string[],
    weights: GpuWeights,
    memory: number | undefined,
    policy: KernelPolicy,
  ) {
    this.#policy = policy;
    this.gpu = this.#kernelGpu = gpu;
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
    {
      dtype = 'f32',
      signal,
      memory,
      tune: tuning = !gpu.isSoftware,
      selfCheck: compare = true,
    }: LoadOptions = {},
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
    const layout = new WeightLayout(config, dtype);
    const rule = kernelPolicyFor(gpu);
    const smallest = smallestRun(config);
    checkMemory(
      gpu,
      memoryPlan(
        layout,
        smallest && recordStep(config, layout, smallest, files.label, bindingLimit(gpu), rule),
      ),
      files.label,
      dtype === 'f32' && gpu.f16
        ? 'Choose a smaller model, or load this one in f16.'
        : 'Choose a smaller model.',
      memory,
    );
    const tensors = await folder.readTensors();
    const weights = await GpuWeights.upload(gpu, config, tensors, layout, files.label, signal);
    try {
      const options = { ...(signal ? { signal } : {}), ...(typeof tuning === 'object' ? tuning : {}) };
      const policy = tuning ? await tune(gpu, convShapes(config), dtype, options) : rule;
      const model = new Model(gpu, files.label, config, scheduler, folder.labels, weights, memory, policy);
      model.#selfCheck = compare;
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
  get kernels(): KernelPolicy {
    return this.#policy;
  }

  /** True if the GPU refused the usual kernels, or computed wrong numbers with them. Slower, the same pictures. */
  get usesFallbackKernels(): boolean {
    return this.#policy === FALLBACK_KERNELS;
  }

  get dtype(): DType {
    return this.#weights.layout.dtype;
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
    return this.#withFallbackKernels(() => this.#predict(inputs, labels));
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
    const recorder = new NetworkRecorder(this.#policy);
    const x = recorder.persistent('sample', shape, 'f32');
    const t = recorder.persistent('timestep', [n, 1, 1, 1], 'f32');
    const continuous = labels && config.classEmbedType !== null;
    const indices = labels && !continuous ? bufferHandle('class_labels', n * 4, 'persistent') : null;
    const vectors = continuous
      ? recorder.persistent('class_labels', [n, labels.length / n, 1, 1], 'f32')
      : null;
    const classes =
      vectors && config.classEmbedType === 'identity'
        ? pack(recorder, 'class_vectors', vectors, { dtype: this.dtype })
        : (vectors ?? indices);
    const inputs = { x, timestep: t, labels: classes, passes: 1 };
    const { output } = recordNetwork(recorder, config, this.#weights.layout, inputs, bindingLimit(gpu));
    let program: Program | null = null;
    try {
      program = await buildProgram(this.#kernelGpu, recorder, 'eps', this.#weights.buffers);
      const { queue } = gpu.device;
      queue.writeBuffer(program.bufferOf(x), 0, sample);
      queue.writeBuffer(program.bufferOf(t), 0, timestep);
      if (indices) queue.writeBuffer(program.bufferOf(indices), 0, Uint32Array.from(labels!));
      if (vectors) queue.writeBuffer(program.bufferOf(vectors), 0, Float32Array.from(labels!));
      for (const range of program.timings.split()) run(gpu.device, program, range);
      return { shape: output.shape, eps: await readTensor(gpu, program.tensorOf(output)) };
    } finally {
      program?.destroy();
    }
  }

  /** A plan for steps of this shape, for the caller alone until it is released. @throws limits-too-small, out-of-memory */
  async acquirePlan(shape: StepShape): Promise<StepPlan> {
    const last = this.#plan;
    if (last && !last.busy && last.key === stepShapeKey(shape)) {
      last.busy = true;
      return last;
    }
    if (last && !last.busy) {
      last.destroy();
      this.#plan = null;
    }
    const plan = await this.#withFallbackKernels(() => this.#makePlan(shape));
    this.#plan ??= plan;
    return plan;
  }

  releasePlan(plan: StepPlan): void {
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
    let wrong: string | null;
    try {
      wrong = await selfCheck(this.#kernelGpu, config, shapes, dtype, this.#policy, this.#selfCheck);
    } catch (error) {
      const refused = error instanceof DiffusionError && error.code === 'gpu-error';
      if (this.usesFallbackKernels || !refused) throw error;
      gpu.check(); // a device that is broken stays so
      wrong = error.what;
    }
    if (wrong === null) return;
    if (!this.usesFallbackKernels) {
      this.#useFallback(wrong);
      return this.#checkKernels();
    }
    console.warn(`diffusion-sampler: ${gpu.adapter}: ${wrong}`);
    throw new DiffusionError(
      'gpu-error',
      `This graphics adapter (${gpu.adapter}) computes wrong numbers.`,
      'Update the graphics driver and the browser, or use another browser.',
    );
  }

  #useFallback(why: string): void {
    console.warn(`diffusion-sampler: fallback kernels on ${this.gpu.adapter}: ${why}`);
    this.#policy = FALLBACK_KERNELS;
    this.#kernelGpu = { ...this.gpu, supportsQuadOps: false };
  }

  /** Builds once more with the fallback kernels, which are slower, if the driver refuses a shader. */
  async #withFallbackKernels<R>(build: () => Promise<R>): Promise<R> {
    try {
      return await build();
    } catch (error) {
      const refused = error instanceof DiffusionError && error.code === 'gpu-error';
      if (!refused || this.usesFallbackKernels) throw error;
      this.gpu.check(); // a lost device stays lost
      this.#useFallback(error.message);
      await this.#checkKernels();
      return build();
    }
  }

  async #makePlan(shape: StepShape): Promise<StepPlan> {
    const { gpu, config, label } = this;
    const { layout, buffers } = this.#weights;
    const graph = recordStep(config, layout, shape, label, bindingLimit(gpu), this.#policy);
    const memory = memoryPlan(layout, graph);
    checkMemory(
      gpu,
      memory,
      `${shape.count} x ${shape.height} x ${shape.width} with ${label}`,
      'Draw fewer pictures at a time, or smaller ones.',
      this.#memory,
    );
    return buildStep(this.#kernelGpu, graph, shape, buffers, label, memory.working);
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
}
