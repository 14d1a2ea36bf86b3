/** A step as a Python script for diffusers, with its tensors inside: run it, and it says how far it is from ours. */

import type { SchedulerConfig } from '../../schedule/config.ts';
import { timestepList } from '../../schedule/timesteps.ts';

export interface StepTensors {
  readonly x: Float32Array<ArrayBuffer>;
  /** What the network said, in the model's own terms. */
  readonly m: Float32Array<ArrayBuffer>;
  readonly z: Float32Array<ArrayBuffer>;
  readonly next: Float32Array<ArrayBuffer>;
  readonly shape: { readonly channels: number; readonly height: number; readonly width: number };
}

function base64(numbers: Float32Array<ArrayBuffer>): string {
  let text = '';
  for (const byte of new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength))
    text += String.fromCharCode(byte);
  return btoa(text).replace(/.{100}/g, '$&\n');
}

/**
 * @param config its clip a number
 * @param index of the step in the run, 0 the noisiest
 */
export function pythonOf(
  sampler: 'ddim' | 'ddim-1' | 'ddpm',
  config: SchedulerConfig,
  steps: number,
  index: number,
  { x, m, z, next, shape }: StepTensors,
): string {
  const { betas, T, spacing, offset, predictionType, clip } = config;
  const t = timestepList({ T, n: steps, spacing, offset, compat: false })[index]!;
  const kind = sampler === 'ddpm' ? 'DDPMScheduler' : 'DDIMScheduler';
  const schedule =
    betas.kind === 'trained'
      ? `trained_betas=[${betas.values.join(', ')}]`
      : betas.kind === 'squaredcos_cap_v2'
        ? `beta_schedule="squaredcos_cap_v2"`
        : `beta_schedule="${betas.kind}", beta_start=${betas.start}, beta_end=${betas.end}`;
  const tensor = (name: string, data: Float32Array<ArrayBuffer>): string =>
    `${name} = tensor("""\n${base64(data)}\n""")`;
  const last = index === steps - 1;
  const step =
    sampler === 'ddpm'
      ? `scheduling_ddpm.randn_tensor = lambda *args, **kwargs: z  # its noise, as we drew it
result = scheduler.step(m, t, x_t)`
      : `result = scheduler.step(m, t, x_t, eta=${sampler === 'ddim-1' ? 1 : 0}, use_clipped_model_output=True${sampler === 'ddim-1' ? ', variance_noise=z' : ''})`;
  return `# One step, t = ${t}${last ? ', the last' : ''}, of ${steps} steps of ${sampler === 'ddim-1' ? 'ddim, eta = 1' : sampler}, again with diffusers.
import base64
import numpy, torch
from diffusers import ${kind}
from diffusers.schedulers import scheduling_ddpm

def tensor(text):
    numbers = numpy.frombuffer(base64.b64decode(text), dtype="<f4").copy()
    return torch.from_numpy(numbers).reshape(1, ${shape.channels}, ${shape.height}, ${shape.width})

${tensor('x_t', x)}
${tensor('m', m)}  # what the network said
${tensor('z', z)}
${tensor('expected', next)}

scheduler = ${kind}(
    num_train_timesteps=${T}, ${schedule},
    prediction_type="${predictionType}", clip_sample=True, clip_sample_range=${String(clip)}, timestep_spacing="${spacing}", steps_offset=${offset},${sampler === 'ddpm' ? ' variance_type="fixed_small",' : ` set_alpha_to_one=${config.finalAlphaOne === false ? 'False' : 'True'},`}${config.zeroSnr ? ' rescale_betas_zero_snr=True,' : ''}
)
scheduler.set_timesteps(${steps})
t = scheduler.timesteps[${index}]
assert int(t) == ${t}
${step}
print("x_{t-1} differs from the browser's by at most", float((result.prev_sample - expected).abs().max()))
`;
}
