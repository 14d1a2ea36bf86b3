/** Which kernels a network can launch on a GPU: recorded by the engine itself, without a GPU call. */

import type { Gpu } from '../../src/engine/gpu/device.ts';
import { kernelName } from '../../src/engine/gpu/pipelines.ts';
import type { Dispatch } from '../../src/engine/gpu/recorder.ts';
import { bindingLimit, convShapes, smallestRun } from '../../src/engine/memory.ts';
import { candidatesOf, type Candidate } from '../../src/engine/kernels/tune.ts';
import { CONV_VARIANTS, kernelPolicyFor } from '../../src/engine/kernels/conv_variants.ts';
import { DEFAULT_KERNELS, FALLBACK_KERNELS, NetworkRecorder, type ConvShape, type KernelPolicy } from '../../src/engine/kernels/kernel_policy.ts'; // prettier-ignore
import { recordStep, type StepGraph, type StepShape } from '../../src/engine/step_graph.ts';
import { bufferHandle, type DType } from '../../src/core/tensor.ts';
import type { UNetConfig } from '../../src/engine/unet/config.ts';
import { WeightLayout } from '../../src/engine/unet/weights.ts';

/** One dispatch of a network, with what a model of its time needs. */
export interface Launch {
  readonly network: string;
  readonly dtype: DType;
  /** `rule`, `all tiled-16`, ... , `fall-back` */
  readonly variant: string;
  readonly recording: 'step' | 'start' | 'renoise' | 'conditioning';
  readonly label: string;
  /** As `kernelOf` names it. */
  readonly kernel: string;
  readonly workgroups: number;
  readonly workgroup: number;
  readonly flops: number;
  readonly uniforms: Readonly<Record<string, number>>;
}

/** What one pipeline is compiled from. */
export interface Kernel {
  readonly name: string;
  readonly gpu: Gpu;
  readonly dispatch: Dispatch;
}

/** The name of a pipeline: a kernel and the invocations of its workgroup. */
export const kernelOf = (gpu: Gpu, dispatch: Dispatch): string =>
  `${kernelName(gpu, dispatch)} @${dispatch.workgroupSize}`;

/** Every combination of the options of a step. */
export function stepOptions({ numClassEmbeds }: UNetConfig): Partial<StepShape>[] {
  const bits = ['givenNoise', 'measured', 'masked', ...(numClassEmbeds === null ? [] : ['guided'])];
  return Array.from({ length: 2 ** bits.length }, (_, i) =>
    Object.fromEntries(bits.map((bit, k) => [bit, Boolean((i >> k) & 1)])),
  ).flatMap((options) => [options, { ...options, slots: 3 }]);
}

/** The dispatches of a candidate of the tuner. */
export function recordCandidate(way: Candidate, shape: ConvShape, dtype: DType): readonly Dispatch[] {
  const { cIn, cOut, size, stride, h, w } = shape;
  const recorder = new NetworkRecorder({ ...DEFAULT_KERNELS, conv: () => way.name });
  const x = recorder.persistent('x', [1, cIn, h * stride, w * stride], dtype, 'c4');
  const [weight, bias] = ['weight', 'bias'].map((label) => bufferHandle(label, 0, 'external'));
  way.record(recorder, x, { weight: weight!, bias: bias!, cIn, cOut, size }, stride);
  return [...recorder.preparations, ...recorder.dispatches];
}

/** All dispatches of a step, with the recording of each. */
function dispatchesOf({
  step,
  start,
  renoise,
  cache,
}: StepGraph): (readonly [Launch['recording'], Dispatch])[] {
  const graphs = { step, start, renoise, conditioning: cache?.graph ?? null };
  return (Object.keys(graphs) as Launch['recording'][]).flatMap((name) =>
    [...(graphs[name]?.preparations ?? []), ...(graphs[name]?.dispatches ?? [])].map(
      (d) => [name, d] as const,
    ),
  );
}

/** Collects the kernels and launches of several networks on one GPU. */
export class Kernels {
  readonly #gpu: Gpu;
  readonly all = new Map<string, Kernel>();
  readonly launches: Launch[] = [];

  constructor(gpu: Gpu) {
    this.#gpu = gpu;
  }

  /** Adds all that the rule, the tuner and the fall-back can choose for this network. */
  add(network: string, config: UNetConfig, dtype: DType): void {
    const gpu = this.#gpu;
    const plain = { ...gpu, supportsQuadOps: false };
    const rule = kernelPolicyFor(gpu);
    const record = (policy: KernelPolicy, options: Partial<StepShape> = {}) => {
      const shape = { ...smallestRun(config)!, ...options };
      const weights = new WeightLayout(config, dtype);
      return dispatchesOf(recordStep(config, weights, shape, network, bindingLimit(gpu), policy));
    };
    const ways: [string, KernelPolicy, Gpu][] = [
      ['rule', rule, gpu],
      ...CONV_VARIANTS.map((name): [string, KernelPolicy, Gpu] => [
        `all ${name}`,
        { ...rule, conv: () => name },
        gpu,
      ]),
      ['fall-back', FALLBACK_KERNELS, plain],
    ];
    for (const [variant, policy, on] of ways)
      for (const [recording, d] of record(policy)) {
        this.#kernel(gpu, d);
        this.#kernel(plain, d); // many browsers have no quads
        this.launches.push({
          ...{ network, dtype, variant, recording, label: d.label, kernel: kernelOf(on, d) },
          ...{ uniforms: d.uniforms, flops: d.flops ?? 0 },
          ...{ workgroups: Math.ceil(d.invocations / d.workgroupSize), workgroup: d.workgroupSize },
        });
      }
    for (const options of stepOptions(config))
      for (const [, d] of record(rule, options)) this.#kernel(gpu, d);
    for (const shape of convShapes(config))
      for (const way of candidatesOf(gpu, shape))
        for (const d of recordCandidate(way, shape, dtype)) this.#kernel(gpu, d);
  }

  #kernel(gpu: Gpu, dispatch: Dispatch): void {
    const name = kernelOf(gpu, dispatch);
    if (!this.all.has(name)) this.all.set(name, { name, gpu, dispatch });
  }
}
