/** From a model's scheduler config and the options of a run to the list of its steps. */

import { DiffusionError } from '../core/errors.ts';
import type { SchedulerConfig } from './config.ts';
import type { SamplerContext } from './context.ts';
import { withJumps } from './repaint.ts';
import { checkRunOptions, jumpsOf, withCurrentNames, type RunOptions } from './run_options.ts';
import { SAMPLERS, type SchedulerName } from './samplers.ts';
import { makeSchedule, scheduleOf } from './schedule.ts';
import { historyLength, MAX_HISTORY, type Clip, type LinearCombination, type Step } from './step.ts';
import { respacedTimesteps } from './timesteps.ts';

const DEFAULT_STEPS = 50;

/** Returns the steps of a run, noisiest first. @throws bad-option, naming the option */
export function makeSteps(config: SchedulerConfig, options: RunOptions = {}): Step[] {
  const { maxTimestep, ...run } = withCurrentNames(options);
  checkRunOptions(config, maxTimestep === undefined ? run : { ...run, maxTimestep });
  if (maxTimestep !== undefined) return makeSteps(truncated(config, maxTimestep), run);
  const sampler = run.sampler ?? SAMPLERS[run.scheduler ?? config.scheduler];
  const context = contextOf(config, run);
  let steps = sampler.make(context);
  if (run.sampler) checkSteps(steps);
  if (context.startStep > 0) {
    // A step keeps the index that it has in the whole run, and with it the noise.
    const skipped = sampler.make({ ...context, startStep: 0 }).length - steps.length;
    steps = steps.map((step) => ({ ...step, index: step.index + skipped }));
  }
  const jumps = jumpsOf(run);
  return jumps ? withJumps(steps, jumps, context.schedule) : steps;
}

/** Checks the steps of a sampler that is not in the registry. @throws bad-option */
function checkSteps(steps: readonly Step[]): void {
  const factors = ({ x, x0Hat, modelOutput, history }: LinearCombination) =>
    [x, x0Hat, modelOutput, ...(history ?? [])].map((factor) => factor ?? 0);
  const finite = ({ t, x0Hat, sigma, next, history = [] }: Step) =>
    [t, sigma, ...factors(x0Hat), ...factors(next), ...history.flatMap((h) => factors(h ?? {}))].every(
      Number.isFinite,
    );
  if (steps.length > 0 && historyLength(steps) <= MAX_HISTORY && steps.every(finite)) return;
  throw new DiffusionError(
    'bad-option',
    `The sampler makes no steps, a factor that is not finite, or a history of more than ${MAX_HISTORY}.`,
    'Correct its make function.',
  );
}

/** Returns the config with the schedule truncated after `maxTimestep`. */
function truncated(config: SchedulerConfig, maxTimestep: number): SchedulerConfig {
  const { alphaBar } = scheduleOf(config);
  const values = Array.from({ length: maxTimestep + 1 }, (_, t) => 1 - alphaBar[t]! / (alphaBar[t - 1] ?? 1));
  return { ...config, T: maxTimestep + 1, betas: { kind: 'trained', values }, zeroSnr: false };
}

function contextOf(config: SchedulerConfig, run: RunOptions): SamplerContext {
  const { scheduler = config.scheduler } = run;
  const lecture = run.compat === 'lecture';
  const compat = run.compat === 'diffusers';
  return {
    schedule: compat ? makeSchedule(config, { torch32: true }) : scheduleOf(config),
    steps: run.steps ?? DEFAULT_STEPS,
    spacing: run.spacing ?? config.spacing,
    offset: config.offset,
    givenTimesteps: timestepsOf(config, run),
    sigmas: run.sigmas ?? config.sigmas,
    startStep: run.startStep ?? 0,
    predictionType: run.prediction ?? config.predictionType,
    clip: run.clip === undefined ? (lecture ? null : clipOf(config, scheduler, compat)) : run.clip,
    compat,
    finalAlphaOne: config.finalAlphaOne,
    endsAtZero: lecture,
    eta: run.eta ?? 0,
    epsFromClipped: run.epsFromClipped ?? !compat,
    invert: run.invert ?? false,
    variance: lecture ? 'fixed_large' : (run.variance ?? config.variance),
    order: run.order ?? config.order,
    bh: run.bh ?? config.bh,
    churn: run.churn ?? 0,
  };
}

/** Returns the timesteps that the run names itself; null: they follow from steps and spacing. */
function timestepsOf({ T }: SchedulerConfig, run: RunOptions): readonly number[] | null {
  if (run.compat === 'lecture') return Array.from({ length: T - 1 }, (_, i) => T - 1 - i);
  if (run.timesteps) return run.timesteps;
  return run.respacing === undefined ? null : respacedTimesteps(T, run.respacing);
}

/** Returns the clipping of the config. With compat only if the class of diffusers clips; ours does in every sampler. */
function clipOf({ clip }: SchedulerConfig, scheduler: SchedulerName, compat: boolean): Clip {
  if (!compat || clip === null) return clip;
  const kind = typeof clip === 'object' ? 'threshold' : 'range';
  return SAMPLERS[scheduler].diffusersClips.includes(kind) ? clip : null;
}

/**
 * Returns the start step of image-to-image (SDEdit, Meng et al. 2022), which takes the last `strength` of the steps.
 * @param strength above 0, up to 1: of n steps the last floor(n strength), as in diffusers
 * @throws bad-option
 */
export function startForStrength(config: SchedulerConfig, run: RunOptions, strength: number): number {
  const n = timestepsOf(config, run)?.length ?? run.steps ?? DEFAULT_STEPS;
  const taken = Math.floor(n * strength);
  if (!(strength > 0 && strength <= 1) || taken < 1)
    throw new DiffusionError(
      'bad-option',
      `A strength of ${String(strength)} leaves none of ${n} steps to take.`,
      'Choose a number above 0, up to 1, or take more steps.',
    );
  return n - taken;
}
