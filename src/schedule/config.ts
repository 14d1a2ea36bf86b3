/** Parser of a diffusers scheduler_config.json. An absent key takes the default of the config's class. */

import { ConfigReader, showValue } from '../core/config_reader.ts';
import { DiffusionError } from '../core/errors.ts';
import { VARIANCES, type DiffusersClass, type VarianceType } from './context.ts';
import { SIGMA_SPACINGS, type SigmaSpacing } from './levels.ts';
import { PREDICTION_TYPES, type PredictionType } from './prediction.ts';
import { SAMPLERS, SCHEDULERS, takesOption, type SchedulerName } from './samplers.ts';
import type { Betas, ScheduleConfig } from './schedule.ts';
import type { Clip } from './step.ts';
import { SPACINGS, type Spacing } from './timesteps.ts';

export interface SchedulerConfig extends ScheduleConfig {
  /** Default sampler of a run: that of `_class_name`. */
  readonly scheduler: SchedulerName;
  /** use_karras_sigmas, use_exponential_sigmas or use_beta_sigmas. */
  readonly sigmas: SigmaSpacing | null;
  /** solver_order of UniPC. */
  readonly order: 1 | 2 | 3;
  /** solver_type of UniPC. */
  readonly bh: 'bh1' | 'bh2';
  readonly zeroSnr: boolean;
  readonly predictionType: PredictionType;
  /** thresholding (with dynamic_thresholding_ratio, sample_max_value), else clip_sample (with clip_sample_range). */
  readonly clip: Clip;
  readonly spacing: Spacing;
  /** steps_offset */
  readonly offset: number;
  /** variance_type of DDPM. */
  readonly variance: VarianceType;
  /** set_alpha_to_one: alphaBar of the clean image is 1, else alphaBar[0]. null: default of each sampler's class. */
  readonly finalAlphaOne: boolean | null;
}

/** Samplers by class name of diffusers; several samplers may share a class. */
function samplersOfClass(className: unknown): readonly { name: SchedulerName; defaults: DiffusersClass }[] {
  return SCHEDULERS.flatMap((name) => {
    const { diffusers } = SAMPLERS[name];
    return diffusers && (className === undefined || diffusers.className === className)
      ? [{ name, defaults: diffusers }]
      : [];
  });
}

/**
 * @param json parsed file; null if the model has none
 * @param source name of the file, for messages
 * @throws unsupported-model, naming the key
 */
export function parseSchedulerConfig(json: unknown, source: string): SchedulerConfig {
  const read = new ConfigReader(json, (key, why) => {
    throw new DiffusionError(
      'unsupported-model',
      `${source}: ${key} ${why}.`,
      'Use the scheduler_config.json of a supported scheduler class of diffusers, with a supported value for that key.',
    );
  });
  const { name: scheduler, defaults } = samplerOf(read);
  const spaced = SIGMA_SPACINGS.filter((spacing) => read.flag(`use_${spacing}_sigmas`, false));
  if (spaced.length > 1)
    read.refuse(`use_${spaced[1]}_sigmas`, `is on together with use_${spaced[0]}_sigmas`);
  for (const [key, value] of Object.entries(defaults.fixed ?? {}))
    if (showValue(read.get(key, value)) !== showValue(value))
      read.refuse(
        key,
        `is ${showValue(read.get(key, value))}, and the supported value is ${showValue(value)}`,
      );
  const T = read.integer('num_train_timesteps', 1000, 1, 100_000);
  const predictionType = read.choice('prediction_type', 'epsilon', PREDICTION_TYPES);
  const zeroSnr = read.flag('rescale_betas_zero_snr', false);
  if (zeroSnr && predictionType === 'epsilon')
    read.refuse('rescale_betas_zero_snr', 'is on, and the epsilon of pure noise does not determine x_0');
  return {
    scheduler,
    order: takesOption(scheduler, 'order') ? (read.integer('solver_order', 2, 1, 3) as 1 | 2 | 3) : 2,
    bh: takesOption(scheduler, 'bh') ? read.choice('solver_type', 'bh2', ['bh1', 'bh2']) : 'bh2',
    sigmas: spaced[0] ?? null,
    T,
    betas: betasOf(read, T, defaults),
    zeroSnr,
    predictionType,
    clip: clipOf(read, defaults),
    spacing: read.choice('timestep_spacing', defaults.spacing, SPACINGS),
    offset: read.integer('steps_offset', 0, 0, T - 1),
    variance: read.choice('variance_type', 'fixed_small', VARIANCES),
    finalAlphaOne: read.has('set_alpha_to_one') ? read.flag('set_alpha_to_one', true) : null,
  };
}

/** Returns the sampler of `_class_name`, and of further keys if several samplers share the class. */
function samplerOf(read: ConfigReader): { name: SchedulerName; defaults: DiffusersClass } {
  const className = read.get('_class_name', 'DDIMScheduler');
  let found = samplersOfClass(className);
  if (found.length === 0) {
    const names = new Set(samplersOfClass(undefined).map(({ defaults }) => defaults.className));
    read.refuse(
      '_class_name',
      `is ${showValue(className)}, and the supported values are ${[...names].join(', ')}`,
    );
  }
  for (const key of Object.keys(found[0]!.defaults.selectedBy ?? {})) {
    const values = [...new Set(found.map(({ defaults }) => defaults.selectedBy![key]!))];
    const value = read.choice(key, values[0]!, values);
    found = found.filter(({ defaults }) => defaults.selectedBy![key] === value);
  }
  return found[0]!;
}

function betasOf(read: ConfigReader, T: number, defaults: DiffusersClass): Betas {
  const trained = read.get('trained_betas', null);
  if (trained !== null) {
    const legal = (beta: unknown) => typeof beta === 'number' && beta > 0 && beta < 1;
    if (!Array.isArray(trained) || trained.length !== T || !trained.every(legal))
      return read.refuse('trained_betas', `should be ${T} numbers between 0 and 1`);
    return { kind: 'trained', values: trained as number[] };
  }
  const kinds = ['linear', 'scaled_linear', 'squaredcos_cap_v2', 'sigmoid'] as const;
  const kind = read.choice('beta_schedule', 'linear', kinds);
  const [from, to] = defaults.betas ?? [0.0001, 0.02];
  const start = read.real('beta_start', from, 1e-9, 0.9999);
  const end = read.real('beta_end', to, 1e-9, 0.9999);
  return kind === 'squaredcos_cap_v2' ? { kind } : { kind, start, end };
}

function clipOf(read: ConfigReader, defaults: DiffusersClass): Clip {
  if (read.flag('thresholding', false))
    return {
      quantile: read.real('dynamic_thresholding_ratio', 0.995, 1e-6, 1),
      max: read.real('sample_max_value', 1, 1, 1e6),
    };
  return read.flag('clip_sample', defaults.clip) ? read.real('clip_sample_range', 1, 1e-6, 1e6) : null;
}
