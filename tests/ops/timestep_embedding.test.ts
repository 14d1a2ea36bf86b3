import { describe, it } from 'vitest';
import { frequencies, timestepEmbedding } from '../../src/ops/timestep_embedding.ts';
import { expectClose, make } from '../helpers/array.ts';
import { DTYPES, launch, needs, useGpu } from '../helpers/gpu.ts';
import { timestepEmbedding as reference } from '../reference/timestep_embedding.ts';

const gpu = useGpu();
const T = [0, 1, 7.25, 131, 500, 731, 998.5, 999];

describe.each(DTYPES)('timestep_embedding in %s', (dtype) => {
  it.each([
    [32, 0, true],
    [32, 1, false],
    [9, 0, true], // odd: a zero at the end
    [128, 1, true],
  ])('dim %i, shift %i, cosine first: %s', async (dim, shift, cosFirst) => {
    needs(gpu(), dtype);
    const t = make([T.length, 1, 1, 1], (i) => T[i]!);
    const { out } = await launch(gpu(), dtype, (b) => ({
      out: timestepEmbedding(
        b.tape,
        'time',
        b.input('t', t, 'planar'),
        b.weights('frequency', frequencies(dim, shift), 'f32'),
        { dim, cosFirst, dtype },
      ),
    }));
    // The angle reaches 999 and is rounded to f32: 999 * 2^-24 = 6e-5, as in PyTorch.
    const tolerance = dtype === 'f32' ? { atol: 1.3e-4, rtol: 0 } : { atol: 7e-4, rtol: 0 };
    expectClose(out, reference(t.data, { dim, shift, cosFirst }).data, tolerance);
  });
});
