import { describe, expect, it } from 'vitest';
import type { Activation } from '../../src/engine/kernels/activation.ts';
import { groupNorm } from '../../src/engine/kernels/group_norm.ts';
import { padBlocks } from '../../src/engine/kernels/weight_layout.ts';
import { sliceChannels, type Shape, type Tensor } from '../../src/core/tensor.ts';
import { expectClose, gaussian, make, type Array4 } from '../helpers/array.ts';
import { DTYPES, launch, needs, useGpu } from '../helpers/gpu.ts';
import { concat } from '../reference/concat.ts';
import { groupNorm as reference } from '../reference/group_norm.ts';

const gpu = useGpu();
const CASES: [Shape, number][] = [
  [[1, 1, 1, 1], 1],
  [[2, 8, 5, 3], 2], // groups of whole blocks
  [[2, 9, 7, 5], 3], // groups of three channels
  [[1, 20, 3, 3], 4], // groups of five
  [[2, 12, 2, 2], 12], // one channel a group
  [[1, 64, 16, 16], 8],
];

/** Whatever the number of invocations that work together. */
const KINDS = DTYPES.flatMap((dtype) => [8, 64].map((workgroupSize) => [dtype, workgroupSize] as const));

describe.each(KINDS)('group_norm in %s, %i invocations', (dtype, workgroupSize) => {
  interface Extras {
    readonly activation?: Activation;
    readonly scale?: Array4;
    readonly shift?: Array4;
    readonly residual?: Array4;
  }
  const run = (x: Array4, gamma: Array4, beta: Array4, groups: number, eps: number, extras: Extras = {}) =>
    launch(
      gpu(),
      dtype,
      (b): { out: Tensor } => {
        const channels = x.shape[1];
        const pad = (a: Array4) => padBlocks(Float32Array.from(a.data), 1, channels);
        const w = { gamma: b.weights('gamma', pad(gamma)), beta: b.weights('beta', pad(beta)), channels };
        const input = (name: 'scale' | 'shift' | 'residual') =>
          extras[name] ? b.input(name, extras[name]) : null;
        const options = {
          scale: input('scale'),
          shift: input('shift'),
          residual: input('residual'),
          activation: extras.activation ?? null,
        };
        return { out: groupNorm(b.recorder, 'norm', b.input('x', x), w, { groups, eps, ...options }) };
      },
      1,
      { workgroupSize },
    );
  const tolerance = dtype === 'f32' ? { atol: 1e-5, rtol: 4e-6 } : { atol: 2e-3, rtol: 2e-3 };

  it.each(CASES)('%j in %i groups', async (shape, groups) => {
    needs(gpu(), dtype);
    const x = gaussian(shape, 1, dtype);
    const gamma = gaussian([1, shape[1], 1, 1], 2, dtype);
    const beta = gaussian([1, shape[1], 1, 1], 3, dtype);
    const scale = gaussian([shape[0], shape[1], 1, 1], 4, dtype);
    const shift = gaussian([shape[0], shape[1], 1, 1], 5, dtype);
    const residual = gaussian(shape, 6, dtype);
    const all: Extras[] = [
      {},
      { activation: 'silu' },
      { scale, shift },
      { shift },
      { residual, activation: 'gelu' },
      { scale, shift, residual, activation: 'silu' },
    ];
    for (const options of all) {
      const { out } = await run(x, gamma, beta, groups, 1e-5, options);
      expectClose(
        out,
        reference(x, gamma.data, beta.data, { groups, eps: 1e-5, ...options }).data,
        tolerance,
      );
    }
  });

  it('a group far from zero keeps its variance', async () => {
    needs(gpu(), dtype);
    const shape: Shape = [1, 8, 4, 4];
    const x = make(shape, (i) => 1000 + (i % 5)); // E[x^2] - E[x]^2 in f32 would lose it
    const one = make([1, 8, 1, 1], () => 1);
    const zero = make([1, 8, 1, 1], () => 0);
    const { out } = await run(x, one, zero, 2, 1e-5);
    expectClose(out, reference(x, one.data, zero.data, { groups: 2, eps: 1e-5 }).data, {
      atol: 1e-3,
      rtol: 1e-3,
    });
  });

  it('a constant group gives beta', async () => {
    needs(gpu(), dtype);
    const beta = make([1, 4, 1, 1], (i) => i);
    const { out } = await run(
      make([1, 4, 3, 3], () => 7),
      make([1, 4, 1, 1], () => 5),
      beta,
      1,
      1e-5,
    );
    expect([...out]).toEqual(Array.from({ length: 36 }, (_, i) => Math.floor(i / 9)));
  });

  it('scale and shift as parts of one tensor; an outlier in front', async () => {
    needs(gpu(), dtype);
    const shape: Shape = [2, 8, 5, 3];
    const x = gaussian(shape, 1, dtype);
    x.data[0] = 100;
    const [gamma, beta] = [2, 3].map((seed) => gaussian([1, 8, 1, 1], seed, dtype)) as [Array4, Array4];
    const both = gaussian([2, 20, 1, 1], 4, dtype);
    const part = (first: number): Array4 =>
      make([2, 8, 1, 1], (i) => both.data[Math.floor(i / 8) * 20 + first * 4 + (i % 8)]!);
    const { out } = await launch(
      gpu(),
      dtype,
      (b) => {
        const pad = (a: Array4) => padBlocks(Float32Array.from(a.data), 1, 8);
        const w = { gamma: b.weights('gamma', pad(gamma)), beta: b.weights('beta', pad(beta)), channels: 8 };
        const all = b.input('both', both);
        const options = {
          groups: 2,
          eps: 1e-5,
          scale: sliceChannels(all, 3, 8),
          shift: sliceChannels(all, 1, 8),
        };
        return { out: groupNorm(b.recorder, 'norm', b.input('x', x), w, options) };
      },
      1,
      { workgroupSize },
    );
    const wanted = reference(x, gamma.data, beta.data, {
      groups: 2,
      eps: 1e-5,
      scale: part(3),
      shift: part(1),
    });
    expectClose(out, wanted.data, tolerance);
  });

  it('of two tensors, concatenated along the channels', async () => {
    needs(gpu(), dtype);
    const [a, b] = [gaussian([2, 8, 3, 5], 1, dtype), gaussian([2, 4, 3, 5], 2, dtype)];
    const [gamma, beta] = [3, 4].map((seed) => gaussian([1, 12, 1, 1], seed, dtype)) as [Array4, Array4];
    const { out } = await launch(
      gpu(),
      dtype,
      (bench) => {
        const pad = (x: Array4) => padBlocks(Float32Array.from(x.data), 1, 12);
        const w = {
          gamma: bench.weights('gamma', pad(gamma)),
          beta: bench.weights('beta', pad(beta)),
          channels: 12,
        };
        const options = {
          groups: 3,
          eps: 1e-5,
          activation: 'silu',
          concatWith: bench.input('b', b),
        } as const;
        return { out: groupNorm(bench.recorder, 'norm', bench.input('a', a), w, options) };
      },
      1,
      { workgroupSize },
    );
    const wanted = reference(concat(a, b), gamma.data, beta.data, {
      groups: 3,
      eps: 1e-5,
      activation: 'silu',
    });
    expectClose(out, wanted.data, tolerance);
  });
});
