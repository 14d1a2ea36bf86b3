/** A diffusers scheduler_config.json, validated. An absent key means the default of the config's class. */

import { DiffusionError } from '../errors.ts';
import type { SigmaSpacing } from './levels.ts';
import { PREDICTION_TYPES, type PredictionType } from './prediction.ts';
import type { Clip } from './step.ts';
import { SPACINGS, type Spacing } from './timesteps.ts';

export const SCHEDULERS = [
  'ddpm',
  'ddim',
  'pndm',
  'euler',
  'euler-ancestral',
  'heun',
  'dpmpp-2m',
  'dpmpp-2s',
  'dpmpp-sde',
  'dpmpp-3m',
  'unipc',
  'edm',
  'ode',
] as const;
export type SchedulerName = (typeof SCHEDULERS)[number];

export type Betas =
  | { readonly kind: 'linear' | 'scaled_linear' | 'sigmoid'; readonly start: number; readonly end: number }
  | { readonly kind: 'squaredcos_cap_v2' }
  | { readonly kind: 'trained'; readonly values: readonly number[] };

export const VARIANCES = [
  'fixed_small',
  'fixed_small_log',
  'fixed_large',
  'fixed_large_log',
  'learned',
  'learned_range',
] as const;
export type VarianceType = (typeof VARIANCES)[number];

interface ClassDefaults {
  readonly scheduler: SchedulerName;
  readonly spacing: Spacing;
  readonly clip: boolean;
  readonly betas?: readonly [start: number, end: number];
  /** Keys of which we do the class's default only. */
  readonly fixed?: Readonly<Record<string, unknown>>;
}

/** What the classes of diffusers differ in. */
const CLASSES: Readonly<Record<string, ClassDefaults>> = {
  DDPMScheduler: { scheduler: 'ddpm', spacing: 'leading', clip: true },
  DDIMScheduler: { scheduler: 'ddim', spacing: 'leading', clip: true },
  PNDMScheduler: { scheduler: 'pndm', spacing: 'leading', clip: false },
  EulerDiscreteScheduler: { scheduler: 'euler', spacing: 'linspace', clip: false },
  EulerAncestralDiscreteScheduler: { scheduler: 'euler-ancestral', spacing: 'linspace', clip: false },
  HeunDiscreteScheduler: { scheduler: 'heun', spacing: 'linspace', clip: false, betas: [0.00085, 0.012] },
  DPMSolverMultistepScheduler: {
    scheduler: 'dpmpp-2m',
    spacing: 'linspace',
    clip: false,
    fixed: {
      solver_type: 'midpoint',
      final_sigmas_type: 'zero',
      use_lu_lambdas: false,
      euler_at_final: false,
    },
  },
  DPMSolverSinglestepScheduler: {
    scheduler: 'dpmpp-2s',
    spacing: 'linspace',
    clip: false,
    fixed: {
      solver_order: 2,
      solver_type: 'midpoint',
      final_sigmas_type: 'zero',
      algorithm_type: 'dpmsolver++',
    },
  },
  UniPCMultistepScheduler: {
    scheduler: 'unipc',
    spacing: 'linspace',
    clip: false,
    fixed: { predict_x0: true, disable_corrector: [], solver_p: null, final_sigmas_type: 'zero' },
  },
};

export interface SchedulerConfig {
  /** The sampler that a run takes when it names none: that of `_class_name`. */
  readonly scheduler: SchedulerName;
  /** Likewise: use_karras_sigmas and its like. */
  readonly sigmas: SigmaSpacing | null;
  /** solver_order and solver_type of UniPC. */
  readonly order: 1 | 2 | 3;
  readonly bh: 'bh1' | 'bh2';
  /** num_train_timesteps */
  readonly T: number;
  readonly betas: Betas;
  /** rescale_betas_zero_snr: the last timestep is pure noise. */
  readonly zeroSnr: boolean;
  readonly predictionType: PredictionType;
  /** thresholding (with dynamic_thresholding_ratio, sample_max_value), else clip_sample (with clip_sample_range). */
  readonly clip: Clip;
  readonly spacing: Spacing;
  /** steps_offset */
  readonly offset: number;
  /** DDPM only. */
  readonly variance: VarianceType;
  /**
   * set_alpha_to_one: alphaBar at the clean end is 1, else alphaBar[0]. null where the config does not say: then as the
   * class of each sampler, true for DDIM and false for PNDM.
   */
  readonly finalAlphaOne: boolean | null;
}

/**
 * @param json the parsed file, or null when the model has none
 * @throws unsupported-model, naming the key
 */
export function parseSchedulerConfig(json: unknown, source: string): SchedulerConfig {
  const refuse = (key: string, why: string): never => {
    throw new DiffusionError(
      'unsupported-model',
      `${source}: ${key} ${why}.`,
      'Use the scheduler_config.json of a DDPMScheduler or DDIMScheduler, with a value that is supported for that key.',
    );
  };
  if (json !== null && (typeof json !== 'object' || Array.isArray(json)))
    return refuse('the config', 'is not an object');
  const given = new Map<string, unknown>(Object.entries(json ?? {}));
  const get = (key: string, absent: unknown): unknown => (given.has(key) ? given.get(key) : absent);
  const show = (value: unknown): string => {
    const text = JSON.stringify(value) ?? String(value);
    return text.length > 60 ? `${text.slice(0, 60)}...` : text;
  };
  const number = (key: string, absent: number, min: number, max: number, whole = false): number => {
    const value = get(key, absent);
    return typeof value === 'number' && value >= min && value <= max && (!whole || Number.isInteger(value))
      ? value
      : refuse(
          key,
          `is ${show(value)}, and should be a ${whole ? 'whole ' : ''}number from ${min} to ${max}`,
        );
  };
  const flag = (key: string, absent: boolean): boolean => {
    const value = get(key, absent);
    return typeof value === 'boolean' ? value : refuse(key, `is ${show(value)}, and should be true or false`);
  };
  const choice = <V extends string>(key: string, absent: V, values: readonly V[]): V => {
    const value = get(key, absent);
    return (
      values.find((v) => v === value) ??
      refuse(key, `is ${show(value)}, and only ${values.join(', ')} are supported`)
    );
  };
  const className = get('_class_name', 'DDIMScheduler');
  const defaults = Object.hasOwn(CLASSES, String(className)) ? CLASSES[String(className)] : undefined;
  if (!defaults)
    return refuse(
      '_class_name',
      `is ${show(className)}, and only ${Object.keys(CLASSES).join(', ')} are supported`,
    );
  const spaced = (['karras', 'exponential', 'beta'] as const).filter((s) => flag(`use_${s}_sigmas`, false));
  if (spaced.length > 1) refuse(`use_${spaced[1]}_sigmas`, `is on together with use_${spaced[0]}_sigmas`);

  for (const [key, value] of Object.entries(defaults.fixed ?? {}))
    if (JSON.stringify(get(key, value)) !== JSON.stringify(value))
      refuse(key, `is ${show(get(key, value))}, and only ${show(value)} is supported`);
  let { scheduler } = defaults;
  if (scheduler === 'dpmpp-2m') {
    const order = number('solver_order', 2, 2, 3, true);
    const kind = choice('algorithm_type', 'dpmsolver++', ['dpmsolver++', 'sde-dpmsolver++']);
    if (kind === 'sde-dpmsolver++' && order === 3)
      refuse('solver_order', 'is 3, and the SDE is done with 2 only');
    scheduler = kind === 'sde-dpmsolver++' ? 'dpmpp-sde' : order === 3 ? 'dpmpp-3m' : 'dpmpp-2m';
  }
  const unipc = scheduler === 'unipc';

  const T = number('num_train_timesteps', 1000, 1, 100_000, true);
  const trained = get('trained_betas', null);
  let betas: Betas;
  if (trained !== null) {
    const inside = (beta: unknown) => typeof beta === 'number' && beta > 0 && beta < 1;
    if (!Array.isArray(trained) || trained.length !== T || !trained.every(inside))
      return refuse('trained_betas', `should be ${T} numbers between 0 and 1`);
    betas = { kind: 'trained', values: trained as number[] };
  } else {
    const kind = choice('beta_schedule', 'linear', [
      'linear',
      'scaled_linear',
      'squaredcos_cap_v2',
      'sigmoid',
    ]);
    const [from, to] = defaults.betas ?? [0.0001, 0.02];
    const [start, end] = [number('beta_start', from, 1e-9, 0.9999), number('beta_end', to, 1e-9, 0.9999)];
    betas = kind === 'squaredcos_cap_v2' ? { kind } : { kind, start, end };
  }
  const predictionType = choice('prediction_type', 'epsilon', PREDICTION_TYPES);
  const zeroSnr = flag('rescale_betas_zero_snr', false);
  if (zeroSnr && predictionType === 'epsilon')
    refuse('rescale_betas_zero_snr', 'is on, and pure noise says nothing about x_0 through epsilon');
  return {
    scheduler,
    order: unipc ? (number('solver_order', 2, 1, 3, true) as 1 | 2 | 3) : 2,
    bh: unipc ? choice('solver_type', 'bh2', ['bh1', 'bh2']) : 'bh2',
    sigmas: spaced[0] ?? null,
    T,
    betas,
    zeroSnr,
    predictionType,
    clip: flag('thresholding', false)
      ? {
          quantile: number('dynamic_thresholding_ratio', 0.995, 1e-6, 1),
          max: number('sample_max_value', 1, 1, 1e6),
        }
      : flag('clip_sample', defaults.clip)
        ? number('clip_sample_range', 1, 1e-6, 1e6)
        : null,
    spacing: choice('timestep_spacing', defaults.spacing, SPACINGS),
    offset: number('steps_offset', 0, 0, T - 1, true),
    variance: choice('variance_type', 'fixed_small', VARIANCES),
    finalAlphaOne: given.has('set_alpha_to_one') ? flag('set_alpha_to_one', true) : null,
  };
}
