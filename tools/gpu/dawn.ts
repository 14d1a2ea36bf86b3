/**
 * WebGPU in Node for the bundles: Dawn, with toggles. bundle.mjs puts it in the place of the engine's node_gpu.ts, so that
 * tests and benchmarks open their devices through it.
 */

import type * as Dawn from 'webgpu';
import { FORCED_ADAPTER } from './engine.ts';

/** Dawn's toggles, as `--toggles` of prove and bench names them; `-` before a name switches it off. */
export function setToggles(names: readonly string[]): void {
  toggles = names;
}
let toggles: readonly string[] = [];

/** f16 on NVIDIA under Vulkan: off in Dawn and in browsers (crbug 42251215). */
export const F16_ON_NVIDIA = 'vulkan_enable_f16_on_nvidia';
/** Timestamps to the nanosecond, not to 100 microseconds. Browsers always round. */
export const FINE_CLOCK = '-timestamp_quantization';

let kept: Promise<GPU | undefined> | undefined;

/** Dawn's entry point; undefined if its binary does not load here. One for the life of the process. */
export function nodeGpu(): Promise<GPU | undefined> {
  return (kept ??= open());
}

/** Why `nodeGpu` gave undefined. */
export let failure = '';

async function open(): Promise<GPU | undefined> {
  process.env['XDG_RUNTIME_DIR'] ??= '/tmp'; // Mesa warns without it
  let dawn: typeof Dawn;
  try {
    dawn = await import('webgpu');
  } catch (error) {
    failure = String(error);
    return undefined;
  }
  Object.assign(globalThis, dawn.globals);
  const forced = process.env['SAMPLER_ADAPTER']; // hardware or software, as in the engine's own node_gpu.ts
  if (forced) Object.assign(globalThis, { [FORCED_ADAPTER]: forced });
  const on = toggles.filter((name) => !name.startsWith('-'));
  const off = toggles.filter((name) => name.startsWith('-')).map((name) => name.slice(1));
  const options: string[] = [];
  if (on.length) options.push(`enable-dawn-features=${on.join(',')}`);
  if (off.length) options.push(`disable-dawn-features=${off.join(',')}`);
  return dawn.create(options);
}
