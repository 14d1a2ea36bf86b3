/** Every way to compute a convolution, for every shape of a network: what the rule of an adapter should be made of. */

import { difference } from '../../tests/bench/measure.ts';
import { takes, VARIANTS } from '../../tests/bench/engine.ts';
import { timestamps } from '../../tests/bench/timestamps.ts';
import { candidate, convShapeKey, kernelPolicyFor, Trials, type ConvShape, type ConvVariant, type DType, type Gpu } from './engine.ts'; // prettier-ignore

export interface ConvRow {
  /** As the tuner's keys: cIn-cOut size/stride HxW. */
  readonly shape: string;
  readonly gflop: number;
  /** What the adapter's rule takes. */
  readonly rule: ConvVariant;
  /** Milliseconds of one image by the GPU's clock. */
  readonly ms: Readonly<Record<ConvVariant, number>>;
  /** The largest difference from the direct way, relative to the largest number. */
  readonly error: Readonly<Record<ConvVariant, number>>;
  readonly failures?: readonly string[];
}

const gflopOf = ({ cIn, cOut, size, h, w }: ConvShape): number => (2 * cIn * cOut * size ** 2 * h * w) / 1e9;

export async function convRow(gpu: Gpu, shape: ConvShape, dtype: DType): Promise<ConvRow> {
  const ms: Record<ConvVariant, number> = {};
  const error: Record<ConvVariant, number> = {};
  const failures: string[] = [];
  const trials = await Trials.open(gpu, shape, dtype);
  try {
    let wanted: Float32Array | null = null;
    for (const variant of VARIANTS.filter((name) => takes(name, shape)))
      try {
        const trial = await trials.build(candidate(variant));
        const numbers = await trials.numbers(trial);
        if (!numbers) throw new Error('the adapter refuses it');
        wanted ??= numbers;
        error[variant] = difference(numbers, wanted);
        ms[variant] = (await timestamps(gpu, trial.program)).reduce((sum, d) => sum + d.ms, 0);
      } catch (cause) {
        failures.push(`${variant}: ${String(cause).slice(0, 200)}`);
        gpu.check(); // a device that is gone ends the table
      }
  } finally {
    trials.destroy();
  }
  return {
    shape: convShapeKey(shape),
    gflop: gflopOf(shape),
    rule: kernelPolicyFor(gpu).conv(shape),
    ms,
    error,
    ...(failures.length ? { failures } : {}),
  };
}
