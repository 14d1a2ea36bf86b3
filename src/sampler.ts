/** The reverse process p(x_{t-1} | x_t), step by step: the loop that joins network, scheduler and noise. */

import { DiffusionError, throwIfAborted } from './errors.ts';
import { readBuffer } from './gpu/transfer.ts';
import type { Model, StepPlan } from './model.ts';
import { packUpdateStep } from './ops/update.ts';
import { beginFor, makeSteps, noiseLevel, type RunOptions } from './scheduler/index.ts';
import { keyOf, normals, STREAM_X_T } from './scheduler/noise.ts';
import { slotsOf, SLOTS, type Mix, type Step } from './scheduler/step.ts';
import { scalars, type Tensor } from './tensor.ts';
import { nullClass } from './unet/config.ts';

export interface SampleOptions extends RunOptions {
  /** One class an image, null for "any". Its length is the number of images. */
  readonly labels?: readonly (number | null)[];
  /** Number of images where no labels are given; 1 unless given. */
  readonly count?: number;
  /** Classifier-free guidance w: m = m_null + w (m_class - m_null). 1 (off) unless given. */
  readonly guidance?: number;
  /** Whole number in [0, 2^53); image n of a batch is drawn with seed + n. 0 unless given. */
  readonly seed?: number;
  /** Instead of the generator's x_T, or with `begin` the state to go on from: (count, C, H, W) row-major. */
  readonly xT?: Float32Array<ArrayBuffer>;
  /** Pictures to start from, in [-1, 1]: (count, C, H, W) row-major. Noised as far as `strength` says (SDEdit). */
  readonly init?: Float32Array<ArrayBuffer>;
  /** With `init`: the share of the steps that are taken, above 0 up to 1; 0.6 unless given. */
  readonly strength?: number;
  /** Guidance acts at timesteps in [from, to] only (Kynkaanniemi et al. 2024). */
  readonly guidanceInterval?: readonly [from: number, to: number];
  /** Instead of the generator's noise: z of every step, each (count, C, H, W) row-major. */
  readonly z?: readonly Float32Array<ArrayBuffer>[];
  readonly signal?: AbortSignal;
}

/** One state of a run. The tensors live on the GPU and are valid until the next one is asked for. */
export interface Sample {
  /** 0: the noise that the run starts from; k: after k steps. */
  readonly index: number;
  /** Number of steps of the run. */
  readonly steps: number;
  /** The timestep that the state stands at: input of the next step; -1 at the end, where it is the clean image. */
  readonly t: number;
  /** The step that led here; null at index 0. */
  readonly step: Step | null;
  /** x_t, planar f32 (count, C, H, W); trained on [-1, 1]. */
  readonly xT: Tensor;
  /** The prediction of x_0 that the step made; null at index 0. */
  readonly x0Hat: Tensor | null;
}

/**
 * Draws images. Yields steps + 1 states; each step runs when its state is asked for, so a caller that stops asking
 * (break, return) stops the run. The same seed gives the same pictures, alone or in a batch.
 *
 * @throws bad-option, bad-input, unsupported-model, limits-too-small, out-of-memory, device-lost, numeric-fault, aborted
 */
export async function* sample(model: Model, options: SampleOptions = {}): AsyncGenerator<Sample, void, void> {
  const { gpu, config } = model;
  const { device } = gpu;
  const { labels, guidance = 1, seed = 0, z, signal, init, guidanceInterval } = options;
  throwIfAborted(signal);
  const count = labels?.length ?? options.count ?? 1;
  const { schedulerConfig } = model;
  const begin =
    init && !options.invert ? beginFor(schedulerConfig, options, options.strength ?? 0.6) : options.begin;
  const steps = makeSteps(schedulerConfig, { ...options, ...(begin === undefined ? {} : { begin }) });
  checkEdit(options, guidanceInterval);
  checkCount(count, options);
  const classes = classLabels(model, labels ?? Array<null>(count).fill(null), guidance);
  const guided = guidance !== 1 && classes !== null && classes.some((k) => k !== nullClass(config));
  keyOf(seed + count - 1); // refuses a seed that is not one
  const side = config.sampleSize;
  if (!side)
    throw new DiffusionError(
      'unsupported-model',
      `${model.label} does not say what size its pictures have.`,
      'Add sample_size to its config.json.',
    );
  const length = scalars([count, config.inChannels, side[0], side[1]], 'planar');
  checkNoise('x_T', options.xT, length);
  checkNoise('init', init, length);
  z?.forEach((zi, i) => checkNoise(`z[${i}]`, zi, length));
  if (z && z.length !== steps.length)
    throw new DiffusionError(
      'bad-input',
      `Noise for ${z.length} steps is given, and the run has ${steps.length}.`,
      'Give one z for each step.',
    );

  const shape = {
    count,
    height: side[0],
    width: side[1],
    guided,
    givenNoise: z !== undefined,
    slots: slotsOf(steps),
  };
  const plan = await model.takePlan(shape);
  try {
    // Before the loop: what stays for all steps, and x_T.
    const passes = guided ? 2 : 1;
    const keys = Array.from({ length: count }, (_, n) => keyOf(seed + n)).flat();
    device.queue.writeBuffer(plan.seeds, 0, Uint32Array.from(keys));
    device.queue.writeBuffer(plan.fault, 0, new Uint32Array(1));
    if (plan.labels && classes) {
      const nulls = Array<number>(count).fill(nullClass(config)!);
      device.queue.writeBuffer(plan.labels, 0, Uint32Array.from(guided ? [...classes, ...nulls] : classes));
    }
    const xT = init ? startFrom(init, options, noiseLevel(schedulerConfig, steps[0]!.t), count) : options.xT;
    if (xT) device.queue.writeBuffer(plan.x.storage.buffer!, 0, xT);
    else submit(plan, 'start', device);
    const timestep = new Float32Array(passes * count);
    yield { index: 0, steps: steps.length, t: steps[0]!.t, step: null, xT: plan.x, x0Hat: null };

    let inFlight: Promise<void> = Promise.resolve();
    for (const [k, step] of steps.entries()) {
      throwIfAborted(signal);
      gpu.check();
      device.queue.writeBuffer(plan.timestep.storage.buffer!, 0, timestep.fill(step.t));
      device.queue.writeBuffer(
        plan.uniforms,
        0,
        uniforms(step, guided && guidanceInterval && !between(step.t, guidanceInterval) ? 1 : guidance),
      );
      if (plan.z && step.sigma > 0) device.queue.writeBuffer(plan.z.storage.buffer!, 0, z![k]!);
      submit(plan, 'step', device);
      await inFlight; // at most two steps are under way: stopping takes effect at once, and the GPU never idles
      inFlight = gpu.settled();
      inFlight.catch(() => {}); // awaited in the next round, or not at all when the caller stops
      if (k === steps.length - 1) await checkNumbers(plan, model);
      yield {
        index: k + 1,
        steps: steps.length,
        t: steps[k + 1]?.t ?? -1,
        step,
        xT: plan.x,
        x0Hat: plan.x0Hat,
      };
    }
  } finally {
    model.givePlanBack(plan);
  }
}

const between = (t: number, [from, to]: readonly [number, number]): boolean => t >= from && t <= to;

/** The state of given pictures: noised with the generator's noise, or with the x_T given; as they are for an inversion. */
function startFrom(
  init: Float32Array<ArrayBuffer>,
  { seed = 0, xT, invert }: SampleOptions,
  { a, s }: { readonly a: number; readonly s: number },
  count: number,
): Float32Array<ArrayBuffer> {
  if (invert) return init;
  const size = init.length / count;
  const out = new Float32Array(init.length);
  for (let n = 0; n < count; n++) {
    const eps = xT?.subarray(n * size, (n + 1) * size) ?? normals(seed + n, STREAM_X_T, 0, size);
    for (let i = 0; i < size; i++) out[n * size + i] = a * init[n * size + i]! + s * eps[i]!;
  }
  return out;
}

function checkEdit(
  { init, strength, begin, invert, xT }: SampleOptions,
  interval?: readonly [number, number],
): void {
  const refuse = (what: string, action: string): never => {
    throw new DiffusionError('bad-option', what, action);
  };
  if (strength !== undefined && (!init || invert))
    refuse(
      'A strength is given, and no picture to start from.',
      'Give a picture, or leave the strength out.',
    );
  if (init && begin !== undefined) refuse('A picture begins where its strength says.', 'Leave begin out.');
  if (invert && !init) refuse('An inversion needs a picture.', 'Give one as init.');
  if (begin && !init && !xT)
    refuse('A run that begins later needs the state to go on from.', 'Give it as x_T.');
  if (interval && !(interval[0] <= interval[1]))
    refuse(`The guidance interval is ${interval.join(' to ')}.`, 'Give the lower timestep first.');
}

function submit(plan: StepPlan, what: 'step' | 'start', device: GPUDevice): void {
  const encoder = device.createCommandEncoder({ label: what });
  const pass = encoder.beginComputePass({ label: what });
  plan[what].replay(pass);
  pass.end();
  device.queue.submit([encoder.finish()]);
}

/** The contract of a step, flattened to the fields of shaders/update.wgsl. */
function uniforms({ x0Hat, clip, next, save = [], sigma, index }: Step, guidance: number): ArrayBuffer {
  const row = (mix: Mix | undefined) =>
    mix && [
      mix.x ?? 0,
      mix.x0Hat ?? 0,
      mix.m ?? 0,
      ...Array.from({ length: SLOTS }, (_, k) => mix.h?.[k] ?? 0),
    ];
  return packUpdateStep({
    x0_x: x0Hat.x,
    x0_m: x0Hat.m,
    clip,
    sigma,
    guidance,
    index,
    mix: [row(next), ...Array.from(save, row)],
  });
}

async function checkNumbers(plan: StepPlan, model: Model): Promise<void> {
  const [fault] = new Uint32Array(await readBuffer(model.gpu, plan.fault, 4));
  if (fault)
    throw new DiffusionError(
      'numeric-fault',
      'The network gave numbers that are not finite.',
      model.dtype === 'f16'
        ? 'Load the model in f32.'
        : 'Check the weights of the model, or lower the guidance.',
    );
}

function checkCount(count: number, { labels, count: asked }: SampleOptions): void {
  const refuse = (what: string, action: string): never => {
    throw new DiffusionError('bad-option', what, action);
  };
  if (!Number.isInteger(count) || count < 1 || count > 4096)
    refuse(`${String(count)} pictures at a time are not possible.`, 'Choose a whole number from 1 to 4096.');
  if (labels && asked !== undefined && asked !== labels.length)
    refuse(
      `There are ${labels.length} labels, and the count is ${asked}.`,
      'Give one of the two, or the same number.',
    );
}

/** The class of every image, the null class for "any"; null for a model without classes. */
function classLabels(model: Model, labels: readonly (number | null)[], guidance: number): number[] | null {
  const refuse = (what: string, action: string): never => {
    throw new DiffusionError('bad-option', what, action);
  };
  if (!Number.isFinite(guidance) || Math.abs(guidance) > 1000)
    refuse(`The guidance is ${String(guidance)}.`, 'Choose a number; 1 is off, 1 to 10 is usual.');
  const none = nullClass(model.config);
  if (none === null) {
    if (guidance !== 1)
      refuse(`${model.label} has no null class, so it cannot be guided.`, 'Leave the guidance at 1.');
    if (labels.some((k) => k !== null)) refuse(`${model.label} has no classes.`, 'Leave the labels out.');
    return null;
  }
  return labels.map((k) =>
    k === null || (Number.isInteger(k) && k >= 0 && k <= none)
      ? (k ?? none)
      : refuse(
          `There is no class ${String(k)}.`,
          `${model.label} knows 0 to ${none}; ${none} stands for any.`,
        ),
  );
}

function checkNoise(name: string, data: Float32Array | undefined, length: number): void {
  if (!data) return;
  if (data.length !== length)
    throw new DiffusionError(
      'bad-input',
      `The noise ${name} has ${data.length} numbers, and the run needs ${length}.`,
      'Give noise of the shape [N, C, H, W] of the run.',
    );
  if (!data.every(Number.isFinite))
    throw new DiffusionError(
      'bad-input',
      `The noise ${name} holds a number that is not finite.`,
      'Give finite numbers.',
    );
}
