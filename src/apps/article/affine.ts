/** The contract of schedule/step.ts on the CPU, for networks that are a function: the same steps, without a GPU. */

import type { Clip, LinearCombination, Step } from '../../schedule/step.ts';

export interface State {
  readonly x: Float64Array;
  /** Slots that the sampler remembers. */
  readonly h: readonly Float64Array[];
}

/**
 * One step on every number of the state.
 * @param network m of the state at a step, as long as the state
 * @param z noise, as long as the state; not read where the step adds none
 */
export function affineStep(
  step: Step,
  { x, h }: State,
  network: (x: Float64Array, step: Step) => Float64Array,
  z: ArrayLike<number> | null,
): State & { readonly x0Hat: Float64Array } {
  const m = network(x, step);
  const bound = limit(step.clip);
  const x0Hat = x.map((v, i) => {
    const x0 = step.x0Hat.x * v + step.x0Hat.modelOutput * m[i]!;
    return Math.min(Math.max(x0, -bound), bound);
  });
  const mixed = (mix: LinearCombination): Float64Array => {
    const out = new Float64Array(x.length);
    const parts: readonly (readonly [number | undefined, ArrayLike<number> | undefined])[] = [
      [mix.x, x],
      [mix.x0Hat, x0Hat],
      [mix.modelOutput, m],
      ...(mix.history ?? []).map((factor, k) => [factor, h[k]] as const),
    ];
    for (const [factor, of] of parts)
      if (factor && of) for (let i = 0; i < out.length; i++) out[i]! += factor * of[i]!;
    return out;
  };
  const next = mixed(step.next);
  if (step.sigma > 0) for (let i = 0; i < next.length; i++) next[i]! += step.sigma * z![i]!;
  const slots = Math.max(h.length, step.history?.length ?? 0);
  return {
    x0Hat,
    x: next,
    h: Array.from({ length: slots }, (_, k) => {
      const mix = step.history?.[k];
      return mix ? mixed(mix) : (h[k] ?? new Float64Array(x.length));
    }),
  };
}

function limit(clip: Clip): number {
  if (clip === null) return Infinity;
  if (typeof clip === 'number') return clip;
  throw new Error('dynamic thresholding needs whole images'); // a fault of ours: no view asks for it here
}

/** sqrt(alphaBar) at which an epsilon-predicting step looks: x0Hat = x / a - (s / a) eps. */
export const aOf = (step: Step): number => 1 / step.x0Hat.x;
