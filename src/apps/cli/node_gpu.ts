/** WebGPU in Node: Dawn, through the npm package `webgpu`, on whatever adapter the machine has. */

import { existsSync } from 'node:fs';
import { FORCED_ADAPTER } from '../../engine/gpu/device.ts';

/** null where the package has no binary for this machine. (At top level: Vite's runner is closed later.) */
const dawn = await import('webgpu').catch(() => null);

/**
 * Dawn's instance must outlive its devices, which do not hold it, so there is one for the life of the process. (With another
 * in its place, it and its devices, closed ones too, go in whatever order the garbage collector takes: a crash.)
 */
let kept: Promise<GPU | undefined> | undefined;

/** Where Debian's and Chrome's packages keep SwiftShader, the adapter of last resort. */
const SWIFTSHADER = [
  '/usr/lib/chromium/vk_swiftshader_icd.json',
  '/usr/lib64/chromium-browser/vk_swiftshader_icd.json',
  '/opt/google/chrome/vk_swiftshader_icd.json',
];

/**
 * Dawn's entry point. The Vulkan loader's own choice comes first (`VK_DRIVER_FILES` names a driver explicitly);
 * where it finds nothing, SwiftShader. undefined when the package does not load here. Every call gets the same one.
 */
export function nodeGpu(): Promise<GPU | undefined> {
  return (kept ??= open());
}

async function open(): Promise<GPU | undefined> {
  process.env['XDG_RUNTIME_DIR'] ??= '/tmp'; // Mesa warns without it
  if (!dawn) return undefined;
  Object.assign(globalThis, dawn.globals);
  const forced = process.env['SAMPLER_ADAPTER']; // hardware or software: for tests
  if (forced) Object.assign(globalThis, { [FORCED_ADAPTER]: forced });
  const gpu = dawn.create([]);
  if (process.env['VK_DRIVER_FILES'] || (await gpu.requestAdapter())) return gpu;
  const driver = SWIFTSHADER.find(existsSync);
  if (!driver) return gpu;
  process.env['VK_DRIVER_FILES'] = driver;
  return dawn.create([]);
}
