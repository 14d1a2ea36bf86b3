import type { Shape, Tensor } from '../../core/tensor.ts';
import type { ConvLaunch, ConvOptions, ConvWeights } from './conv_launch.ts';
import { convKernel } from './conv_variants.ts';
import { direct } from './conv2d_direct.ts';
import type { NetworkRecorder } from './kernel_policy.ts';
import { assertShape } from './launch.ts';

export type { ConvOptions, ConvWeights, Padding } from './conv_launch.ts';

/**
 * out = activation(scale * (conv(x) + bias + timeBias + residual)). x (N, cIn, H, W) -> (N, cOut, H', W').
 * The recorder's policy chooses the variant, by the shape of one image.
 */
export function conv2d(
  recorder: NetworkRecorder,
  label: string,
  x: Tensor,
  weights: ConvWeights,
  options: ConvOptions = {},
): Tensor {
  const launch = checkLaunch(label, x, weights, options);
  const { cIn, cOut, size } = weights;
  const [, , h, w] = launch.shape;
  const kernel = convKernel(recorder.policy.conv({ cIn, cOut, size, stride: options.stride ?? 1, h, w }));
  return (kernel.canRecord(launch) ? kernel : direct).record(recorder, launch);
}

/** The launch with the shape of its output. @throws Error if a tensor does not fit (a fault of the caller) */
function checkLaunch(label: string, x: Tensor, weights: ConvWeights, options: ConvOptions): ConvLaunch {
  const { cIn, cOut, size } = weights;
  const { stride = 1, timeBias = null, residual = null, concatWith = null, upsampled = false } = options;
  const around = (size - 1) / 2;
  const { padding = { top: around, left: around, bottom: around, right: around } } = options;
  const [n, , hSmall, wSmall] = x.shape;
  const concatenated = concatWith?.shape[1] ?? 0;
  assertShape(label, x, [n, cIn - concatenated, hSmall, wSmall]);
  if (concatWith) assertShape(label, concatWith, [n, concatenated, hSmall, wSmall]);
  if (concatWith && (size > 1 || stride > 1 || x.shape[1] % 4))
    throw new Error(`${label}: ${concatWith.label} cannot be concatenated with ${x.label} here`);
  const zoom = upsampled ? 2 : 1;
  const h = Math.floor((hSmall * zoom + padding.top + padding.bottom - size) / stride) + 1;
  const w = Math.floor((wSmall * zoom + padding.left + padding.right - size) / stride) + 1;
  const shape: Shape = [n, cOut, h, w];
  if (timeBias) assertShape(label, timeBias, [n, cOut, 1, 1], { slice: true });
  if (residual) assertShape(label, residual, shape);
  return { label, x, weights, shape, padding, options };
}
