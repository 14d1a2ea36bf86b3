// Where things lie: the pack, what is kept between packs, what a lent machine takes and gives back.
import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const PACK = `${ROOT}gpu-pack`;
export const CACHE = `${ROOT}node_modules/.cache/gpu`;
export const CARRY = ['gpu-pack/node.tar.xz', 'gpu-pack/app.tar.xz'];

const MIB = 2 ** 20;
/** The limits of the machine that is lent, less a little of what travels there. */
export const LIMITS = { travels: 60 * MIB, files: 8, file: 16 * MIB, together: 64 * MIB, name: /^[\w.-]+$/, command: 2000, longest: 540, total: 720 }; // prettier-ignore
/** Seconds that a start and the transfers take, about. */
export const AROUND = 90;

/** What to paste into the device tool, the most valuable first; `timeout_s` counts on its side, `seconds` on ours. */
export const commands = (model) => [
  {
    what: 'prove, then measure; if no driver answers, train at once',
    command: `python3 tools/gpu/device.py measure --seconds 370 --train ${model}`,
    carry: CARRY,
    timeout_s: 390,
  },
  {
    what: `train ${model} for the rest`,
    command: `python3 tools/gpu/device.py train ${model} --seconds 220`,
    carry: CARRY,
    timeout_s: 240,
  },
];

/** Files that travel with any call: what git tracks, and what it does not ignore. */
export function tracked() {
  const list = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], { cwd: ROOT, maxBuffer: 2 ** 26 }); // prettier-ignore
  return list
    .toString()
    .split('\0')
    .filter((path) => path && existsSync(`${ROOT}${path}`));
}
/** Their bytes on a disk with blocks of 4 KiB. */
export const onDisk = (paths) =>
  paths.reduce((sum, path) => {
    const { size } = lstatSync(`${ROOT}${path}`);
    return sum + Math.ceil(size / 4096) * 4096;
  }, 0);
