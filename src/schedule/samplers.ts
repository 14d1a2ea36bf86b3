/**
 * Registry of the samplers, in the order in which pages list them. To add a sampler: write its file (euler.ts is a short
 * example) and add it here. Types, checks, scheduler configs, pages, the command line and docs/samplers.md derive from
 * this list.
 */

import type { Sampler, SamplerOptions } from './context.ts';
import { ddim } from './ddim.ts';
import { ddpm } from './ddpm.ts';
import { dpmpp2m, dpmpp2s, dpmpp3m, dpmppSde } from './dpm_solver.ts';
import { edm } from './edm.ts';
import { euler, eulerAncestral } from './euler.ts';
import { heun } from './heun.ts';
import { ode } from './ode.ts';
import { pndm } from './pndm.ts';
import { unipc } from './unipc.ts';

export const SAMPLERS = {
  ddim,
  ddpm,
  'dpmpp-2m': dpmpp2m,
  'dpmpp-3m': dpmpp3m,
  'dpmpp-2s': dpmpp2s,
  'dpmpp-sde': dpmppSde,
  unipc,
  pndm,
  euler,
  'euler-ancestral': eulerAncestral,
  heun,
  edm,
  ode,
} satisfies Record<string, Sampler>;

export type SchedulerName = keyof typeof SAMPLERS;

/** Names of all samplers. */
export const SCHEDULERS = Object.keys(SAMPLERS) as readonly SchedulerName[];

/** Returns true if the sampler takes an option that not every sampler takes. */
export const takesOption = (name: SchedulerName, option: keyof SamplerOptions): boolean =>
  SAMPLERS[name].options.includes(option);
