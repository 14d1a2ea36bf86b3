/** The options of a run: what they are, what they say together, and every check of them before the first step. */

import { DiffusionError } from '../core/errors.ts';
import type { Model, StepShape } from '../engine/model.ts';
import type { SchedulerConfig } from '../schedule/config.ts';
import { startForStrength, makeSteps } from '../schedule/make_steps.ts';
import { jumpsOf, withCurrentNames, type RunOptions } from '../schedule/run_options.ts';
import { keyOf } from '../schedule/noise.ts';
import { historyLength, type Step } from '../schedule/step.ts';
import { sameShape, scalars, type Shape, type GpuTensor } from '../core/tensor.ts';

/** The options of one run. Arrays of numbers are (count, C, H, W) row-major, in the model's range [-1, 1]. */
export interface SampleOptions extends RunOptions {
  /** One class an image, null for "any". Its length is the number of images. */
  readonly labels?: readonly (number | null)[];
  /** Number of images where no labels are given; 1 unless given. */
  readonly count?: number;
  /** Classifier-free guidance w: m = m_null + w (m_class - m_null). 1 (off) unless given. */
  readonly guidance?: number;
  /** Whole number in [0, 2^53); image n of a batch is drawn with seed + n. 0 unless given. */
  readonly seed?: number;
  /** Instead of the generator's x_T, or with `startStep` the state to go on from: (count, C, H, W) row-major. */
  readonly xT?: Float32Array<ArrayBuffer>;
  /** Pictures to start from, in [-1, 1]: (count, C, H, W) row-major. Noised as far as `strength` says (SDEdit). */
  readonly init?: Float32Array<ArrayBuffer>;
  /** With `init`: the share of the steps that are taken, above 0 up to 1; 0.6 unless given, with a mask 1. */
  readonly strength?: number;
  /**
   * Inpainting (RePaint, Lugmayr et al. 2022): 1 where the picture `init` is painted anew, 0 where it is kept, to the bit;
   * (count, C, H, W) row-major. `jumpLength` and `jumpSamples` make the two parts agree better.
   */
  readonly mask?: Float32Array<ArrayBuffer>;
  /**
   * Two seeds: x_T of the pictures slides from that of the first to that of the second on the sphere; all pictures get the
   * steps' noise of `seed`.
   */
  readonly interpolate?: readonly [from: number, to: number];
  /** How far the guided output is rescaled to the spread of the unguided, 0 to 1 (Lin et al. 2024, section 3.4). */
  readonly guidanceRescale?: number;
  /** Guidance acts at timesteps in [from, to] only (Kynkaanniemi et al. 2024). */
  readonly guidanceInterval?: readonly [from: number, to: number];
  /** Instead of the generator's noise: z of every step, each (count, C, H, W) row-major. */
  readonly z?: readonly Float32Array<ArrayBuffer>[];
  /** A state of this very run, to go on from: the rest comes out the same, bit for bit. */
  readonly resume?: SavedState;
  readonly signal?: AbortSignal;
}

/** What a run goes on from: copies, on the GPU, of what a `Sample` showed. */
export interface SavedState {
  readonly index: number;
  readonly xT: GpuTensor;
  readonly history: GpuTensor | null;
}

/** Number of images of a run: one a label, or `count`; default 1. */
export const imageCount = ({ labels, count }: Pick<SampleOptions, 'labels' | 'count'>): number =>
  labels?.length ?? count ?? 1;

/** The steps that `sample` takes. @throws bad-option */
export function stepsOf(config: SchedulerConfig, options: SampleOptions): Step[] {
  const { init, invert, mask, strength = mask ? 1 : 0.6 } = options;
  const run = withCurrentNames(options);
  const startStep = init && !invert ? startForStrength(config, run, strength) : run.startStep;
  return makeSteps(config, { ...run, ...(startStep === undefined ? {} : { startStep }) });
}

/** What the checked options of a run come to on a model. */
export interface CheckedRun {
  readonly steps: readonly Step[];
  readonly count: number;
  /** Of the state: (count, C, H, W). */
  readonly state: Shape;
  /** The class of each image; null for a model without classes. */
  readonly classes: readonly number[] | null;
  /** The network runs twice a step: with the classes, and with the null class. */
  readonly guided: boolean;
  readonly guidance: number;
  readonly rescale: number;
  /** The shape of the plan that the run needs. */
  readonly shape: StepShape;
}

/** @throws bad-option, bad-input, unsupported-model */
export function checkRun(model: Model, options: SampleOptions): CheckedRun {
  const { labels, guidance = 1, guidanceRescale: rescale = 0, seed = 0, interpolate } = options;
  const { config, schedulerConfig } = model;
  const count = imageCount(options);
  const steps = stepsOf(schedulerConfig, options);
  checkEdit(options);
  checkCount(count, options);
  if (steps.some((s) => s.logVariance) && !model.learnsVariance)
    refuse(
      `${model.label} has not learned a variance: it gives as many channels as it takes.`,
      'Choose the variance fixed_small or fixed_large.',
    );
  const classes = classLabels(model, labels ?? Array<null>(count).fill(null), guidance);
  const guided = guidance !== 1 && classes !== null && classes.some((k) => k !== config.nullClass);
  for (const s of [seed, seed + count - 1, ...(interpolate ?? [])]) keyOf(s); // refuses a seed that is not one
  const side = config.sampleSize;
  if (!side)
    throw new DiffusionError(
      'unsupported-model',
      `${model.label} does not say what size its pictures have.`,
      'Add sample_size to its config.json.',
    );
  const [height, width] = side;
  const state: Shape = [count, config.inChannels, height, width];
  checkNumbers(options, scalars(state, 'planar'), steps.length);
  if (options.resume) checkResume(options.resume, state, steps);
  const shape: StepShape = {
    count,
    height,
    width,
    guided,
    givenNoise: options.z !== undefined,
    slots: historyLength(steps),
    measured: (guided && rescale > 0) || steps.some((s) => typeof s.clip === 'object' && s.clip !== null),
    masked: options.mask !== undefined,
  };
  return { steps, count, state, classes, guided, guidance, rescale, shape };
}

// ---- checks -----------------------------------------------------------------------------------------------

function refuse(what: string, action: string): never {
  throw new DiffusionError('bad-option', what, action);
}

/** The arrays that are given: their sizes and ranges. */
function checkNumbers({ xT, init, mask, z }: SampleOptions, length: number, steps: number): void {
  checkNoise('x_T', xT, length);
  checkNoise('init', init, length);
  checkNoise('mask', mask, length);
  if (mask?.some((w) => w < 0 || w > 1))
    throw new DiffusionError(
      'bad-input',
      'The mask has numbers outside of 0 to 1.',
      'Give 1 to paint, 0 to keep.',
    );
  z?.forEach((zi, i) => checkNoise(`z[${i}]`, zi, length));
  if (z && z.length !== steps)
    throw new DiffusionError(
      'bad-input',
      `Noise for ${z.length} steps is given, and the run has ${steps}.`,
      'Give one z for each step.',
    );
}

function checkEdit(options: SampleOptions): void {
  const { init, strength, startStep, invert, xT, mask, z, interpolate } = options;
  const { guidanceInterval: interval, guidanceRescale: rescale = 0, resume } = options;
  if (strength !== undefined && (!init || invert))
    refuse(
      'A strength is given, and no picture to start from.',
      'Give a picture, or leave the strength out.',
    );
  if (init && startStep !== undefined)
    refuse('With a picture, the strength determines the start step.', 'Leave startStep out.');
  if (invert && !init) refuse('An inversion needs a picture.', 'Give one as init.');
  if (startStep && !init && !xT && !resume)
    refuse('A run that begins later needs the state to go on from.', 'Give it as x_T.');
  if (interval && !(interval[0] <= interval[1]))
    refuse(`The guidance interval is ${interval.join(' to ')}.`, 'Give the lower timestep first.');
  if (!(rescale >= 0 && rescale <= 1))
    refuse(`The guidance is rescaled by ${String(rescale)}.`, 'Choose a number from 0 (not at all) to 1.');
  if (mask && (!init || invert))
    refuse('A mask is given, and no picture to keep.', 'Give a picture as init.');
  if (mask && z) refuse('With a mask the noise is generated.', 'Leave z out.');
  if (jumpsOf(options) && !mask)
    refuse('Jumps are for inpainting, and no mask is given.', 'Give a mask, or no jumps.');
  if (interpolate && (init || xT || startStep))
    refuse('An interpolation has its own x_T.', 'Leave the picture, x_T and startStep out.');
  if (interpolate && imageCount(options) < 2)
    refuse('An interpolation has two ends.', 'Ask for 2 pictures or more.');
}

function checkResume({ index, xT, history }: SavedState, shape: Shape, steps: readonly Step[]): void {
  const fits = Number.isInteger(index) && index >= 0 && index <= steps.length && sameShape(xT.shape, shape);
  if (!fits || (history?.shape[0] ?? 0) !== historyLength(steps) * shape[0])
    throw new DiffusionError(
      'bad-input',
      `The saved state after step ${index} is not one of this run.`,
      'Go on with the options that it was made with.',
    );
}

function checkCount(count: number, { labels, count: asked }: SampleOptions): void {
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
  if (!Number.isFinite(guidance) || Math.abs(guidance) > 1000)
    refuse(`The guidance is ${String(guidance)}.`, 'Choose a number; 1 is off, 1 to 10 is usual.');
  const { numClassEmbeds: classes, nullClass: none } = model.config;
  if (guidance !== 1 && none === null)
    refuse(`${model.label} has no null class, so it cannot be guided.`, 'Leave the guidance at 1.');
  if (classes === null) {
    if (labels.some((k) => k !== null)) refuse(`${model.label} has no classes.`, 'Leave the labels out.');
    return null;
  }
  const any = none === null ? '' : ` ${none} stands for any.`;
  return labels.map((k) => {
    const label = k ?? none;
    if (label === null)
      return refuse(
        `${model.label} draws one of ${classes} classes, and none is chosen.`,
        `Give a label from 0 to ${classes - 1} for each picture.`,
      );
    return Number.isInteger(label) && label >= 0 && label < classes
      ? label
      : refuse(`There is no class ${String(k)}.`, `${model.label} knows 0 to ${classes - 1}.${any}`);
  });
}

/** @throws bad-input, if there is noise that does not fit */
export function checkNoise(name: string, data: Float32Array | undefined, length: number): void {
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
