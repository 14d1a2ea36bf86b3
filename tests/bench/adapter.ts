/** What an adapter can do at best, measured: multiply-adds, memory, dispatches, round trips. */

import type { Gpu } from '../../src/engine/gpu/device.ts';

export interface AdapterFigures {
  readonly adapter: string;
  readonly software: boolean;
  /** Multiply-add peak in GFLOP/s, a multiply-add counting two; f16 null where it has none. */
  readonly peak: { readonly f32: number; readonly f16: number | null };
  /** GB/s, the best of several shapes: `copy` counts what is read and what is written. */
  readonly bandwidth: { readonly copy: number; readonly read: number };
  /** Of 1000 dependent dispatches that do nothing, in one pass: microseconds each. */
  readonly dispatchMicroseconds: number;
  /** Milliseconds of an empty submit until it is known to be done, and of a read-back of 16 bytes. */
  readonly submitMs: number;
  readonly readBackMs: number;
}

const STORAGE = 0x80;

interface Kernel {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
}

async function compile(gpu: Gpu, code: string, buffers: readonly GPUBuffer[]): Promise<Kernel> {
  const module = gpu.device.createShaderModule({ code });
  const pipeline = await gpu.device.createComputePipelineAsync({ layout: 'auto', compute: { module } });
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
  return { pipeline, group: gpu.device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }) };
}

/** Seconds of `times` dispatches in one pass, the best of three after a warm one. */
async function seconds(
  gpu: Gpu,
  { pipeline, group }: Kernel,
  grid: readonly [number, number?],
  times = 1,
): Promise<number> {
  const once = async (): Promise<number> => {
    const began = performance.now();
    const encoder = gpu.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    for (let i = 0; i < times; i++) pass.dispatchWorkgroups(...grid);
    pass.end();
    gpu.device.queue.submit([encoder.finish()]);
    await gpu.settled();
    return (performance.now() - began) / 1000;
  };
  await once();
  return Math.min(await once(), await once(), await once());
}

const peakCode = (
  type: string,
  chains: number,
  unroll: number,
  rounds: number,
  workgroup: number,
): string => `
${type === 'f16' ? 'enable f16;' : ''}
@group(0) @binding(0) var<storage, read_write> sink: array<vec4<${type}>>;
@compute @workgroup_size(${workgroup})
fn main(@builtin(global_invocation_id) id: vec3u) {
  let s = sink[id.x];
  ${Array.from({ length: chains }, (_, i) => `var a${i} = s + ${i}.0;`).join('\n  ')}
  for (var i = 0u; i < ${rounds}u; i++) {
    ${Array.from({ length: unroll * chains }, (_, i) => `a${i % chains} = fma(a${i % chains}, vec4<${type}>(0.999), s);`).join('\n    ')}
  }
  sink[id.x] = ${Array.from({ length: chains }, (_, i) => `a${i}`).join(' + ')};
}`;

/** In GFLOP/s: chains of vec4 fma in registers, the best of several widths, unrollings and workgroups. */
export async function multiplyAddPeak(gpu: Gpu, type: 'f32' | 'f16' = 'f32'): Promise<number> {
  let best = 0;
  let threads = 1 << 14;
  for (const [chains, unroll, workgroup] of [
    [4, 8, 64],
    [8, 8, 64],
    [8, 8, 256],
    [12, 8, 128],
    [16, 1, 64],
  ] as const) {
    let rounds = 32;
    for (;;) {
      const sink = gpu.device.createBuffer({ size: threads * 16, usage: STORAGE });
      const kernel = await compile(gpu, peakCode(type, chains, unroll, rounds, workgroup), [sink]);
      const s = await seconds(gpu, kernel, [threads / workgroup]);
      sink.destroy();
      best = Math.max(best, (threads * rounds * unroll * chains * 8) / s / 1e9);
      if (s > 0.05) break;
      if (rounds < 512) rounds *= 4;
      else if (threads < 1 << 21) threads *= 4;
      else break;
    }
  }
  return best;
}

async function bandwidth(gpu: Gpu, bytes: number): Promise<AdapterFigures['bandwidth']> {
  const from = gpu.device.createBuffer({ size: bytes, usage: STORAGE });
  const to = gpu.device.createBuffer({ size: bytes, usage: STORAGE });
  const best = { copy: 0, read: 0 };
  for (const each of [1, 4, 16]) {
    const threads = bytes / 16 / each;
    const head = `
@group(0) @binding(0) var<storage, read_write> to: array<vec4f>;
@group(0) @binding(1) var<storage, read> source: array<vec4f>;
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wid: vec3u, @builtin(local_invocation_index) lid: u32) {
  let first = wid.x * ${256 * each}u + lid;`;
    const items = Array.from({ length: each }, (_, i) => `first + ${256 * i}u`);
    const copy = `${head}\n${items.map((i) => `to[${i}] = source[${i}];`).join('\n')}\n}`;
    const read = `${head}\n to[wid.x * 256u + lid] = ${items.map((i) => `source[${i}]`).join(' + ')};\n}`;
    const grid = [threads / 256] as const;
    best.copy = Math.max(
      best.copy,
      (2 * bytes) / (await seconds(gpu, await compile(gpu, copy, [to, from]), grid)),
    );
    const moved = bytes * (1 + 1 / each);
    best.read = Math.max(best.read, moved / (await seconds(gpu, await compile(gpu, read, [to, from]), grid)));
  }
  from.destroy();
  to.destroy();
  return { copy: best.copy / 1e9, read: best.read / 1e9 };
}

async function roundTrip(run: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < 12; i++) {
    const began = performance.now();
    await run();
    times.push(performance.now() - began);
  }
  return times.slice(2).sort((a, b) => a - b)[5]!;
}

export async function measureAdapter(gpu: Gpu): Promise<AdapterFigures> {
  const { device } = gpu;
  const scrap = device.createBuffer({ size: 256, usage: STORAGE | 0x04 }); // COPY_SRC
  const staging = device.createBuffer({ size: 16, usage: 0x01 | 0x08 }); // MAP_READ | COPY_DST
  const empty = await compile(
    gpu,
    '@group(0) @binding(0) var<storage, read_write> b: array<u32>;\n@compute @workgroup_size(1) fn main() { b[0] += 1u; }',
    [scrap],
  );
  const figures = {
    adapter: gpu.adapter,
    software: gpu.isSoftware,
    peak: {
      f32: await multiplyAddPeak(gpu),
      f16: gpu.f16 ? await multiplyAddPeak(gpu, 'f16') : null,
    },
    bandwidth: await bandwidth(gpu, 1 << 26),
    dispatchMicroseconds: (await seconds(gpu, empty, [1], 1000)) * 1000,
    submitMs: await roundTrip(() => {
      device.queue.submit([device.createCommandEncoder().finish()]);
      return gpu.settled();
    }),
    readBackMs: await roundTrip(async () => {
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(scrap, 0, staging, 0, 16);
      device.queue.submit([encoder.finish()]);
      await staging.mapAsync(1);
      staging.unmap();
    }),
  };
  scrap.destroy();
  staging.destroy();
  return figures;
}
