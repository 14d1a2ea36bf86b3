/**
 * A recording on a GPU: compiled kernels, allocated buffers, bind groups.
 *
 * Building compiles all pipelines in parallel. Replaying allocates nothing and reads nothing back.
 */

import { mebibytes } from '../../core/format.ts';
import { DiffusionError } from '../../core/errors.ts';
import { handleOf, type BufferHandle, type GpuTensor, type Tensor } from '../../core/tensor.ts';
import type { Gpu } from './device.ts';
import { bindingsOf, planAllocations, uniformBytes } from './memory_plan.ts';
import { pipelineFor, textFor } from './pipelines.ts';
import type { CommandGraph, Dispatch } from './recorder.ts';
import { gpuError, scoped } from './scope.ts';
import { CommandTimings, estimateMs, type CommandRange } from './submit_ranges.ts';
import { packStruct, structLayout, UNIFORM_STRIDE, type StructLayout } from './uniforms.ts';
import { COPY_DST, UNIFORM } from './usage.ts';
import { bindingsDeclared } from './wgsl.ts';

export type BufferMap = ReadonlyMap<BufferHandle, GPUBuffer>;

/** Widest grid in one dimension that WebGPU guarantees (maxComputeWorkgroupsPerDimension). */
const MAX_GRID = 65535;

/** Folds a number of workgroups into [x, y]. Shaders undo it (shaders/lib/dispatch.wgsl) and skip the overhang. */
export function fold(workgroups: number): [number, number] {
  if (workgroups <= MAX_GRID) return [workgroups, 1];
  const y = Math.ceil(workgroups / MAX_GRID);
  return [Math.ceil(workgroups / y), y];
}

interface Command {
  readonly label: string;
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
  readonly grid: readonly [number, number];
  readonly flops: number;
}

/** A built recording. Owns its buffers. */
export class Program {
  readonly label: string;
  readonly commands: readonly Command[];
  readonly timings: CommandTimings;
  /** The buffer of every handle that the recording binds, its own and those bound from outside. */
  readonly buffers: BufferMap;
  readonly #owned: readonly GPUBuffer[];

  constructor(
    label: string,
    commands: readonly Command[],
    timings: CommandTimings,
    buffers: BufferMap,
    owned: readonly GPUBuffer[],
  ) {
    this.label = label;
    this.commands = commands;
    this.timings = timings;
    this.buffers = buffers;
    this.#owned = owned;
  }

  /** Bytes of GPU memory that the program owns. */
  get bytes(): number {
    return this.#owned.reduce((sum, b) => sum + b.size, 0);
  }

  /** The buffer of a tensor or handle. @throws Error if no dispatch binds it */
  bufferOf(binding: Tensor | BufferHandle): GPUBuffer {
    const buffer = this.buffers.get(handleOf(binding));
    if (!buffer) throw new Error(`${this.label}: no dispatch binds ${binding.label}`);
    return buffer;
  }

  /** A tensor in its memory. */
  tensorOf(tensor: Tensor): GpuTensor {
    const { shape, dtype, layout, label } = tensor;
    return { buffer: this.bufferOf(tensor), shape, dtype, layout, label };
  }

  /** Encodes a range of the commands; default all. */
  replay(pass: GPUComputePassEncoder, { from, to } = this.timings.all): void {
    for (let i = from; i < to; i++) {
      const { pipeline, bindGroup, grid } = this.commands[i]!;
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindGroup);
      pass.dispatchWorkgroups(grid[0], grid[1]);
    }
  }

  destroy(): void {
    for (const buffer of this.#owned) buffer.destroy();
  }
}

/** A copy of bytes from one buffer to the start of another. */
export interface Copy {
  readonly from: GPUBuffer;
  readonly offset: number;
  readonly bytes: number;
  readonly to: GPUBuffer;
}

/** Submits copies, then a range of a program; default all of it. */
export function run(
  device: GPUDevice,
  program: Program,
  range?: CommandRange,
  copies: readonly Copy[] = [],
): void {
  const { label } = program;
  const encoder = device.createCommandEncoder({ label });
  for (const { from, offset, to, bytes } of copies) encoder.copyBufferToBuffer(from, offset, to, 0, bytes);
  const pass = encoder.beginComputePass({ label });
  program.replay(pass, range);
  pass.end();
  device.queue.submit([encoder.finish()]);
}

/**
 * Builds a recording. The recording does not change, and may be built again.
 * @param external buffers of handles that the program does not own: weights, and what other programs share with it
 * @throws limits-too-small if a tensor is larger than one binding may be; out-of-memory; gpu-error
 */
export async function buildProgram(
  gpu: Gpu,
  graph: CommandGraph,
  label: string,
  external: BufferMap = new Map(),
): Promise<Program> {
  const { device } = gpu;
  const all = [...graph.preparations, ...graph.dispatches];
  checkBindings(device, all);
  const launches = all.map((dispatch) => describe(gpu, dispatch));
  const owned: GPUBuffer[] = [];
  const fail = (cause: unknown, memory = false): DiffusionError => {
    owned.forEach((buffer) => buffer.destroy());
    if (cause instanceof DiffusionError) return cause;
    if (!memory) return gpuError(`The GPU refused a shader of ${label}.`, cause);
    return new DiffusionError(
      'out-of-memory',
      `The GPU has no room for ${mebibytes(owned.reduce((sum, b) => sum + b.size, 0))} of working memory.`,
      'Draw fewer pictures at a time.',
    );
  };
  const making = scoped(device, () => {
    const memory = allocate(device, graph, label, external, owned);
    const bytes = new Uint8Array(memory.uniforms.size);
    launches.forEach(({ uniforms }, i) => bytes.set(new Uint8Array(uniforms), i * UNIFORM_STRIDE));
    device.queue.writeBuffer(memory.uniforms, 0, bytes);
    return { ...memory, pipelines: Promise.all(all.map((d) => pipelineFor(gpu, d))) };
  });
  const { buffers, uniforms, pipelines } = making.result;
  pipelines.catch(() => {}); // awaited below, after the error scopes
  const refusal = await making.refused;
  if (refusal) throw fail(refusal.message, refusal.memory);
  let compiled: GPUComputePipeline[];
  try {
    compiled = await pipelines;
    gpu.check();
  } catch (cause) {
    throw fail(cause);
  }
  const binding = scoped(device, () => bindAll(device, all, launches, compiled, buffers, uniforms));
  const commands = binding.result;
  const unbound = await binding.refused;
  if (unbound) throw fail(unbound.message, unbound.memory);
  const program = (name: string, from: number, to: number, own: GPUBuffer[]): Program => {
    const timings = new CommandTimings(all.slice(from, to).map((d) => estimate(gpu, d)));
    return new Program(name, commands.slice(from, to), timings, buffers, own);
  };
  const first = graph.preparations.length;
  if (first) run(device, program(`${label}.preparation`, 0, first, []));
  return program(label, first, all.length, owned);
}

function checkBindings(device: GPUDevice, dispatches: readonly Dispatch[]): void {
  const limit = device.limits.maxStorageBufferBindingSize;
  for (const handle of dispatches.flatMap(bindingsOf))
    if (handle.bytes > limit)
      throw new DiffusionError(
        'limits-too-small',
        `The tensor ${handle.label} needs ${mebibytes(handle.bytes)} in one piece, and this GPU binds at most ${mebibytes(limit)}.`,
        'Draw fewer pictures at a time.',
      );
}

/** Allocates what the recording needs; adds each buffer to `owned` as soon as it exists. */
function allocate(
  device: GPUDevice,
  graph: CommandGraph,
  label: string,
  external: BufferMap,
  owned: GPUBuffer[],
): { buffers: BufferMap; uniforms: GPUBuffer } {
  const buffers = new Map(external);
  for (const { bytes, handles, usage } of planAllocations(graph, external)) {
    const buffer = device.createBuffer({ label: handles[0]!.label, size: bytes, usage });
    owned.push(buffer);
    for (const handle of handles) buffers.set(handle, buffer);
  }
  const size = uniformBytes(graph);
  const uniforms = device.createBuffer({ label: `${label}.layers`, size, usage: UNIFORM | COPY_DST });
  owned.push(uniforms);
  return { buffers, uniforms };
}

// ---- launches ---------------------------------------------------------------------------------------------

/** The variable of every kernel that takes the values of a launch. */
const LAYER = 'layer';

/** What a kernel's text declares, and the bytes of its uniforms for one launch. */
interface Launch {
  readonly uniforms: ArrayBuffer;
  readonly layerBinding: number;
  /** Binding number of each variable, by name. */
  readonly numbers: ReadonlyMap<string, number>;
}

interface Reflection {
  readonly layer: StructLayout;
  readonly numbers: ReadonlyMap<string, number>;
}

/** By WGSL text: a hundred layers share a kernel. */
const reflections = new Map<string, Reflection>();

function reflect(text: string): Reflection {
  let reflection = reflections.get(text);
  if (!reflection) {
    const numbers = new Map(bindingsDeclared(text).map(({ name, binding }) => [name, binding]));
    reflections.set(text, (reflection = { layer: structLayout(text, 'Layer'), numbers }));
  }
  return reflection;
}

/** @throws Error if the launcher binds other variables than the shader declares, or gives other uniforms */
function describe(gpu: Gpu, dispatch: Dispatch): Launch {
  const { label, shader, bindings } = dispatch;
  const { layer, numbers } = reflect(textFor(gpu, dispatch));
  const given = Object.keys(bindings).filter((name) => bindings[name]);
  const declared = [...numbers.keys()].filter((name) => name !== LAYER);
  const wrong = [...given.filter((n) => !numbers.has(n)), ...declared.filter((n) => !bindings[n])];
  if (wrong.length)
    throw new Error(`${label}: shader ${shader.name} and its launcher differ in ${wrong.join(', ')}`);
  try {
    return { uniforms: packStruct(layer, dispatch.uniforms), layerBinding: numbers.get(LAYER)!, numbers };
  } catch (cause) {
    throw new Error(`${label}: shader ${shader.name}: ${(cause as Error).message}`, { cause });
  }
}

function bindAll(
  device: GPUDevice,
  dispatches: readonly Dispatch[],
  launches: readonly Launch[],
  pipelines: readonly GPUComputePipeline[],
  buffers: BufferMap,
  uniforms: GPUBuffer,
): Command[] {
  const layouts = new Map([...new Set(pipelines)].map((p) => [p, p.getBindGroupLayout(0)]));
  return dispatches.map(({ label, bindings, invocations, workgroupSize, flops = 0 }, i): Command => {
    const pipeline = pipelines[i]!;
    const { numbers, layerBinding, uniforms: bytes } = launches[i]!;
    const entries: GPUBindGroupEntry[] = Object.entries(bindings).flatMap(([name, b]) =>
      b ? [{ binding: numbers.get(name)!, resource: { buffer: buffers.get(handleOf(b))! } }] : [],
    );
    const offset = i * UNIFORM_STRIDE;
    const resource = { buffer: uniforms, offset, size: bytes.byteLength };
    entries.push({ binding: layerBinding, resource });
    const bindGroup = device.createBindGroup({ label, layout: layouts.get(pipeline)!, entries });
    return { label, pipeline, bindGroup, grid: fold(Math.ceil(invocations / workgroupSize)), flops };
  });
}

function estimate({ isSoftware }: Gpu, dispatch: Dispatch): number {
  const { flops = 0, costFactor = 1 } = dispatch;
  const bytes = bindingsOf(dispatch).reduce((sum, handle) => sum + handle.bytes, 0);
  return estimateMs(isSoftware, flops * costFactor, bytes);
}
