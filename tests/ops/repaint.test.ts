import { describe, expect, it } from 'vitest';
import { packRepaint, repaint, type Repaint } from '../../src/engine/kernels/repaint.ts';
import { normals, STREAM_REPAINT } from '../../src/schedule/noise.ts';
import { normalTable } from '../../src/schedule/normal_table.ts';
import type { Shape } from '../../src/core/tensor.ts';
import { expectClose, gaussian, make, type Array4 } from '../helpers/array.ts';
import { launch, useGpu } from '../helpers/gpu.ts';
import { repaint as reference } from '../reference/repaint.ts';

const gpu = useGpu();
const SEEDS = [7, 2 ** 33 + 9];
const NUMBERS: Repaint = { c: 0.9, s: 0.3, a: 0.6, b: 0.8, index: 4 };

const run = (x: Array4, known: Array4, mask: Array4, numbers: Repaint) =>
  launch(gpu(), 'f32', (b) => {
    const state = b.input('x', x, 'planar');
    repaint(b.recorder, 'repaint', {
      x: state,
      known: b.input('known', known, 'planar'),
      mask: b.input('mask', mask, 'planar'),
      numbers: b.words('numbers', new Uint32Array(packRepaint(numbers)), true),
      source: {
        seeds: b.words('seeds', Uint32Array.from(SEEDS.flatMap((s) => [s >>> 0, Math.floor(s / 2 ** 32)]))),
        normalTable: b.words('table', normalTable as Uint32Array<ArrayBuffer>),
      },
    });
    return { x: state };
  });

describe.each([
  [1, 1, 1, 1],
  [2, 3, 5, 7],
] as Shape[])('repaint of %i x %i x %i x %i', (...shape) => {
  const size = shape[1] * shape[2] * shape[3];
  const draws = SEEDS.map((seed) => normals(seed, STREAM_REPAINT, NUMBERS.index, size));
  const z = make(shape, (i) => draws[Math.floor(i / size)]![i % size]!);
  const [x, known] = [gaussian(shape, 1), gaussian(shape, 2)];

  it.each([
    ['all painted', () => 1],
    ['nothing painted', () => 0],
    ['a border, with greys', (i: number) => (i % 3) / 2],
  ])('%s', async (_, at) => {
    const mask = make(shape, at);
    const got = await run(x, known, mask, NUMBERS);
    expectClose(got.x, reference(x, known, mask, z, NUMBERS).data, { atol: 1e-6, rtol: 1e-6 }, 'x');
  });

  it('what is kept is kept to the bit; what is not asked for is not touched', async () => {
    const clean = { c: 1, s: 0, a: 1, b: 0, index: 0 };
    const broken = make(shape, () => NaN);
    const kept = await run(broken, known, make(shape, () => 0), clean); // prettier-ignore
    expect([...kept.x]).toEqual([...Float32Array.from(known.data)]);
    const painted = await run(x, broken, make(shape, () => 1), clean); // prettier-ignore
    expect([...painted.x]).toEqual([...Float32Array.from(x.data)]);
  });
});
