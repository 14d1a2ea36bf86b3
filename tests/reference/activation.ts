import type { Activation } from '../../src/engine/kernels/activation.ts';

/** erf by its series, or its continued fraction far out: to float64's last digits. */
function erf(x: number): number {
  if (x < 0) return -erf(-x);
  if (x < 3) {
    let [term, sum] = [x, x];
    for (let n = 1; Math.abs(term) > 1e-17 * sum; n++) {
      term *= (-x * x) / n;
      sum += term / (2 * n + 1);
      if (n > 200) break;
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let f = 0;
  for (let k = 60; k > 0; k--) f = k / 2 / (x + f);
  return 1 - Math.exp(-x * x) / Math.sqrt(Math.PI) / (x + f);
}

export const activationOf: Record<Activation, (x: number) => number> = {
  silu: (x) => x / (1 + Math.exp(-x)),
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  relu: (x) => Math.max(x, 0),
  mish: (x) => x * Math.tanh(Math.log1p(Math.exp(x))),
};
