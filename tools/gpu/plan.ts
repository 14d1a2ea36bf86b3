/** What `gpu:prove` runs, the most telling first. */

export interface PlanItem {
  /** What the report calls it. */
  readonly group: string;
  /** As import.meta.glob names test files. */
  readonly file: string;
  /** Of its tests, those whose names match; all by default. */
  readonly only?: RegExp;
}

const all = (group: string, folder: string, names: string): PlanItem[] =>
  names.split(' ').map((name) => ({ group, file: `/tests/${folder}/${name}.test.ts` }));

export const PLAN: readonly PlanItem[] = [
  ...all('kernels', 'ops', 'conv2d attention group_norm linear movement update repaint timestep_embedding'),
  ...all('networks against PyTorch', 'unet', 'golden'),
  ...all('self-check, tuner, the branch of GPUs', 'hardware', 'own branch'),
  ...all('self-check, tuner, the branch of GPUs', 'ops', 'tune'),
  {
    group: 'whole trajectories against diffusers',
    file: '/tests/cli/cli.test.ts',
    only: /trajectories equal|draws the digits that are asked for|bit for bit|learned its variance/,
  },
  ...all('networks against PyTorch', 'unet', 'configs'),
  ...all('runs, forks, a device loss', 'player', 'player'),
  ...all('noise', 'schedule', 'noise'),
  ...all('memory, submits, options, refusals', 'unet', 'ahead submits memory options'),
  ...all('memory, submits, options, refusals', 'hardware', 'refusals'),
];
