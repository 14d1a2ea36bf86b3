import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Activation } from '../../src/engine/kernels/activation.ts';
import type { ConvVariant } from '../../src/engine/kernels/kernel_policy.ts';
import { conv2d, type ConvOptions } from '../../src/engine/kernels/conv2d.ts';
import { CONV_KERNELS, CONV_VARIANTS, kernelPolicyFor } from '../../src/engine/kernels/conv_variants.ts';
import { packMatrix, padBlocks } from '../../src/engine/kernels/weight_layout.ts';
import { sliceChannels, type DType, type Shape } from '../../src/core/tensor.ts';
import { expectClose, expectEqual, gaussian, integers, make, type Array4 } from '../helpers/array.ts';
import { DTYPES, launch, needs, useGpu } from '../helpers/gpu.ts';
import { upsampleNearest } from '../reference/upsample_nearest.ts';
import { concat } from '../reference/concat.ts';
import { conv2d as reference, type ConvReference } from '../reference/conv2d.ts';

const gpu = useGpu();

interface Case {
  readonly x: Shape;
  readonly cOut: number;
  readonly size: 1 | 3;
  readonly stride?: number;
  readonly padding?: ConvReference['padding'];
  readonly extras?: boolean;
  readonly upsampled?: boolean;
  readonly activation?: Activation;
}

const LOPSIDED = { top: 0, left: 0, bottom: 1, right: 1 };

const CASES: Record<string, Case> = {
  'one pixel, one channel': { x: [1, 1, 1, 1], cOut: 1, size: 3 },
  '3x3, batch 2, odd sizes, odd channels': { x: [2, 5, 7, 11], cOut: 9, size: 3 },
  '3x3, whole blocks, off the tile': { x: [1, 8, 5, 5], cOut: 12, size: 3 },
  '1x1': { x: [2, 6, 3, 5], cOut: 7, size: 1 },
  'stride 2, symmetric padding, odd size': { x: [2, 4, 9, 7], cOut: 4, size: 3, stride: 2 },
  'stride 2, padding right and bottom': { x: [2, 3, 8, 6], cOut: 5, size: 3, stride: 2, padding: LOPSIDED },
  'time bias, residual and scale': { x: [3, 7, 4, 3], cOut: 6, size: 3, extras: true },
  'relu behind it': { x: [2, 4, 5, 3], cOut: 6, size: 1, activation: 'relu' },
  'time bias, residual, scale and relu, many blocks': {
    x: [2, 20, 9, 6],
    cOut: 37,
    size: 3,
    extras: true,
    activation: 'relu',
  },
  upsampled: { x: [2, 5, 3, 4], cOut: 6, size: 3, upsampled: true },
  'wider than high': { x: [1, 4, 1, 33], cOut: 4, size: 3 },
};

interface Extras {
  readonly timeBias?: Array4;
  readonly residual?: Array4;
  readonly scale?: number;
}

function inputs(c: Case, fill: (shape: Shape, seed: number) => Array4) {
  const x = fill(c.x, 1);
  const weight = fill([c.cOut, c.x[1], c.size, c.size], 2);
  const bias = fill([1, c.cOut, 1, 1], 3);
  const options: ConvReference = {
    stride: c.stride ?? 1,
    ...(c.padding ? { padding: c.padding } : {}),
    ...(c.activation ? { activation: c.activation } : {}),
  };
  const image = c.upsampled ? upsampleNearest(x) : x;
  const plain = reference(image, weight, bias.data, options);
  const extras: Extras = c.extras
    ? { timeBias: fill([c.x[0], c.cOut, 1, 1], 4), residual: fill(plain.shape, 5), scale: 0.5 }
    : {};
  return {
    x,
    weight,
    bias,
    options,
    extras,
    upsampled: c.upsampled ?? false,
    wanted: reference(image, weight, bias.data, { ...options, ...extras }),
  };
}

/** Every registered variant, against the float64 twin. */
const KINDS = CONV_VARIANTS.flatMap((v) => DTYPES.map((d) => [v, d] as const));
/** Of the variants in workgroup memory, which software adapters take long to compile: the smallest has all cases. */
const SOME = [
  'time bias, residual, scale and relu, many blocks',
  'upsampled',
  'stride 2, symmetric padding, odd size',
];
/** Winograd's does 3x3 kernels of stride 1 only, and leaves the rest to the direct one. */
const casesOf = (variant: ConvVariant, dtype: DType) =>
  Object.entries(CASES).filter(([name, c]) => {
    if (variant === 'winograd') return c.size === 3 && !c.stride;
    if (variant === 'direct' || (variant === 'tiled-16' && dtype === 'f32')) return true;
    return SOME.slice(0, dtype === 'f32' ? 3 : 1).includes(name);
  });

/** F(4x4, 3x3) divides by 24, and subtracts numbers up to a hundred times as large as what remains. */
const rounding = (variant: ConvVariant): number => (variant === 'winograd' ? 1e-4 : 1e-5);
const expectSame = (variant: ConvVariant, out: ArrayLike<number>, wanted: ArrayLike<number>): void =>
  variant === 'winograd'
    ? expectClose(out, wanted, { atol: rounding(variant), rtol: 1e-6 })
    : expectEqual(out, wanted);

describe('the registry', () => {
  const docs = readFileSync(new URL('../../docs/kernels.md', import.meta.url), 'utf8').split('## Variants')[1]!; // prettier-ignore

  it.each(CONV_KERNELS.map((kernel) => [kernel.name, kernel] as const))(
    '%s is documented, computes what it takes, and nothing is left to nobody',
    (name, kernel) => {
      const row = new RegExp(`^\\| \`${name}\` +\\|.+\\|.+\\|`, 'm');
      expect(docs, `docs/kernels.md has no row for ${name}`).toMatch(row);
      expect(CONV_VARIANTS.filter((other) => other === name)).toHaveLength(1);
      for (const isSoftware of [true, false])
        for (const cIn of [3, 16, 64, 320])
          for (const side of [4, 16, 64]) {
            const shape = { cIn, cOut: 64, size: 3, stride: 1, h: side, w: side };
            // The rule takes only what the tuner may take, too.
            if (kernel.preferred(shape, { isSoftware }))
              expect(kernel.takes(shape, { isSoftware })).toBe(true);
            expect(CONV_VARIANTS).toContain(kernelPolicyFor({ isSoftware, subgroup: 4 }).conv(shape));
          }
    },
  );

  it('the documentation has no other variants', () => {
    const rows = [...docs.matchAll(/^\| `([^`]+)` +\|/gm)].map(([, name]) => name!);
    expect(rows.sort()).toEqual([...CONV_VARIANTS].sort());
  });
});

describe.each(KINDS)('conv2d, %s, in %s', (variant, dtype) => {
  let launches = 0;
  const run = (t: ReturnType<typeof inputs>, most = Infinity) =>
    launch(
      gpu(),
      dtype,
      (b) => {
        const [cOut, cIn, size] = t.weight.shape;
        const extra: ConvOptions = {
          upsampled: t.upsampled,
          scale: t.extras.scale ?? 1,
          timeBias: t.extras.timeBias ? b.input('time', t.extras.timeBias) : null,
          residual: t.extras.residual ? b.input('residual', t.extras.residual) : null,
        };
        const w = {
          weight: b.weights('weight', packMatrix(Float32Array.from(t.weight.data), cOut, cIn, size)),
          bias: b.weights('bias', padBlocks(Float32Array.from(t.bias.data), 1, cOut)),
          cIn,
          cOut,
          size,
        };
        const out = conv2d(b.recorder, 'conv', b.input('x', t.x), w, {
          ...(t.options as ConvOptions),
          ...extra,
        });
        launches = b.recorder.dispatches.length;
        return { out };
      },
      1,
      { conv: () => variant, maxFlopsPerDispatch: most },
    );

  // One that has compiled already.
  if (dtype === 'f32' && variant !== 'tiled-32')
    it('a large one in several launches: the same numbers', async () => {
      const t = inputs(CASES[SOME[0]!]!, (shape, seed) => integers(shape, seed, 2));
      await run(t);
      const whole = launches;
      expectSame(variant, (await run(t, (2 * 2 * 37 * 54 * 20 * 9) / 3)).out, t.wanted.data); // a third
      expect(launches).toBeGreaterThan(whole); // by two, or where there are only two workgroups by one
    });

  it.each(casesOf(variant, dtype))(
    '%s: integers come out exactly, of F(4x4) within rounding',
    async (_, c) => {
      needs(gpu(), dtype);
      const t = inputs(c, (shape, seed) => integers(shape, seed, 2));
      expectSame(variant, (await run(t)).out, t.wanted.data);
    },
  );

  it.each(casesOf(variant, dtype))('%s: random numbers', async (_, c) => {
    needs(gpu(), dtype);
    const t = inputs(c, (shape, seed) => gaussian(shape, seed, dtype));
    // f32: rounding of a sum of at most 81 products of size 1; f16: the result is rounded to 11 bits.
    expectClose(
      (await run(t)).out,
      t.wanted.data,
      dtype === 'f32' ? { atol: rounding(variant), rtol: 1e-6 } : { atol: 1e-4, rtol: 1e-3 },
    );
  });
});

it('refuses tensors that do not fit, by name', async () => {
  await expect(
    launch(gpu(), 'f32', (b) => {
      const w = { weight: b.weights('w', new Float32Array(16)), bias: b.weights('b', new Float32Array(4)) };
      const x = b.input('the image', integers([1, 3, 4, 4], 1, 1));
      return { out: conv2d(b.recorder, 'conv', x, { ...w, cIn: 4, cOut: 4, size: 1 }) };
    }),
  ).rejects.toThrow(/conv: the image should be c4 \[1, 4, 4, 4\], but is c4 \[1, 3, 4, 4\]/);
});

it.each(KINDS.filter(([v, d]) => v !== 'tiled-32' && v !== 'tiled-64' && d === 'f32'))(
  '%s, %s: the time bias as a part of a tensor',
  async (variant, dtype) => {
    needs(gpu(), dtype);
    const x = integers([2, 4, 4, 4], 1, 2);
    const weight = integers([8, 4, 3, 3], 2, 2);
    const times = integers([2, 20, 1, 1], 3, 2);
    const timeBias = make([2, 8, 1, 1], (i) => times.data[Math.floor(i / 8) * 20 + 8 + (i % 8)]!);
    const { out } = await launch(
      gpu(),
      dtype,
      (b) => {
        const w = {
          weight: b.weights('weight', packMatrix(Float32Array.from(weight.data), 8, 4, 3)),
          bias: b.weights('bias', new Float32Array(8)),
          ...{ cIn: 4, cOut: 8, size: 3 },
        };
        const options = { timeBias: sliceChannels(b.input('times', times), 2, 8) };
        return { out: conv2d(b.recorder, 'conv', b.input('x', x), w, options) };
      },
      1,
      { conv: () => variant },
    );
    expectSame(variant, out, reference(x, weight, new Float64Array(8), { stride: 1, timeBias }).data);
  },
);

it('refuses a part of a tensor where a kernel reads whole ones', async () => {
  await expect(
    launch(gpu(), 'f32', (b) => {
      const w = { weight: b.weights('w', new Float32Array(16)), bias: b.weights('b', new Float32Array(4)) };
      const x = sliceChannels(b.input('the image', integers([1, 8, 4, 4], 1, 1)), 1, 4);
      return { out: conv2d(b.recorder, 'conv', x, { ...w, cIn: 4, cOut: 4, size: 1 }) };
    }),
  ).rejects.toThrow(/conv: the image should be c4 \[1, 4, 4, 4\], but is a slice/);
});

it.each(DTYPES.flatMap((dtype) => [true, false].map((quads) => [dtype, quads] as const)))(
  '1x1 of two tensors concatenated along the channels, %s, with quads: %s',
  async (dtype, quads) => {
    needs(gpu(), dtype);
    const [a, b] = [integers([2, 8, 3, 6], 1, 2), integers([2, 12, 3, 6], 2, 2)];
    const weight = integers([18, 20, 1, 1], 3, 2);
    const bias = integers([1, 18, 1, 1], 4, 2);
    const { out } = await launch({ ...gpu(), supportsQuadOps: quads }, dtype, (bench) => {
      const w = {
        weight: bench.weights('weight', packMatrix(Float32Array.from(weight.data), 18, 20, 1)),
        bias: bench.weights('bias', padBlocks(Float32Array.from(bias.data), 1, 18)),
        ...{ cIn: 20, cOut: 18, size: 1 },
      };
      return {
        out: conv2d(bench.recorder, 'conv', bench.input('a', a), w, { concatWith: bench.input('b', b) }),
      };
    });
    expectEqual(out, reference(concat(a, b), weight, bias.data, { stride: 1 }).data);
  },
);

it.each(DTYPES)('without quads, every invocation loads by itself: the same numbers, %s', async (dtype) => {
  needs(gpu(), dtype);
  const x = integers([2, 20, 9, 6], 1, 2);
  const weight = integers([37, 20, 3, 3], 2, 2);
  const bias = integers([1, 37, 1, 1], 3, 2);
  const { out } = await launch({ ...gpu(), supportsQuadOps: false }, dtype, (b) => {
    const w = {
      weight: b.weights('weight', packMatrix(Float32Array.from(weight.data), 37, 20, 3)),
      bias: b.weights('bias', padBlocks(Float32Array.from(bias.data), 1, 37)),
      ...{ cIn: 20, cOut: 37, size: 3 },
    };
    return { out: conv2d(b.recorder, 'conv', b.input('x', x), w) };
  });
  expectEqual(out, reference(x, weight, bias.data, { stride: 1 }).data);
});
