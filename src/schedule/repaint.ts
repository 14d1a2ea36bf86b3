/**
 * RePaint resampling (Lugmayr et al. 2022, algorithm 1 and appendix B): after every `length` steps the state is noised
 * back by as many steps, which are then repeated, so that the painted part can agree with the kept part.
 *
 * From the state with j + 1 steps to go, for j = 0, length, 2 length, ... below n - length, `samples` - 1 times:
 *
 *     x <- c x + s z,   c = sqrt(alphaBarTo / alphaBarFrom),  s = sqrt(1 - c^2)
 *
 * One map replaces several steps of q (DDPM eq. 4), which the paper takes one by one; the distribution is the same.
 * Deviation from RePaintScheduler of diffusers, whose jump multiplies the betas from one index too high.
 */

import type { Schedule } from './schedule.ts';
import type { Step } from './step.ts';

/**
 * Inserts the jumps into a list of steps, and numbers the steps anew.
 * @param jump length: steps taken back by a jump, from 1; samples: times that each part of the run is sampled, from 1
 */
export function withJumps(
  steps: readonly Step[],
  { length, samples }: { readonly length: number; readonly samples: number },
  { alphaBar }: Schedule,
): Step[] {
  const n = steps.length;
  const jumpsLeft = new Map<number, number>();
  for (let j = 0; j < n - length; j += length) jumpsLeft.set(j + 1, samples - 1);
  const out: Step[] = [];
  const add = (step: Step) => out.push({ ...step, index: steps[0]!.index + out.length });
  for (let taken = 0; taken < n;) {
    const step = steps[taken++]!;
    add(step);
    const repeats = jumpsLeft.get(n - taken) ?? 0;
    if (repeats === 0) continue;
    jumpsLeft.set(n - taken, repeats - 1);
    taken -= length;
    const { t } = steps[taken]!;
    const ratio = alphaBar[t]! / (alphaBar[step.tPrev] ?? 1); // tPrev is -1 if DDIM with compat reaches the clean image early
    add({
      ...step,
      t: step.tPrev,
      tPrev: t,
      next: {},
      sigma: 0,
      renoise: { c: Math.sqrt(ratio), s: Math.sqrt(1 - ratio) },
    });
  }
  return out;
}
