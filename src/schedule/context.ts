/** Interface of a sampler: the registry entry, and the inputs from which it makes its steps. */

import { DiffusionError } from '../core/errors.ts';
import { CLEAN, levelAt, levelOfSigma, spaceSigmas, type Level, type SigmaSpacing } from './levels.ts';
import type { PredictionOptions } from './prediction.ts';
import type { Schedule } from './schedule.ts';
import type { Step } from './step.ts';
import { roundHalfEven, solverTimesteps, timestepList, type Spacing } from './timesteps.ts';

/** Variance of a DDPM step: variance_type of diffusers. */
export const VARIANCES = [
  'fixed_small',
  'fixed_small_log',
  'fixed_large',
  'fixed_large_log',
  'learned',
  'learned_range',
] as const;
export type VarianceType = (typeof VARIANCES)[number];

/** Run options that only some samplers take. Each sampler lists the ones it takes. */
export interface SamplerOptions {
  /** ddim: 0 (deterministic) to 1 (as much noise as DDPM); default 0. */
  readonly eta?: number;
  /** ddim: derives epsHat again from a clipped x0Hat; default true, with compat diffusers false. */
  readonly epsFromClipped?: boolean;
  /** ddim: runs backwards, from a picture to its noise; default false. */
  readonly invert?: boolean;
  /** ddpm: default from the config. The learned variances need a model with twice as many output as input channels. */
  readonly variance?: VarianceType;
  /** unipc: order; default from the config. */
  readonly order?: 1 | 2 | 3;
  /** unipc: choice of B(h); default from the config. bh1 is for few steps without guidance. */
  readonly bh?: 'bh1' | 'bh2';
  /** edm: S_churn, 0 or more; default 0. */
  readonly churn?: number;
  /** ddpm and ddim: RePaint resampling, number of steps that a jump takes back, from 1; 10 in the paper. */
  readonly jumpLength?: number;
  /** ddpm and ddim: RePaint resampling, number of times that each part of the run is sampled; 1 is off, 10 in the paper. */
  readonly jumpSamples?: number;
}

/** Inputs of a sampler: run options, or the config's values for absent ones. All are checked. */
export interface SamplerContext extends PredictionOptions {
  readonly schedule: Schedule;
  /** Number of steps of the run. */
  readonly steps: number;
  readonly spacing: Spacing;
  /** steps_offset of the config. */
  readonly offset: number;
  /** Timesteps that the run names itself; null: choose them by `steps` and `spacing`. */
  readonly givenTimesteps: readonly number[] | null;
  /** Spacing of noise levels by sigma; null: by timestep. */
  readonly sigmas: SigmaSpacing | null;
  /** Number of steps that are skipped at the start of the run. */
  readonly startStep: number;
  /** True: follows diffusers. */
  readonly compat: boolean;
  /** set_alpha_to_one of the config: alphaBar after the last step is 1, else alphaBar[0]. null: default of the sampler. */
  readonly finalAlphaOne: boolean | null;
  /** ddpm: the run ends at t = 0 instead of the clean image. */
  readonly endsAtZero: boolean;
  readonly eta: number;
  readonly epsFromClipped: boolean;
  readonly invert: boolean;
  readonly variance: VarianceType;
  readonly order: 1 | 2 | 3;
  readonly bh: 'bh1' | 'bh2';
  readonly churn: number;
}

/** Scheduler class of diffusers, with the defaults by which it differs from the other classes. */
export interface DiffusersClass {
  readonly className: string;
  readonly spacing: Spacing;
  readonly clip: boolean;
  /** beta_start and beta_end; default 0.0001 and 0.02. */
  readonly betas?: readonly [start: number, end: number];
  /** Keys that are supported with the class default only: key and default. */
  readonly fixed?: Readonly<Record<string, unknown>>;
  /** Keys by which samplers share a class: key and the value that selects this sampler. */
  readonly selectedBy?: Readonly<Record<string, string | number>>;
}

/** Registry entry of a sampler. Its file also exports SOURCE, the paper and equation, for docs/samplers.md. */
export interface Sampler {
  /** Name for people. */
  readonly title: string;
  /** Character of the sampler in a few words. */
  readonly blurb: string;
  /** True: adds noise with its default options. */
  readonly stochastic: boolean;
  /** Number of network evaluations (NFE) of a run of n steps. */
  readonly evaluations: (n: number) => number;
  /** Least number of steps; default 1. */
  readonly minSteps?: number;
  /**
   * True: steps through integer timesteps, so takes the options timesteps and respacing. False: steps between noise
   * levels, so takes the option sigmas.
   */
  readonly takesTimesteps: boolean;
  readonly options: readonly (keyof SamplerOptions)[];
  /** Kinds of clipping that the class of diffusers applies; compat follows it. */
  readonly diffusersClips: readonly ('range' | 'threshold')[];
  /** Absent: diffusers has no such class. */
  readonly diffusers?: DiffusersClass;
  /** Makes the steps of a run. @throws bad-option */
  readonly make: (context: SamplerContext) => Step[];
}

/** Returns the NFE of samplers that evaluate the network once per step. */
export const oncePerStep = (n: number): number => n;
/** Returns the NFE of samplers that evaluate the network twice per step, and once in the last. */
export const twicePerStep = (n: number): number => 2 * n - 1;

/** Returns the timesteps of the whole run, noisiest first. */
export function allTimesteps({ schedule, steps, spacing, offset, ...c }: SamplerContext): readonly number[] {
  return c.givenTimesteps ?? timestepList({ T: schedule.T, n: steps, spacing, offset, compat: c.compat });
}

/** Returns the timesteps after the start of the run. */
export const timesteps = (context: SamplerContext): readonly number[] =>
  afterStart(allTimesteps(context), context, 1);

/** Removes the entries before the start of the run. @throws bad-option unless `minLength` entries remain */
function afterStart<V>(list: readonly V[], { startStep }: SamplerContext, minLength: number): readonly V[] {
  if (list.length - startStep < minLength)
    throw new DiffusionError(
      'bad-option',
      `The run starts at step ${startStep} of ${list.length - minLength + 1}: no steps remain.`,
      'Start earlier, or take more steps.',
    );
  return list.slice(startStep);
}

/**
 * Returns the noise levels of an ODE solver after the start of the run, ending at the clean image.
 * @param options integerTimesteps: true as DPM-Solver and UniPC of diffusers, default false as its Euler and Heun;
 *   sigmas: default that of the run
 */
export function levels(
  context: SamplerContext,
  { integerTimesteps = false, sigmas = context.sigmas } = {},
): readonly Level[] {
  const { schedule, steps: n, spacing, offset } = context;
  const table = schedule.sigma;
  const list = solverTimesteps({ T: schedule.T, n, spacing, offset }, integerTimesteps);
  if (!sigmas) return afterStart([...list.map((t) => levelAt(table, t)), CLEAN], context, 2);
  const spaced = list.map((t) => levelAt(table, t).sigma);
  // diffusers gives these solvers integer timesteps: rounded with Karras sigmas, truncated with the others.
  const rounded = sigmas === 'karras' && schedule.kind !== 'squaredcos_cap_v2' ? roundHalfEven : Math.floor;
  const round = integerTimesteps && context.compat ? rounded : (t: number) => t;
  const [min, max] = integerTimesteps ? [table[0]!, table.at(-1)!] : [spaced.at(-1)!, spaced[0]!];
  const spread = spaceSigmas(sigmas, n, min, max).map((sigma) => levelOfSigma(table, sigma, round));
  return afterStart([...spread, CLEAN], context, 2);
}
