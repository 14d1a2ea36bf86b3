/** Every way to compute a convolution, for every shape of a network: what the rule of an adapter should be made of. */

import { difference } from '../../tests/bench/measure.ts';
import { takes, VARIANTS } from '../../tests/bench/engine.ts';
import { timestamps } from '../../tests/bench/timestamps.ts';
import { blocks, conv2d, f16ToF32, PLAIN, readBuffer, run, shapeKey, Tape, toDType, variantsFor, type ConvShape, type ConvVariant, type ConvWeights, type DType, type Gpu, type Recording } from './engine.ts'; // prettier-ignore

export interface ConvRow {
  /** As the tuner's keys: cIn-cOut size/stride HxW. */
  readonly shape: string;
  readonly gflop: number;
  /** What the adapter's rule takes. */
  readonly rule: ConvVariant;
  /** Milliseconds of one image by the GPU's clock. */
  readonly ms: Readonly<Partial<Record<ConvVariant, number>>>;
  /** The largest difference from the direct way, relative to the largest number. */
  readonly error: Readonly<Partial<Record<ConvVariant, number>>>;
  readonly failures?: readonly string[];
}

const gflopOf = ({ cIn, cOut, size, h, w }: ConvShape): number => (2 * cIn * cOut * size ** 2 * h * w) / 1e9;

export async function convRow(gpu: Gpu, shape: ConvShape, dtype: DType): Promise<ConvRow> {
  const { cIn, cOut, size, stride, h, w } = shape;
  const owned: { destroy(): void }[] = [];
  let state = 1;
  const random = (scalars: number, spread: number): GPUBuffer => {
    const numbers = Float32Array.from({ length: scalars }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0; // Numerical Recipes' generator
      return spread * (state / 2 ** 31 - 1);
    });
    const bytes = toDType(numbers, dtype);
    const buffer = gpu.device.createBuffer({ size: Math.ceil(bytes.byteLength / 16) * 16, usage: 0x88 }); // STORAGE | COPY_DST
    gpu.device.queue.writeBuffer(buffer, 0, bytes);
    owned.push(buffer);
    return buffer;
  };
  const weights: ConvWeights = {
    weight: random(blocks(cOut) * blocks(cIn) * 16 * size ** 2, Math.sqrt(3 / (cIn * size ** 2))),
    bias: random(blocks(cOut) * 4, 1),
    ...{ cIn, cOut, size },
  };
  const image = random(blocks(cIn) * 4 * h * w * stride ** 2, 1);
  const ms: Partial<Record<ConvVariant, number>> = {};
  const error: Partial<Record<ConvVariant, number>> = {};
  const failures: string[] = [];
  let wanted: Float32Array | null = null;
  try {
    for (const variant of VARIANTS.filter((name) => takes(name, shape)))
      try {
        const tape = new Tape({ ...PLAIN, conv: () => variant });
        const x = tape.pinned('x', [1, cIn, h * stride, w * stride], dtype, 'c4');
        x.storage.buffer = image;
        const out = conv2d(tape, variant, x, weights, { stride });
        out.storage.pinned = true;
        const recording: Recording = await tape.build(gpu, variant);
        owned.push(recording);
        run(gpu.device, recording);
        const bytes = await readBuffer(gpu, out.storage.buffer!, out.storage.bytes);
        const numbers =
          dtype === 'f16' ? Float32Array.from(new Uint16Array(bytes), f16ToF32) : new Float32Array(bytes);
        wanted ??= numbers;
        error[variant] = difference(numbers, wanted);
        ms[variant] = (await timestamps(gpu, recording)).reduce((sum, d) => sum + d.ms, 0);
      } catch (cause) {
        failures.push(`${variant}: ${String(cause).slice(0, 200)}`);
        gpu.check(); // a device that is gone ends the table
      }
    const rule = variantsFor(gpu).conv(shape);
    return { shape: shapeKey(shape), gflop: gflopOf(shape), rule, ms, error, ...(failures.length ? { failures } : {}) }; // prettier-ignore
  } finally {
    owned.forEach((one) => one.destroy());
  }
}
