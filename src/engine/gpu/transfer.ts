/** Copies: from GPU memory to that of the CPU (never inside the step loop), and from tensor to tensor. */

import { DiffusionError } from '../../core/errors.ts';
import { scalars, type GpuTensor } from '../../core/tensor.ts';
import type { Gpu } from './device.ts';
import { allocate, gpuError } from './scope.ts';
import { COPY_DST, MAP_MODE_READ, MAP_READ } from './usage.ts';
import { awaitQueue } from './wait.ts';

/** The bytes of a buffer (usage COPY_SRC). @throws device-lost, out-of-memory, gpu-error */
export async function readBuffer(gpu: Gpu, buffer: GPUBuffer, bytes: number): Promise<ArrayBuffer> {
  gpu.check();
  const { device } = gpu;
  const size = Math.ceil(bytes / 4) * 4;
  let staging: GPUBuffer | null = null;
  const what = `reading ${buffer.label || 'a buffer'} back`;
  try {
    const mapped = await allocate(device, what, () => {
      staging = device.createBuffer({ label: `read ${buffer.label}`, size, usage: MAP_READ | COPY_DST });
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(buffer, 0, staging, 0, size);
      device.queue.submit([encoder.finish()]);
      const mapping = staging.mapAsync(MAP_MODE_READ);
      mapping.catch(() => {}); // awaited below
      return { mapping };
    });
    await awaitQueue(device, mapped.mapping);
    return staging!.getMappedRange().slice(0, bytes);
  } catch (cause) {
    gpu.check();
    throw cause instanceof DiffusionError ? cause : gpuError(`The GPU refused ${what}.`, cause);
  } finally {
    (staging as GPUBuffer | null)?.destroy();
  }
}

/** The numbers of a planar f32 tensor, row-major. @throws device-lost, out-of-memory, gpu-error */
export async function readTensor(gpu: Gpu, tensor: GpuTensor): Promise<Float32Array<ArrayBuffer>> {
  if (tensor.layout !== 'planar' || tensor.dtype !== 'f32')
    throw new Error(`${tensor.label}: only planar f32 tensors are read back`);
  const bytes = scalars(tensor.shape, 'planar') * 4;
  return new Float32Array(await readBuffer(gpu, tensor.buffer, bytes));
}

/** Copies tensors on the GPU in one submission; leaves out pairs that contain a null. */
export function copyTensors(
  device: GPUDevice,
  pairs: readonly (readonly [from: GpuTensor | null, to: GpuTensor | null])[],
): void {
  const encoder = device.createCommandEncoder({ label: 'copy' });
  for (const [from, to] of pairs)
    if (from && to) encoder.copyBufferToBuffer(from.buffer, 0, to.buffer, 0, from.buffer.size);
  device.queue.submit([encoder.finish()]);
}
