/** Which kernels a network can launch on a GPU: recorded by the engine itself, without a GPU call. */

import type { Gpu } from '../../src/gpu/device.ts';
import {
  CONV_VARIANTS,
  kernelName,
  LEAST,
  PLAIN,
  Tape,
  type ConvShape,
  type Dispatch,
  type Variants,
} from '../../src/gpu/tape.ts';
import { bindingLimit, convShapes, smallestRun } from '../../src/memory.ts';
import { candidatesOf, type Candidate } from '../../src/ops/tune.ts';
import { variantsFor } from '../../src/ops/variants.ts';
import { recordStep, type MakeBuffer, type RecordedStep, type StepShape } from '../../src/record.ts';
import type { DType } from '../../src/tensor.ts';
import type { UNetConfig } from '../../src/unet/config.ts';
import { UNetWeights } from '../../src/unet/weights.ts';

/** One dispatch of a network, with what a model of its time needs. */
export interface Launch {
  readonly network: string;
  readonly dtype: DType;
  /** `rule`, `all tiled-16`, ... , `fall-back` */
  readonly variant: string;
  readonly tape: 'step' | 'start' | 'jump' | 'ahead';
  readonly label: string;
  /** As `kernelOf` names it. */
  readonly kernel: string;
  readonly workgroups: number;
  readonly workgroup: number;
  readonly flops: number;
  readonly constants: Readonly<Record<string, number>>;
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

const make: MakeBuffer = (label, size) => ({ label, size }) as unknown as GPUBuffer; // bound, and never filled

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
  const tape = new Tape({ ...PLAIN, conv: () => way.name });
  const x = tape.pinned('x', [1, cIn, h * stride, w * stride], dtype, 'c4');
  way.record(tape, x, { weight: make('weight', 0, 0), bias: make('bias', 0, 0), cIn, cOut, size }, stride);
  return [...tape.preparations, ...tape.dispatches];
}

/** All dispatches of a step, with the tape of each. */
function dispatchesOf({ step, start, jump, ahead }: RecordedStep): (readonly [Launch['tape'], Dispatch])[] {
  const tapes = { step, start, jump, ahead: ahead?.tables ?? null };
  return (Object.keys(tapes) as Launch['tape'][]).flatMap((tape) =>
    [...(tapes[tape]?.preparations ?? []), ...(tapes[tape]?.dispatches ?? [])].map((d) => [tape, d] as const),
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
    const plain = { ...gpu, quads: false };
    const rule = variantsFor(gpu);
    const record = (variants: Variants, options: Partial<StepShape> = {}) => {
      const shape = { ...smallestRun(config)!, ...options };
      const weights = UNetWeights.planned(config, dtype);
      return dispatchesOf(recordStep(config, weights, shape, make, network, bindingLimit(gpu), variants));
    };
    const ways: [string, Variants, Gpu][] = [
      ['rule', rule, gpu],
      ...CONV_VARIANTS.map((name): [string, Variants, Gpu] => [
        `all ${name}`,
        { ...rule, conv: () => name },
        gpu,
      ]),
      ['fall-back', LEAST, plain],
    ];
    for (const [variant, variants, on] of ways)
      for (const [tape, d] of record(variants)) {
        this.#kernel(gpu, d);
        this.#kernel(plain, d); // many browsers have no quads
        this.launches.push({
          ...{ network, dtype, variant, tape, label: d.label, kernel: kernelOf(on, d) },
          ...{ constants: d.constants, flops: d.flops ?? 0 },
          ...{ workgroups: Math.ceil(d.threads / d.workgroupSize), workgroup: d.workgroupSize },
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
