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
  const requiredFeatures: GPUFeatureName[] = f16 ? ['shader-f16'] : [];
  if (adapter.features.has('timestamp-query')) requiredFeatures.push('timestamp-query');
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
  return {
    device,
    adapter: [vendor, architecture, description || name].filter(Boolean).join(' ') || 'unnamed adapter',
    isSoftware:
      adapter.info.isFallbackAdapter ||
      /swiftshader|llvmpipe|software/i.test(`${architecture} ${name} ${description}`),
    f16,
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

function noAdapter(options?: ErrorOptions): DiffusionError {
  return new DiffusionError(
    'no-adapter',
    'WebGPU is here, but the browser found no graphics adapter that it may use.',
    'Turn on hardware acceleration in the browser settings, or update the graphics driver.',
    options,
  );
}
