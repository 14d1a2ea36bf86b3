import { make, type Array4 } from '../helpers/array.ts';

/** softmax(q k^T / sqrt(d)) v over the pixels of each image and head. */
export function attention(q: Array4, k: Array4, v: Array4, heads: number): Array4 {
  const [n, c, h, w] = q.shape;
  const [tokens, d] = [h * w, c / heads];
  const at = (x: Array4, i: number, head: number, channel: number, token: number) =>
    x.data[(i * c + head * d + channel) * tokens + token]!;
  const out = make(q.shape, () => 0);
  for (let i = 0; i < n; i++)
    for (let head = 0; head < heads; head++)
      for (let row = 0; row < tokens; row++) {
        const scores = Array.from({ length: tokens }, (_, column) => {
          let dot = 0;
          for (let e = 0; e < d; e++) dot += at(q, i, head, e, row) * at(k, i, head, e, column);
          return dot / Math.sqrt(d);
        });
        const top = Math.max(...scores);
        const weights = scores.map((s) => Math.exp(s - top));
        const total = weights.reduce((a, b) => a + b, 0);
        for (let e = 0; e < d; e++)
          out.data[(i * c + head * d + e) * tokens + row] =
            weights.reduce((sum, p, column) => sum + p * at(v, i, head, e, column), 0) / total;
      }
  return out;
}
