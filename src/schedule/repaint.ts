/**
 * The jumps of RePaint (Lugmayr et al. 2022, algorithm 1 and appendix B): every so many steps the state is noised again by
 * as many and they are repeated, so that what is painted can agree with what is kept.
 *
 * From the state with j + 1 steps to go, for j = 0, length, 2 length, ... below n - length, `samples` - 1 times:
 *
 *     x <- c x + s z,   c = sqrt(alphaBarTo / alphaBarFrom),  s = sqrt(1 - c^2)
 *
 * One map of several steps of q at once (DDPM eq. 4), where the paper takes them one by one: the same distribution.
 * Deviation from diffusers' RePaintScheduler, whose jump multiplies the betas from one index too high.
 */

import type { Schedule } from './schedule.ts';
import type { Step } from './step.ts';

export interface Jumps {
  /** Steps that are taken back at once, from 1; 10 in the paper. */
  readonly length: number;
  /** How often each stretch is walked in all, from 1 (no jumps); 10 in the paper. */
  readonly samples: number;
}

/** The steps with the jumps among them, numbered anew. */
export function withJumps(
  steps: readonly Step[],
  { length, samples }: Jumps,
  { alphaBar }: Schedule,
): Step[] {
  const n = steps.length;
  const left = new Map<number, number>();
  for (let j = 0; j < n - length; j += length) left.set(j + 1, samples - 1);
  const out: Step[] = [];
  const add = (step: Step) => out.push({ ...step, index: steps[0]!.index + out.length });
  for (let taken = 0; taken < n;) {
    const step = steps[taken++]!;
    add(step);
    const again = left.get(n - taken) ?? 0;
    if (again === 0) continue;
    left.set(n - taken, again - 1);
    taken -= length;
    const { t } = steps[taken]!;
    const ratio = alphaBar[t]! / (alphaBar[step.tPrev] ?? 1); // -1: compat's DDIM may stand at the clean image early
    add({
      ...step,
      t: step.tPrev,
      tPrev: t,
      next: {},
      sigma: 0,
      jump: { c: Math.sqrt(ratio), s: Math.sqrt(1 - ratio) },
    });
  }
  return out;
}
