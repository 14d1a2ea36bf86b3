import code from '../../../shaders/attention.wgsl?raw';
import { blocks, type Tensor } from '../../core/tensor.ts';
import type { NetworkRecorder } from './kernel_policy.ts';
import { assertShape, sliceUniforms } from './launch.ts';

/** Keys of one pass (shaders/attention.wgsl). */
const CHUNK = 256;

/**
 * Scaled dot-product attention over the pixels of each image (Vaswani et al. 2017, eq. 1).
 * q, k, v (N, C, H, W), or slices; the channels are split into `heads` consecutive parts. -> (N, C, H, W).
 * shaders/attention.wgsl; softmax in f32 always.
 */
export function attention(
  recorder: NetworkRecorder,
  label: string,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  heads: number,
): Tensor {
  const [n, c, h, w] = q.shape;
  for (const part of [q, k, v]) assertShape(label, part, q.shape, { slice: true });
  if (c % heads !== 0) throw new Error(`${label}: ${c} channels do not split into ${heads} heads`);
  const tokens = h * w;
  const d = c / heads;
  const tiles = Math.ceil(tokens / 4);
  const multi = tokens > CHUNK;
  const sums = multi ? recorder.transient(`${label}.sums`, q.shape, 'f32') : null;
  const { workgroupSize, barrierFree } = recorder.policy;
  const scratch = barrierFree
    ? recorder.transient(`${label}.scores`, [n, heads * tiles, 4, CHUNK], 'f32', 'planar')
    : null;
  const out = recorder.transient(label, q.shape, q.dtype);
  recorder.record({
    label,
    shader: { name: 'attention', code },
    dtype: q.dtype,
    defines: { ALIGNED: d % 4 === 0, CHUNKED: multi, BARRIER_FREE: barrierFree },
    uniforms: {
      n,
      c,
      heads,
      tokens,
      head_dim: d,
      cblocks: blocks(c),
      tiles,
      opaque_4: 4,
      ...sliceUniforms(q, 'q'),
      ...sliceUniforms(k, 'k'),
      ...sliceUniforms(v, 'v'),
      scale: 1 / Math.sqrt(d),
      workgroup_offset: 0,
    },
    bindings: { output: out, q, k, v, sums, scratch },
    invocations: n * heads * tiles * (barrierFree ? 1 : workgroupSize),
    workgroupSize,
    flops: 4 * n * c * tokens * tokens,
    costFactor: 3, // measured on llvmpipe (docs/performance.md)
  });
  return out;
}
