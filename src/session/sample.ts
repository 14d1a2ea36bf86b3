/** The reverse process p(x_{t-1} | x_t), step by step: the loop that joins network, scheduler and noise. */

import { DiffusionError, throwIfAborted } from '../core/errors.ts';
import type { Gpu } from '../engine/gpu/device.ts';
import { run as replay, type Copy, type Program } from '../engine/gpu/program.ts';
import type { CommandRange } from '../engine/gpu/submit_ranges.ts';
import { copyTensors, readBuffer } from '../engine/gpu/transfer.ts';
import type { Model, StepPlan } from '../engine/model.ts';
import { packRepaint } from '../engine/kernels/repaint.ts';
import { packStep } from '../engine/kernels/update.ts';
import { noiseLevels } from '../schedule/noise_levels.ts';
import { withCurrentNames } from '../schedule/run_options.ts';
import { keyOf } from '../schedule/noise.ts';
import type { Step } from '../schedule/step.ts';
import { scalars, type GpuTensor } from '../core/tensor.ts';
import { startState } from './latents.ts';
import type { ModelAccess } from './model_access.ts';
import { checkRun, type CheckedRun, type SampleOptions } from './sample_options.ts';

/** One state of a run. The tensors live on the GPU and are valid until the next state is requested. */
export interface Sample {
  /** 0: the noise that the run starts from; k: after k steps. */
  readonly index: number;
  /** Number of steps of the run. */
  readonly steps: number;
  /** The timestep of the state, which is the input of the next step; -1 at the end, for the clean image. */
  readonly t: number;
  /** The step that led here; null at index 0. */
  readonly step: Step | null;
  /** x_t, planar f32 (count, C, H, W); trained on [-1, 1]. */
  readonly xT: GpuTensor;
  /** The prediction of x_0 that the step made; null at index 0. */
  readonly x0Hat: GpuTensor | null;
  /** The sampler's memory, planar f32 (slots * count, C, H, W); null for samplers without one. */
  readonly history: GpuTensor | null;
}

/**
 * Draws images. Yields steps + 1 states. Each step runs when its state is requested, so a caller that stops asking (break,
 * return) stops the run. The same seed gives the same images, alone or in a batch.
 *
 * @param on a model; or a lease of one, and then every step takes its turn among all who draw on the page
 * @throws bad-option, bad-input, unsupported-model, limits-too-small, out-of-memory, device-lost, numeric-fault, aborted
 */
export async function* sample(
  on: Model | ModelAccess,
  options: SampleOptions = {},
): AsyncGenerator<Sample, void, void> {
  if (!('turn' in on)) return yield* sampleModel(on, options);
  const states = sampleModel(on.model, options);
  try {
    for (;;) {
      const { done, value } = await on.turn(() => states.next());
      if (done) return;
      yield value;
    }
  } finally {
    await states.return();
  }
}

/** The loop itself, without turns. */
async function* sampleModel(model: Model, given: SampleOptions): AsyncGenerator<Sample, void, void> {
  const options = withCurrentNames(given);
  const { gpu } = model;
  const { signal, resume } = options;
  throwIfAborted(signal);
  const run = checkRun(model, options);
  const { steps } = run;
  const plan = await model.acquirePlan(run.shape);
  try {
    writeInputs(model, plan, options, run);
    const writeStep = stepWriter(model, plan, options, run);
    const copiesFor = conditioning(gpu.device, plan, steps);
    const submit = submitter(gpu);
    const { x: xT, x0Hat, history } = plan;
    const state = (k: number) => ({ index: k, steps: steps.length, t: steps[k]?.t ?? -1, step: steps[k - 1] ?? null }); // prettier-ignore
    const first = resume?.index ?? 0;
    yield { ...state(first), xT, x0Hat: null, history };

    for (let k = first; k < steps.length; k++) {
      throwIfAborted(signal);
      gpu.check();
      writeStep(k);
      if (steps[k]!.renoise) {
        const renoise = plan.renoise!;
        await submit(renoise, renoise.timings.all);
      } else {
        let copies = copiesFor(k);
        for (const piece of plan.step.timings.split()) {
          throwIfAborted(signal);
          await submit(plan.step, piece, copies);
          copies = [];
        }
      }
      if (k === steps.length - 1) await checkFinite(plan, model);
      yield { ...state(k + 1), xT, x0Hat, history };
    }
  } finally {
    model.releasePlan(plan);
  }
}

/** Writes what stays the same for all steps, and the first state. */
function writeInputs(model: Model, plan: StepPlan, options: SampleOptions, run: CheckedRun): void {
  const { device } = model.gpu;
  const { count, classes, guided, steps } = run;
  const { seed = 0, interpolate, init, mask, resume } = options;
  const keys = Array.from({ length: count }, (_, n) => keyOf(interpolate ? seed : seed + n)).flat();
  device.queue.writeBuffer(plan.seeds, 0, Uint32Array.from(keys));
  device.queue.writeBuffer(plan.fault, 0, new Uint32Array(1));
  if (plan.labels && classes) {
    const nulls = Array<number>(count).fill(model.config.nullClass!);
    const ofStep = guided ? [...classes, ...nulls] : classes;
    const all = Array.from({ length: plan.cache?.steps ?? 1 }, () => ofStep).flat();
    device.queue.writeBuffer(plan.labels, 0, Uint32Array.from(all));
  }
  if (plan.inpainting) {
    device.queue.writeBuffer(plan.inpainting.known.buffer, 0, init!);
    device.queue.writeBuffer(plan.inpainting.mask.buffer, 0, mask!);
  }
  if (resume)
    return copyTensors(device, [
      [resume.xT, plan.x],
      [resume.history, plan.history],
    ]);
  const size = scalars(run.state, 'planar') / count;
  const xT = startState(options, count, size, noiseLevels(model.schedulerConfig)(steps[0]!.t));
  if (xT) device.queue.writeBuffer(plan.x.buffer, 0, xT);
  else replay(device, plan.start);
}

/** Returns a function that writes the numbers of step k into the plan's uniforms. */
function stepWriter(
  { gpu: { device }, schedulerConfig }: Model,
  plan: StepPlan,
  { guidanceInterval: interval, z }: SampleOptions,
  { steps, count, guided, guidance, rescale }: CheckedRun,
): (k: number) => void {
  const level = noiseLevels(schedulerConfig);
  const timestep = new Float32Array((guided ? 2 : 1) * count);
  return (k) => {
    const step = steps[k]!;
    if (plan.inpainting) {
      const { a, s } = level(step.tPrev);
      const numbers = packRepaint({ c: 1, s: 0, ...step.renoise, a, b: s, index: step.index });
      device.queue.writeBuffer(plan.inpainting.numbers, 0, numbers);
    }
    if (step.renoise) return;
    if (plan.timestep) device.queue.writeBuffer(plan.timestep.buffer, 0, timestep.fill(step.t));
    const off = guided && interval && !(step.t >= interval[0] && step.t <= interval[1]);
    device.queue.writeBuffer(plan.uniforms, 0, packStep(step, off ? 1 : guidance, rescale));
    if (plan.z && step.sigma > 0) device.queue.writeBuffer(plan.z.buffer, 0, z![k]!);
  };
}

/**
 * Returns the copies to make before step k. Computes the network's conditioning on the next steps' times and classes when
 * step k is past the steps that are computed.
 */
function conditioning(
  device: GPUDevice,
  { cache }: StepPlan,
  steps: readonly Step[],
): (k: number) => readonly Copy[] {
  if (!cache) return () => [];
  const { timestep, copies } = cache;
  const images = timestep.shape[0] / cache.steps;
  let first = -Infinity;
  return (k) => {
    if (k >= first + cache.steps) {
      first = k;
      const all = Float32Array.from({ length: timestep.shape[0] }, (_, i) => {
        const step = steps[k + Math.floor(i / images)];
        return step && !step.renoise ? step.t : 0; // past the end, or a jump: not used
      });
      device.queue.writeBuffer(timestep.buffer, 0, all);
      replay(device, cache.tables);
    }
    return copies.map((copy) => ({ ...copy, offset: copy.offset + (k - first) * copy.stride }));
  };
}

/**
 * Returns a function that submits a part of a program, and waits for the part before it. Two parts are under way at most:
 * stopping takes effect at once, and the GPU never idles.
 */
function submitter(
  gpu: Gpu,
): (program: Program, part: CommandRange, copies?: readonly Copy[]) => Promise<void> {
  let inFlight: Promise<void> = Promise.resolve();
  let done = 0;
  return async (program, part, copies) => {
    const since = performance.now();
    replay(gpu.device, program, part, copies);
    await inFlight;
    inFlight = gpu.settled().then(() => {
      const now = performance.now();
      program.timings.recordTiming(part, now - Math.max(since, done));
      done = now;
    });
    inFlight.catch(() => {}); // awaited in the next round, or not at all if the caller stops
  };
}

/** Reads back whether a number of the state was not finite. @throws numeric-fault */
async function checkFinite(plan: StepPlan, model: Model): Promise<void> {
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
