/** Options of a run, and their checks. */

import { DiffusionError } from '../core/errors.ts';
import type { SchedulerConfig } from './config.ts';
import { VARIANCES, type Sampler, type SamplerOptions } from './context.ts';
import { SIGMA_SPACINGS, type SigmaSpacing } from './levels.ts';
import { PREDICTION_TYPES, type PredictionType } from './prediction.ts';
import { SAMPLERS, SCHEDULERS, type SchedulerName } from './samplers.ts';
import type { Clip } from './step.ts';
import { SPACINGS, type Spacing } from './timesteps.ts';

/** Options of a run. An absent option takes the value of the model's scheduler config. */
export interface RunOptions extends SamplerOptions, OldOptions {
  readonly scheduler?: SchedulerName;
  /** Sampler that is not in the registry, instead of `scheduler`. Recipes and links cannot contain it. */
  readonly sampler?: Sampler;
  /** Number of steps, 1 to T; default 50. See `evaluations` in the registry for the network evaluations of n steps. */
  readonly steps?: number;
  readonly spacing?: Spacing;
  /**
   * First (noisiest) timestep, 1 to T - 1; default T - 1. Truncates the schedule there. Useful to start all samplers at
   * one level below the end of a cosine schedule, where dividing by a = sqrt(alphaBar) near 0 makes x0Hat meaningless.
   */
  readonly maxTimestep?: number;
  /** Timesteps instead of steps and spacing, strictly falling, in [0, T - 1]; ddpm, ddim and pndm. */
  readonly timesteps?: readonly number[];
  /** Respacing string of guided-diffusion instead of steps and spacing: "250", "10,15,20", "ddim50"; ddpm, ddim, pndm. */
  readonly respacing?: string;
  /** Spacing of noise levels by sigma instead of by timestep; all samplers except ddpm, ddim and pndm. */
  readonly sigmas?: SigmaSpacing;
  /** Prediction type of the network, if the config is wrong about it. */
  readonly prediction?: PredictionType;
  /** Clipping of x0Hat. pndm ignores it. */
  readonly clip?: Clip;
  /**
   * Number of steps to skip at the start of the run; default 0. The initial state is then the one after these steps. The
   * remaining steps keep the noise that they have in the whole run, so a run that continues from a saved state produces
   * the same picture, if the sampler has no history.
   */
  readonly startStep?: number;
  /**
   * diffusers: its float32 tables, and its formulas if ours deviate (see the head of each sampler's file). lecture (ddpm
   * only): the loop of dome272/Diffusion-Models-pytorch, t = T - 1 ... 1 with sigma^2 = beta, unclipped, ending at t = 0.
   */
  readonly compat?: 'diffusers' | 'lecture';
}

/** Old names of options. They remain valid, because recipes and links contain them. */
export interface OldOptions {
  /** @deprecated old name of maxTimestep */
  readonly top?: number;
  /** @deprecated old name of startStep */
  readonly begin?: number;
  /** @deprecated old name of jumpLength and jumpSamples */
  readonly jumps?: { readonly length: number; readonly samples: number };
}

const refuse = (what: string, action: string): never => {
  throw new DiffusionError('bad-option', what, action);
};

/** Returns the options with old names replaced. @throws bad-option if the old and the new name differ in value */
export function withCurrentNames<O extends RunOptions>(options: O): O {
  const { top, begin, jumps, ...rest } = options;
  const renamed = Object.entries({
    maxTimestep: ['top', top],
    startStep: ['begin', begin],
    jumpLength: ['jumps.length', jumps && (jumps.length ?? NaN)],
    jumpSamples: ['jumps.samples', jumps && (jumps.samples ?? NaN)],
  } as const).filter(([, [, value]]) => value !== undefined);
  if (renamed.length === 0) return options;
  const current: Record<string, unknown> = { ...rest };
  for (const [name, [old, value]] of renamed) {
    if (current[name] !== undefined && current[name] !== value)
      refuse(
        `${name} is ${String(current[name])}, and its old name ${old} is ${value}.`,
        `Leave ${old} out.`,
      );
    current[name] = value;
  }
  return current as unknown as O;
}

/** RePaint's jumps of a run, with the paper's default of 10 if one of the two options is absent; null: none. */
export function jumpsOf({ jumpLength, jumpSamples }: RunOptions): { length: number; samples: number } | null {
  if (jumpLength === undefined && jumpSamples === undefined) return null;
  return { length: jumpLength ?? 10, samples: jumpSamples ?? 10 };
}

/**
 * Checks everything that does not need the list of steps.
 * @param run options with current names
 * @throws bad-option, naming the option
 */
export function checkRunOptions(config: SchedulerConfig, run: RunOptions): void {
  const { scheduler = config.scheduler } = run;
  oneOf('scheduler', scheduler, SCHEDULERS);
  if (run.sampler !== undefined) checkSampler(run);
  oneOf('timestep spacing', run.spacing, SPACINGS);
  oneOf('spacing of sigmas', run.sigmas, SIGMA_SPACINGS);
  oneOf('prediction type', run.prediction, PREDICTION_TYPES);
  oneOf('variance', run.variance, VARIANCES);
  oneOf('compat mode', run.compat, ['diffusers', 'lecture']);
  oneOf('B(h)', run.bh, ['bh1', 'bh2']);
  if (run.order !== undefined && ![1, 2, 3].includes(run.order))
    refuse(`The order is ${String(run.order)}.`, 'Choose 1, 2 or 3.');
  checkClip(run.clip);
  checkJumps(run);
  const { eta = 0, churn = 0, startStep = 0 } = run;
  if (!(eta >= 0 && eta <= 1)) refuse(`eta is ${String(eta)}.`, 'Choose a number from 0 to 1.');
  if (!(churn >= 0 && churn <= 1e6)) refuse(`The churn is ${String(churn)}.`, 'Choose a number from 0 up.');
  if (!Number.isInteger(startStep) || startStep < 0)
    refuse(`startStep is ${String(startStep)}.`, 'Choose an integer from 0 up.');
  checkSamplerTakes(run.sampler ?? SAMPLERS[scheduler], run.sampler?.title ?? scheduler, run);
  checkTimesteps(config, run);
  if (run.compat === 'lecture') checkLecture(config, run, scheduler);
  if (run.compat === 'diffusers' && scheduler === 'ddpm' && (run.variance ?? config.variance) === 'learned')
    refuse(
      'diffusers takes the root of a learned variance, although models learn its logarithm.',
      'Leave compat out, or choose another variance.',
    );
  if (run.invert && (eta > 0 || startStep > 0 || jumpsOf(run)))
    refuse(
      'An inversion has no noise, no start step and no jumps.',
      'Leave eta, startStep, jumpLength and jumpSamples out.',
    );
}

/** Checks a sampler that is not in the registry. */
function checkSampler({ sampler, scheduler, compat }: RunOptions): void {
  if (scheduler !== undefined || compat !== undefined)
    refuse(
      'A run with a sampler of its own has no scheduler and no compat mode.',
      'Leave scheduler and compat out.',
    );
  const { make, options, title } = sampler as Partial<Sampler>;
  if (typeof make !== 'function' || !Array.isArray(options) || typeof title !== 'string')
    refuse('The sampler has no title, options or make.', 'Give an object like the entries of SAMPLERS.');
}

function oneOf(name: string, value: unknown, allowed: readonly string[]): void {
  if (value !== undefined && !allowed.includes(value as string))
    refuse(`There is no ${name} ${String(value)}.`, `Choose one of ${allowed.join(', ')}.`);
}

function checkClip(clip: Clip | undefined): void {
  if (clip === undefined || clip === null) return;
  if (typeof clip === 'object') {
    if (!(clip.quantile > 0 && clip.quantile <= 1 && clip.max >= 1 && clip.max <= 1e6))
      refuse(
        `A threshold at the quantile ${String(clip.quantile)}, at most ${String(clip.max)}, is not possible.`,
        'Choose a quantile above 0, up to 1 (0.995 is usual), and a maximum from 1 up.',
      );
  } else if (!(clip > 0 && clip <= 1e6))
    refuse(`x0Hat cannot be clipped to ${String(clip)}.`, 'Choose a number above 0; 1 is usual.');
}

function checkJumps(run: RunOptions): void {
  const jumps = jumpsOf(run);
  const possible = (n: number, max: number) => Number.isInteger(n) && n >= 1 && n <= max;
  if (jumps && !(possible(jumps.length, Infinity) && possible(jumps.samples, 1000)))
    refuse(
      `Jumps of ${jumps.length} steps with ${jumps.samples} samples are not possible.`,
      'Choose an integer from 1 up for jumpLength, and one from 1 to 1000 for jumpSamples.',
    );
}

/** Checks that the sampler takes all given options. A value of 0 or false counts as absent. */
function checkSamplerTakes(sampler: Sampler, title: string, run: RunOptions): void {
  const check = (option: keyof RunOptions, takes: (sampler: Sampler) => boolean): void => {
    if (!run[option] || takes(sampler)) return;
    const names = SCHEDULERS.filter((name) => takes(SAMPLERS[name]));
    refuse(
      `${option} is an option of ${names.join(', ')}, and the scheduler is ${title}.`,
      `Leave ${option} out, or choose ${names[0]}.`,
    );
  };
  const special = new Set(SCHEDULERS.flatMap((name) => SAMPLERS[name].options));
  for (const option of special) check(option, ({ options }) => options.includes(option));
  check('timesteps', ({ takesTimesteps }) => takesTimesteps);
  check('respacing', ({ takesTimesteps }) => takesTimesteps);
  check('sigmas', ({ takesTimesteps }) => !takesTimesteps);
}

function checkTimesteps({ T }: SchedulerConfig, run: RunOptions): void {
  const { timesteps, respacing, maxTimestep, compat } = run;
  if ((timesteps || respacing !== undefined) && (run.steps ?? run.spacing) !== undefined)
    refuse(
      'Timesteps are given twice: as a list or respacing, and as steps or spacing.',
      'Give one of them.',
    );
  if (maxTimestep !== undefined) {
    const possible = Number.isInteger(maxTimestep) && maxTimestep >= 1 && maxTimestep < T;
    if (!possible || compat)
      refuse(
        `A run with maxTimestep ${maxTimestep}${compat ? ` and compat ${compat}` : ''} is not possible.`,
        `Choose an integer from 1 to ${T - 1}, without compat.`,
      );
  }
  const legal = (t: number, i: number, list: readonly number[]) =>
    Number.isInteger(t) && t >= 0 && t < T && (i === 0 || t < list[i - 1]!);
  if (timesteps && !(timesteps.length > 0 && timesteps.every(legal)))
    refuse('The list of timesteps does not fall strictly.', `Give integers from ${T - 1} down to 0.`);
}

function checkLecture({ T }: SchedulerConfig, run: RunOptions, scheduler: SchedulerName): void {
  const { steps, spacing, timesteps, respacing, variance } = run;
  if (scheduler !== 'ddpm' || (steps ?? spacing ?? timesteps ?? respacing ?? variance))
    refuse(
      'The loop of the lecture is ddpm over all timesteps, with its own variance.',
      'Choose the scheduler ddpm, and leave steps, spacing, timesteps and variance out.',
    );
  if (T < 2) refuse('The loop of the lecture needs two timesteps.', 'Leave compat out.');
}
