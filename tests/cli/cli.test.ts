/** The command line's contract, and through it whole trajectories against PyTorch diffusers, every step. */

import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { decode } from 'fast-png';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { main } from '../../src/cli/main.ts';
import { readSafetensors, toFloat32, writeSafetensors } from '../../src/weights/safetensors.ts';
import { expectClose } from '../helpers/array.ts';
import { classify } from '../helpers/classifier.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DIGITS = `${ROOT}weights/digits`;
const fixture = (name: string) => `${ROOT}tests/fixtures/${name}`;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cli-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a command in this process. */
async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  let [out, err] = ['', ''];
  const stdout = vi
    .spyOn(process.stdout, 'write')
    .mockImplementation((text) => ((out += String(text)), true));
  const stderr = vi
    .spyOn(process.stderr, 'write')
    .mockImplementation((text) => ((err += String(text)), true));
  try {
    return { code: await main(args), out, err };
  } finally {
    stdout.mockRestore();
    stderr.mockRestore();
  }
}

async function sample(
  ...args: string[]
): Promise<Map<string, { shape: readonly number[]; data: Float32Array }>> {
  const output = join(folder, 'out.safetensors');
  const result = await run('sample', '--model', DIGITS, '--output', output, ...args);
  expect(result.err).toBe('');
  expect(result.code).toBe(0);
  const tensors = readSafetensors(readFileSync(output), 'out');
  return new Map([...tensors].map(([name, t]) => [name, { shape: t.shape, data: toFloat32(t) }]));
}

describe('trajectories equal those of diffusers at every step', () => {
  const solvers = [
    'pndm',
    'euler',
    'euler-ancestral',
    'heun',
    'dpmpp-2m',
    'dpmpp-2s',
    'dpmpp-3m',
    'dpmpp-sde',
    'unipc',
  ];
  // f32 against f32: errors of 1e-6 in epsilon grow with 1 / sqrt(alphaBar) in the first steps.
  // dpmpp-2s begins at t = 999 of the cosine schedule, where 1 / sqrt(alphaBar) is 20,000 and diffusers clips nothing:
  // its states reach 12,000, and are compared relative to that.
  const tolerance = (state: Float32Array) => ({
    atol: Math.max(2e-3, 2e-4 * state.reduce((most, x) => Math.max(most, Math.abs(x)), 0)),
    rtol: 0,
  });
  it.each([
    ['ddim', ['--scheduler', 'ddim', '--steps', '50', '--labels', '3,7']],
    ['ddpm', ['--scheduler', 'ddpm', '--steps', '25', '--labels', '5']],
    ['guided', ['--scheduler', 'ddim', '--steps', '20', '--labels', '8', '--guidance', '3', '--eta', '0.5', '--spacing', 'trailing']],
    ...solvers.map((name) => [name, ['--scheduler', name, '--steps', '10', '--labels', '4', '--spacing', name === 'dpmpp-2s' ? 'linspace' : 'leading']] as const),
  ] as [string, string[]][])('%s', async (name, args) => {
    const golden = readSafetensors(readFileSync(fixture(`digits/${name}.safetensors`)), name);
    const noise = fixture(`digits/${name}.safetensors`); // x_T and z, among others
    const result = await sample(...args, '--noise', noise, '--trajectory', '--compat', 'diffusers');
    const wanted = toFloat32(golden.get('x_t')!);
    const got = result.get('x_t')!;
    expect(got.shape).toEqual(golden.get('x_t')!.shape);
    expectClose(result.get('timesteps')!.data, toFloat32(golden.get('timesteps')!), { atol: 1e-3, rtol: 0 }, 'timesteps');
    const size = wanted.length / got.shape[0]!;
    for (let i = 0; i < got.shape[0]!; i++) {
      const part = (x: Float32Array) => x.subarray(i * size, (i + 1) * size);
      expectClose(part(got.data), part(wanted), tolerance(part(wanted)), `x_t after step ${i}`);
    }
    expect(result.get('x_0')!.shape).toEqual(got.shape.slice(1));
  }); // prettier-ignore
});

describe('sample', () => {
  it('the same seed draws the same; a batch equals its singles; a grid as PNG', async () => {
    const args = ['--scheduler', 'ddpm', '--steps', '4', '--seed', '41'];
    const png = join(folder, 'grid.png');
    const both = (await sample(...args, '--labels', '1,9', '--png', png)).get('x_0')!;
    const again = (await sample(...args, '--labels', '1,9')).get('x_0')!;
    const second = (await sample('--scheduler', 'ddpm', '--steps', '4', '--seed', '42', '--labels', '9')).get(
      'x_0',
    )!;
    expect(both.shape).toEqual([2, 1, 32, 32]);
    expect(again.data).toEqual(both.data);
    expect(second.data).toEqual(both.data.slice(1024));
    const image = decode(readFileSync(png));
    expect([image.width, image.height]).toEqual([66, 32]);
  });

  it('draws the digits that are asked for', async () => {
    const { data } = (
      await sample(
        '--scheduler',
        'ddim',
        '--labels',
        '0,1,2,3,4,5,6,7,8,9',
        '--guidance',
        '2',
        '--steps',
        '20',
      )
    ).get('x_0')!;
    expect(Math.max(...data.map(Math.abs))).toBeLessThanOrEqual(1);
    const read = Array.from(
      { length: 10 },
      (_, k) => classify(data.subarray(k * 1024, (k + 1) * 1024)).digit,
    );
    const right = read.filter((digit, k) => digit === k).length;
    expect(right, `read as ${read.join(' ')}`).toBeGreaterThanOrEqual(9);
  });

  it('--count without labels, and no more than one pass at guidance 1', async () => {
    const { shape } = (await sample('--count', '3', '--steps', '1')).get('x_0')!;
    expect(shape).toEqual([3, 1, 32, 32]);
  });
});

describe('edits', () => {
  const save = (name: string, tensors: Parameters<typeof writeSafetensors>[0]) => {
    const path = join(folder, name);
    writeFileSync(path, writeSafetensors(tensors));
    return path;
  };

  it('a run that goes on from a saved state arrives where the whole run does, bit for bit', async () => {
    const args = ['--scheduler', 'ddpm', '--steps', '8', '--seed', '3', '--labels', '2'];
    const whole = await sample(...args, '--trajectory');
    const x_t = whole.get('x_t')!.data.slice(5 * 1024, 6 * 1024);
    const noise = save('state.safetensors', [{ name: 'x_T', shape: [1, 1, 32, 32], data: x_t }]);
    const rest = await sample(...args, '--begin', '5', '--noise', noise, '--trajectory');
    expect(rest.get('x_t')!.shape[0]).toBe(4);
    expect(rest.get('x_0')!.data).toEqual(whole.get('x_0')!.data);
  });

  it('a picture inverted, and drawn again from its noise', async () => {
    const png = join(folder, 'seven.png');
    const drawn = (
      await sample('--scheduler', 'ddim', '--steps', '20', '--seed', '7', '--labels', '7', '--png', png)
    ).get('x_0')!;
    const noise = join(folder, 'noise.safetensors');
    const inverted = await run(
      'invert',
      '--model',
      DIGITS,
      '--init',
      png,
      '--steps',
      '50',
      '--labels',
      '7',
      '--output',
      noise,
    );
    expect(inverted).toMatchObject({ code: 0, err: '' });
    const again = (
      await sample('--scheduler', 'ddim', '--steps', '50', '--labels', '7', '--noise', noise)
    ).get('x_0')!;
    const error = again.data.reduce((sum, x, i) => sum + (x - drawn.data[i]!) ** 2, 0) / 1024;
    expect(10 * Math.log10(4 / error), 'PSNR').toBeGreaterThan(15);
  });

  it('from a picture: little strength stays near it, full strength forgets it', async () => {
    const png = join(folder, 'four.png');
    const picture = (
      await sample('--scheduler', 'ddim', '--steps', '10', '--seed', '4', '--labels', '4', '--png', png)
    ).get('x_0')!;
    const distance = async (strength: string) => {
      const { data } = (
        await sample(
          '--scheduler',
          'ddim',
          '--steps',
          '10',
          '--labels',
          '4',
          '--init',
          png,
          '--strength',
          strength,
        )
      ).get('x_0')!;
      return Math.sqrt(data.reduce((sum, x, i) => sum + (x - picture.data[i]!) ** 2, 0) / 1024);
    };
    const [near, far] = [await distance('0.2'), await distance('1')];
    expect(near).toBeLessThan(0.35);
    expect(far).toBeGreaterThan(near);
  });

  it('guidance in an interval that no timestep is in changes nothing', async () => {
    const args = ['--scheduler', 'ddim', '--steps', '3', '--labels', '6'];
    const off = (await sample(...args)).get('x_0')!;
    const never = (await sample(...args, '--guidance', '5', '--guidance-interval', '1,2')).get('x_0')!;
    expectClose(never.data, off.data, { atol: 1e-4, rtol: 0 });
    const always = (await sample(...args, '--guidance', '5')).get('x_0')!;
    expect(always.data).not.toEqual(off.data);
  });

  it.each([
    ['a picture that is none', ['--init', fixture('digits/classifier.safetensors')], 'bad-input'],
    ['a picture that is not there', ['--init', '/nowhere.png'], 'file-not-found'],
    ['strength without a picture', ['--strength', '0.5'], 'bad-option'],
    ['begin without a state', ['--begin', '3'], 'bad-option'],
    ['an interval the wrong way', ['--guidance-interval', '9,1'], 'bad-option'],
    ['an interval of words', ['--guidance-interval', 'all'], 'bad-option'],
  ])('%s', async (_, args, code) => {
    const result = await run('sample', '--model', DIGITS, '--output', join(folder, 'x'), ...args);
    expect(result.code).toBe(1);
    expect(result.err).toMatch(new RegExp(`^error ${code}: `));
  });
});

describe('eps', () => {
  it('writes the raw output', async () => {
    const output = join(folder, 'eps.safetensors');
    const input = fixture('digits/eps.safetensors');
    expect((await run('eps', '--model', DIGITS, '--input', input, '--output', output)).code).toBe(0);
    const eps = readSafetensors(readFileSync(output), 'out').get('eps')!;
    expect(eps.shape).toEqual([5, 1, 32, 32]);
    expect(eps.dtype).toBe('F32');
    expectClose(toFloat32(eps), toFloat32(readSafetensors(readFileSync(input), 'in').get('eps')!), {
      atol: 2e-4,
      rtol: 0,
    });
  });
});

describe('errors', () => {
  const out = ['--output', '/nowhere/at/all/out.safetensors'];
  it.each([
    ['no command', [], /^Usage/, ''],
    ['an unknown command', ['paint'], /^$/, 'bad-option'],
    ['an unknown option', ['inspect', '--modle', 'x'], /^$/, 'bad-option'],
    ['no model', ['inspect'], /^$/, 'bad-option'],
    ['a model that is not there', ['inspect', '--model', '/nowhere'], /^$/, 'file-not-found'],
    ['an input that is not there', ['eps', '--model', DIGITS, '--input', '/nowhere', ...out], /^$/, 'file-not-found'],
    ['a dtype that is not one', ['inspect', '--model', DIGITS, '--dtype', 'f8'], /^$/, 'bad-option'],
    ['steps that are not a number', ['sample', '--model', DIGITS, '--steps', 'many', ...out], /^$/, 'bad-option'],
    ['steps past T', ['sample', '--model', DIGITS, '--steps', '1001', ...out], /^$/, 'bad-option'],
    ['a class that does not exist', ['sample', '--model', DIGITS, '--labels', '11', ...out], /^$/, 'bad-option'],
    ['labels that are words', ['sample', '--model', DIGITS, '--labels', 'seven', ...out], /^$/, 'bad-option'],
    ['eta with ddpm', ['sample', '--model', DIGITS, '--scheduler', 'ddpm', '--eta', '1', ...out], /^$/, 'bad-option'],
    ['guidance without a null class', ['sample', '--model', fixture('unets/odd'), '--guidance', '2', ...out], /^$/, 'bad-option'],
    ['a compat mode of another', ['sample', '--model', DIGITS, '--compat', 'keras', ...out], /^$/, 'bad-option'],
    ['noise without z', ['sample', '--model', DIGITS, '--scheduler', 'ddpm', '--steps', '50', '--labels', '3,7', '--noise', fixture('digits/ddim.safetensors'), ...out], /^$/, 'bad-input'],
    ['noise of another size', ['sample', '--model', DIGITS, '--scheduler', 'ddim', '--labels', '3', '--noise', fixture('digits/ddim.safetensors'), ...out], /^$/, 'bad-input'],
    ['noise of another length', ['sample', '--model', DIGITS, '--scheduler', 'ddpm', '--steps', '7', '--labels', '5', '--noise', fixture('digits/ddpm.safetensors'), ...out], /^$/, 'bad-input'],
    ['a network that is given the wrong tensors', ['eps', '--model', DIGITS, '--input', fixture('digits/classifier.safetensors'), ...out], /^$/, 'bad-input'],
  ] as [string, string[], RegExp, string][])('%s', async (_, args, stdout, code) => {
    const result = await run(...args);
    expect(result.code).toBe(1);
    expect(result.out).toMatch(stdout);
    if (code) expect(result.err).toMatch(new RegExp(`^error ${code}: [^\\n]*\\n$`));
  }); // prettier-ignore

  it('an input that is not finite', async () => {
    const input = join(folder, 'nan.safetensors');
    const sampleData = new Float32Array(1024).fill(NaN);
    writeFileSync(
      input,
      writeSafetensors([
        { name: 'sample', shape: [1, 1, 32, 32], data: sampleData },
        { name: 'timestep', shape: [1], data: new Float32Array(1) },
      ]),
    );
    const result = await run('eps', '--model', DIGITS, '--input', input, ...out);
    expect(result).toMatchObject({
      code: 1,
      err: expect.stringMatching(/^error bad-input: .*not finite/) as string,
    });
  });
});

describe('as a process', () => {
  const npm = promisify(execFile);
  it('inspect prints JSON alone; an error goes to stderr with exit code 1', async () => {
    const { stdout } = await npm(
      'npm',
      ['run', '--silent', 'cli', '--', 'inspect', '--model', 'weights/digits'],
      { cwd: ROOT },
    );
    const about = JSON.parse(stdout) as Record<string, number>;
    expect(about['parameters']).toBe(687473);
    expect(about['flopsPerStep']).toBeGreaterThan(1e8);
    expect(about['flopsPerStep']).toBeLessThanOrEqual(5e8); // 0.5 GFLOP an image and step
    expect(about['dispatchesPerStep']).toBeGreaterThan(50);
    await expect(
      npm('npm', ['run', '--silent', 'cli', '--', 'inspect', '--model', '/nowhere'], { cwd: ROOT }),
    ).rejects.toMatchObject({ code: 1, stderr: expect.stringMatching(/error file-not-found: /) as string });
  });
});

it('the bundled files are the ones that the manifest promises', async () => {
  const models = JSON.parse(readFileSync(`${ROOT}weights/models.json`, 'utf8')) as {
    name: string;
    files: { path: string; bytes: number; sha256: string }[];
  }[];
  expect(models.length).toBeGreaterThan(0);
  for (const { name, files } of models)
    for (const { path, bytes, sha256 } of files) {
      const data = readFileSync(`${ROOT}weights/${name}/${path}`);
      const digest = Buffer.from(await crypto.subtle.digest('SHA-256', data)).toString('hex');
      expect([data.length, digest], path).toEqual([bytes, sha256]);
    }
  expect(existsSync(`${DIGITS}/README.md`)).toBe(true);
});
