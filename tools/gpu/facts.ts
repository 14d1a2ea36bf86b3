/** What an adapter says of itself, and what the engine makes of it. */

import { openGpu } from './engine.ts';

export interface Facts {
  readonly info: Readonly<Record<string, string | number | boolean>>;
  readonly features: readonly string[];
  readonly limits: Readonly<Record<string, number>>;
  /** The engine's view of it. */
  readonly engine: {
    readonly name: string;
    readonly isSoftware: boolean;
    readonly f16: boolean;
    readonly quads: boolean;
    readonly subgroup: number;
  };
  /** Milliseconds from the question for an adapter to a device that was seen to compute. */
  readonly openMs: number;
}

/** Every property of a WebGPU object, its prototypes' getters included. */
function properties(object: object): Record<string, string | number | boolean> {
  const out: Record<string, string | number | boolean> = {};
  for (let at: object | null = object; at && at !== Object.prototype; at = Object.getPrototypeOf(at) as object | null)
    for (const key of Object.getOwnPropertyNames(at)) {
      const value = (object as Record<string, unknown>)[key];
      if (['string', 'number', 'boolean'].includes(typeof value)) out[key] = value as string;
    }
  return out;
} // prettier-ignore

/**
 * Opens the adapter through the engine, and has it compute one number.
 * @throws no-adapter and whatever else the engine's openGpu throws
 */
export async function factsOf(entry: GPU | undefined): Promise<Facts> {
  const since = performance.now();
  const gpu = await openGpu(entry);
  try {
    if ((await answer(gpu.device)) !== 42) throw new Error('the adapter computes 6 x 7 wrong');
    const openMs = performance.now() - since;
    const adapter = (await entry!.requestAdapter())!;
    return {
      info: properties(adapter.info),
      features: [...adapter.features].sort(),
      limits: properties(adapter.limits) as Record<string, number>,
      engine: {
        name: gpu.adapter,
        isSoftware: gpu.isSoftware,
        f16: gpu.f16,
        quads: gpu.supportsQuadOps,
        subgroup: gpu.subgroup,
      },
      openMs: Math.round(openMs),
    };
  } finally {
    gpu.destroy();
  }
}

async function answer(device: GPUDevice): Promise<number> {
  const code =
    '@group(0) @binding(0) var<storage, read_write> b: array<u32>;\n@compute @workgroup_size(1) fn main() { b[0] = b[0] * 7u; }';
  const sink = device.createBuffer({ size: 4, usage: 0x8c }); // STORAGE | COPY_DST | COPY_SRC
  const staging = device.createBuffer({ size: 4, usage: 0x09 }); // MAP_READ | COPY_DST
  device.queue.writeBuffer(sink, 0, Uint32Array.of(6));
  const module = device.createShaderModule({ code });
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module } });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  const entries = [{ binding: 0, resource: { buffer: sink } }];
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
  pass.dispatchWorkgroups(1);
  pass.end();
  encoder.copyBufferToBuffer(sink, 0, staging, 0, 4);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(1);
  return new Uint32Array(staging.getMappedRange())[0]!;
}
