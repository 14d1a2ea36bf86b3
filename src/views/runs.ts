/** Runs of the model for the views: states as numbers on the CPU, one turn a step, and single evaluations. */

import { readTensor } from '../gpu/transfer.ts';
import { sample, type SampleOptions } from '../sampler.ts';
import type { Step } from '../scheduler/step.ts';
import type { ViewLease } from './index.ts';
import { choice, type Frame } from './kit.ts';
import type { Picture } from './picture.ts';

export interface TraceState {
  readonly t: number;
  readonly step: Step | null;
  /** (count, C, H, W) row-major. */
  readonly x: Float32Array<ArrayBuffer>;
  readonly x0Hat: Float32Array<ArrayBuffer> | null;
}

/** Every state of a run, read back; `on` is called at each. @throws what `sample` throws */
export async function trace(
  lease: ViewLease,
  options: SampleOptions,
  signal: AbortSignal,
  on: (states: readonly TraceState[], steps: number) => void = () => {},
): Promise<TraceState[]> {
  const run = sample(lease.model, { ...options, signal });
  const states: TraceState[] = [];
  try {
    for (;;) {
      // The whole of a step in one turn: the next caller's step may overwrite nothing of ours, but has its turn soon.
      const steps = await lease.turn(async () => {
        const { done, value } = await run.next();
        if (done) return null;
        states.push({
          t: value.t,
          step: value.step,
          x: await readTensor(lease.gpu, value.xT),
          x0Hat: value.x0Hat && (await readTensor(lease.gpu, value.x0Hat)),
        });
        return value.steps;
      });
      if (steps === null) return states;
      on(states, steps);
    }
  } finally {
    await run.return();
  }
}

/** Image n of a batch. */
export function imageOf(lease: ViewLease, batch: Float32Array<ArrayBuffer>, n = 0): Picture {
  const { channels, width, height } = sizeOf(lease);
  const size = channels * width * height;
  return { data: batch.slice(n * size, (n + 1) * size), channels, width, height };
}

export function sizeOf({ model }: ViewLease): {
  channels: number;
  width: number;
  height: number;
  length: number;
} {
  const [height, width] = model.config.sampleSize ?? [32, 32];
  const channels = model.config.inChannels;
  return { channels, width, height, length: channels * width * height };
}

/** Labels of a run for class k; nothing where the model has no classes. `k` wraps around at the last class. */
export function labelsFor(
  { model }: ViewLease,
  k: number | null,
  count = 1,
): Pick<SampleOptions, 'labels' | 'count'> {
  const { numClassEmbeds, nullClass } = model.config;
  if (numClassEmbeds === null) return { count };
  const classes = nullClass === null ? numClassEmbeds : numClassEmbeds - 1;
  return {
    labels: Array<number | null>(count).fill(k === null && nullClass !== null ? null : (k ?? 0) % classes),
  };
}

/**
 * The network's output for a batch: one timestep and one class an image (null: any).
 * @returns (N, outChannels, H, W)
 */
export async function evaluate(
  lease: ViewLease,
  batch: Float32Array<ArrayBuffer>,
  timesteps: readonly number[],
  classes: readonly (number | null)[],
): Promise<Float32Array<ArrayBuffer>> {
  const { channels, width, height } = sizeOf(lease);
  const { numClassEmbeds, nullClass } = lease.model.config;
  const labels = numClassEmbeds === null ? null : classes.map((k) => k ?? nullClass ?? 0);
  const { eps } = await lease.turn(() =>
    lease.model.predict({
      shape: [timesteps.length, channels, height, width],
      sample: batch,
      timestep: Float32Array.from(timesteps),
      labels,
    }),
  );
  return eps;
}

/** Which digit the model is asked for. */
export function classControl(
  frame: Frame,
  value: string,
  on: () => void,
  any = false,
): { readonly value: number | null } {
  const values = Array.from({ length: 10 }, (_, k) => [`${k}`, `${k}`] as [string, string]);
  const own = choice(
    frame,
    { name: 'digit', label: 'Digit', values: any ? [...values, ['any', 'any']] : values, value },
    on,
  );
  return {
    get value() {
      return own.value === 'any' ? null : Number(own.value);
    },
  };
}

export const maxDifference = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let worst = 0;
  for (let i = 0; i < a.length; i++) worst = Math.max(worst, Math.abs(a[i]! - b[i]!));
  return worst;
};

/** Root of the mean square difference. */
export const distance = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2;
  return Math.sqrt(sum / a.length);
};

/** Mean absolute difference of horizontal neighbours of one image: specks and ragged strokes make it large. */
export function roughness({ data, width }: Picture): number {
  let sum = 0;
  let count = 0;
  for (let i = 0; i + 1 < data.length; i++)
    if ((i + 1) % width !== 0) {
      sum += Math.abs(data[i + 1]! - data[i]!);
      count++;
    }
  return sum / count;
}
