import { describe, it } from 'vitest';
import { frequencies, timestepEmbedding } from '../../src/engine/kernels/timestep_embedding.ts';
import { expectClose, make } from '../helpers/array.ts';
import { DTYPES, launch, needs, useGpu } from '../helpers/gpu.ts';
import { fourierEmbedding, timestepEmbedding as reference } from '../reference/timestep_embedding.ts';

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
        b.recorder,
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

  it('Fourier features of log t', async () => {
    needs(gpu(), dtype);
    const times = [1, 7.25, 131, 999];
    const w = [3.5, -12.25, 0.5, 20, 1];
    const t = make([times.length, 1, 1, 1], (i) => times[i]!);
    const { out } = await launch(gpu(), dtype, (b) => ({
      out: timestepEmbedding(
        b.recorder,
        'time',
        b.input('t', t, 'planar'),
        b.weights(
          'frequency',
          Float32Array.from(w, (v) => v * 2 * Math.PI),
          'f32',
        ),
        { dim: 10, cosFirst: false, dtype, log: true },
      ),
    }));
    // The angle reaches 870: WGSL's log to 3 units in the last place, and its rounding.
    const tolerance = dtype === 'f32' ? { atol: 6e-4, rtol: 0 } : { atol: 1.2e-3, rtol: 0 };
    expectClose(out, fourierEmbedding(t.data, w).data, tolerance);
  });
});
