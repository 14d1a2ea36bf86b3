import { describe, expect, it } from 'vitest';
import { packUpdateStep, update, type UpdateStep } from '../../src/engine/kernels/update.ts';
import { normals, STREAM_Z } from '../../src/schedule/noise.ts';
import { normalTable } from '../../src/schedule/normal_table.ts';
import type { Shape, Tensor } from '../../src/core/tensor.ts';
import { expectClose, expectEqual, gaussian, integers, make, type Array4 } from '../helpers/array.ts';
import { launch, useGpu } from '../helpers/gpu.ts';
import { update as reference } from '../reference/update.ts';

const gpu = useGpu();
const SHAPES: Shape[] = [
  [1, 1, 1, 1],
  [2, 3, 5, 7], // elements of an image not a multiple of four
  [3, 1, 8, 8],
];
const WHOLE: UpdateStep = { x0_x: 2, x0_m: -1, clip: 3, sigma: 4, guidance: 3, index: 5, mix: [[1, 2, -2]] };
const SEEDS = [7, 8, 2 ** 33 + 9];

function run(
  x: Array4,
  output: Array4,
  step: UpdateStep,
  z: Array4 | null,
  h: readonly Array4[] = [],
  measured = false,
) {
  const n = x.shape[0];
  return launch(gpu(), 'f32', (b) => {
    const [state, x0Hat] = [b.input('x', x, 'planar'), b.recorder.persistent('x0Hat', x.shape, 'f32')];
    const fault = b.words('fault', new Uint32Array(4));
    const [first, c, height, width] = x.shape;
    const history =
      h.length === 0
        ? null
        : b.input(
            'history',
            {
              shape: [h.length * first, c, height, width],
              data: Float64Array.from(h.flatMap((slot) => [...slot.data])),
            },
            'planar',
          );
    const bindings = {
      history,
      x: state,
      x0Hat,
      output: b.input('output', output, 'planar'),
      step: b.words('step', new Uint32Array(packUpdateStep(step)), true),
      fault,
      z: z
        ? b.input('z', z, 'planar')
        : {
            seeds: b.words(
              'seeds',
              Uint32Array.from(SEEDS.slice(0, n).flatMap((s) => [s >>> 0, Math.floor(s / 2 ** 32)])),
            ),
            normalTable: b.words('table', normalTable as Uint32Array<ArrayBuffer>),
          },
    };
    update(b.recorder, 'update', bindings, measured);
    const flag: Tensor = {
      storage: fault,
      shape: [1, 1, 1, 4],
      dtype: 'f32',
      layout: 'planar',
      label: 'flag',
    };
    return { x: state, x0Hat, flag, history: history ?? flag };
  });
}

describe.each(SHAPES)('update of %j', (...shape) => {
  const n = shape[0];
  const double: Shape = [2 * n, shape[1], shape[2], shape[3]];

  it.each([true, false])('integers come out exactly; guided: %s', async (guided) => {
    const x = integers(shape, 1, 4);
    const output = integers(guided ? double : shape, 2, 4);
    const z = integers(shape, 3, 4);
    const got = await run(x, output, WHOLE, z);
    const wanted = reference(x, output, z, WHOLE);
    expectEqual(got.x, wanted.x.data, 'x');
    expectEqual(got.x0Hat, wanted.x0Hat.data, 'x0Hat');
    expect(got.flag[0]).toBe(0);
  });

  it('draws its own noise: the address of the step, one seed an image', async () => {
    const size = shape[1] * shape[2] * shape[3];
    const draws = SEEDS.slice(0, n).map((seed) => normals(seed, STREAM_Z, 5, size));
    const z = make(shape, (i) => draws[Math.floor(i / size)]![i % size]!);
    const [x, output] = [gaussian(shape, 1), gaussian(shape, 2)];
    const step = {
      ...WHOLE,
      x0_x: 1.5,
      x0_m: -0.7,
      clip: 1,
      sigma: 0.5,
      mix: [[0.3, 0.6, 0.1]],
    };
    const got = await run(x, output, step, null);
    const wanted = reference(x, output, z, step);
    expectClose(got.x, wanted.x.data, { atol: 1e-6, rtol: 1e-6 }, 'x');
    expectClose(got.x0Hat, wanted.x0Hat.data, { atol: 1e-6, rtol: 1e-6 }, 'x0Hat');
  });

  it('without clipping and without noise', async () => {
    const [x, output] = [gaussian(shape, 1), gaussian(shape, 2)];
    const step = { ...WHOLE, x0_x: 30, clip: null, sigma: 0 };
    const got = await run(
      x,
      output,
      step,
      make(shape, () => NaN),
    ); // sigma 0 must not touch z
    const wanted = reference(
      x,
      output,
      make(shape, () => 0),
      step,
    );
    expectClose(got.x, wanted.x.data, { atol: 1e-5, rtol: 1e-6 }, 'x');
    expect(Math.max(...got.x0Hat.map(Math.abs))).toBeGreaterThan(1);
  });
});

describe('what a sampler remembers', () => {
  const mix = [
    [1, 0, -1, 2, 0, 0, -3],
    [0, 1, 0],
    undefined, // stays
    [0, 0, 0, 1, 1],
    [1, 1, 1, 1, 1, 1, 1],
  ];

  it.each(SHAPES)('four slots of %i x %i x %i x %i: integers come out exactly', async (...shape) => {
    const [x, output, z] = [1, 2, 3].map((seed) => integers(shape, seed, 4)) as [Array4, Array4, Array4];
    const h = [4, 5, 6, 7].map((seed) => integers(shape, seed, 4));
    const got = await run(x, output, { ...WHOLE, mix }, z, h);
    const wanted = reference(x, output, z, { ...WHOLE, mix }, h);
    expectEqual(got.x, wanted.x.data, 'x');
    expectEqual(
      got.history,
      wanted.history.flatMap((slot) => [...slot.data]),
      'history',
    );
  });

  it('a factor of zero leaves out what an earlier run left behind', async () => {
    const shape: Shape = [1, 1, 2, 2];
    const one = make(shape, () => 1);
    const step = {
      ...WHOLE,
      sigma: 0,
      mix: [
        [1, 0, 0, 0],
        [1, 0, 0, 0],
      ],
    };
    const got = await run(one, one, step, one, [make(shape, () => NaN)]);
    expectEqual(got.x, one.data, 'x');
    expectEqual(got.history, one.data, 'history');
  });
});

it.each([NaN, Infinity, -Infinity])('raises the flag when %s reaches the state', async (bad) => {
  const shape: Shape = [1, 1, 3, 3];
  const output = make(shape, (i) => (i === 8 ? bad : 0));
  const got = await run(
    make(shape, () => 0),
    output,
    { ...WHOLE, clip: null, sigma: 0 },
    make(shape, () => 0),
  );
  expect(got.flag[0]).not.toBe(0);
});

describe('dynamic thresholding and rescaled guidance', () => {
  const shapes: Shape[] = [
    [1, 1, 1, 1], // one number: the quantile is it
    [1, 1, 1, 2],
    [2, 3, 5, 7],
    [3, 3, 17, 19],
  ];
  const step = { ...WHOLE, x0_x: 1.5, x0_m: -0.7, sigma: 0, mix: [[0.3, 0.6, 0.1]] };

  it.each(shapes.flatMap((s) => [0.5, 0.9, 0.995, 1].map((q) => [q, s] as const)))(
    'the quantile %d of %j',
    async (quantile, shape) => {
      const [x, output] = [gaussian(shape, 1), gaussian(shape, 2)];
      const options = { ...step, clip: { quantile, max: 1.8 } };
      const got = await run(x, output, options, gaussian(shape, 3), [], true);
      const wanted = reference(x, output, gaussian(shape, 3), options);
      expectClose(got.x0Hat, wanted.x0Hat.data, { atol: 2e-6, rtol: 2e-6 }, 'x0Hat');
      expectClose(got.x, wanted.x.data, { atol: 2e-6, rtol: 2e-6 }, 'x');
    },
  );

  it('equal numbers, zeros of both signs and huge ones have their place in the order', async () => {
    const shape: Shape = [1, 1, 4, 4];
    const values = [0, -0, 2, 2, 2, -2, 1e-30, -1e-40, 1e20, -1e20, 3, -3, 5, 5, 0.5, 1];
    const x = make(shape, (i) => values[i]!);
    for (const quantile of [0.1, 0.3, 0.4, 7 / 15, 0.5, 0.7, 0.8, 0.9]) {
      const options = { ...step, x0_x: 1, x0_m: 0, clip: { quantile, max: 1e30 } };
      const got = await run(x, make(shape, () => 0), options, x, [], true); // prettier-ignore
      const wanted = reference(x, make(shape, () => 0), x, options); // prettier-ignore
      expectClose(got.x0Hat, wanted.x0Hat.data, { atol: 1e-7, rtol: 2e-6 }, `x0Hat at ${quantile}`);
    }
  });

  it.each([0.3, 1])('guidance rescaled by %d, with and without thresholding', async (rescale) => {
    for (const shape of shapes.slice(2))
      for (const clip of [null, 1, { quantile: 0.9, max: 3 }]) {
        const [n, ...rest] = shape;
        const [x, output] = [gaussian(shape, 1), gaussian([2 * n, ...rest], 2)];
        const options = { ...step, guidance: 4, rescale, clip };
        const got = await run(x, output, options, x, [], true);
        const wanted = reference(x, output, x, options);
        expectClose(got.x, wanted.x.data, { atol: 1e-5, rtol: 1e-5 }, 'x');
      }
  });

  it('an output of zeros is not divided by its spread', async () => {
    const shape: Shape = [1, 1, 2, 2];
    const options = { ...step, rescale: 1, guidance: 2 };
    const got = await run(gaussian(shape, 1), make([2, 1, 2, 2], () => 0), options, gaussian(shape, 3), [], true); // prettier-ignore
    expect(got.flag[0]).toBe(0);
  });
});

describe('learned variance', () => {
  it.each(SHAPES.flatMap((s) => [false, true].map((guided) => [guided, s] as const)))(
    'guided: %s, %j',
    async (guided, shape) => {
      const [n, c, h, w] = shape;
      const [x, z] = [gaussian(shape, 1), gaussian(shape, 3)];
      const output = gaussian([guided ? 2 * n : n, 2 * c, h, w], 2);
      for (const logVariance of [undefined, [-9, -2], [-1, 1]] as const) {
        const options = { ...WHOLE, sigma: 1, ...(logVariance ? { logVariance } : {}) };
        const got = await run(x, output, options, z);
        const wanted = reference(x, output, z, options);
        expectClose(got.x, wanted.x.data, { atol: 2e-5, rtol: 1e-5 }, 'x');
        expectClose(got.x0Hat, wanted.x0Hat.data, { atol: 2e-5, rtol: 1e-5 }, 'x0Hat');
      }
    },
  );
});
