/** Every kernel that the networks of the fixtures launch, recorded without a GPU. */

import { readFileSync } from 'node:fs';
import type { Gpu } from '../../src/engine/gpu/device.ts';
import { textFor } from '../../src/engine/gpu/pipelines.ts';
import type { Dispatch } from '../../src/engine/gpu/recorder.ts';
import { smallestRun } from '../../src/engine/memory.ts';
import { CONV_VARIANTS, kernelPolicyFor } from '../../src/engine/kernels/conv_variants.ts';
import { FALLBACK_KERNELS, type KernelPolicy } from '../../src/engine/kernels/kernel_policy.ts';
import { canSample, DEFAULT_BINDING, graphsOf, recordStep } from '../../src/engine/step_graph.ts';
import { parseUNetConfig, type UNetConfig } from '../../src/engine/unet/config.ts';
import { WeightLayout } from '../../src/engine/unet/weights.ts';

const json = (path: string) => JSON.parse(readFileSync(new URL(path, import.meta.url)).toString()) as never;

export function fixtureConfigs(): UNetConfig[] {
  const lecture = (json('../fixtures/lecture.json') as { configs: object[] }).configs;
  const openai = (json('../fixtures/openai.json') as { config: object }[]).map(({ config }) => config);
  const all = [json('../../weights/digits/unet/config.json'), ...(json('../fixtures/configs.json') as object[]), ...lecture, ...openai]; // prettier-ignore
  return all.map((each) => parseUNetConfig(each, 'a fixture')).filter(canSample);
}

export interface KernelText {
  readonly gpu: Gpu;
  readonly dispatch: Dispatch;
}

/** By WGSL text: one dispatch that launches it. */
export function kernelTexts(): Map<string, KernelText> {
  const texts = new Map<string, KernelText>();
  const [software, hardware] = [true, false].map((isSoftware) =>
    kernelPolicyFor({ isSoftware, subgroup: 8 }),
  );
  const policies: KernelPolicy[] = [software!, hardware!, FALLBACK_KERNELS, ...CONV_VARIANTS.map((name) => ({ ...hardware!, conv: () => name }))]; // prettier-ignore
  const options = [{}, { count: 3, slots: 2, measured: true }, { masked: true, givenNoise: true }];
  for (const config of fixtureConfigs())
    for (const dtype of ['f32', 'f16'] as const) {
      const weights = new WeightLayout(config, dtype);
      for (const policy of policies)
        for (const option of options) {
          const guided = 'slots' in option && config.numClassEmbeds !== null;
          const shape = { ...smallestRun(config)!, ...option, guided };
          for (const graph of graphsOf(
            recordStep(config, weights, shape, 'a fixture', DEFAULT_BINDING, policy),
          ))
            for (const dispatch of [...graph.preparations, ...graph.dispatches])
              for (const supportsQuadOps of [true, false]) {
                const gpu = { supportsQuadOps } as Gpu;
                const text = textFor(gpu, dispatch);
                if (!texts.has(text)) texts.set(text, { gpu, dispatch });
              }
        }
    }
  return texts;
}
