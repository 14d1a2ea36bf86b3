/** From GPU memory back to ours. Never inside the step loop. */

import { scalars, type Tensor } from '../tensor.ts';
import type { Gpu } from './device.ts';

/** The bytes of a buffer (usage COPY_SRC). @throws device-lost, gpu-error */
export async function readBuffer(gpu: Gpu, buffer: GPUBuffer, bytes: number): Promise<ArrayBuffer> {
  gpu.check();
  const size = Math.ceil(bytes / 4) * 4;
  const staging = gpu.device.createBuffer({ label: `read ${buffer.label}`, size, usage: 0x01 | COPY_DST }); // MAP_READ
  try {
    const encoder = gpu.device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, 0, staging, 0, size);
    gpu.device.queue.submit([encoder.finish()]);
    try {
      await staging.mapAsync(1); // READ
    } catch (cause) {
      gpu.check();
      throw cause;
    }
    return staging.getMappedRange().slice(0, bytes);
  } finally {
    staging.destroy();
  }
}

/** The numbers of a pinned planar f32 tensor, row-major. @throws device-lost, gpu-error */
export async function readTensor(gpu: Gpu, tensor: Tensor): Promise<Float32Array<ArrayBuffer>> {
  if (tensor.layout !== 'planar' || tensor.dtype !== 'f32')
    throw new Error(`${tensor.label}: only planar f32 tensors are read back`);
  const bytes = scalars(tensor.shape, 'planar') * 4;
  return new Float32Array(await readBuffer(gpu, tensor.storage.buffer!, bytes));
}

const COPY_DST = 0x08;
