/** One GPU device: why there is none, what it offers, and what happens when it goes away. */

import { DiffusionError } from '../errors.ts';

export interface Gpu {
  readonly device: GPUDevice;
  /** Vendor, architecture, device and driver, as far as the adapter says. */
  readonly adapter: string;
  /** True for a software adapter (SwiftShader, lavapipe): right, and slow. */
  readonly isSoftware: boolean;
  /** Whether shaders may compute and store in 16-bit floats. */
  readonly f16: boolean;
  /** Whether four invocations that follow each other in a workgroup can exchange registers (subgroup operations). */
  readonly quads: boolean;
  /** Invocations that run in step: of the smallest subgroup, as far as the adapter says; 4 unless it does. */
  readonly subgroup: number;
  /** Throws `device-lost` or `gpu-error` once the device is lost or has reported an error. */
  check(): void;
  /** Resolves when all submitted work is done; rejects like `check` when the device goes away meanwhile. */
  settled(): Promise<void>;
  destroy(): void;
}

const BROWSERS = 'Use Chrome or Edge 113+, Safari 26+, or Firefox 141+ on Windows or 145+ on macOS.';

/**
 * Opens a device within WebGPU's default limits.
 *
 * @param gpu the entry point: `navigator.gpu` unless given (in Node, Dawn's).
 * @throws no-secure-context, no-webgpu-api, no-adapter, limits-too-small, gpu-error
 */
export async function openGpu(gpu: GPU | undefined = globalThis.navigator?.gpu): Promise<Gpu> {
  if (!gpu) {
    if (globalThis.isSecureContext === false)
      throw new DiffusionError(
        'no-secure-context',
        'This page was not loaded over a secure connection, and browsers offer WebGPU only to secure pages.',
        'Open it with https:// or from localhost.',
      );
    throw new DiffusionError('no-webgpu-api', 'This browser does not offer WebGPU.', BROWSERS);
  }
  let adapter: GPUAdapter | null;
  try {
    adapter = await gpu.requestAdapter();
  } catch (cause) {
    throw noAdapter({ cause });
  }
  if (!adapter) throw noAdapter();
  const f16 = adapter.features.has('shader-f16');
  const wanted: GPUFeatureName[] = ['shader-f16', 'timestamp-query', 'subgroups'];
  const requiredFeatures = wanted.filter((feature) => adapter.features.has(feature));
  let device: GPUDevice;
  try {
    device = await adapter.requestDevice({ label: 'diffusion-sampler', requiredFeatures });
  } catch (cause) {
    throw new DiffusionError(
      'limits-too-small',
      `The graphics adapter refused a device with WebGPU's default limits (${String(cause)}).`,
      'Update the graphics driver, or try another browser.',
      { cause },
    );
  }

  let fault: DiffusionError | null = null;
  let destroyed = false;
  let wake: (error: DiffusionError) => void;
  const gone = new Promise<never>((_, reject) => (wake = reject));
  gone.catch(() => {}); // observed by settled(); without a waiter it must not be an unhandled rejection
  void device.lost.then((info) => {
    fault = new DiffusionError(
      'device-lost',
      destroyed ? 'The GPU device was closed.' : `The GPU device was lost (${info.message || info.reason}).`,
      'Reload the model to go on; close other heavy tabs if it happens again.',
    );
    wake(fault);
  });
  device.addEventListener('uncapturederror', (event) => {
    const { error } = event as GPUUncapturedErrorEvent;
    const memory = error.constructor.name === 'GPUOutOfMemoryError';
    fault ??= memory
      ? new DiffusionError('out-of-memory', 'The GPU ran out of memory.', 'Draw fewer pictures at a time.')
      : new DiffusionError(
          'gpu-error',
          `The GPU refused a command: ${error.message}`,
          'Please report this, with the name of your browser and GPU.',
        );
  });

  const check = () => {
    if (fault) throw fault;
  };
  const { vendor, architecture, device: name, description } = adapter.info;
  const isSoftware =
    adapter.info.isFallbackAdapter ||
    /swiftshader|llvmpipe|software/i.test(`${architecture} ${name} ${description}`);
  return {
    device,
    adapter: [vendor, architecture, description || name].filter(Boolean).join(' ') || 'unnamed adapter',
    isSoftware,
    f16,
    // Which invocations are a quad, WGSL leaves open, so hardware is asked (the two software adapters are known).
    quads: device.features.has('subgroups') && (isSoftware || (await quadsAreInOrder(device))),
    subgroup: Math.max(4, Math.min(64, adapter.info.subgroupMinSize || 4)),
    check,
    async settled() {
      check();
      await Promise.race([device.queue.onSubmittedWorkDone(), gone]);
      check();
    },
    destroy() {
      destroyed = true;
      device.destroy();
    },
  };
}

/** Whether the neighbours of an invocation by quadSwapX and quadSwapY are those of its index in the workgroup. */
async function quadsAreInOrder(device: GPUDevice): Promise<boolean> {
  const code = `enable subgroups;
@group(0) @binding(0) var<storage, read_write> wrong: atomic<u32>;
@compute @workgroup_size(32) fn main(@builtin(local_invocation_index) lane: u32) {
  if (quadSwapX(lane) != (lane ^ 1u) || quadSwapY(lane) != (lane ^ 2u)) { atomicAdd(&wrong, 1u); }
}`;
  const sink = device.createBuffer({ size: 4, usage: 0x84 }); // STORAGE, COPY_SRC
  const staging = device.createBuffer({ size: 4, usage: 0x09 }); // MAP_READ, COPY_DST
  try {
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
    return new Uint32Array(staging.getMappedRange())[0] === 0;
  } catch {
    return false;
  } finally {
    sink.destroy();
    staging.destroy();
  }
}

function noAdapter(options?: ErrorOptions): DiffusionError {
  return new DiffusionError(
    'no-adapter',
    'WebGPU is here, but the browser found no graphics adapter that it may use.',
    'Turn on hardware acceleration in the browser settings, or update the graphics driver.',
    options,
  );
}
