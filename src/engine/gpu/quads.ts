/** Whether invocations that follow each other in a workgroup are quads, so that kernels may exchange registers. */

import { scoped } from './scope.ts';
import { COPY_DST, COPY_SRC, MAP_MODE_READ, MAP_READ, STORAGE } from './usage.ts';
import { awaitQueue } from './wait.ts';

// Quad operations are called outside of `||`: WGSL allows them in uniform control flow only.
const CODE = `enable subgroups;
@group(0) @binding(0) var<storage, read_write> wrong: atomic<u32>;
@group(0) @binding(1) var<storage, read_write> asked: atomic<u32>;
@compute @workgroup_size(32) fn main(@builtin(local_invocation_index) lane: u32) {
  let x = quadSwapX(lane);
  let y = quadSwapY(lane);
  if (x != (lane ^ 1u) || y != (lane ^ 2u)) { atomicAdd(&wrong, 1u); }
  atomicAdd(&asked, 1u);
}`;

const LANES = 32;

/**
 * Asks the GPU: WGSL leaves open which invocations form a quad. A refused shader, a lost device or an answer that is not
 * clear mean no. The device stays good in every case.
 */
export async function quadsAreInOrder(device: GPUDevice): Promise<boolean> {
  const buffers: GPUBuffer[] = [];
  const buffer = (size: number, usage: number): GPUBuffer => {
    const made = device.createBuffer({ label: 'quads', size, usage });
    buffers.push(made);
    return made;
  };
  try {
    const making = scoped(device, () => {
      const module = device.createShaderModule({ label: 'quads', code: CODE });
      return device.createComputePipelineAsync({
        label: 'quads',
        layout: 'auto',
        compute: { module, entryPoint: 'main' },
      });
    });
    making.result.catch(() => {}); // awaited below
    if (await making.refused) return false;
    const pipeline = await making.result;
    const running = scoped(device, () => {
      const sinks = [buffer(4, STORAGE | COPY_SRC), buffer(4, STORAGE | COPY_SRC)];
      const staging = buffer(8, MAP_READ | COPY_DST);
      const entries = sinks.map((sink, binding) => ({ binding, resource: { buffer: sink } }));
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
      pass.dispatchWorkgroups(1);
      pass.end();
      sinks.forEach((sink, i) => encoder.copyBufferToBuffer(sink, 0, staging, i * 4, 4));
      device.queue.submit([encoder.finish()]);
      return { staging, mapped: staging.mapAsync(MAP_MODE_READ) };
    });
    running.result.mapped.catch(() => {}); // awaited below
    if (await running.refused) return false;
    await awaitQueue(device, running.result.mapped);
    const [wrong, asked] = new Uint32Array(running.result.staging.getMappedRange());
    return wrong === 0 && asked === LANES;
  } catch {
    return false;
  } finally {
    buffers.forEach((made) => made.destroy());
  }
}
