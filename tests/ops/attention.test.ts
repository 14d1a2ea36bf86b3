import { describe, expect, it } from 'vitest';
import { attention } from '../../src/engine/kernels/attention.ts';
import { sliceChannels, type Shape } from '../../src/core/tensor.ts';
import { expectClose, gaussian, make, type Array4 } from '../helpers/array.ts';
import { DTYPES, launch, needs, useGpu, type Bench } from '../helpers/gpu.ts';
import { attention as reference } from '../reference/attention.ts';

const gpu = useGpu();
const CASES: [Shape, number][] = [
  [[1, 1, 1, 1], 1],
  [[2, 8, 3, 5], 2], // heads of whole blocks, tokens off the tile
  [[2, 10, 3, 3], 2], // heads of five channels straddle blocks
  [[1, 12, 7, 1], 12], // one channel a head
  [[1, 32, 8, 8], 1],
  [[1, 8, 17, 17], 2], // more tokens than are done at a time
  [[2, 10, 24, 23], 2], // three chunks, heads that straddle blocks
];

/** A workgroup for four queries, or an invocation. */
const KINDS = DTYPES.flatMap((dtype) =>
  (
    [
      [64, false],
      [8, true],
    ] as const
  ).map(([workgroupSize, barrierFree]) => [dtype, workgroupSize, barrierFree] as const),
);

describe.each(KINDS)(
  'attention in %s, %i invocations, each barrierFree: %s',
  (dtype, workgroupSize, barrierFree) => {
    it.each(CASES)('%j with %i heads', async (shape, heads) => {
      needs(gpu(), dtype);
      const [q, k, v] = [1, 2, 3].map((seed) => gaussian(shape, seed, dtype)) as [never, never, never];
      const { out } = await launch(
        gpu(),
        dtype,
        (b) => ({
          out: attention(b.recorder, 'attention', b.input('q', q), b.input('k', k), b.input('v', v), heads),
        }),
        1,
        { workgroupSize, barrierFree },
      );
      const tolerance = dtype === 'f32' ? { atol: 2e-6, rtol: 2e-6 } : { atol: 2e-4, rtol: 1e-3 };
      expectClose(out, reference(q, k, v, heads).data, tolerance);
    });

    it('a large one in several launches: the same numbers', async () => {
      needs(gpu(), dtype);
      const shape: Shape = [2, 10, 24, 23];
      const [q, k, v] = [1, 2, 3].map((seed) => gaussian(shape, seed, dtype)) as [never, never, never];
      const results = [];
      let launches = 0;
      for (const pieces of [1, 4]) {
        const record = (b: Bench) => {
          const out = attention(
            b.recorder,
            'attention',
            b.input('q', q),
            b.input('k', k),
            b.input('v', v),
            2,
          );
          launches = b.recorder.dispatches.length;
          return { out };
        };
        const most = (3 * 4 * 2 * 10 * (24 * 23) ** 2) / pieces;
        results.push(
          (await launch(gpu(), dtype, record, 1, { workgroupSize, barrierFree, maxFlopsPerDispatch: most }))
            .out,
        );
        expect(launches).toBe(pieces);
      }
      expect(results[1]).toEqual(results[0]);
    });

    it('large scores do not overflow: the largest takes all', async () => {
      needs(gpu(), dtype);
      const shape: Shape = [1, 4, 1, 3];
      const q = make(shape, () => 40);
      const k = make(shape, (i) => [1, 40, 2][i % 3]!);
      const v = make(shape, (i) => [5, 6, 7][i % 3]!);
      const { out } = await launch(
        gpu(),
        dtype,
        (b) => ({
          out: attention(b.recorder, 'attention', b.input('q', q), b.input('k', k), b.input('v', v), 1),
        }),
        1,
        { workgroupSize, barrierFree },
      );
      expectClose(out, make(shape, () => 6).data, { atol: 1e-5, rtol: 0 });
    });

    it('largest scores that come late shrink what was summed before', async () => {
      needs(gpu(), dtype);
      const shape: Shape = [1, 4, 1, 600];
      const q = make(shape, () => 1);
      const k = make(shape, (i) => ((i % 600) / 600) * 12);
      const v = gaussian(shape, 3, dtype);
      const { out } = await launch(
        gpu(),
        dtype,
        (b) => ({
          out: attention(b.recorder, 'attention', b.input('q', q), b.input('k', k), b.input('v', v), 1),
        }),
        1,
        { workgroupSize, barrierFree },
      );
      expectClose(
        out,
        reference(q, k, v, 1).data,
        dtype === 'f32' ? { atol: 1e-5, rtol: 1e-5 } : { atol: 0.05, rtol: 0 },
      );
    });

    it('q, k and v as parts of one tensor', async () => {
      needs(gpu(), dtype);
      const all = gaussian([2, 24, 3, 5], 1, dtype);
      const part = (first: number): Array4 =>
        make([2, 6, 3, 5], (i) => {
          const [n, c, p] = [Math.floor(i / 90), Math.floor(i / 15) % 6, i % 15];
          return all.data[(n * 24 + first * 4 + c) * 15 + p]!;
        });
      const { out } = await launch(
        gpu(),
        dtype,
        (b) => {
          const x = b.input('qkv', all);
          return {
            out: attention(
              b.recorder,
              'attention',
              sliceChannels(x, 1, 6),
              sliceChannels(x, 4, 6),
              sliceChannels(x, 0, 6),
              3,
            ),
          };
        },
        1,
        { workgroupSize, barrierFree },
      );
      const tolerance = dtype === 'f32' ? { atol: 2e-6, rtol: 2e-6 } : { atol: 2e-4, rtol: 1e-3 };
      expectClose(out, reference(part(1), part(4), part(0), 3).data, tolerance);
    });
  },
);
