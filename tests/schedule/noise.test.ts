import { describe, expect, it } from 'vitest';
import { noise } from '../../src/engine/kernels/noise.ts';
import { keyOf, normalFromBits, normals, philox, STREAM_X_T, STREAM_Z } from '../../src/schedule/noise.ts';
import { normalTable } from '../../src/schedule/normal_table.ts';
import type { Shape } from '../../src/core/tensor.ts';
import { expectEqual, make } from '../helpers/array.ts';
import { launch, useGpu } from '../helpers/gpu.ts';

const gpu = useGpu();

describe('Philox4x32-10', () => {
  // Known answers of the authors' Random123 library (kat_vectors, philox4x32 with 10 rounds).
  it.each([
    [[0, 0, 0, 0], [0, 0], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]],
    [[~0, ~0, ~0, ~0], [~0, ~0], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]],
    [[0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0], [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]],
  ])('%j %j', (counter, key, words) => {
    const u32 = (x: number) => x >>> 0;
    expect(philox(counter.map(u32) as never, key.map(u32) as never)).toEqual(words);
  }); // prettier-ignore
});

describe('the normal distribution', () => {
  /** Upper tail of the standard normal: erfc(x / sqrt 2) / 2, by its continued fraction or series, to 1e-12. */
  const tail = (x: number): number => {
    const density = Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
    if (x < 3) {
      let [term, sum] = [x, x];
      for (let k = 1; k < 200; k++) sum += term *= (x * x) / (2 * k + 1);
      return 0.5 - density * sum;
    }
    let f = 0;
    for (let k = 200; k > 0; k--) f = k / (x + f);
    return density / (x + f);
  };

  it('every part of the table inverts the distribution', () => {
    for (let e = 0; e < 31; e++)
      for (let i = 0; i < 32; i++) {
        const P = Math.floor(2 ** e * (1 + i / 32)); // all magnitudes of the tail, all pieces
        if (P >= 2 ** 31) continue;
        const x = normalFromBits(P);
        const p = (2 * P + 1) / 2 ** 33;
        const density = Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
        // Error of x = error of the probability / density: below 5e-6 everywhere, of which rounding is 2.4e-7.
        expect(Math.abs(tail(x) - p) / density).toBeLessThan(5e-6);
        expect(normalFromBits((P | 0x80000000) >>> 0)).toBe(-x);
      }
  });

  it('moments of 2^20 numbers, and Kolmogorov-Smirnov', () => {
    const x = normals(1, STREAM_X_T, 0, 2 ** 20);
    const n = x.length;
    const moment = (k: number) => x.reduce((sum, v) => sum + v ** k, 0) / n;
    // mean of x^k, and its standard error sqrt((E x^2k - (E x^k)^2) / n), to five sigma
    const wanted = [0, 1, 0, 3, 0, 15];
    const even = [1, 1, 3, 15, 105, 945, 10395];
    wanted.forEach((m, i) => {
      const error = Math.sqrt((even[i + 1]! - m ** 2) / n);
      expect(Math.abs(moment(i + 1) - m) / error).toBeLessThan(5);
    });
    const sorted = Float64Array.from(x).sort();
    let distance = 0;
    sorted.forEach((v, i) => {
      const p = v < 0 ? tail(-v) : 1 - tail(v);
      distance = Math.max(distance, Math.abs(p - i / n), Math.abs(p - (i + 1) / n));
    });
    expect(distance * Math.sqrt(n)).toBeLessThan(1.95); // p = 0.001
    let correlation = 0;
    for (let i = 1; i < n; i++) correlation += x[i]! * x[i - 1]!;
    expect(Math.abs(correlation / Math.sqrt(n))).toBeLessThan(5);
  });

  it('streams, steps and seeds are independent', () => {
    const a = normals(7, STREAM_Z, 3, 4096);
    for (const b of [
      normals(7, STREAM_Z, 4, 4096),
      normals(7, STREAM_X_T, 3, 4096),
      normals(8, STREAM_Z, 3, 4096),
    ]) {
      const dot = a.reduce((sum, x, i) => sum + x * b[i]!, 0);
      expect(Math.abs(dot / 64)).toBeLessThan(5);
    }
    expect(normals(7, STREAM_Z, 3, 4096)).toEqual(a);
  });

  it('refuses a seed that is not one', () => {
    for (const seed of [-1, 0.5, NaN, 2 ** 53, Infinity]) expect(() => keyOf(seed)).toThrow(/seed/);
    expect(keyOf(2 ** 53 - 1)).toEqual([0xffffffff, 0x1fffff]);
  });
});

describe('noise on the GPU', () => {
  it.each<Shape>([
    [1, 1, 1, 1],
    [3, 3, 5, 7],
    [2, 3, 64, 64],
  ])('%i x %i x %i x %i equals the CPU, bit for bit; a batch equals its singles', async (...shape) => {
    const seeds = [2 ** 40 + 3, 0, 12345];
    const size = shape[1] * shape[2] * shape[3];
    const { x } = await launch(gpu(), 'f32', (b) => {
      const x = b.recorder.persistent('x', shape, 'f32');
      const keys = Uint32Array.from(seeds.slice(0, shape[0]).flatMap(keyOf));
      const source = {
        seeds: b.words('seeds', keys),
        normalTable: b.words('table', normalTable as Uint32Array<ArrayBuffer>),
      };
      noise(b.recorder, 'noise', x, source, 1);
      return { x };
    });
    const singles = seeds.map((seed) => normals(seed, STREAM_X_T, 0, size));
    expectEqual(x, make(shape, (i) => singles[Math.floor(i / size)]![i % size]!).data);
  });
});
