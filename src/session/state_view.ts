/** Four views of a state: x_t, the predicted x_0, the predicted noise, and what the step changed. */

import type { Gpu } from '../engine/gpu/device.ts';
import { readTensor } from '../engine/gpu/transfer.ts';
import type { SchedulerConfig } from '../schedule/config.ts';
import { noiseLevels } from '../schedule/noise_levels.ts';
import type { Step } from '../schedule/step.ts';
import type { GpuTensor } from '../core/tensor.ts';

export const STATE_VIEWS = ['x_t', 'x0', 'eps', 'update'] as const;
export type StateView = (typeof STATE_VIEWS)[number];

/** A part of what is shown: `weight` times planar f32 (N, C, H, W). */
export interface Term {
  readonly tensor: GpuTensor;
  readonly weight: number;
}

/** The tensors of a state that the views are made of: see `StoredState`. */
export interface ViewedState {
  readonly xT: GpuTensor;
  readonly x0Hat: GpuTensor | null;
  readonly before: GpuTensor | null;
  readonly step: Step | null;
}

/**
 * The terms of a view of a state. The noise is shown at half and the update at a third of its expected size, so that both
 * stay in the range of grey.
 * @returns null at index 0 for all views but x_t
 */
export function termsOf(view: StateView, state: ViewedState, config: SchedulerConfig): Term[] | null {
  const { xT, x0Hat, before, step } = state;
  if (view === 'x_t') return [{ tensor: xT, weight: 1 }];
  if (!x0Hat || !step || !before) return null;
  if (view === 'x0') return [{ tensor: x0Hat, weight: 1 }];
  const level = noiseLevels(config);
  const { a, s } = level(step.t);
  if (view === 'eps')
    return [
      { tensor: before, weight: 0.5 / s },
      { tensor: x0Hat, weight: (-0.5 * a) / s },
    ];
  // x_{t-1} - x_t = (a' - a) x0Hat + (s' - s) epsHat + noise, with x0Hat and epsHat of about unit size.
  const to = level(step.tPrev);
  const size = Math.max(Math.hypot(to.a - a, to.s - s, step.sigma), 0.02);
  return [
    { tensor: xT, weight: 1 / (3 * size) },
    { tensor: before, weight: -1 / (3 * size) },
  ];
}

/** The weighted sum of one or more terms, in numbers: (N, C, H, W) row-major. @throws device-lost, gpu-error */
export async function readTerms(gpu: Gpu, terms: readonly Term[]): Promise<Float32Array<ArrayBuffer>> {
  const parts = await Promise.all(terms.map(({ tensor }) => readTensor(gpu, tensor)));
  return parts[0]!.map((_, i) => terms.reduce((sum, { weight }, n) => sum + weight * parts[n]![i]!, 0));
}
