import code from '../../shaders/lib/activation.wgsl?raw';
import type { Defines } from '../gpu/shader.ts';

export type Activation = 'silu' | 'gelu' | 'relu' | 'mish';

/** Text of `fn activation`; which one it is, the defines say. */
export const activationCode = code;

export const activationDefines = (activation: Activation | null): Defines => ({
  ACTIVATION: activation !== null,
  GELU: activation === 'gelu',
  RELU: activation === 'relu',
  MISH: activation === 'mish',
});
