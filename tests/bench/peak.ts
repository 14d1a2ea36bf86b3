/** The multiply-add peak of an adapter, measured: chains of vec4 fma in registers, the best of three widths. */

import type { Gpu } from '../../src/gpu/device.ts';

const THREADS = 64 * 256;

const code = (chains: number, rounds: number): string => `
@group(0) @binding(0) var<storage, read_write> sink: array<vec4f>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let s = vec4f(f32(id.x) * 1e-9);
  ${Array.from({ length: chains }, (_, i) => `var a${i} = s + ${i}.0;`).join('\n  ')}
  for (var i = 0u; i < ${rounds}u; i++) {
    ${Array.from({ length: chains }, (_, i) => `a${i} = fma(a${i}, vec4f(0.999), s);`).join('\n    ')}
  }
  sink[id.x] = ${Array.from({ length: chains }, (_, i) => `a${i}`).join(' + ')};
}`;

/** In GFLOP/s; a multiply-add counts two. */
export async function multiplyAddPeak(gpu: Gpu): Promise<number> {
  const { device } = gpu;
  const sink = device.createBuffer({ size: THREADS * 16, usage: 0x80 });
  let best = 0;
  for (const chains of [4, 8, 16]) {
    let rounds = 256;
    for (;;) {
      const module = device.createShaderModule({ code: code(chains, rounds) });
      const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module } });
      const group = device.createBindGroup({
        layout: pipeline.getBindGroupLayout(0),
        entries: [{ binding: 0, resource: { buffer: sink } }],
      });
      const once = async (): Promise<number> => {
        const began = performance.now();
        const encoder = device.createCommandEncoder();
        const pass = encoder.beginComputePass();
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, group);
        pass.dispatchWorkgroups(THREADS / 64);
        pass.end();
        device.queue.submit([encoder.finish()]);
        await gpu.settled();
        return (performance.now() - began) / 1000;
      };
      await once(); // compiles
      const seconds = Math.min(await once(), await once(), await once());
      best = Math.max(best, (THREADS * rounds * chains * 8) / seconds / 1e9);
      if (seconds > 0.05 || rounds > 1e6) break;
      rounds *= 8;
    }
  }
  sink.destroy();
  return best;
}
