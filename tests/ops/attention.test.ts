import { describe, it } from 'vitest';
import { attention } from '../../src/ops/attention.ts';
import type { Shape } from '../../src/tensor.ts';
import { expectClose, gaussian, make } from '../helpers/array.ts';
import { DTYPES, launch, needs, useGpu } from '../helpers/gpu.ts';
import { attention as reference } from '../reference/attention.ts';

const gpu = useGpu();
const CASES: [Shape, number][] = [
  [[1, 1, 1, 1], 1],
  [[2, 8, 3, 5], 2], // heads of whole blocks, tokens off the tile
  [[2, 10, 3, 3], 2], // heads of five channels straddle blocks
  [[1, 12, 7, 1], 12], // one channel a head
  [[1, 32, 8, 8], 1],
  [[1, 8, 17, 17], 2], // more tokens than a workgroup
];

describe.each(DTYPES)('attention in %s', (dtype) => {
  it.each(CASES)('%j with %i heads', async (shape, heads) => {
    needs(gpu(), dtype);
    const [q, k, v] = [1, 2, 3].map((seed) => gaussian(shape, seed, dtype)) as [never, never, never];
    const { out } = await launch(gpu(), dtype, (b) => ({
      out: attention(b.tape, 'attention', b.input('q', q), b.input('k', k), b.input('v', v), heads),
    }));
    const tolerance = dtype === 'f32' ? { atol: 2e-6, rtol: 2e-6 } : { atol: 2e-4, rtol: 1e-3 };
    expectClose(out, reference(q, k, v, heads).data, tolerance);
  });

  it('large scores do not overflow: the largest takes all', async () => {
    needs(gpu(), dtype);
    const shape: Shape = [1, 4, 1, 3];
    const q = make(shape, () => 40);
    const k = make(shape, (i) => [1, 40, 2][i % 3]!);
    const v = make(shape, (i) => [5, 6, 7][i % 3]!);
    const { out } = await launch(gpu(), dtype, (b) => ({
      out: attention(b.tape, 'attention', b.input('q', q), b.input('k', k), b.input('v', v), 1),
    }));
    expectClose(out, make(shape, () => 6).data, { atol: 1e-5, rtol: 0 });
  });
});
