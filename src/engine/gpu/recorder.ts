/**
 * The recorder: a network is recorded once as a flat list of dispatches over tensors.
 *
 * A recording is pure data. Recording makes no GPU call, and tensors name their memory by handles, so a recording can be
 * counted (memory_plan.ts), built into a Program (program.ts), and built again on another device.
 */

import {
  makeTensor,
  type BufferHandle,
  type DType,
  type Layout,
  type Shape,
  type Tensor,
} from '../../core/tensor.ts';
import type { Defines, Shader } from './shader.ts';

export interface Dispatch {
  /** Layer and operation, as in `down_blocks.0.resnets.0.conv1`. */
  readonly label: string;
  readonly shader: Shader;
  /** Scalar type of the kernel's storage. */
  readonly dtype: DType;
  readonly defines?: Defines;
  /** The values of the shader's `struct Layer`, by field. */
  readonly uniforms: Readonly<Record<string, number>>;
  /** By the variable's name in the shader; null if this variant of the shader has no such variable. */
  readonly bindings: Readonly<Record<string, Tensor | BufferHandle | null>>;
  /** Total number of invocations. The grid is folded into two dimensions if one is too small. */
  readonly invocations: number;
  readonly workgroupSize: number;
  /** A multiply-add counts as two. Default 0, for kernels that only move data. */
  readonly flops?: number;
  /** Time of a FLOP relative to one of a convolution; default 1. */
  readonly costFactor?: number;
}

/** What a recorder has recorded. */
export interface CommandGraph {
  readonly dispatches: readonly Dispatch[];
  /** Dispatches that run once, when a Program is built: weights in another form. */
  readonly preparations: readonly Dispatch[];
  /** Transient buffers that are kept as persistent ones are. */
  readonly kept: ReadonlySet<BufferHandle>;
}

/** The uniform that a kernel adds to its workgroup id. A dispatch that has it may be split into several. */
export const WORKGROUP_OFFSET = 'workgroup_offset';

export class GraphRecorder implements CommandGraph {
  readonly dispatches: Dispatch[] = [];
  readonly preparations: Dispatch[] = [];
  readonly kept = new Set<BufferHandle>();
  readonly #prepared = new Map<string, Tensor>();
  readonly #maxFlopsPerDispatch: number;

  /** @param maxFlopsPerDispatch larger dispatches are split; FLOPs count by their cost factor */
  constructor(maxFlopsPerDispatch = Infinity) {
    this.#maxFlopsPerDispatch = maxFlopsPerDispatch;
  }

  /** A tensor that lives from its first write to its last read. */
  transient(label: string, shape: Shape, dtype: DType, layout: Layout = 'c4'): Tensor {
    return makeTensor(label, shape, dtype, layout, 'transient');
  }

  /** A tensor that lives as long as the Program: inputs and outputs. */
  persistent(label: string, shape: Shape, dtype: DType, layout: Layout = 'planar'): Tensor {
    return makeTensor(label, shape, dtype, layout, 'persistent');
  }

  /** Keeps a transient tensor as long as the Program, so that it can be read after a replay. */
  keep(tensor: Tensor): Tensor {
    this.kept.add(tensor.storage);
    return tensor;
  }

  record(dispatch: Dispatch): void {
    const { uniforms, flops = 0, costFactor = 1, invocations, workgroupSize } = dispatch;
    const parts =
      WORKGROUP_OFFSET in uniforms ? Math.ceil((flops * costFactor) / this.#maxFlopsPerDispatch) : 1;
    if (parts < 2) {
      this.dispatches.push(dispatch);
      return;
    }
    const workgroups = Math.ceil(invocations / workgroupSize);
    const perPart = Math.ceil(workgroups / parts);
    for (let offset = 0; offset < workgroups; offset += perPart) {
      const count = Math.min(perPart, workgroups - offset);
      this.dispatches.push({
        ...dispatch,
        uniforms: { ...uniforms, [WORKGROUP_OFFSET]: offset },
        invocations: count * workgroupSize,
        flops: flops * (count / workgroups),
      });
    }
  }

  /** A tensor that is computed once, when a Program is built. Returns the same tensor for the same label. */
  prepared(label: string, shape: Shape, dispatch: (out: Tensor) => Dispatch): Tensor {
    let tensor = this.#prepared.get(label);
    if (!tensor) {
      tensor = makeTensor(label, shape, 'f32', 'planar', 'persistent');
      this.#prepared.set(label, tensor);
      this.preparations.push(dispatch(tensor));
    }
    return tensor;
  }

  /** Forgets all dispatches but the first `count`. Prepared tensors stay. */
  rewind(count: number): void {
    this.dispatches.length = count;
  }

  get flops(): number {
    return this.dispatches.reduce((sum, d) => sum + (d.flops ?? 0), 0);
  }
}
