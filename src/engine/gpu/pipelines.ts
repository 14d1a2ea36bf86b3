/** Compute pipelines: one for each WGSL text on a device. */

import type { DType } from '../../core/tensor.ts';
import type { Gpu } from './device.ts';
import type { Dispatch } from './recorder.ts';
import { assemble, storageTypes, type Defines, type Shader } from './shader.ts';
import { withoutComments } from './wgsl.ts';

const pipelineCache = new WeakMap<GPUDevice, Map<string, Promise<GPUComputePipeline>>>();
const moduleCache = new WeakMap<GPUDevice, Map<string, GPUShaderModule>>();

/**
 * The pipeline of a dispatch. Sizes are uniforms, not pipeline constants: all layers of a kind share a pipeline, so a
 * network compiles in a tenth of the time.
 */
export function pipelineFor(gpu: Gpu, d: Dispatch): Promise<GPUComputePipeline> {
  const { device } = gpu;
  const pipelines = cached(pipelineCache, device);
  const modules = cached(moduleCache, device);
  const code = textFor(gpu, d);
  let promise = pipelines.get(code);
  if (!promise) {
    let module = modules.get(code);
    if (!module) modules.set(code, (module = device.createShaderModule({ label: kernelName(gpu, d), code })));
    promise = device.createComputePipelineAsync({
      label: d.shader.name,
      layout: 'auto',
      compute: { module, entryPoint: 'main' },
    });
    pipelines.set(code, promise);
    promise.catch(() => pipelines.delete(code)); // a failed one may be tried again
  }
  return promise;
}

/** The name of a kernel on a device: shader, dtype and structure, as in `conv2d f32 PLAIN BIAS QUADS`. One WGSL text has one name. */
export function kernelName(gpu: Gpu, d: Dispatch): string {
  const structure = Object.entries(d.defines ?? {}).flatMap(([name, value]) =>
    value === false ? [] : value === true ? name : `${name}=${value}`,
  );
  if (usesQuads(textFor(gpu, d))) structure.push('QUADS');
  return [d.shader.name, d.dtype, ...structure].join(' ');
}

const usesQuads = (text: string): boolean => /\bquad[A-Z]/.test(withoutComments(text));

/** The WGSL text of a dispatch on a device. */
export const textFor = (
  { supportsQuadOps }: Gpu,
  { shader, dtype, defines, workgroupSize }: Dispatch,
): string => textOf(shader, dtype, { QUADS: supportsQuadOps, WORKGROUP: workgroupSize, ...defines });

/** Assembled texts, so that layers that share a shader assemble it once. */
const texts = new Map<string, string>();

function textOf(shader: Shader, dtype: DType, defines: Defines): string {
  const key = `${dtype} ${JSON.stringify(defines)} ${shader.code}`;
  let text = texts.get(key);
  if (!text) {
    const body = assemble(shader, defines);
    const enable = usesQuads(body) ? 'enable subgroups;\n' : '';
    texts.set(key, (text = enable + storageTypes(dtype) + body));
  }
  return text;
}

function cached<K extends object, V>(cache: WeakMap<K, Map<string, V>>, key: K): Map<string, V> {
  let map = cache.get(key);
  if (!map) cache.set(key, (map = new Map()));
  return map;
}
