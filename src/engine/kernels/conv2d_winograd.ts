import inputCode from '../../../shaders/winograd_input.wgsl?raw';
import outputCode from '../../../shaders/winograd_output.wgsl?raw';
import weightsCode from '../../../shaders/winograd_weights.wgsl?raw';
import { blocks, type Tensor } from '../../core/tensor.ts';
import { batchedProduct } from './conv2d_direct.ts';
import { convFlops, epilogue, type ConvKernel, type ConvLaunch } from './conv_launch.ts';
import type { ConvShape, NetworkRecorder } from './kernel_policy.ts';
import { WORKGROUP } from './launch.ts';

/** Bytes of one temporary tensor. A batch that needs more goes through in parts. */
const MAX_TEMPORARY = 2 ** 25;

/**
 * Winograd's F(4x4, 3x3) (Lavin & Gray 2016): 36 products of matrices instead of 144 multiplications for every 16 pixels.
 * shaders/winograd_weights.wgsl, winograd_input.wgsl, conv2d.wgsl and winograd_output.wgsl
 */
export const winograd: ConvKernel = {
  name: 'winograd',
  takes,
  // Measured on llvmpipe and SwiftShader (docs/decisions/003-winograd.md): the passes over memory pay from 24 channels and 16 tiles of 4 x 4
  // pixels on. With fewer tiles, a row of 16 products is not full.
  preferred: (shape, { isSoftware }) =>
    isSoftware &&
    Math.min(shape.cIn, shape.cOut) >= 24 &&
    Math.ceil(shape.h / 4) * Math.ceil(shape.w / 4) >= 16 &&
    takes(shape),
  canRecord: ({ weights, padding, options }) =>
    weights.size === 3 && (options.stride ?? 1) === 1 && Object.values(padding).every((p) => p === 1),
  record,
};

/**
 * The transformed weights take 144 cIn cOut bytes that stay; at most 9 MiB a layer are allowed. (A deep network has most
 * of its weights at the smallest sizes, and would double in memory.)
 */
function takes({ cIn, cOut, size, stride, h, w }: ConvShape): boolean {
  return size === 3 && stride === 1 && h * w * Math.max(cIn, cOut) <= 2 ** 22 && cIn * cOut <= 2 ** 16;
}

function record(recorder: NetworkRecorder, { label, x, weights: w, shape, options }: ConvLaunch): Tensor {
  const [n, , h, width] = shape;
  const [ciBlocks, coBlocks] = [blocks(w.cIn), blocks(w.cOut)];
  const transformed = recorder.prepared(`${label}.winograd`, [36, coBlocks, ciBlocks, 16], (output) => ({
    label: `${label}.winograd`,
    shader: { name: 'winograd_weights', code: weightsCode },
    dtype: x.dtype,
    uniforms: { in_cblocks: ciBlocks, out_cblocks: coBlocks },
    bindings: { output, weight: w.weight },
    invocations: coBlocks * ciBlocks * 4,
    workgroupSize: WORKGROUP,
  }));
  const out = recorder.transient(label, shape, x.dtype);
  const tilesX = Math.ceil(width / 4);
  const tilesPerImage = tilesX * Math.ceil(h / 4);
  const bytesPerImage = tilesPerImage * 36 * 16 * Math.max(ciBlocks, coBlocks);
  const perPart = Math.max(1, Math.floor(MAX_TEMPORARY / bytesPerImage));
  for (let first = 0; first < n; first += perPart) {
    const count = Math.min(perPart, n - first);
    const tiles = tilesPerImage * count;
    const range = { h: h, w: width, tiles_x: tilesX, tiles_per_image: tilesPerImage, tiles, first };
    const patches = recorder.transient(`${label}.patches`, [36, w.cIn, 1, tiles], 'f32');
    recorder.record({
      label: `${label}.patches`,
      shader: { name: 'winograd_input', code: inputCode },
      dtype: x.dtype,
      defines: { UPSAMPLED: options.upsampled ?? false },
      uniforms: { cblocks: ciBlocks, ...range },
      bindings: { output: patches, input: x },
      invocations: ciBlocks * tiles,
      workgroupSize: WORKGROUP,
    });
    const products = batchedProduct(recorder, `${label}.products`, patches, transformed, w.cOut, {
      flops: convFlops(w, [count, w.cOut, h, width]),
      costFactor: 0.5,
    });
    const end = epilogue(w, options);
    recorder.record({
      label,
      shader: { name: 'winograd_output', code: outputCode },
      dtype: x.dtype,
      defines: end.defines,
      uniforms: { cblocks: coBlocks, ...range, ...end.uniforms },
      bindings: { output: out, m: products, ...end.bindings },
      invocations: coBlocks * tiles,
      workgroupSize: WORKGROUP,
    });
  }
  return out;
}
