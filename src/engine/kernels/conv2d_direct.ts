import code from '../../../shaders/conv2d.wgsl?raw';
import { blocks, type BufferHandle, type Tensor } from '../../core/tensor.ts';
import { convFlops, epilogue, noEpilogue, type ConvKernel, type ConvLaunch } from './conv_launch.ts';
import type { NetworkRecorder } from './kernel_policy.ts';
import { upsampleNearest } from './upsample_nearest.ts';

/** Every convolution, without barriers and workgroup memory. shaders/conv2d.wgsl */
export const direct: ConvKernel = {
  name: 'direct',
  takes: () => true,
  preferred: () => true,
  canRecord: () => true,
  record,
};

function record(
  recorder: NetworkRecorder,
  { label, x, weights: w, shape, padding, options }: ConvLaunch,
): Tensor {
  const { stride = 1, concatWith = null, upsampled = false } = options;
  const image = upsampled ? upsampleNearest(recorder, `${label}.upsampled`, x) : x;
  const [n, , hIn, wIn] = image.shape;
  const [, , h, width] = shape;
  const out = recorder.transient(label, shape, x.dtype);
  const { defines, uniforms, bindings } = epilogue(w, options);
  recorder.record({
    label,
    shader: { name: 'conv2d', code },
    dtype: x.dtype,
    defines: {
      POINTWISE: w.size === 1 && stride === 1 && h === hIn && width === wIn,
      BATCHED: false,
      CONCAT: concatWith !== null,
      ...defines,
    },
    uniforms: {
      ...grid(n, w.cIn, w.cOut, h * width).uniforms,
      h_in: hIn,
      w_in: wIn,
      w_out: width,
      kernel_size: w.size,
      stride,
      pad_top: padding.top,
      pad_left: padding.left,
      pixels_in: hIn * wIn,
      a_cblocks: blocks(image.shape[1]),
      ...uniforms,
    },
    bindings: { output: out, input: image, weight: w.weight, ...bindings, second: concatWith },
    ...grid(n, w.cIn, w.cOut, h * width).size,
    flops: convFlops(w, shape),
  });
  return out;
}

/**
 * A product of matrices for each of `batch`, with weights of its own: out[i] = weight[i] * x[i]. The same kernel.
 * @param x (batch, cIn, 1, columns) f32
 * @param weight for each of the batch as `packMatrix` lays out a 1x1 kernel
 */
export function batchedProduct(
  recorder: NetworkRecorder,
  label: string,
  x: Tensor,
  weight: Tensor | BufferHandle,
  cOut: number,
  cost: { readonly flops: number; readonly costFactor: number },
): Tensor {
  const [batch, cIn, , columns] = x.shape;
  const out = recorder.transient(label, [batch, cOut, 1, columns], 'f32');
  const { defines, uniforms } = noEpilogue;
  recorder.record({
    label,
    shader: { name: 'conv2d', code },
    dtype: 'f32',
    defines: { POINTWISE: true, BATCHED: true, CONCAT: false, ...defines },
    uniforms: {
      ...grid(batch, cIn, cOut, columns).uniforms,
      h_in: 1,
      w_in: columns,
      w_out: columns,
      kernel_size: 1,
      stride: 1,
      pad_top: 0,
      pad_left: 0,
      pixels_in: columns,
      a_cblocks: 0,
      ...uniforms,
    },
    bindings: { output: out, input: x, weight },
    ...grid(batch, cIn, cOut, columns).size,
    ...cost,
  });
  return out;
}

/** Four invocations compute 16 pixels of four blocks of output channels. */
function grid(n: number, cIn: number, cOut: number, pixels: number) {
  const tiles = Math.ceil(pixels / 16);
  const groups = Math.ceil(blocks(cOut) / 4);
  return {
    uniforms: {
      n,
      in_cblocks: blocks(cIn),
      out_cblocks: blocks(cOut),
      pixels,
      tiles,
      cblock_groups: groups,
      opaque_16: 16,
      workgroup_offset: 0,
    },
    size: { invocations: n * groups * tiles * 4, workgroupSize: 32 },
  };
}
