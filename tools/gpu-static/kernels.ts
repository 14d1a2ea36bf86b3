/** Which kernels a network can launch on a GPU: recorded by the engine itself, without a GPU call. */

import type { Gpu } from '../../src/gpu/device.ts';
import {
  CONV_VARIANTS,
  kernelName,
  LEAST,
  Tape,
  type ConvVariant,
  type Dispatch,
  type Variants,
} from '../../src/gpu/tape.ts';
import { bindingLimit, convShapes, smallestRun } from '../../src/memory.ts';
import { conv2d } from '../../src/ops/conv2d.ts';
import { variantsFor } from '../../src/ops/variants.ts';
import { recordStep, type MakeBuffer, type StepShape } from '../../src/record.ts';
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
    const rule = variantsFor(gpu);
    const only = (name: ConvVariant): Variants => ({ ...rule, conv: () => name });
    const record = (variant: string, variants: Variants, options = {}, on = gpu, counts = true): void => {
      const weights = UNetWeights.planned(config, dtype);
      const shape = { ...smallestRun(config)!, ...options };
      const recorded = recordStep(config, weights, shape, make, network, bindingLimit(gpu), variants);
      const { step, start, jump, ahead } = recorded;
      const tapes = { step, start, jump, ahead: ahead?.tables ?? null };
      for (const [tape, { preparations, dispatches }] of Object.entries(tapes).flatMap(([k, t]) =>
        t ? [[k, t] as const] : [],
      ))
        // prettier-ignore
        for (const d of [...preparations, ...dispatches]) {
          this.#kernel(on, d);
          if (!counts) continue;
          this.launches.push({
            ...{ network, dtype, variant, tape: tape as Launch['tape'], label: d.label },
            ...{ kernel: kernelOf(on, d), constants: d.constants, flops: d.flops ?? 0 },
            ...{ workgroups: Math.ceil(d.threads / d.workgroupSize), workgroup: d.workgroupSize },
          });
        }
    };
    record('rule', rule);
    for (const options of stepOptions(config)) record('rule', rule, options, gpu, false);
    for (const name of CONV_VARIANTS) record(`all ${name}`, only(name));
    record('fall-back', LEAST, {}, { ...gpu, quads: false });
    this.#tuner(config, dtype, only);
  }

  /** The tuner's candidates: a convolution by itself, in every way. */
  #tuner(config: UNetConfig, dtype: DType, only: (name: ConvVariant) => Variants): void {
    for (const { cIn, cOut, size, stride, h, w } of convShapes(config))
      for (const name of CONV_VARIANTS) {
        const tape = new Tape(only(name));
        const x = tape.pinned('x', [1, cIn, h * stride, w * stride], dtype, 'c4');
        const weights = { weight: make('weight', 0, 0), bias: make('bias', 0, 0), cIn, cOut, size };
        conv2d(tape, name, x, weights, { stride });
        for (const d of [...tape.preparations, ...tape.dispatches]) this.#kernel(this.#gpu, d);
      }
  }

  #kernel(gpu: Gpu, dispatch: Dispatch): void {
    const name = kernelOf(gpu, dispatch);
    if (!this.all.has(name)) this.all.set(name, { name, gpu, dispatch });
  }
}
