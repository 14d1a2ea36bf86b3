/** concat, embedding, pack, unpack, what changes the size, and layer_norm. */

import { describe, expect, it } from 'vitest';
import { concat } from '../../src/engine/kernels/concat.ts';
import { downsampleAverage, downsampleMax } from '../../src/engine/kernels/downsample.ts';
import { embedding, learnedTime } from '../../src/engine/kernels/embedding.ts';
import { layerNorm } from '../../src/engine/kernels/layer_norm.ts';
import { pack, unpack } from '../../src/engine/kernels/layout_convert.ts';
import { padBlocks } from '../../src/engine/kernels/weight_layout.ts';
import { upsampleBilinear } from '../../src/engine/kernels/upsample_bilinear.ts';
import { upsampleNearest } from '../../src/engine/kernels/upsample_nearest.ts';
import type { Shape } from '../../src/core/tensor.ts';
import { expectClose, expectEqual, gaussian, integers, make, type Array4 } from '../helpers/array.ts';
import { DTYPES, launch, needs, useGpu } from '../helpers/gpu.ts';
import { concat as concatReference } from '../reference/concat.ts';
import { downsample as downsampleReference } from '../reference/downsample.ts';
import { layerNorm as layerNormReference } from '../reference/layer_norm.ts';
import { upsampleBilinear as bilinearReference } from '../reference/upsample_bilinear.ts';
import { embedding as embeddingReference } from '../reference/embedding.ts';
import { pack as packReference } from '../reference/pack.ts';
import { upsampleNearest as upsampleReference } from '../reference/upsample_nearest.ts';

const gpu = useGpu();

describe.each(DTYPES)('in %s', (dtype) => {
  it.each([
    [1, 1, 1, 1, 1],
    [2, 4, 8, 3, 5], // whole blocks
    [2, 5, 3, 3, 2], // the second begins in the middle of a block
    [1, 3, 9, 1, 7],
  ])('concat: batch %i, %i and %i channels, %i x %i', async (n, ca, cb, h, w) => {
    needs(gpu(), dtype);
    const [a, b] = [integers([n, ca, h, w], 1, 9), integers([n, cb, h, w], 2, 9)];
    const { out } = await launch(gpu(), dtype, (bench) => ({
      out: concat(bench.recorder, 'concat', bench.input('a', a), bench.input('b', b)),
    }));
    expectEqual(out, concatReference(a, b).data);
  });

  it.each([1, 4, 10])('embedding of %i channels', async (c) => {
    needs(gpu(), dtype);
    const [x, table, labels] = [integers([3, c, 1, 1], 1, 9), integers([7, c, 1, 1], 2, 9), [6, 0, 3]];
    const { out } = await launch(gpu(), dtype, (b) => ({
      out: embedding(
        b.recorder,
        'class',
        b.input('x', x),
        { buffer: b.weights('table', padBlocks(Float32Array.from(table.data), 7, c)), rows: 7, channels: c },
        b.words('labels', Uint32Array.from(labels)),
      ),
    }));
    expectEqual(out, embeddingReference(x, table, labels).data);
  });

  it.each([1, 4, 10])('learned embedding of timesteps, %i channels', async (c) => {
    needs(gpu(), dtype);
    const table = integers([7, c, 1, 1], 2, 9);
    const t = make([4, 1, 1, 1], (i) => [0, 6, 3, 5][i]!);
    const { out } = await launch(gpu(), dtype, (b) => ({
      out: learnedTime(
        b.recorder,
        'time',
        b.input('t', t, 'planar'),
        { buffer: b.weights('table', padBlocks(Float32Array.from(table.data), 7, c)), rows: 7, channels: c },
        dtype,
      ),
    }));
    expectEqual(out, embeddingReference(make([4, c, 1, 1], () => 0), table, t.data).data); // prettier-ignore
  });

  it.each<[Shape]>([[[1, 1, 2, 2]], [[2, 5, 4, 6]], [[1, 8, 8, 2]]])('downsample %j', async (shape) => {
    needs(gpu(), dtype);
    const x = integers(shape, 1, 9);
    const { mean, max } = await launch(gpu(), dtype, (b) => ({
      mean: downsampleAverage(b.recorder, 'mean', b.input('x', x)),
      max: downsampleMax(b.recorder, 'max', b.input('x', x)),
    }));
    expectEqual(mean, downsampleReference(x, false).data);
    expectEqual(max, downsampleReference(x, true).data);
  });

  it.each<[Shape]>([[[1, 1, 1, 1]], [[2, 5, 3, 4]], [[1, 8, 8, 8]]])(
    'upsample_bilinear %j',
    async (shape) => {
      needs(gpu(), dtype);
      const x = gaussian(shape, 1, dtype);
      const { out } = await launch(gpu(), dtype, (b) => ({
        out: upsampleBilinear(b.recorder, 'up', b.input('x', x)),
      }));
      expectClose(
        out,
        bilinearReference(x).data,
        dtype === 'f32' ? { atol: 2e-6, rtol: 0 } : { atol: 2e-3, rtol: 0 },
      );
    },
  );

  it.each<[Shape]>([[[1, 4, 1, 1]], [[2, 5, 3, 4]], [[1, 64, 4, 4]]])('layer_norm %j', async (shape) => {
    needs(gpu(), dtype);
    const c = shape[1];
    const x = gaussian(shape, 1, dtype);
    const [gamma, beta] = [gaussian([1, c, 1, 1], 2, dtype), gaussian([1, c, 1, 1], 3, dtype)];
    const { out } = await launch(gpu(), dtype, (b) => {
      const pad = (a: Array4) => padBlocks(Float32Array.from(a.data), 1, c);
      const w = { gamma: b.weights('gamma', pad(gamma)), beta: b.weights('beta', pad(beta)), channels: c };
      return { out: layerNorm(b.recorder, 'norm', b.input('x', x), w) };
    });
    const tolerance = dtype === 'f32' ? { atol: 1e-5, rtol: 2e-6 } : { atol: 2e-3, rtol: 1e-3 };
    expectClose(out, layerNormReference(x, gamma.data, beta.data, 1e-5).data, tolerance);
  });

  it.each<[Shape, number]>([
    [[1, 1, 1, 1], 1],
    [[2, 3, 5, 7], 2],
    [[3, 8, 2, 2], 1],
  ])('pack %j, %i times, and unpack', async (shape, repeat) => {
    needs(gpu(), dtype);
    const x = integers(shape, 1, 9);
    const { packed, back } = await launch(gpu(), dtype, (b) => {
      const packed = pack(b.recorder, 'pack', b.input('x', x, 'planar'), {
        dtype,
        repeat,
        scale: 2,
        offset: -1,
      });
      return {
        packed,
        back: unpack(b.recorder, 'unpack', packed, b.recorder.persistent('back', packed.shape, 'f32')),
      };
    });
    const wanted = packReference(x, { repeat, scale: 2, offset: -1 }).data;
    expectEqual(packed, wanted, 'packed');
    expectEqual(back, wanted, 'unpacked');
  });

  it('unpack, each image divided', async () => {
    needs(gpu(), dtype);
    const [x, by] = [integers([3, 5, 2, 2], 1, 9), make([3, 1, 1, 1], (i) => 2 ** i)];
    const { out } = await launch(gpu(), dtype, (b) => ({
      out: unpack(b.recorder, 'unpack', b.input('x', x), b.recorder.persistent('out', x.shape, 'f32'), b.input('by', by, 'planar')),
    })); // prettier-ignore
    expectEqual(out, x.data.map((v, i) => v / 2 ** Math.floor(i / 20))); // prettier-ignore
  });

  it.each<[Shape]>([[[1, 1, 1, 1]], [[2, 5, 3, 7]], [[1, 8, 4, 4]]])('upsample_nearest %j', async (shape) => {
    needs(gpu(), dtype);
    const x = integers(shape, 1, 9);
    const { out } = await launch(gpu(), dtype, (b) => ({
      out: upsampleNearest(b.recorder, 'up', b.input('x', x)),
    }));
    expectEqual(out, upsampleReference(x).data);
  });
});

it('launches refuse two tensors that do not fit', async () => {
  const [a, b] = [integers([1, 4, 2, 2], 1, 1), integers([1, 4, 2, 3], 2, 1)];
  await expect(
    launch(gpu(), 'f32', (bench) => ({
      out: concat(bench.recorder, 'concat', bench.input('a', a), bench.input('b', b)),
    })),
  ).rejects.toThrow(/concat: b should be/);
});
