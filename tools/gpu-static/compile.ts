/**
 * Compiles kernels on whatever adapter Dawn finds: those of networks, or WGSL files by themselves. A process of its own,
 * as the environment picks the adapter. families.ts starts it and reads what it writes.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';
import { diskFiles } from '../../src/apps/cli/files.ts';
import { openGpu } from '../../src/engine/gpu/device.ts';
import { pipelineFor } from '../../src/engine/gpu/pipelines.ts';
import type { DType } from '../../src/core/tensor.ts';
import { networkConfig } from '../../tests/bench/networks.ts';
import { Kernels, type Launch } from './kernels.ts';
// At top level: Vite's runner is closed when this module is loaded.
import { create, globals } from 'webgpu';

export interface Job {
  /** JSON: what was compiled. */
  readonly out: string;
  readonly networks: readonly string[];
  readonly dtypes: readonly DType[];
  /** Files of WGSL instead of networks. */
  readonly wgsl: readonly string[];
}

export interface Refusal {
  readonly kernel: string;
  readonly message: string;
}

/** What the process writes to `Job.out`. */
export interface Result {
  readonly adapter: string;
  /** Names of all kernels that were asked for. */
  readonly asked: readonly string[];
  readonly refused: readonly Refusal[];
  readonly launches: readonly Launch[];
}

Object.assign(globalThis, globals);
/** Held here: Dawn's devices do not keep it. Labels go to the driver, as the layer reads them. */
const gpuEntry = create(['enable-dawn-features=use_user_defined_labels_in_backend']);

/** The label of the probe in src/engine/gpu/quads.ts. A device that refuses it goes on without quads, and says nothing. */
const PROBE = 'quads';

/** Why the device refuses what `build` makes; null if it does not. */
async function refusal(device: GPUDevice, build: () => Promise<unknown>): Promise<string | null> {
  device.pushErrorScope('validation');
  const building = build().then(
    () => null,
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  );
  const scope = device.popErrorScope(); // what building refuses at once: the WGSL itself
  return (await scope)?.message ?? (await building);
}

async function compileNetworks({ networks, dtypes }: Job): Promise<Result> {
  const opened = await openGpu(gpuEntry);
  // What only compiles reads back zeros, so the probe of src/engine/gpu/quads.ts says no. The real GPU has quads.
  const gpu = { ...opened, supportsQuadOps: opened.device.features.has('subgroups') };
  const kernels = new Kernels(gpu);
  for (const name of networks) {
    const config = await networkConfig(name, (path) => Promise.resolve(diskFiles(path)));
    if (!config) throw new Error(`The network ${name} is not there.`);
    for (const dtype of dtypes) {
      if (dtype === 'f16' && !gpu.f16) throw new Error(`${gpu.adapter} has no 16-bit floats.`);
      kernels.add(name, config, dtype);
    }
  }
  const refused = await Promise.all(
    [...kernels.all.values()].map(async ({ name, gpu: on, dispatch }) => {
      const message = await refusal(gpu.device, () => pipelineFor(on, dispatch));
      return message === null ? [] : [{ kernel: name, message }];
    }),
  );
  gpu.check();
  const asked = [...(gpu.supportsQuadOps ? [PROBE] : []), ...kernels.all.keys()];
  return { adapter: gpu.adapter, asked, refused: refused.flat(), launches: kernels.launches };
}

/** Overrides of a WGSL file, a pipeline each: its lines `// constants: A=1 B=2`. */
function constantsOf(code: string): Record<string, number>[] {
  const lines = [...code.matchAll(/^\/\/ constants:(.*)$/gm)].map(([, text]) => text!.trim());
  return (lines.length ? lines : ['']).map((line) =>
    Object.fromEntries(
      line
        .split(/\s+/)
        .filter(Boolean)
        .map((pair) => pair.split('='))
        .map(([name, value]) => [name, Number(value)]),
    ),
  );
}

async function compileFiles({ wgsl }: Job): Promise<Result> {
  const adapter = await gpuEntry.requestAdapter();
  if (!adapter) throw new Error('Dawn finds no adapter.');
  const wanted: GPUFeatureName[] = ['shader-f16', 'subgroups'];
  const { maxComputeWorkgroupStorageSize } = adapter.limits;
  const device = await adapter.requestDevice({
    requiredFeatures: wanted.filter((feature) => adapter.features.has(feature)),
    requiredLimits: { maxComputeWorkgroupStorageSize },
  });
  const refused: Refusal[] = [];
  const asked: string[] = [];
  for (const file of wgsl) {
    const code = readFileSync(file, 'utf8');
    for (const constants of constantsOf(code)) {
      const set = Object.entries(constants).map(([name, value]) => `${name}=${value}`);
      const kernel = [basename(file, '.wgsl'), ...set].join(' ');
      asked.push(kernel);
      const message = await refusal(device, async () => {
        const module = device.createShaderModule({ label: kernel, code });
        await device.createComputePipelineAsync({ layout: 'auto', compute: { module, constants } });
      });
      if (message !== null) refused.push({ kernel, message });
    }
  }
  const { vendor, architecture, description } = adapter.info;
  const name = `${vendor} ${architecture} ${description}`;
  return { adapter: name, asked, refused, launches: [] };
}

/** @returns the exit status */
export async function main(argument: string): Promise<number> {
  const job = JSON.parse(argument) as Job;
  const result = await (job.wgsl.length ? compileFiles(job) : compileNetworks(job));
  writeFileSync(job.out, JSON.stringify(result));
  return 0;
}
