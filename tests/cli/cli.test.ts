/** The command line's contract, and through it whole trajectories against PyTorch diffusers, every step. */

import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { decode, encode } from 'fast-png';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { main } from '../../src/apps/cli/main.ts';
import { normals } from '../../src/schedule/noise.ts';
import { readSafetensors, toFloat32, writeSafetensors } from '../../src/engine/formats/safetensors.ts';
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
  // f32 against f32: errors of 1e-6 in epsilon grow with 1 / sqrt(alphaBar) in the first steps.
  // Lists that begin at t = 999 of the cosine schedule, where 1 / sqrt(alphaBar) is 20,000 and diffusers clips nothing,
  // have states of 12,000, and are compared relative to that.
  const tolerance = (state: Float32Array) => ({
    atol: Math.max(2e-3, 2e-4 * state.reduce((most, x) => Math.max(most, Math.abs(x)), 0)),
    rtol: 0,
  });

  it.each([
    ['ddim', ['--scheduler', 'ddim', '--steps', '50', '--labels', '3,7']],
    ['ddpm', ['--scheduler', 'ddpm', '--steps', '25', '--labels', '5']],
    ['guided', ['--scheduler', 'ddim', '--steps', '20', '--labels', '8', '--guidance', '3', '--eta', '0.5', '--spacing', 'trailing']],
    ['rescaled', ['--scheduler', 'ddim', '--steps', '10', '--labels', '2,6', '--guidance', '4', '--guidance-rescale', '0.7', '--threshold', '0.9,1.6']],
  ] as [string, string[]][])('%s, with their noise', async (name, args) => {
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

  // With our own noise, made once more in numpy and scipy; of each state rows and columns 12 to 19.
  const solvers = readSafetensors(readFileSync(fixture('digits/solvers.safetensors')), 'solvers');
  const runs = [...solvers.keys()].filter((key) => key.endsWith('.x_t')).map((key) => key.split('.') as [string, string]);
  it('all solvers at 5, 10, 13 and 50 steps', () => expect(runs).toHaveLength(9 * 4));
  it.each(runs)('%s, %s steps, with our noise', async (name, steps) => {
    const spacing = name === 'dpmpp-2s' ? 'linspace' : 'leading';
    const result = await sample('--scheduler', name, '--steps', steps, '--labels', '4', '--spacing', spacing, '--seed', '11', '--trajectory', '--compat', 'diffusers');
    const wanted = toFloat32(solvers.get(`${name}.${steps}.x_t`)!);
    expectClose(result.get('timesteps')!.data, toFloat32(solvers.get(`${name}.${steps}.timesteps`)!), { atol: 1e-3, rtol: 0 }, 'timesteps');
    const got = result.get('x_t')!;
    expect(got.shape[0]! * 64).toBe(wanted.length);
    for (let i = 0; i < got.shape[0]!; i++) {
      const state = got.data.subarray(i * 1024, (i + 1) * 1024);
      const cut = Float32Array.from({ length: 64 }, (_, k) => state[(12 + (k >> 3)) * 32 + 12 + (k & 7)]!);
      expectClose(cut, wanted.subarray(i * 64, (i + 1) * 64), tolerance(state), `x_t after step ${i}`);
    }
  });
}); // prettier-ignore

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

  it('--timesteps: those and no others', async () => {
    const { data } = (await sample('--scheduler', 'ddim', '--timesteps', '900,400,7', '--trajectory')).get('timesteps')!;
    expect([...data]).toEqual([900, 400, 7]);
  }); // prettier-ignore

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

  it('inpainting: what is kept is kept to the bit, what is painted changes, and jumps take their steps', async () => {
    const png = join(folder, 'kept.png');
    const common = ['--scheduler', 'ddpm', '--steps', '6', '--labels', '8'];
    await sample(...common, '--seed', '1', '--png', png);
    const mask = join(folder, 'mask.png');
    const half = Uint8Array.from({ length: 1024 }, (_, i) => (i % 32 < 16 ? 0 : 255));
    writeFileSync(mask, encode({ width: 32, height: 32, data: half, channels: 1, depth: 8 }));
    const picture = decode(readFileSync(png)).data;
    const edit = [...common, '--seed', '2', '--init', png, '--mask', mask, '--trajectory'];
    const plain = await sample(...edit);
    const walked = await sample(...edit, '--jumps', '2,3');
    for (const result of [plain, walked]) {
      const x0 = result.get('x_0')!.data;
      const at = (i: number) => Math.fround(picture[i]! / 127.5 - 1);
      for (let i = 0; i < 1024; i++) if (i % 32 < 16) expect(x0[i]).toBeCloseTo(at(i), 6);
      expect(x0.some((x, i) => i % 32 >= 16 && Math.abs(x - at(i)) > 0.5)).toBe(true);
    }
    expect(plain.get('x_t')!.shape[0]).toBe(7);
    // Stretches of two steps with 1 and 3 to go, walked three times: 2 x 2 jumps, each with two steps more.
    expect(walked.get('x_t')!.shape[0]).toBe(7 + 4 * 3);
    expect(walked.get('x_0')!.data).not.toEqual(plain.get('x_0')!.data);
    // Before the end the kept half is the picture at the noise level of its timestep: its mean is sqrt(alphaBar) of it.
    const timesteps = walked.get('timesteps')!.data;
    expect([...timesteps].some((t, i) => i > 0 && t > timesteps[i - 1]!)).toBe(true);
  });

  it('a slide between two seeds begins and ends in their pictures', async () => {
    const common = ['--scheduler', 'ddim', '--steps', '4', '--labels', '5,5,5,5'];
    const slide = (await sample(...common, '--interpolate', '5,9')).get('x_0')!.data;
    for (const [seed, at] of [['5', 0], ['9', 3]] as const) {
      const single = (await sample('--scheduler', 'ddim', '--steps', '4', '--labels', '5', '--seed', seed)).get('x_0')!;
      expectClose(slide.slice(at * 1024, (at + 1) * 1024), single.data, { atol: 1e-5, rtol: 0 });
    }
    const distance = (i: number, j: number) => Math.hypot(...slide.slice(i * 1024, (i + 1) * 1024).map((x, k) => x - slide[j * 1024 + k]!));
    expect(distance(0, 1)).toBeLessThan(distance(0, 3));
  }); // prettier-ignore

  it('a picture at a timestep of the forward process, and back from there with another sampler', async () => {
    const png = join(folder, 'one.png');
    await sample('--scheduler', 'ddim', '--steps', '4', '--labels', '1', '--png', png);
    const picture = Float32Array.from(decode(readFileSync(png)).data, (v) => v / 127.5 - 1);
    const output = join(folder, 'noised.safetensors');
    const noised = async (t: string) => {
      const args = ['--model', DIGITS, '--init', png, '--timestep', t, '--seed', '3', '--output', output];
      expect(await run('noise', ...args)).toMatchObject({ code: 0, err: '' });
      return toFloat32(readSafetensors(readFileSync(output), 'noised').get('x_T')!);
    };
    const alphaBar = (t: number) => Math.cos((((t + 1) / 1000 + 0.008) / 1.008) * (Math.PI / 2)) ** 2 / Math.cos((0.008 / 1.008) * (Math.PI / 2)) ** 2;
    const eps = normals(3, 0, 0, 1024);
    for (const t of [0, 400, 800])
      expectClose(await noised(String(t)), picture.map((x, i) => Math.sqrt(alphaBar(t)) * x + Math.sqrt(1 - alphaBar(t)) * eps[i]!), { atol: 1e-5, rtol: 0 }, `t = ${t}`);
    // 800 is where a leading run of 10 steps stands after one.
    const rest = await run('sample', '--model', DIGITS, '--scheduler', 'heun', '--spacing', 'leading', '--steps', '10', '--begin', '1', '--noise', output, '--output', join(folder, 'rest'));
    expect(rest).toMatchObject({ code: 0, err: '' });
  }); // prettier-ignore

  it.each([
    ['a mask without a picture', ['--mask', fixture('digits/classifier.safetensors')], 'bad-input'],
    ['jumps without a mask', ['--scheduler', 'ddpm', '--jumps', '2,2'], 'bad-option'],
    ['jumps of a multistep solver', ['--scheduler', 'unipc', '--jumps', '2,2'], 'bad-option'],
    ['jumps of nothing', ['--scheduler', 'ddpm', '--jumps', '0,2'], 'bad-option'],
    ['a slide of one picture', ['--interpolate', '1,2'], 'bad-option'],
    ['a slide between what are no seeds', ['--interpolate', '1,-2', '--count', '2'], 'bad-option'],
    ['a variance that was not learned', ['--scheduler', 'ddpm', '--variance', 'learned_range'], 'bad-option'],
    ['timesteps that rise', ['--timesteps', '3,500'], 'bad-option'],
    ['timesteps that are words', ['--timesteps', 'all'], 'bad-option'],
    ['an epsilon of neither kind', ['--epsilon', 'both'], 'bad-option'],
    ['a threshold above 1', ['--threshold', '1.5'], 'bad-option'],
    ['two ways with x0Hat', ['--threshold', '0.9', '--clip', '1'], 'bad-option'],
    ['an interval of no width', ['--clip', '0'], 'bad-option'],
    ['an order of 4', ['--scheduler', 'unipc', '--order', '4'], 'bad-option'],
    ['another B(h)', ['--scheduler', 'unipc', '--bh', 'bh3'], 'bad-option'],
    ['too much rescaling', ['--guidance-rescale', '2'], 'bad-option'],
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

describe('a model that learned its variance', () => {
  it('draws as diffusers does, every step', async () => {
    const args = ['--model', fixture('unets/heads'), '--scheduler', 'ddpm'];
    const noise = fixture('unets/learned.safetensors');
    const golden = readSafetensors(readFileSync(noise), 'learned');
    const output = join(folder, 'learned.safetensors');
    const result = await run('sample', ...args, '--count', '2', '--steps', '12', '--variance', 'learned_range', '--noise', noise, '--trajectory', '--compat', 'diffusers', '--output', output);
    expect(result).toMatchObject({ code: 0, err: '' });
    const got = toFloat32(readSafetensors(readFileSync(output), 'out').get('x_t')!);
    expectClose(got, toFloat32(golden.get('x_t')!), { atol: 1e-3, rtol: 1e-3 }, 'x_t');
  });

  it('and with any other sampler, which leaves the variance alone', async () => {
    const output = join(folder, 'other.safetensors');
    for (const name of ['ddim', 'dpmpp-sde'])
      expect(await run('sample', '--model', fixture('unets/heads'), '--scheduler', name, '--steps', '4', '--output', output)).toMatchObject({ code: 0, err: '' });
  });
}); // prettier-ignore

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
