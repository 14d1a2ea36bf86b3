import scoresCode from '../../shaders/attention_scores.wgsl?raw';
import valuesCode from '../../shaders/attention_values.wgsl?raw';
import softmaxCode from '../../shaders/softmax.wgsl?raw';
import type { Tape } from '../gpu/tape.ts';
import { blocks, type Tensor } from '../tensor.ts';
import { expect, WORKGROUP } from './launch.ts';

/**
 * Scaled dot-product attention over the pixels of each image (Vaswani et al. 2017, eq. 1).
 * q, k, v (N, C, H, W); the channels are split into `heads` consecutive parts. -> (N, C, H, W).
 * shaders/attention_scores.wgsl, softmax.wgsl, attention_values.wgsl; softmax in f32 always.
 */
export function attention(tape: Tape, label: string, q: Tensor, k: Tensor, v: Tensor, heads: number): Tensor {
  const [n, c, h, w] = q.shape;
  expect(label, k, q.shape);
  expect(label, v, q.shape);
  if (c % heads !== 0) throw new Error(`${label}: ${c} channels do not split into ${heads} heads`);
  const tokens = h * w;
  const d = c / heads;
  const defines = { ALIGNED: d % 4 === 0 };
  const tiles = Math.ceil(tokens / 4);
  const weights = tape.temp(`${label}.weights`, [n, heads, tokens, tokens], 'f32', 'planar');
  const out = tape.temp(label, q.shape, q.dtype);
  const common = { N: n, HEADS: heads, TOKENS: tokens, D: d, C_BLOCKS: blocks(c), TILES: tiles };
  tape.record({
    label: `${label}.scores`,
    shader: { name: 'attention_scores', code: scoresCode },
    dtype: q.dtype,
    defines,
    constants: { ...common, SCALE: 1 / Math.sqrt(d) },
    bindings: [weights, q, k],
    threads: n * heads * tiles * tiles,
    workgroupSize: WORKGROUP,
    flops: 2 * n * c * tokens * tokens,
  });
  tape.record({
    label: `${label}.softmax`,
    shader: { name: 'softmax', code: softmaxCode },
    dtype: 'f32',
    constants: { ROWS: n * heads * tokens, LENGTH: tokens },
    bindings: [weights],
    threads: n * heads * tokens * WORKGROUP,
    workgroupSize: WORKGROUP,
  });
  tape.record({
    label: `${label}.values`,
    shader: { name: 'attention_values', code: valuesCode },
    dtype: q.dtype,
    defines,
    constants: { ...common, C: c },
    bindings: [out, weights, v],
    threads: n * blocks(c) * tiles,
    workgroupSize: WORKGROUP,
    flops: 2 * n * c * tokens * tokens,
  });
  return out;
}
