import type { UpdateStep } from '../../src/ops/update.ts';
import { make, type Array4 } from '../helpers/array.ts';

/** The contract of src/scheduler/step.ts in float64. `output` holds (N, ...), or class then null with guidance. */
export function update(
  x: Array4,
  output: Array4,
  z: Array4,
  s: UpdateStep,
  history: readonly Array4[] = [],
): { x: Array4; x0Hat: Array4; history: Array4[] } {
  const size = x.data.length;
  const guided = output.data.length === 2 * size;
  const m = (i: number): number => {
    if (!guided) return output.data[i]!;
    const none = output.data[size + i]!;
    return none + s.guidance * (output.data[i]! - none);
  };
  const x0Hat = make(x.shape, (i) => {
    const x0 = s.x0_x * x.data[i]! + s.x0_m * m(i);
    return s.clip === null ? x0 : Math.min(Math.max(x0, -s.clip), s.clip);
  });
  const mixed = (factors: readonly number[], i: number): number => {
    const numbers = [x.data[i]!, x0Hat.data[i]!, m(i), ...history.map((h) => h.data[i]!)];
    return numbers.reduce((sum, number, k) => sum + (factors[k] ? factors[k] * number : 0), 0);
  };
  return {
    x: make(x.shape, (i) => mixed(s.mix[0]!, i) + (s.sigma ? s.sigma * z.data[i]! : 0)),
    x0Hat,
    history: history.map((h, k) => {
      const row = s.mix[k + 1];
      return row ? make(x.shape, (i) => mixed(row, i)) : h;
    }),
  };
}
