import type { Defines } from '../gpu/shader.ts';

export type Activation = 'silu' | 'gelu' | 'relu' | 'mish';

/** The defines of shaders/lib/activation.wgsl. */
export const activationDefines = (activation: Activation | null): Defines => ({
  ACTIVATION: activation !== null,
  GELU: activation === 'gelu',
  RELU: activation === 'relu',
  MISH: activation === 'mish',
});
