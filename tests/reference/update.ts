import type { UpdateStep } from '../../src/engine/kernels/update.ts';
import { make, type Array4 } from '../helpers/array.ts';

/** numpy.quantile, torch.quantile: linear between the two neighbours. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const position = q * (sorted.length - 1);
  const low = Math.floor(position);
  const [from, to] = [sorted[low]!, sorted[Math.min(low + 1, sorted.length - 1)]!];
  return from + (position - low) * (to - from);
}

/** x0Hat of one image after clipping or dynamic thresholding. */
export function clipped(x0: readonly number[], clip: UpdateStep['clip']): number[] {
  if (clip === null) return [...x0];
  const within = (v: number, s: number): number => Math.min(Math.max(v, -s), s);
  if (typeof clip === 'number') return x0.map((v) => within(v, clip));
  const s = Math.min(Math.max(quantile(x0.map(Math.abs), clip.quantile), 1), clip.max);
  return x0.map((v) => within(v, s) / s);
}

const std = (values: readonly number[]): number => {
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  return Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length);
};

/**
 * The contract of src/schedule/step.ts in float64. `output` holds (N, C, H, W), with guidance (2 N, ...): class, then
 * null; with a learned variance (..., 2 C, H, W).
 */
export function update(
  x: Array4,
  output: Array4,
  z: Array4,
  s: UpdateStep,
  history: readonly Array4[] = [],
): { x: Array4; x0Hat: Array4; history: Array4[] } {
  const [N, C, H, W] = x.shape;
  const size = C * H * W;
  const out = output.shape[1] * H * W;
  const guided = output.shape[0] === 2 * N;
  const m: number[] = [];
  const x0Hat: number[] = [];
  for (let n = 0; n < N; n++) {
    const part = (row: number): number[] => [...output.data.slice(row * out, row * out + size)];
    const ofClass = part(n);
    let own = ofClass;
    if (guided) {
      const none = part(N + n);
      own = none.map((v, e) => v + s.guidance * (ofClass[e]! - v));
      const { rescale = 0 } = s;
      if (rescale > 0) {
        const factor = (rescale * std(ofClass)) / std(own) + 1 - rescale;
        own = own.map((v) => v * factor);
      }
    }
    m.push(...own);
    x0Hat.push(
      ...clipped(
        own.map((v, e) => s.x0_x * x.data[n * size + e]! + s.x0_m * v),
        s.clip,
      ),
    );
  }
  const mixed = (factors: readonly number[], i: number): number => {
    const numbers = [x.data[i]!, x0Hat[i]!, m[i]!, ...history.map((h) => h.data[i]!)];
    return numbers.reduce((sum, number, k) => sum + (factors[k] ? factors[k] * number : 0), 0);
  };
  const sigma = (i: number): number => {
    if (out === size) return s.sigma;
    const v = output.data[Math.floor(i / size) * out + size + (i % size)]!;
    const [min, max] = s.logVariance ?? [0, 0];
    return s.sigma * Math.exp(0.5 * (min + ((v + 1) / 2) * (max - min)));
  };
  return {
    x: make(x.shape, (i) => mixed(s.mix[0]!, i) + (s.sigma ? sigma(i) * z.data[i]! : 0)),
    x0Hat: make(x.shape, (i) => x0Hat[i]!),
    history: history.map((h, k) => {
      const row = s.mix[k + 1];
      return row ? make(x.shape, (i) => mixed(row, i)) : h;
    }),
  };
}
