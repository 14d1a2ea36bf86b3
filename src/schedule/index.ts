/** From a model's scheduler config and the options of a run to the list of its steps. A new sampler is a row in SAMPLERS. */

import { DiffusionError } from '../errors.ts';
import {
  SCHEDULERS,
  VARIANCES,
  type SchedulerConfig,
  type SchedulerName,
  type VarianceType,
} from './config.ts';
import { ddimSteps } from './ddim.ts';
import { ddimInverseSteps } from './ddim_inverse.ts';
import { ddpmSteps } from './ddpm.ts';
import { dpmSolverMultistep, dpmSolverSinglestep } from './dpm_solver.ts';
import { edmSteps } from './edm.ts';
import { eulerSteps } from './euler.ts';
import { heunSteps } from './heun.ts';
import {
  CLEAN,
  levelAt,
  levelOfSigma,
  SIGMA_SPACINGS,
  sigmaTable,
  spaceSigmas,
  type Level,
  type SigmaSpacing,
} from './levels.ts';
import { odeSteps } from './ode.ts';
import { pndmSteps } from './pndm.ts';
import { PREDICTION_TYPES, type PredictionType } from './prediction.ts';
import { withJumps, type Jumps } from './repaint.ts';
import { makeSchedule, type Schedule } from './schedule.ts';
import type { Clip, Step } from './step.ts';
import {
  respacedTimesteps,
  roundHalfEven,
  solverTimesteps,
  SPACINGS,
  timestepList,
  type Spacing,
} from './timesteps.ts';
import { uniPCSteps } from './unipc.ts';

/** What a sampler gets: everything that the options and the config say, checked. */
interface Setting {
  readonly schedule: Schedule;
  readonly config: SchedulerConfig;
  readonly run: RunOptions;
  readonly steps: number;
  readonly spacing: Spacing;
  readonly predictionType: PredictionType;
  readonly clip: Clip;
  readonly compat: boolean;
  readonly begin: number;
}

/** All timesteps of the run. */
function wholeList({ schedule, config, run, steps, spacing, compat }: Setting): readonly number[] {
  if (run.timesteps) return run.timesteps;
  if (run.respacing !== undefined) return respacedTimesteps(schedule.T, run.respacing);
  return timestepList({ T: schedule.T, n: steps, spacing, offset: config.offset, compat });
}

/** Those from where the run begins. */
const timesteps = (s: Setting): readonly number[] => from(wholeList(s), s, 1);

/** Cuts off what lies before the beginning; at least `least` entries stay. */
function from<V>(list: readonly V[], { begin }: Setting, least: number): readonly V[] {
  if (list.length - begin < least)
    throw new DiffusionError(
      'bad-option',
      `The run begins at step ${begin} of ${list.length - least + 1}: nothing is left to do.`,
      'Begin earlier, or take more steps.',
    );
  return list.slice(begin);
}

/** Levels for the solvers: `whole` as DPM-Solver and UniPC choose them, else as Euler and Heun do; clean at the end. */
function levels(
  s: Setting,
  whole: boolean,
  sigmas: SigmaSpacing | null = s.run.sigmas ?? s.config.sigmas,
): readonly Level[] {
  const table = sigmaTable(s.schedule);
  const { steps: n, spacing, config } = s;
  const list = solverTimesteps({ T: s.schedule.T, n, spacing, offset: config.offset }, whole);
  if (!sigmas) return from([...list.map((t) => levelAt(table, t)), CLEAN], s, 2);
  const spaced = list.map((t) => levelAt(table, t).sigma);
  // diffusers gives its whole-step solvers whole timesteps, rounded for Karras' sigmas and cut off for the others.
  const rounded =
    sigmas === 'karras' && config.betas.kind !== 'squaredcos_cap_v2' ? roundHalfEven : Math.floor;
  const round = whole && s.compat ? rounded : (t: number) => t;
  const [min, max] = whole ? [table[0]!, table.at(-1)!] : [spaced.at(-1)!, spaced[0]!];
  const spread = spaceSigmas(sigmas, n, min, max).map((sigma) => levelOfSigma(table, sigma, round));
  return from([...spread, CLEAN], s, 2);
}

const SAMPLERS = {
  ddpm: (s) =>
    ddpmSteps(s.schedule, timesteps(s), {
      ...s,
      variance: s.run.variance ?? s.config.variance,
      endsAtZero: s.run.endsAtZero ?? false,
    }),
  ddim: (s) =>
    ddimSteps(s.schedule, timesteps(s), {
      ...s,
      eta: s.run.eta ?? 0,
      finalAlphaOne: s.config.finalAlphaOne ?? true,
      stride: Math.floor(s.schedule.T / wholeList(s).length),
      epsFromClipped: s.run.epsFromClipped ?? !s.compat,
    }),
  pndm: (s) => pndmSteps(s.schedule, timesteps(s), { ...s, finalAlphaOne: s.config.finalAlphaOne ?? false }),
  euler: (s) => eulerSteps(levels(s, false), s),
  'euler-ancestral': (s) => eulerSteps(levels(s, false), s, true),
  heun: (s) => heunSteps(levels(s, false), s),
  'dpmpp-2m': (s) => dpmSolverMultistep(levels(s, true), { ...s, order: 2 }),
  'dpmpp-2s': (s) => dpmSolverSinglestep(levels(s, true), s),
  'dpmpp-sde': (s) => dpmSolverMultistep(levels(s, true), { ...s, order: 2, sde: true }),
  'dpmpp-3m': (s) => dpmSolverMultistep(levels(s, true), { ...s, order: 3 }),
  unipc: (s) =>
    uniPCSteps(levels(s, true), { ...s, order: s.run.order ?? s.config.order, bh: s.run.bh ?? s.config.bh }),
  edm: (s) =>
    edmSteps(levels(s, false, s.run.sigmas ?? s.config.sigmas ?? 'karras'), {
      ...s,
      churn: s.run.churn ?? 0,
      table: sigmaTable(s.schedule),
    }),
  ode: (s) => odeSteps(levels(s, false), { ...s, table: sigmaTable(s.schedule) }),
} satisfies Record<SchedulerName, (s: Setting) => Step[]>;

export { SCHEDULERS, type SchedulerName, type Jumps };

/** Options that are not given come from the model's config. */
export interface RunOptions {
  readonly scheduler?: SchedulerName;
  /**
   * Number of steps, 1 to T; 50 when not given. The network is evaluated once a step, but by heun and edm twice, by
   * ode four times (each once in the last), and by pndm nine times more in all.
   */
  readonly steps?: number;
  /** ddim only: 0 (deterministic) to 1 (as noisy as DDPM). */
  readonly eta?: number;
  readonly spacing?: Spacing;
  /**
   * The noisiest timestep, T - 1 unless given: the run sees the schedule up to there only, and x_T stands there. All samplers
   * then start at one level, and not where alphaBar is so near 0 that x0Hat, (x - s eps) / a, is all error (cosine).
   */
  readonly top?: number;
  /** Timesteps in place of steps and spacing, strictly falling, in [0, T - 1]; ddpm, ddim and pndm. */
  readonly timesteps?: readonly number[];
  /** A respacing string of guided-diffusion in place of steps and spacing: "250", "10,15,20", "ddim50"; likewise. */
  readonly respacing?: string;
  /** Noise levels spaced by sigma instead of by timestep; euler and all after it. */
  readonly sigmas?: SigmaSpacing;
  /** What the network predicts, where the config is wrong about it. */
  readonly prediction?: PredictionType;
  /** ddpm only; the learned ones need a model with twice as many channels out as in. */
  readonly variance?: VarianceType;
  /** What is done to x0Hat; pndm leaves it alone. */
  readonly clip?: Clip;
  /** unipc only: 2 unless given or in the config. */
  readonly order?: 1 | 2 | 3;
  /** unipc only: which B(h); bh2 unless given, bh1 is for few steps without guidance. */
  readonly bh?: 'bh1' | 'bh2';
  /** ddpm and ddim: RePaint's walks back and forth. */
  readonly jumps?: Jumps;
  /** edm only: S_churn, 0 or more. */
  readonly churn?: number;
  /** ddim only: derive epsHat again where x0Hat is clipped; true unless compat. */
  readonly epsFromClipped?: boolean;
  /**
   * Where the run begins in its list of steps, 0 unless given: after so many steps the state that it starts from stands
   * there. A run that continues another from a saved state has its steps' noise, and arrives at the same picture where
   * the sampler remembers nothing.
   */
  readonly begin?: number;
  /** ddim only: backwards, from a picture to its noise. */
  readonly invert?: boolean;
  /**
   * diffusers: its f32 tables, and its formulas where ours deviate (see the head of each sampler's file). lecture, ddpm
   * only: the loop of dome272/Diffusion-Models-pytorch, t = T - 1 ... 1 with sigma^2 = beta, unclipped, ending at t = 0.
   */
  readonly compat?: 'diffusers' | 'lecture';
  /** @internal of compat lecture */
  readonly endsAtZero?: boolean;
}

/** Options that only some samplers take. */
const ONLY: Partial<Record<keyof RunOptions, readonly SchedulerName[]>> = {
  eta: ['ddim'],
  epsFromClipped: ['ddim'],
  invert: ['ddim'],
  variance: ['ddpm'],
  order: ['unipc'],
  bh: ['unipc'],
  jumps: ['ddpm', 'ddim'],
  churn: ['edm'],
  timesteps: ['ddpm', 'ddim', 'pndm'],
  respacing: ['ddpm', 'ddim', 'pndm'],
  sigmas: SCHEDULERS.filter((name) => !['ddpm', 'ddim', 'pndm'].includes(name)),
};

/** The steps of a run, noisiest first. @throws bad-option, naming the option */
export function makeSteps(config: SchedulerConfig, run: RunOptions = {}): Step[] {
  const { scheduler = config.scheduler, steps = 50, eta = 0, spacing = config.spacing, churn = 0 } = run;
  const refuse = (what: string, action: string): never => {
    throw new DiffusionError('bad-option', what, action);
  };
  const among = (name: string, value: unknown, allowed: readonly string[]): void => {
    if (value !== undefined && !allowed.includes(value as string))
      refuse(`There is no ${name} ${String(value)}.`, `Choose one of ${allowed.join(', ')}.`);
  };
  among('scheduler', scheduler, SCHEDULERS);
  among('timestep spacing', spacing, SPACINGS);
  among('spacing of sigmas', run.sigmas, SIGMA_SPACINGS);
  among('prediction type', run.prediction, PREDICTION_TYPES);
  among('variance', run.variance, VARIANCES);
  among('compat mode', run.compat, ['diffusers', 'lecture']);
  among('B(h)', run.bh, ['bh1', 'bh2']);
  if (run.order !== undefined && ![1, 2, 3].includes(run.order))
    refuse(`The order is ${String(run.order)}.`, 'Choose 1, 2 or 3.');
  checkClip(run.clip, refuse);
  if (run.jumps) {
    const { length, samples } = run.jumps;
    if (!(
      Number.isInteger(length) &&
      length >= 1 &&
      Number.isInteger(samples) &&
      samples >= 1 &&
      samples <= 1000
    ))
      refuse(
        `Jumps of ${length} steps, ${samples} times, are not possible.`,
        'Give two whole numbers from 1 up.',
      );
  }
  if (!(eta >= 0 && eta <= 1)) refuse(`eta is ${String(eta)}.`, 'Choose a number from 0 to 1.');
  if (!(churn >= 0 && churn <= 1e6)) refuse(`The churn is ${String(churn)}.`, 'Choose a number from 0 up.');
  for (const [option, names] of Object.entries(ONLY))
    if (run[option as keyof RunOptions] && !names.includes(scheduler))
      refuse(
        `${option} is an option of ${names.join(', ')}, and the scheduler is ${scheduler}.`,
        `Leave ${option} out, or choose ${names[0]}.`,
      );
  if ((run.timesteps || run.respacing !== undefined) && (run.steps ?? run.spacing) !== undefined)
    refuse(
      'Timesteps are given twice: as a list or respacing, and as steps or spacing.',
      'Give one of them.',
    );
  if (run.top !== undefined) {
    const { top, ...rest } = run;
    if (!(Number.isInteger(top) && top >= 1 && top < config.T) || run.compat)
      refuse(
        `A run from timestep ${top}${run.compat ? ` with compat ${run.compat}` : ''} is not possible.`,
        `Choose a whole number from 1 to ${config.T - 1}, without compat.`,
      );
    const { alphaBar } = makeSchedule(config);
    const values = Array.from({ length: top + 1 }, (_, t) => 1 - alphaBar[t]! / (alphaBar[t - 1] ?? 1));
    const betas = { kind: 'trained', values } as const;
    return makeSteps({ ...config, T: top + 1, betas, zeroSnr: false }, rest);
  }
  const legal = (t: number, i: number, list: readonly number[]) =>
    Number.isInteger(t) && t >= 0 && t < config.T && (i === 0 || t < list[i - 1]!);
  if (run.timesteps && !(run.timesteps.length > 0 && run.timesteps.every(legal)))
    refuse(
      'The list of timesteps does not fall strictly.',
      `Give whole numbers from ${config.T - 1} down to 0.`,
    );
  if (run.compat === 'lecture') {
    if (scheduler !== 'ddpm' || (run.steps ?? run.spacing ?? run.timesteps ?? run.respacing ?? run.variance))
      refuse(
        'The loop of the lecture is ddpm over all timesteps, with its own variance.',
        'Choose the scheduler ddpm, and leave steps, spacing, timesteps and variance out.',
      );
    if (config.T < 2) refuse('The loop of the lecture needs two timesteps.', 'Leave compat out.');
    const all = Array.from({ length: config.T - 1 }, (_, i) => config.T - 1 - i);
    const { begin = 0, prediction = config.predictionType, clip = null } = run;
    const own = { variance: 'fixed_large', timesteps: all, endsAtZero: true } as const;
    return makeSteps(config, { scheduler, begin, prediction, clip, ...own });
  }
  const compat = run.compat === 'diffusers';
  const { begin = 0 } = run;
  if (!Number.isInteger(begin) || begin < 0)
    refuse(`begin is ${String(begin)}.`, 'Choose a whole number from 0 up.');
  const setting: Setting = {
    schedule: makeSchedule(config, { torch32: compat }),
    config,
    run,
    steps,
    spacing,
    predictionType: run.prediction ?? config.predictionType,
    clip: run.clip === undefined ? clipOf(config, scheduler, compat) : run.clip,
    compat,
    begin,
  };
  if (compat && scheduler === 'ddpm' && (run.variance ?? config.variance) === 'learned')
    refuse(
      'diffusers takes the root of a learned variance, which models learn the log of.',
      'Leave compat out, or choose another variance.',
    );
  if (run.invert) {
    if (eta > 0 || begin > 0 || run.jumps)
      refuse('An inversion has no noise, no beginning and no jumps.', 'Leave eta, begin and jumps out.');
    return ddimInverseSteps(setting.schedule, timesteps(setting), {
      ...setting,
      finalAlphaOne: config.finalAlphaOne ?? true,
    });
  }
  const sampler = SAMPLERS[scheduler];
  let list: Step[] = sampler(setting);
  if (begin > 0) {
    // Steps keep the index, and with it the noise, that they have in the whole run.
    const skipped = sampler({ ...setting, begin: 0 }).length - list.length;
    list = list.map((step) => ({ ...step, index: step.index + skipped }));
  }
  return run.jumps ? withJumps(list, run.jumps, setting.schedule) : list;
}

/** diffusers clips in DDPM, DDIM and Heun only; x0Hat is what the others step with, too, so we clip it in all. */
function clipOf({ clip }: SchedulerConfig, scheduler: SchedulerName, compat: boolean): Clip {
  if (!compat || scheduler === 'ddpm' || scheduler === 'ddim') return clip;
  const thresholds = scheduler === 'unipc' || scheduler.startsWith('dpmpp');
  return (typeof clip === 'object' ? thresholds : scheduler === 'heun') ? clip : null;
}

function checkClip(clip: Clip | undefined, refuse: (what: string, action: string) => never): void {
  if (clip === undefined || clip === null) return;
  if (typeof clip === 'object') {
    if (!(clip.quantile > 0 && clip.quantile <= 1 && clip.max >= 1 && clip.max <= 1e6))
      refuse(
        `A threshold at the quantile ${String(clip.quantile)}, at most ${String(clip.max)}, is not possible.`,
        'Give a quantile above 0, up to 1 (0.995 is usual), and a maximum from 1 up.',
      );
  } else if (!(clip > 0 && clip <= 1e6))
    refuse(`x0Hat cannot be clipped to ${String(clip)}.`, 'Give a number above 0; 1 is usual.');
}

/** The noise level of each timestep: x_t = a x_0 + s eps (DDPM eq. 4). */
export function noiseLevels(
  config: SchedulerConfig,
): (t: number) => { readonly a: number; readonly s: number } {
  const table = sigmaTable(makeSchedule(config));
  return (t) => {
    if (t === -1) return CLEAN;
    if (!(t >= 0 && t <= config.T - 1))
      throw new DiffusionError(
        'bad-option',
        `There is no timestep ${t}.`,
        `Choose one from 0 to ${config.T - 1}.`,
      );
    return levelAt(table, t);
  };
}

/**
 * Where image-to-image begins (SDEdit, Meng et al. 2022): the last `strength` of the steps are taken.
 * @param strength above 0, up to 1: of n steps the last floor(n strength), as diffusers counts them
 */
export function beginFor(config: SchedulerConfig, run: RunOptions, strength: number): number {
  const whole = run.compat === 'lecture' ? config.T - 1 : (run.steps ?? 50);
  const n =
    run.timesteps?.length ??
    (run.respacing === undefined ? whole : respacedTimesteps(config.T, run.respacing).length);
  const taken = Math.floor(n * strength);
  if (!(strength > 0 && strength <= 1) || taken < 1)
    throw new DiffusionError(
      'bad-option',
      `A strength of ${String(strength)} leaves none of ${n} steps to take.`,
      'Choose a number above 0, up to 1, or take more steps.',
    );
  return n - taken;
}
