/** What a GPU's compiler makes of every kernel, on AMD GPUs that are not there (tools/gpu-static). Nothing runs on them. */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { diskFiles } from '../../src/apps/cli/files.ts';
import type { Gpu } from '../../src/engine/gpu/device.ts';
import { convShapes, smallestRun } from '../../src/engine/memory.ts';
import { candidatesOf } from '../../src/engine/kernels/tune.ts';
import { CONV_VARIANTS, kernelPolicyFor } from '../../src/engine/kernels/conv_variants.ts';
import { FALLBACK_KERNELS, type KernelPolicy } from '../../src/engine/kernels/kernel_policy.ts';
import { DEFAULT_BINDING, graphsOf, recordStep, type StepShape } from '../../src/engine/step_graph.ts';
import { WeightLayout } from '../../src/engine/unet/weights.ts';
import { readSafetensors } from '../../src/engine/formats/safetensors.ts';
import { excessOf, faultsOf, readBudget } from '../../tools/gpu-static/budget.ts';
import { compileFor, DTYPES, NETWORKS, runUnder, type Compiled } from '../../tools/gpu-static/families.ts';
import { kernelOf, recordCandidate } from '../../tools/gpu-static/kernels.ts';
import { layerEnvironment } from '../../tools/gpu-static/layer.mjs';
import { networkConfig } from '../bench/networks.ts';

const folder = mkdtempSync(join(tmpdir(), 'gpu-static-'));
let navi31: Compiled;
beforeAll(async () => {
  navi31 = await compileFor('navi31');
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('every kernel of the networks on navi31', () => {
  it('is accepted, without spills and scratch memory', () => {
    expect(faultsOf(navi31)).toEqual([]);
    expect(navi31.device).toContain('NAVI31');
    // The probe of src/engine/gpu/quads.ts: a device that refuses it goes on without quads, and says nothing.
    expect(navi31.rows.map(({ kernel }) => kernel)).toContain('quads @32');
  });

  it('keeps to the budget', () => expect(excessOf(navi31, readBudget())).toEqual([]));
});

describe('the table has every variant', () => {
  const hardware = { supportsQuadOps: true, isSoftware: false, subgroup: 32 } as Gpu;
  const plain = { ...hardware, supportsQuadOps: false };
  const rule = kernelPolicyFor(hardware);
  /** Names of the kernels of a step. */
  const kernels = async (
    name: string,
    dtype: 'f32' | 'f16',
    policy: KernelPolicy,
    more: Partial<StepShape>,
  ) => {
    const config = (await networkConfig(name, (path) => Promise.resolve(diskFiles(path))))!;
    const shape = { ...smallestRun(config)!, ...more, guided: config.numClassEmbeds !== null };
    const weights = new WeightLayout(config, dtype);
    return graphsOf(recordStep(config, weights, shape, name, DEFAULT_BINDING, policy))
      .flatMap((graph) => [...graph.preparations, ...graph.dispatches])
      .flatMap((dispatch) => [kernelOf(hardware, dispatch), kernelOf(plain, dispatch)]);
  };
  const cases = NETWORKS.flatMap((name) => DTYPES.map((dtype) => [name, dtype] as const));

  it.each(cases)('that the rule can choose for a layer of %s, %s', async (name, dtype) => {
    const known = new Set(navi31.rows.map(({ kernel }) => kernel));
    const ways: [string, KernelPolicy][] = [
      ['the rule', rule],
      ['the fall-back', FALLBACK_KERNELS],
      ...CONV_VARIANTS.map((way): [string, KernelPolicy] => [way, { ...rule, conv: () => way }]),
    ];
    for (const [way, variants] of ways)
      for (const more of [{}, { count: 3, slots: 2, measured: true }, { masked: true, givenNoise: true }]) {
        const names = await kernels(name, dtype, variants, more);
        expect(names.filter((kernel) => !known.has(kernel)), way).toEqual([]); // prettier-ignore
      }
  });

  it.each(cases)('that the tuner can try for a layer of %s, %s', async (name, dtype) => {
    const known = new Set(navi31.rows.map(({ kernel }) => kernel));
    const config = (await networkConfig(name, (path) => Promise.resolve(diskFiles(path))))!;
    const tried = convShapes(config).flatMap((shape) =>
      candidatesOf(hardware, shape).flatMap((way) => recordCandidate(way, shape, dtype)),
    );
    expect(tried.length).toBeGreaterThan(20);
    expect(tried.map((d) => kernelOf(hardware, d)).filter((kernel) => !known.has(kernel))).toEqual([]);
  });

  it('and each is a kernel of its own', async () => {
    const kinds = new Set<string>();
    for (const way of CONV_VARIANTS)
      kinds.add(String(await kernels('cifar10', 'f32', { ...rule, conv: () => way }, {})));
    // tiled-16/4 and tiled-16/16 differ in a number that is no part of the shader.
    expect(kinds.size).toBe(CONV_VARIANTS.length - 1);
  });
});

describe('the command line', () => {
  it.each(['navi31', 'navi21', 'vega10'])('draws (zeros) on %s', async (family) => {
    const [out, report] = [join(folder, `${family}.safetensors`), join(folder, `${family}.jsonl`)];
    const args = ['src/apps/cli/cli.mjs', 'sample', '--model', 'weights/digits', '--labels', '7', '--steps', '3', '--output', out]; // prettier-ignore
    const env = { ...layerEnvironment(family, { out: report }), SAMPLER_SELF_CHECK: '0' };
    const { status, output } = await runUnder(env, process.execPath, args);
    expect(status, output).toBe(0);
    expect(readSafetensors(readFileSync(out), out).get('x_0')!.shape).toEqual([1, 1, 32, 32]);
    if (family !== 'navi31') return;
    // All that was built, by its SPIR-V, is in the table.
    const lines = readFileSync(report, 'utf8').trim().split('\n');
    const built = lines.map((line) => JSON.parse(line) as { spirv: string; workgroup: number });
    const known = new Set(navi31.rows.map(({ spirv }) => spirv));
    expect(built.length).toBeGreaterThan(20);
    // The one of 8 invocations is Dawn's own: it turns timestamps into nanoseconds.
    expect(built.filter(({ spirv, workgroup }) => !known.has(spirv) && workgroup !== 8)).toEqual([]);
  });
});

describe('what is wrong is told', () => {
  const shader = (body: string) => `@group(0) @binding(0) var<storage, read_write> data: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) {${body}}`;
  const compileText = async (name: string, body: string) => {
    const file = join(folder, `${name}.wgsl`);
    writeFileSync(file, shader(body));
    return compileFor('navi31', { wgsl: [file] });
  };

  it('nothing, for a shader without fault', async () => {
    const compiled = await compileText('plain', 'data[i] = 2.0 * data[i];');
    expect(compiled.rows.map(({ kernel }) => kernel)).toEqual(['plain @64']);
    expect(faultsOf(compiled)).toEqual([]);
  });

  it('a refused shader', async () => {
    const compiled = await compileText('refused', 'data[i] = nothing;');
    expect(compiled.rows).toEqual([]);
    expect(faultsOf(compiled)).toEqual([
      expect.stringMatching(/^refused is refused on navi31: [^]*unresolved value 'nothing'/),
    ]);
  });

  it('scratch memory, for a large array that is indexed at run time', async () => {
    const body = `var own: array<f32, 1024>;
  for (var k = 0u; k < 1024u; k++) { own[k] = data[k * 64u + i]; }
  for (var k = 0u; k < 1024u; k++) { data[k * 64u + i] = own[u32(data[k]) % 1024u]; }`;
    const compiled = await compileText('large', body);
    expect(faultsOf(compiled)).toEqual([
      expect.stringMatching(/^large @64 takes \d+ bytes of scratch memory/),
    ]);
  });

  it('a spill, for more numbers than there are registers', async () => {
    const numbers = Array.from({ length: 300 }, (_, k) => k);
    const loads = numbers.map((k) => `let x${k} = data[${k}u * 64u + i];`).join('\n');
    // Each needs the sum of all, so all are alive at the end.
    const sum = `let sum = ${numbers.map((k) => `x${k}`).join(' + ')};`;
    const stores = numbers.map((k) => `data[${k}u * 64u + i] = x${k} * sum;`).join('\n');
    const compiled = await compileText('many', [loads, sum, stores].join('\n'));
    expect(faultsOf(compiled)).toContainEqual(
      expect.stringMatching(/^many @64 spills \d+ registers on navi31/),
    );
  });

  it('a kernel above the budget, a new one and one that is gone', () => {
    const [row] = navi31.rows;
    const budget = readBudget();
    const change = (own: Partial<typeof row>) => ({
      ...navi31,
      rows: [{ ...row!, ...own }, ...navi31.rows.slice(1)],
    });
    const [vgprs, lds] = budget.kernels[row!.kernel]!;
    const rewrite = /npm run gpu:static -- --write-budget/;
    const more = excessOf(change({ vgprs: vgprs + 1, lds: lds + 4 }), { ...budget, driver: navi31.driver });
    expect(more).toHaveLength(2);
    expect(more[0]).toMatch(`takes ${vgprs + 1} vector registers, and the budget allows ${vgprs}`);
    expect(more[1]).toMatch(`takes ${lds + 4} bytes of workgroup memory, and the budget allows ${lds}`);
    const changed = excessOf(change({ kernel: 'another f32 @64' }), budget);
    expect(changed).toEqual([expect.stringMatching(/^another f32 @64 is new/), expect.stringMatching(`^${row!.kernel} is in the budget, and no network`)]); // prettier-ignore
    for (const sentence of [...more, ...changed]) expect(sentence).toMatch(rewrite);
    // Another version of Mesa may take a step of registers more, and no more workgroup memory.
    const other = { ...budget, driver: '1.2.3' };
    expect(excessOf(change({ vgprs: vgprs + 12 }), other)).toEqual([]);
    expect(excessOf(change({ vgprs: vgprs + 13, lds: lds + 4 }), other)).toHaveLength(2);
  });

  it('an unknown family', async () => {
    await expect(compileFor('navi99')).rejects.toThrow(
      /Nothing was compiled for navi99 [^]*Unknown family: navi99/,
    );
  });
});

describe('npm run gpu:static', () => {
  const run = (...args: string[]) => runUnder({}, process.execPath, ['tools/gpu-static/main.mjs', ...args]);
  const few = ['--families', 'navi31', '--networks', 'digits', '--dtypes', 'f32'];

  it('keeps assembly, and models a step from it', async () => {
    const out = join(folder, 'kept');
    const { status, output } = await run('model', ...few, '--out', out);
    expect(status, output).toBe(0);
    expect(output).toMatch(/digits f32, rule, navi31 on 7900 XTX: \d+ dispatches, [\d.]+ GFLOP, [\d.]+ ms/);
    const { spirv } = navi31.rows.find(({ kernel }) => kernel === 'linear f32 @64')!;
    expect(existsSync(`${out}/navi31/${spirv}.Assembly.txt`)).toBe(true);
  });

  it('gives the table as JSON', async () => {
    const { status, output } = await run('--json', ...few);
    expect(status).toBe(0);
    const json = output.slice(output.indexOf('[\n'));
    const [compiled] = JSON.parse(json) as Compiled[];
    const row = navi31.rows.find(({ kernel }) => kernel === 'linear f32 @64')!;
    expect(compiled!.rows).toContainEqual(row);
  });
});
