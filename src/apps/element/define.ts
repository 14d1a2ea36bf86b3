/** Registers <diffusion-sampler>. A page that loads two versions keeps the first, and is told; nothing throws. */

import { DiffusionSampler } from './diffusion-sampler.ts';

export * from './diffusion-sampler.ts';

const TAG = 'diffusion-sampler';

if (globalThis.customElements) {
  const first = customElements.get(TAG) as Partial<typeof DiffusionSampler> | undefined;
  if (!first) customElements.define(TAG, DiffusionSampler);
  else if (first.version !== DiffusionSampler.version)
    console.warn(
      `<${TAG}> is version ${String(first.version)}; version ${DiffusionSampler.version} came later and is not used.`,
    );
}
