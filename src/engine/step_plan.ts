/** A recorded step on a GPU. */

import { buildProgram, type BufferMap, type Copy, type Program } from './gpu/program.ts';
import type { Gpu } from './gpu/device.ts';
import { normalTable } from '../schedule/normal_table.ts';
import { stepShapeKey, type StepBuffers, type StepGraph, type StepShape } from './step_graph.ts';
import type { BufferHandle, GpuTensor, Tensor } from '../core/tensor.ts';

/** A built step, and the buffers that steer it. */
export interface StepPlan extends StepBuffers<GpuTensor, GPUBuffer> {
  /** Identifies its shape (`stepShapeKey`). */
  readonly key: string;
  /** x_t -> x_{t-1}: network and update. */
  readonly step: Program;
  /** Fills `x` with x_T. */
  readonly start: Program;
  /** Noises the whole state (RePaint); null unless masked. */
  readonly renoise: Program | null;
  /** The network's conditioning for many steps at a time; null if every step computes its own. */
  readonly cache: {
    /** Fills the tables. */
    readonly tables: Program;
    readonly steps: number;
    /** (steps * passes * count, 1, 1, 1): the timestep of every image in the first step, in the second, ... */
    readonly timestep: GpuTensor;
    /** To be made before step 0 of the tables; before step k from `k * stride` bytes further on. */
    readonly copies: readonly (Copy & { readonly stride: number })[];
  } | null;
  /** FLOPs of one step, of all images that the network gets. */
  readonly flops: number;
  /** Bytes of GPU memory besides the weights. */
  readonly bytes: number;
  busy: boolean;
  destroy(): void;
}

/**
 * Builds a recorded step. The recording may be built again.
 * @param bytes that were planned for it
 * @throws limits-too-small, out-of-memory, gpu-error
 */
export async function buildStep(
  gpu: Gpu,
  graph: StepGraph,
  shape: StepShape,
  weights: BufferMap,
  label: string,
  bytes: number,
): Promise<StepPlan> {
  const programs: Program[] = [];
  /** Buffers of the weights, and of the programs so far, which share them. */
  const shared = new Map(weights);
  const build = async (recording: StepGraph['start'], name: string): Promise<Program> => {
    const program = await buildProgram(gpu, recording, name, shared);
    programs.push(program);
    for (const [handle, buffer] of program.buffers)
      if (handle.lifetime !== 'transient' || recording.kept.has(handle)) shared.set(handle, buffer);
    return program;
  };
  const destroy = (): void => programs.forEach((program) => program.destroy());
  try {
    const step = await build(graph.step, label);
    const start = await build(graph.start, 'x_T');
    const renoise = graph.renoise && (await build(graph.renoise, 'renoise'));
    const tables = graph.cache && (await build(graph.cache.graph, `${label}.conditioning`));
    const buffers = resolve(graph, shared);
    gpu.device.queue.writeBuffer(buffers.normalTable, 0, normalTable);
    return {
      ...buffers,
      key: stepShapeKey(shape),
      ...{ step, start, renoise },
      cache: tables && resolveCache(graph, tables, shared),
      ...{ flops: graph.step.flops, bytes, busy: true, destroy },
    };
  } catch (error) {
    destroy();
    throw error;
  }
}

const tensorIn = ({ storage, shape, dtype, layout, label }: Tensor, buffers: BufferMap): GpuTensor => ({
  ...{ buffer: buffers.get(storage)!, shape, dtype, layout, label },
});

/** The buffers of a step. `timestep` has none if no dispatch reads it. */
function resolve(graph: StepGraph, buffers: BufferMap): StepBuffers<GpuTensor, GPUBuffer> {
  const tensor = (of: Tensor): GpuTensor => tensorIn(of, buffers);
  const buffer = (of: BufferHandle): GPUBuffer => buffers.get(of)!;
  const { x, x0Hat, history, timestep, z, labels, inpainting } = graph;
  return {
    x: tensor(x),
    x0Hat: tensor(x0Hat),
    history: history && tensor(history),
    timestep: buffers.has(timestep.storage) ? tensor(timestep) : null,
    z: z && tensor(z),
    labels: labels && buffer(labels),
    seeds: buffer(graph.seeds),
    normalTable: buffer(graph.normalTable),
    uniforms: buffer(graph.uniforms),
    fault: buffer(graph.fault),
    inpainting: inpainting && {
      known: tensor(inpainting.known),
      mask: tensor(inpainting.mask),
      numbers: buffer(inpainting.numbers),
    },
  };
}

function resolveCache({ cache }: StepGraph, tables: Program, buffers: BufferMap): StepPlan['cache'] {
  const { steps, timestep, copies } = cache!;
  return {
    tables,
    steps,
    timestep: tensorIn(timestep, buffers),
    copies: copies.map(({ from, to, offset, stride, bytes }) => ({
      ...{ from: buffers.get(from.storage)!, to: buffers.get(to.storage)!, offset, stride, bytes },
    })),
  };
}
