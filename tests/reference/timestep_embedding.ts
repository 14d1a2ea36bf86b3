import { make, type Array4 } from '../helpers/array.ts';

/** Gaussian Fourier features (Song et al. 2021b): sin, then cos of 2 pi w log t. */
export const fourierEmbedding = (t: ArrayLike<number>, w: ArrayLike<number>): Array4 =>
  make([t.length, 2 * w.length, 1, 1], (index) => {
    const [n, k] = [Math.floor(index / (2 * w.length)), index % (2 * w.length)];
    const angle = 2 * Math.PI * w[k % w.length]! * Math.log(t[n]!);
    return k < w.length ? Math.sin(angle) : Math.cos(angle);
  });

/** Vaswani et al. 2017, section 3.5: sin and cos of t * 10000^(-i / (dim / 2 - shift)). */
export function timestepEmbedding(
  t: ArrayLike<number>,
  o: { dim: number; shift: number; cosFirst: boolean },
): Array4 {
  const half = Math.floor(o.dim / 2);
  return make([t.length, o.dim, 1, 1], (index) => {
    const [n, k] = [Math.floor(index / o.dim), index % o.dim];
    if (k >= 2 * half) return 0;
    const angle = t[n]! * Math.exp((-Math.log(10000) * (k % half)) / (half - o.shift));
    return k < half === o.cosFirst ? Math.cos(angle) : Math.sin(angle);
  });
}
