import { describe, it } from 'vitest';
import type { Activation } from '../../src/engine/kernels/activation.ts';
import { linear } from '../../src/engine/kernels/linear.ts';
import { packMatrix, padBlocks } from '../../src/engine/kernels/weight_layout.ts';
import type { Shape } from '../../src/core/tensor.ts';
import { expectClose, expectEqual, gaussian, integers, make, type Array4 } from '../helpers/array.ts';
import { DTYPES, launch, needs, useGpu } from '../helpers/gpu.ts';
import { linear as reference } from '../reference/linear.ts';

const gpu = useGpu();
const SIZES: [number, number, number][] = [
  [1, 1, 1],
  [2, 4, 8],
  [3, 21, 13],
  [5, 64, 65],
];

describe.each(DTYPES)('linear in %s', (dtype) => {
  const run = (x: Array4, weight: Array4, bias: Array4, activation: Activation | null, addend?: Array4) =>
    launch(gpu(), dtype, (b) => {
      const [cOut, cIn] = weight.shape;
      const w = {
        weight: b.weights('weight', packMatrix(Float32Array.from(weight.data), cOut, cIn, 1)),
        bias: b.weights('bias', padBlocks(Float32Array.from(bias.data), 1, cOut)),
        cIn,
        cOut,
      };
      return {
        out: linear(b.recorder, 'linear', b.input('x', x), w, {
          activation,
          addend: addend ? b.input('addend', addend) : null,
        }),
      };
    });
  const inputs = ([n, cIn, cOut]: [number, number, number], fill: (shape: Shape, seed: number) => Array4) =>
    [fill([n, cIn, 1, 1], 1), fill([cOut, cIn, 1, 1], 2), fill([1, cOut, 1, 1], 3)] as const;

  it.each(SIZES)('%i x %i -> %i: integers come out exactly', async (...size) => {
    needs(gpu(), dtype);
    const [x, w, bias] = inputs(size, (shape, seed) => integers(shape, seed, 3));
    expectEqual((await run(x, w, bias, null)).out, reference(x, w, bias.data).data);
  });

  it.each(
    SIZES.flatMap((size) => (['silu', 'gelu', 'relu', 'mish'] as const).map((f) => [f, ...size] as const)),
  )('%s, %i x %i -> %i, and an addend: random numbers', async (activation, ...size) => {
    needs(gpu(), dtype);
    const [x, w, bias] = inputs(size, (shape, seed) => gaussian(shape, seed, dtype));
    const addend = gaussian([size[0], size[2], 1, 1], 9, dtype);
    const tolerance = dtype === 'f32' ? { atol: 2e-5, rtol: 2e-6 } : { atol: 2e-4, rtol: 1e-3 };
    expectClose(
      (await run(x, w, bias, activation, addend)).out,
      reference(x, w, bias.data, activation, addend).data,
      tolerance,
    );
  });

  it.each(['silu', 'gelu', 'relu', 'mish'] as const)('%s far out: nothing overflows', async (activation) => {
    needs(gpu(), dtype);
    const values = [-300, -100, -20, -8, -3, -0.5, -1e-4, 0, 1e-4, 0.5, 3, 8, 19.9, 20.1, 100, 300];
    const x = make([values.length, 1, 1, 1], (i) => values[i]!);
    const one = make([1, 1, 1, 1], () => 1);
    const zero = make([1, 1, 1, 1], () => 0);
    const tolerance = dtype === 'f32' ? { atol: 1e-6, rtol: 2e-6 } : { atol: 1e-3, rtol: 1e-3 };
    expectClose(
      (await run(x, one, zero, activation)).out,
      reference(x, one, zero.data, activation).data,
      tolerance,
    );
  });
});
