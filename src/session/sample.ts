/** The reverse process p(x_{t-1} | x_t), step by step: the loop that joins network, scheduler and noise. */

import { DiffusionError, throwIfAborted } from '../errors.ts';
import { run, type Copy, type Recording, type Stretch } from '../gpu/tape.ts';
import { readBuffer } from '../gpu/transfer.ts';
import type { Model, StepPlan } from '../model.ts';
import { packRepaint } from '../ops/repaint.ts';
import { packUpdateStep } from '../ops/update.ts';
import type { SchedulerConfig } from '../scheduler/config.ts';
import { beginFor, makeSteps, noiseLevels, type RunOptions } from '../scheduler/index.ts';
import { keyOf, normals, slerp, STREAM_X_T } from '../scheduler/noise.ts';
import { slotsOf, SLOTS, type Mix, type Step } from '../scheduler/step.ts';
import { sameShape, scalars, type Shape, type Tensor } from '../tensor.ts';

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
  /** With `init`: the share of the steps that are taken, above 0 up to 1; 0.6 unless given, with a mask 1. */
  readonly strength?: number;
  /**
   * Inpainting (RePaint, Lugmayr et al. 2022): 1 where the picture `init` is painted anew, 0 where it is kept, to the bit;
   * (count, C, H, W) row-major. `jumps` makes the two parts agree better.
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
  readonly xT: Tensor;
  readonly history: Tensor | null;
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
  /** What the sampler remembers, planar f32 (slots * count, C, H, W); null for samplers that remember nothing. */
  readonly history: Tensor | null;
}

/** The steps that `sample` takes. @throws bad-option */
export function stepsOf(config: SchedulerConfig, options: SampleOptions): Step[] {
  const { init, invert, mask, strength = mask ? 1 : 0.6 } = options;
  const begin = init && !invert ? beginFor(config, options, strength) : options.begin;
  return makeSteps(config, { ...options, ...(begin === undefined ? {} : { begin }) });
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
  const { labels, guidance = 1, seed = 0, z, signal, init, mask, interpolate, guidanceInterval } = options;
  const { resume } = options;
  const rescale = options.guidanceRescale ?? 0;
  throwIfAborted(signal);
  const count = labels?.length ?? options.count ?? 1;
  const { schedulerConfig } = model;
  const steps = stepsOf(schedulerConfig, options);
  checkEdit(options);
  checkCount(count, options);
  if (steps.some((s) => s.logVariance) && !model.learnsVariance)
    throw new DiffusionError(
      'bad-option',
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
  const length = scalars([count, config.inChannels, side[0], side[1]], 'planar');
  checkNoise('x_T', options.xT, length);
  checkNoise('init', init, length);
  checkNoise('mask', mask, length);
  if (mask?.some((w) => w < 0 || w > 1))
    throw new DiffusionError(
      'bad-input',
      'The mask has numbers outside of 0 to 1.',
      'Give 1 to paint, 0 to keep.',
    );
  z?.forEach((zi, i) => checkNoise(`z[${i}]`, zi, length));
  if (z && z.length !== steps.length)
    throw new DiffusionError(
      'bad-input',
      `Noise for ${z.length} steps is given, and the run has ${steps.length}.`,
      'Give one z for each step.',
    );

  const first = resume?.index ?? 0;
  if (resume) checkResume(resume, [count, config.inChannels, side[0], side[1]], steps);

  const shape = {
    count,
    height: side[0],
    width: side[1],
    guided,
    givenNoise: z !== undefined,
    slots: slotsOf(steps),
    measured: (guided && rescale > 0) || steps.some((s) => typeof s.clip === 'object' && s.clip !== null),
    masked: mask !== undefined,
  };
  const plan = await model.takePlan(shape);
  try {
    // Before the loop: what stays for all steps, and x_T.
    const passes = guided ? 2 : 1;
    const keys = Array.from({ length: count }, (_, n) => keyOf(interpolate ? seed : seed + n)).flat();
    device.queue.writeBuffer(plan.seeds, 0, Uint32Array.from(keys));
    device.queue.writeBuffer(plan.fault, 0, new Uint32Array(1));
    if (plan.labels && classes) {
      const nulls = Array<number>(count).fill(config.nullClass!);
      const seen = guided ? [...classes, ...nulls] : classes;
      const all = Array.from({ length: plan.ahead?.steps ?? 1 }, () => seen).flat();
      device.queue.writeBuffer(plan.labels, 0, Uint32Array.from(all));
    }
    const level = noiseLevels(schedulerConfig);
    if (plan.repaint) {
      device.queue.writeBuffer(plan.repaint.known.storage.buffer!, 0, init!);
      device.queue.writeBuffer(plan.repaint.mask.storage.buffer!, 0, mask!);
    }
    if (resume) {
      copyTensors(device, [
        [resume.xT, plan.x],
        [resume.history, plan.history],
      ]);
    } else {
      const xT = startFrom(options, count, length / count, level(steps[0]!.t));
      if (xT) device.queue.writeBuffer(plan.x.storage.buffer!, 0, xT);
      else run(device, plan.start);
    }
    const timestep = new Float32Array(passes * count);
    const timesOf = timesAhead(device, plan, steps);
    const { x: xT, history } = plan;
    const [t, step] = [steps[first]?.t ?? -1, steps[first - 1] ?? null];
    yield { index: first, steps: steps.length, t, step, xT, x0Hat: null, history };

    // At most two steps, or two pieces of a long one, are under way: stopping takes effect at once, and the GPU never idles.
    let inFlight: Promise<void> = Promise.resolve();
    let done = 0;
    const submit = async (recording: Recording, piece: Stretch, copies?: readonly Copy[]): Promise<void> => {
      const since = performance.now();
      run(device, recording, piece, copies);
      await inFlight;
      inFlight = gpu.settled().then(() => {
        const now = performance.now();
        recording.took(piece, now - Math.max(since, done));
        done = now;
      });
      inFlight.catch(() => {}); // awaited in the next round, or not at all when the caller stops
    };
    for (let k = first; k < steps.length; k++) {
      const step = steps[k]!;
      throwIfAborted(signal);
      gpu.check();
      if (plan.repaint) {
        const { a, s } = level(step.tPrev);
        const numbers = packRepaint({ c: 1, s: 0, ...step.jump, a, b: s, index: step.index });
        device.queue.writeBuffer(plan.repaint.numbers, 0, numbers);
      }
      if (step.jump) {
        const { jump } = plan.repaint!;
        await submit(jump, jump.all);
      } else {
        const now = plan.timestep.storage.buffer;
        if (now) device.queue.writeBuffer(now, 0, timestep.fill(step.t));
        const off = guided && guidanceInterval && !between(step.t, guidanceInterval);
        device.queue.writeBuffer(plan.uniforms, 0, packStep(step, off ? 1 : guidance, rescale));
        if (plan.z && step.sigma > 0) device.queue.writeBuffer(plan.z.storage.buffer!, 0, z![k]!);
        let copies = timesOf(k);
        for (const piece of plan.step.split()) {
          throwIfAborted(signal);
          await submit(plan.step, piece, copies);
          copies = [];
        }
      }
      if (k === steps.length - 1) await checkNumbers(plan, model);
      yield {
        index: k + 1,
        steps: steps.length,
        t: steps[k + 1]?.t ?? -1,
        step,
        xT,
        x0Hat: plan.x0Hat,
        history,
      };
    }
  } finally {
    model.givePlanBack(plan);
  }
}

/** For step k of a run: what to copy before it. Computes the next steps' tables when it is not in those that there are. */
function timesAhead(
  device: GPUDevice,
  { ahead }: StepPlan,
  steps: readonly Step[],
): (k: number) => readonly Copy[] {
  if (!ahead) return () => [];
  const { timestep, copies } = ahead;
  const images = timestep.shape[0] / ahead.steps;
  let first = -Infinity;
  return (k) => {
    if (k >= first + ahead.steps) {
      first = k;
      const all = Float32Array.from({ length: timestep.shape[0] }, (_, i) => {
        const step = steps[k + Math.floor(i / images)];
        return step && !step.jump ? step.t : 0; // not looked at
      });
      device.queue.writeBuffer(timestep.storage.buffer!, 0, all);
      run(device, ahead.tables);
    }
    return copies.map((copy) => ({ ...copy, offset: copy.offset + (k - first) * copy.stride }));
  };
}

const between = (t: number, [from, to]: readonly [number, number]): boolean => t >= from && t <= to;

/**
 * q(x_t | x_0) (DDPM eq. 4): pictures, noised to a timestep: a x_0 + s eps.
 * @param x0 (count, C, H, W) row-major, in [-1, 1]
 * @param t 0 to T - 1, possibly between two
 * @param options count: of pictures, 1 unless given; seed: of the first, 0 unless given, as in `sample`; eps: instead of
 *   the generator's noise, as x0
 * @throws bad-option, bad-input
 */
export function qSample(
  config: SchedulerConfig,
  x0: Float32Array<ArrayBuffer>,
  t: number,
  options: { readonly count?: number; readonly seed?: number; readonly eps?: Float32Array<ArrayBuffer> } = {},
): Float32Array<ArrayBuffer> {
  const { count = 1, seed = 0, eps } = options;
  const { a, s } = noiseLevels(config)(t);
  checkNoise('eps', eps, x0.length);
  return Float32Array.from(eps ?? drawn(seed, count, x0.length / count), (e, i) => a * x0[i]! + s * e);
}

/** x_T of `count` pictures: image n has seed + n. */
function drawn(seed: number, count: number, size: number): Float32Array<ArrayBuffer> {
  const out = new Float32Array(count * size);
  for (let n = 0; n < count; n++) out.set(normals(seed + n, STREAM_X_T, 0, size), n * size);
  return out;
}

/** The state that a run starts from; undefined where the GPU draws it. */
function startFrom(
  { init, xT, seed = 0, invert, interpolate }: SampleOptions,
  count: number,
  size: number,
  { a, s }: { readonly a: number; readonly s: number },
): Float32Array<ArrayBuffer> | undefined {
  if (init && invert) return init;
  if (init) return (xT ?? drawn(seed, count, size)).map((e, i) => a * init[i]! + s * e);
  if (!interpolate) return xT;
  const [from, to] = interpolate.map((k) => drawn(k, 1, size)) as [
    Float32Array<ArrayBuffer>,
    Float32Array<ArrayBuffer>,
  ];
  const out = new Float32Array(count * size);
  for (let n = 0; n < count; n++) out.set(slerp(from, to, n / (count - 1)), n * size);
  return out;
}

function checkEdit(options: SampleOptions): void {
  const { init, strength, begin, invert, xT, mask, jumps, z, interpolate, count, labels } = options;
  const { guidanceInterval: interval, guidanceRescale: rescale = 0, resume } = options;
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
  if (begin && !init && !xT && !resume)
    refuse('A run that begins later needs the state to go on from.', 'Give it as x_T.');
  if (interval && !(interval[0] <= interval[1]))
    refuse(`The guidance interval is ${interval.join(' to ')}.`, 'Give the lower timestep first.');
  if (!(rescale >= 0 && rescale <= 1))
    refuse(`The guidance is rescaled by ${String(rescale)}.`, 'Choose a number from 0 (not at all) to 1.');
  if (mask && (!init || invert))
    refuse('A mask is given, and no picture to keep.', 'Give a picture as init.');
  if (mask && z) refuse('With a mask the noise is generated.', 'Leave z out.');
  if (jumps && !mask) refuse('Jumps are for inpainting, and no mask is given.', 'Give a mask, or no jumps.');
  if (interpolate && (init || xT || begin))
    refuse('An interpolation has its own x_T.', 'Leave the picture, x_T and begin out.');
  if (interpolate && (labels?.length ?? count ?? 1) < 2)
    refuse('An interpolation has two ends.', 'Ask for 2 pictures or more.');
}

function checkResume({ index, xT, history }: SavedState, shape: Shape, steps: readonly Step[]): void {
  const fits = Number.isInteger(index) && index >= 0 && index <= steps.length && sameShape(xT.shape, shape);
  if (!fits || (history?.shape[0] ?? 0) !== slotsOf(steps) * shape[0])
    throw new DiffusionError(
      'bad-input',
      `The saved state after step ${index} is not one of this run.`,
      'Go on with the options that it was made with.',
    );
}

/** Copies on the GPU, in one submission; pairs with a null are left out. */
export function copyTensors(
  device: GPUDevice,
  pairs: readonly (readonly [from: Tensor | null, to: Tensor | null])[],
): void {
  const encoder = device.createCommandEncoder({ label: 'copy' });
  for (const [from, to] of pairs)
    if (from && to)
      encoder.copyBufferToBuffer(from.storage.buffer!, 0, to.storage.buffer!, 0, from.storage.bytes);
  device.queue.submit([encoder.finish()]);
}

/** The contract of a step, flattened to the fields of shaders/lib/step.wgsl. */
export function packStep(step: Step, guidance: number, rescale: number): ArrayBuffer {
  const { x0Hat, clip, next, save = [], sigma, logVariance, index } = step;
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
    ...(logVariance ? { logVariance } : {}),
    guidance,
    rescale,
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
