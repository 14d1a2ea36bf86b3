/** Runs of the model for the views: states as numbers on the CPU, one turn a step, and single evaluations. */

import { readTensor } from '../../engine/gpu/transfer.ts';
import { sample } from '../../session/sample.ts';
import { imageCount, type SampleOptions } from '../../session/sample_options.ts';
import type { SchedulerConfig } from '../../schedule/config.ts';
import { noiseLevels } from '../../schedule/noise_levels.ts';
import { epsHatOf, type PredictionType } from '../../schedule/prediction.ts';
import type { Step } from '../../schedule/step.ts';
import type { ViewLease } from './view.ts';
import { latest } from './work.ts';
import type { Frame } from './frame.ts';
import { picker, type Picker, type Picture } from './picture.ts';

export interface TraceState {
  readonly t: number;
  readonly step: Step | null;
  /** (count, C, H, W) row-major. */
  readonly x: Float32Array<ArrayBuffer>;
  readonly x0Hat: Float32Array<ArrayBuffer> | null;
}

/** So many pixels at a time: 64 images of 32 x 32, one of 256 x 256. */
const PIXELS = 1 << 16;

/** How many of the model's images are run at a time. */
function together(lease: ViewLease): number {
  const { width, height } = sizeOf(lease);
  return Math.max(1, Math.floor(PIXELS / (width * height)));
}

/**
 * Every state of a run, read back; `on` is called at each. A batch too large to run at once runs in groups, one after the
 * other, of which `on` sees the one under way.
 * @param on `done`: the share of all work behind it, 0 to 1; `states`: all pictures where all run at once, else empty
 * @throws what `sample` throws
 */
export async function trace(
  lease: ViewLease,
  options: SampleOptions,
  signal: AbortSignal,
  on: (states: readonly TraceState[], steps: number, done: number) => void = () => {},
): Promise<TraceState[]> {
  const count = imageCount(options);
  const group = together(lease);
  const { length } = sizeOf(lease);
  const groups: TraceState[][] = [];
  for (let first = 0; first < count; first += group) {
    const end = Math.min(first + group, count);
    const part = (of: Float32Array<ArrayBuffer>) => of.slice(first * length, end * length);
    const { labels, xT, z, seed = 0 } = options;
    const own: SampleOptions = {
      ...options,
      ...(labels ? { labels: labels.slice(first, end) } : { count: end - first }),
      ...(xT ? { xT: part(xT) } : {}),
      ...(z ? { z: z.map(part) } : {}),
      seed: seed + first,
    };
    groups.push(
      await traceTogether(lease, own, signal, (states, steps) => {
        const share = (states.length - 1) / steps;
        on(count > group ? [] : states, steps, (first + share * (end - first)) / count);
      }),
    );
  }
  if (groups.length === 1) return groups[0]!;
  const join = (of: (state: TraceState) => Float32Array<ArrayBuffer> | null, k: number) => {
    const parts = groups.map((states) => of(states[k]!));
    if (parts.some((p) => p === null)) return null;
    const out = new Float32Array(count * length);
    parts.forEach((p, i) => out.set(p!, i * group * length));
    return out;
  };
  return groups[0]!.map(({ t, step }, k) => ({ t, step, x: join((s) => s.x, k)!, x0Hat: join((s) => s.x0Hat, k) })); // prettier-ignore
}

async function traceTogether(
  lease: ViewLease,
  options: SampleOptions,
  signal: AbortSignal,
  on: (states: readonly TraceState[], steps: number) => void,
): Promise<TraceState[]> {
  const run = sample(lease.model, { ...options, signal });
  const states: TraceState[] = [];
  try {
    for (;;) {
      // The whole of a step in one turn: the next caller's step may overwrite nothing of ours, but has its turn soon.
      const steps = await lease.turn(async () => {
        const { done, value } = await run.next();
        if (done) return null;
        const { t, step, xT } = value;
        const [x, x0Hat] = await Promise.all([
          readTensor(lease.gpu, xT),
          value.x0Hat && readTensor(lease.gpu, value.x0Hat),
        ]);
        states.push({ t, step, x, x0Hat });
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

/** Labels of a run for class k, null: any; nothing where the model has no classes. */
export function labelsFor(
  { model }: ViewLease,
  k: number | null,
  count = 1,
): Pick<SampleOptions, 'labels' | 'count'> {
  const { numClassEmbeds, nullClass } = model.config;
  if (numClassEmbeds === null) return { count };
  return { labels: Array<number | null>(count).fill(k === null && nullClass === null ? 0 : k) };
}

/**
 * The network's output for a batch: one timestep and one class an image (null: any). In `m` what the model predicts, in
 * `v` its say on the variance.
 * @param on called with the share that is done, 0 to 1
 * @returns an image each, (C, H, W)
 */
export async function evaluate(
  lease: ViewLease,
  batch: readonly Float32Array<ArrayBuffer>[],
  timesteps: readonly number[],
  classes: readonly (number | null)[],
  on: (done: number) => void = () => {},
): Promise<{ readonly m: Float32Array<ArrayBuffer>; readonly v: Float32Array<ArrayBuffer> | null }[]> {
  const { channels, width, height, length } = sizeOf(lease);
  const { numClassEmbeds, nullClass } = lease.model.config;
  const group = Math.min(together(lease), 16);
  const out: { m: Float32Array<ArrayBuffer>; v: Float32Array<ArrayBuffer> | null }[] = [];
  for (let first = 0; first < batch.length; first += group) {
    on(first / batch.length);
    const part = batch.slice(first, first + group);
    const end = first + part.length;
    const sample = new Float32Array(part.length * length);
    part.forEach((image, i) => sample.set(image, i * length));
    const { eps } = await lease.turn(() =>
      lease.model.predict({
        shape: [part.length, channels, height, width],
        sample,
        timestep: Float32Array.from(timesteps.slice(first, end)),
        labels: numClassEmbeds === null ? null : classes.slice(first, end).map((k) => k ?? nullClass ?? 0),
      }),
    );
    const each = eps.length / part.length;
    for (let i = 0; i < part.length; i++)
      out.push({
        m: eps.slice(i * each, i * each + length),
        v: lease.model.learnsVariance ? eps.slice(i * each + length, i * each + 2 * length) : null,
      });
  }
  return out;
}

/** What the network's output means as noise: epsHat, before anything is clipped. */
export function epsOf(
  config: SchedulerConfig,
  t: number,
  x: Float32Array<ArrayBuffer>,
  m: Float32Array<ArrayBuffer>,
): Float32Array<ArrayBuffer> {
  const map = epsHatOf(config.predictionType, noiseLevels(config)(t).a ** 2);
  return x.map((v, i) => map.x * v + map.modelOutput * m[i]!);
}

/** The bound that x0Hat is clipped to in views that take a step again by hand: the model's own where it is one number. */
export const clipFor = ({ model }: ViewLease): number =>
  typeof model.schedulerConfig.clip === 'number' ? model.schedulerConfig.clip : 1;

/** What the network predicts, for captions. */
export const PREDICTS: Readonly<Record<PredictionType, string>> = {
  epsilon: 'the noise ε',
  sample: 'the picture x_0',
  v_prediction: 'v = √ᾱ ε − √(1−ᾱ) x_0',
};

/** The picker, where the model is asked to draw too. */
export function modelPicker(
  frame: Frame,
  size: { readonly width: number; readonly height: number; readonly channels: number },
  on: (picture: Picture) => void,
): Picker {
  const draw = latest(frame, async (signal, seed: number) => {
    const lease = await frame.lease();
    const picture = await drawnBy(lease, seed, signal, (done) => frame.progress('The model draws a picture …', done)); // prettier-ignore
    own.use(picture);
  });
  const own = picker(frame, size, on, draw);
  return own;
}

/** A picture that the model draws; of a class where it has classes, guided where it can be. */
export async function drawnBy(
  lease: ViewLease,
  seed: number,
  signal: AbortSignal,
  on: (done: number) => void,
): Promise<Picture> {
  const { nullClass, numClassEmbeds } = lease.model.config;
  const k =
    numClassEmbeds === null ? null : seed % Math.max(1, numClassEmbeds - (nullClass === null ? 0 : 1));
  const options: SampleOptions = {
    scheduler: 'ddim',
    steps: 20,
    seed,
    guidance: nullClass === null ? 1 : 2,
    ...labelsFor(lease, k),
  };
  const states = await trace(lease, options, signal, (_, __, done) => on(done));
  return imageOf(lease, states.at(-1)!.x);
}

/** Largest absolute value; at least 1e-9, so that it can be divided by. */
export const peak = (x: ArrayLike<number>): number => {
  let top = 1e-9;
  for (let i = 0; i < x.length; i++) top = Math.max(top, Math.abs(x[i]!));
  return top;
};

/** Smallest and largest. */
export const extent = (x: ArrayLike<number>): readonly [number, number] => {
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < x.length; i++) [low, high] = [Math.min(low, x[i]!), Math.max(high, x[i]!)];
  return [low, high];
};

/** Root of the mean square. */
export const size = (x: ArrayLike<number>): number => distance(x, new Float32Array(x.length));

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
