/** Which buffers a recording needs: transient tensors share one if their lifetimes do not overlap. No GPU call. */

import { handleOf, type BufferHandle } from '../../core/tensor.ts';
import type { CommandGraph, Dispatch } from './recorder.ts';
import { UNIFORM_STRIDE } from './uniforms.ts';
import { COPY_DST, COPY_SRC, STORAGE, UNIFORM } from './usage.ts';

/** One GPUBuffer, and the handles that name it. */
export interface Allocation {
  bytes: number;
  readonly usage: GPUBufferUsageFlags;
  readonly handles: BufferHandle[];
  /** Index of the last dispatch that uses the buffer so far. */
  until: number;
}

/** Anything with the handles that already have a buffer. */
export type Bound = Pick<ReadonlySet<BufferHandle>, 'has'>;

export const bindingsOf = (dispatch: Dispatch): BufferHandle[] =>
  Object.values(dispatch.bindings).flatMap((binding) => (binding ? [handleOf(binding)] : []));

/**
 * The buffers to allocate for all handles that are not bound. Best fit by size; grows the largest free buffer if none is
 * large enough. (WebGPU tracks read and write use by whole buffer, so tensors do not share parts of one.)
 * @throws Error if an external handle is not bound
 */
export function planAllocations(
  { dispatches, preparations, kept }: CommandGraph,
  bound: Bound,
): Allocation[] {
  const lifetimes = new Map<BufferHandle, { first: number; last: number }>();
  const visit = (dispatch: Dispatch, i: number): void => {
    for (const handle of bindingsOf(dispatch)) {
      if (bound.has(handle)) continue;
      if (handle.lifetime === 'external') throw new Error(`${dispatch.label}: ${handle.label} is not bound`);
      const seen = lifetimes.get(handle);
      if (seen) seen.last = i;
      else lifetimes.set(handle, { first: i, last: i });
    }
  };
  preparations.forEach((dispatch) => visit(dispatch, -1));
  dispatches.forEach(visit);
  const allocations: Allocation[] = [];
  for (const [handle, { first, last }] of lifetimes) {
    const { bytes, lifetime, uniform } = handle;
    if (lifetime === 'persistent' || kept.has(handle)) {
      const usage = uniform ? UNIFORM | COPY_DST : STORAGE | COPY_SRC | COPY_DST;
      allocations.push({ bytes, usage, handles: [handle], until: Infinity });
      continue;
    }
    const free = allocations.filter((a) => a.until < first);
    const fits = free.filter((a) => a.bytes >= bytes).sort((a, b) => a.bytes - b.bytes)[0];
    const reused = fits ?? free.sort((a, b) => b.bytes - a.bytes)[0];
    if (reused) {
      reused.bytes = Math.max(reused.bytes, bytes);
      reused.handles.push(handle);
      reused.until = last;
    } else {
      allocations.push({ bytes, usage: STORAGE, handles: [handle], until: last });
    }
  }
  return allocations;
}

/** Bytes of the buffer with the uniforms of all launches. */
export const uniformBytes = ({ dispatches, preparations }: CommandGraph): number =>
  Math.max(dispatches.length + preparations.length, 1) * UNIFORM_STRIDE;

export interface GraphMemory {
  /** Bytes that `buildProgram` allocates. */
  readonly bytes: number;
  /** Bytes of the largest buffer that a dispatch binds. */
  readonly largestBinding: number;
}

/** Counts several recordings that are built one after the other; later ones use the persistent buffers of earlier ones. */
export function countMemory(graphs: readonly CommandGraph[], external: Bound): GraphMemory {
  const own = new Set<BufferHandle>();
  const bound: Bound = { has: (handle) => own.has(handle) || external.has(handle) };
  let [bytes, largestBinding] = [0, 0];
  for (const graph of graphs) {
    bytes += uniformBytes(graph);
    for (const allocation of planAllocations(graph, bound)) {
      bytes += allocation.bytes;
      for (const handle of allocation.handles) if (allocation.until === Infinity) own.add(handle);
    }
    for (const dispatch of [...graph.preparations, ...graph.dispatches])
      for (const handle of bindingsOf(dispatch)) largestBinding = Math.max(largestBinding, handle.bytes);
  }
  return { bytes, largestBinding };
}

/** Bytes of the largest transient buffer of some dispatches. */
export function largestTransient(dispatches: readonly Dispatch[]): number {
  const sizes = dispatches.flatMap(bindingsOf).filter(({ lifetime }) => lifetime === 'transient');
  return sizes.reduce((largest, { bytes }) => Math.max(largest, bytes), 0);
}
