/** The events of <diffusion-sampler>. */

import type { DiffusionError } from '../../core/errors.ts';

/** What the events carry. None of them bubbles. */
export interface SamplerEventMap {
  /** The model is on the GPU. */
  ready: CustomEvent<{ title: string; bytes: number | null; parameters: number; adapter: string }>;
  /** Bytes of the download; total is null where nobody says. */
  progress: CustomEvent<{ received: number; total: number | null }>;
  /** Another state is shown: after `index` of `steps` steps, at timestep t; -1 is the clean image. */
  step: CustomEvent<{ index: number; steps: number; t: number }>;
  /** The run has come to its end. */
  done: CustomEvent<{ steps: number; seed: number; seconds: number }>;
  error: CustomEvent<DiffusionError>;
}
