/** One GPU device: why there is none, what it offers, and what happens when it goes away. */

import { BROWSERS, DiffusionError } from '../../core/errors.ts';
import { quadsAreInOrder } from './quads.ts';
import { gpuError } from './scope.ts';
import { awaitQueue } from './wait.ts';

export interface Gpu {
  readonly device: GPUDevice;
  /** Vendor, architecture, device and driver, as far as the adapter tells. */
  readonly adapter: string;
  /** True for a software adapter (SwiftShader, lavapipe): right, and slow. */
  readonly isSoftware: boolean;
  /** Whether shaders may compute and store in 16-bit floats. */
  readonly f16: boolean;
  /** Whether four invocations that follow each other in a workgroup can exchange registers (subgroup operations). */
  readonly supportsQuadOps: boolean;
  /** Invocations that run in step: of the smallest subgroup, as far as the adapter tells; default 4. */
  readonly subgroup: number;
  /** Throws `device-lost`, `out-of-memory` or `gpu-error` once the device is lost or has reported an error. */
  check(): void;
  /** Resolves when all submitted work is done; rejects like `check` when the device goes away meanwhile. */
  settled(): Promise<void>;
  destroy(): void;
}

export interface GpuOptions {
  /**
   * Which GPU to use on a machine with two: `high-performance` (the discrete one) or `low-power`. By default the browser
   * decides. Chrome on Windows ignores it.
   */
  readonly powerPreference?: GPUPowerPreference | undefined;
}

/** What Node can do about a missing adapter differs from what a browser's user can. */
const IN_NODE = 'process' in globalThis && !('document' in globalThis);

/**
 * Opens a device within WebGPU's default limits.
 *
 * @param gpu the entry point; default `navigator.gpu` (in Node, Dawn's).
 * @throws no-secure-context, no-webgpu-api, no-adapter, limits-too-small, gpu-error
 */
export async function openGpu(
  gpu: GPU | undefined = globalThis.navigator?.gpu,
  { powerPreference }: GpuOptions = {},
): Promise<Gpu> {
  if (!gpu) throw noApi();
  let adapter: GPUAdapter | null;
  try {
    adapter = await gpu.requestAdapter(powerPreference ? { powerPreference } : {});
  } catch (cause) {
    throw noAdapter({ cause });
  }
  if (!adapter) throw noAdapter();
  const info = await infoOf(adapter);
  const device = await openDevice(adapter);

  let fault: DiffusionError | null = null;
  let destroyed = false;
  let wake: (error: DiffusionError) => void;
  const gone = new Promise<never>((_, reject) => (wake = reject));
  gone.catch(() => {}); // observed by settled(); without a waiter it must not be an unhandled rejection
  void device.lost.then((lost) => {
    fault = new DiffusionError(
      'device-lost',
      destroyed ? 'The GPU device was closed.' : `The GPU device was lost (${lost.message || lost.reason}).`,
      'Reload the model to go on; close other heavy tabs if it happens again.',
    );
    wake(fault);
  });
  device.addEventListener('uncapturederror', (event) => {
    const { error } = event as GPUUncapturedErrorEvent;
    const memory = error.constructor.name === 'GPUOutOfMemoryError';
    fault ??= memory
      ? new DiffusionError('out-of-memory', 'The GPU ran out of memory.', 'Draw fewer pictures at a time.')
      : gpuError('The GPU refused a command.', error.message);
  });

  const check = () => {
    if (fault) throw fault;
  };
  const { isSoftware, quadsAreKnown } = kindOf(info);
  return {
    device,
    adapter: nameOf(info),
    isSoftware,
    f16: device.features.has('shader-f16'),
    supportsQuadOps: device.features.has('subgroups') && (quadsAreKnown || (await quadsAreInOrder(device))),
    subgroup: Math.max(4, Math.min(64, info.subgroupMinSize ?? 4)),
    check,
    async settled() {
      check();
      await Promise.race([awaitQueue(device, device.queue.onSubmittedWorkDone()), gone]);
      check();
    },
    destroy() {
      destroyed = true;
      device.destroy();
    },
  };
}

// --- the adapter ----------------------------------------------------------------------------------------------

type Info = Partial<GPUAdapterInfo>;

/** The adapter's description of itself. Chrome before 127 has another call for it; a browser may leave it out. */
async function infoOf(adapter: GPUAdapter): Promise<Info> {
  type Old = { requestAdapterInfo?: () => Promise<Info>; isFallbackAdapter?: boolean; info?: Info };
  const old = adapter as unknown as Old;
  const { isFallbackAdapter } = old;
  const info = old.info ?? (await old.requestAdapterInfo?.().catch(() => undefined)) ?? {};
  return isFallbackAdapter === undefined || info.isFallbackAdapter !== undefined
    ? info
    : { ...info, isFallbackAdapter };
}

const nameOf = ({ vendor, architecture, device, description }: Info): string =>
  [vendor, architecture, description || device].filter(Boolean).join(' ') || 'unnamed adapter';

/**
 * Tests force this branch or that on any adapter: `hardware` or `software` under this key of the global object. (No
 * part of the public API. In Node, src/apps/cli/node_gpu.ts sets it from the variable SAMPLER_ADAPTER.)
 */
export const FORCED_ADAPTER = Symbol.for('diffusion-sampler.adapter');

/** Software or not, and whether its quads are known to be in order: on the two adapters where that was measured. */
function kindOf(info: Info): { isSoftware: boolean; quadsAreKnown: boolean } {
  const names = `${info.architecture} ${info.device} ${info.description}`;
  const measured = /swiftshader|llvmpipe/i.test(names);
  const forced = (globalThis as Record<symbol, unknown>)[FORCED_ADAPTER];
  if (forced === 'hardware') return { isSoftware: false, quadsAreKnown: false };
  const isSoftware = forced === 'software' || info.isFallbackAdapter || measured || /software/i.test(names);
  return { isSoftware, quadsAreKnown: measured };
}

const FEATURES: readonly GPUFeatureName[] = ['shader-f16', 'timestamp-query', 'subgroups'];

/** A device with the features that we use, or, if the driver refuses these after all, without any. */
async function openDevice(adapter: GPUAdapter): Promise<GPUDevice> {
  const requiredFeatures = FEATURES.filter((feature) => adapter.features.has(feature));
  try {
    return await adapter.requestDevice({ label: 'diffusion-sampler', requiredFeatures });
  } catch (cause) {
    const bare = requiredFeatures.length
      ? await adapter.requestDevice({ label: 'diffusion-sampler' }).catch(() => null)
      : null;
    if (bare) return bare;
    console.error('diffusion-sampler: no device', cause);
    throw new DiffusionError(
      'limits-too-small',
      "The graphics adapter refused a device with WebGPU's default limits.",
      'Update the graphics driver, or try another browser.',
      { cause },
    );
  }
}

function noApi(): DiffusionError {
  if (globalThis.isSecureContext === false)
    return new DiffusionError(
      'no-secure-context',
      'This page was not loaded over a secure connection, and browsers offer WebGPU only to secure pages.',
      'Open it with https:// or from localhost.',
    );
  if (IN_NODE)
    return new DiffusionError(
      'no-webgpu-api',
      'The npm package webgpu did not load on this machine.',
      'Run npm ci on Linux, Windows or macOS, on x64 or arm64.',
    );
  return new DiffusionError('no-webgpu-api', 'This browser does not offer WebGPU.', BROWSERS);
}

function noAdapter(options?: ErrorOptions): DiffusionError {
  if (IN_NODE)
    return new DiffusionError(
      'no-adapter',
      'No Vulkan driver was found on this machine.',
      'Install one (Debian: mesa-vulkan-drivers has a software adapter), or name its file in VK_DRIVER_FILES.',
      options,
    );
  return new DiffusionError(
    'no-adapter',
    'WebGPU is here, but the browser found no graphics adapter that it may use.',
    'Turn on hardware acceleration in the browser settings, or update the graphics driver. On Linux, Chrome has WebGPU from version 144 on Intel GPUs, elsewhere with --enable-unsafe-webgpu --enable-features=Vulkan.',
    options,
  );
}
