import code from '../../shaders/attention.wgsl?raw';
import type { Tape } from '../gpu/tape.ts';
import { blocks, type Tensor } from '../tensor.ts';
import { expect, partOf } from './launch.ts';

/** Keys of one pass (shaders/attention.wgsl). */
const CHUNK = 256;

/**
 * Scaled dot-product attention over the pixels of each image (Vaswani et al. 2017, eq. 1).
 * q, k, v (N, C, H, W), or slices; the channels are split into `heads` consecutive parts. -> (N, C, H, W).
 * shaders/attention.wgsl; softmax in f32 always.
 */
export function attention(tape: Tape, label: string, q: Tensor, k: Tensor, v: Tensor, heads: number): Tensor {
  const [n, c, h, w] = q.shape;
  for (const part of [q, k, v]) expect(label, part, q.shape, { slice: true });
  if (c % heads !== 0) throw new Error(`${label}: ${c} channels do not split into ${heads} heads`);
  const tokens = h * w;
  const d = c / heads;
  const tiles = Math.ceil(tokens / 4);
  const multi = tokens > CHUNK;
  const sums = multi ? tape.temp(`${label}.sums`, q.shape, 'f32') : null;
  const { lanes, alone } = tape.variants;
  const scratch = alone ? tape.temp(`${label}.scores`, [n, heads * tiles, 4, CHUNK], 'f32', 'planar') : null;
  const out = tape.temp(label, q.shape, q.dtype);
  tape.record({
    label,
    shader: { name: 'attention', code },
    dtype: q.dtype,
    defines: { ALIGNED: d % 4 === 0, MULTI: multi, ALONE: alone },
    constants: {
      N: n,
      C: c,
      HEADS: heads,
      TOKENS: tokens,
      D: d,
      C_BLOCKS: blocks(c),
      TILES: tiles,
      QUERIES: 4,
      ...partOf(q, 'Q'),
      ...partOf(k, 'K'),
      ...partOf(v, 'V'),
      SCALE: 1 / Math.sqrt(d),
      SKIP: 0,
    },
    bindings: [out, q, k, v, sums, scratch],
    threads: n * heads * tiles * (alone ? 1 : lanes),
    workgroupSize: lanes,
    flops: 4 * n * c * tokens * tokens,
    weight: 3, // measured on llvmpipe (docs/performance.md)
  });
  return out;
}
