/** The rival ONNX Runtime Web: static shapes, weights in the model, everything that goes in or out stays on the GPU. */

import { affineSteps, type Engine, type Runner } from './engine.ts';
import { LAYER } from './networks.ts';
import { layerOnnx, networkOnnx, type Spelling } from './onnx.ts';

/** The part of its interface that is used here. */
interface Tensor {
  readonly dims: readonly number[];
}
interface Session {
  run(feeds: Record<string, Tensor>, fetches: Record<string, Tensor>): Promise<Record<string, Tensor>>;
  release(): Promise<void>;
}
interface Ort {
  readonly env: {
    logLevel?: string;
    readonly wasm: { wasmPaths?: { mjs: string; wasm: string }; numThreads?: number };
    readonly webgpu: { readonly device: GPUDevice | Promise<GPUDevice> };
  };
  readonly InferenceSession: { create(model: Uint8Array, options: object): Promise<Session> };
  readonly Tensor: {
    fromGpuBuffer(buffer: GPUBuffer, options: { dataType: string; dims: readonly number[] }): Tensor;
  };
}

export type Build = 'webgpu' | 'jsep';
const FILES: Readonly<Record<Build, readonly [library: string, wasm: string]>> = {
  webgpu: ['ort.webgpu.min.mjs', 'ort-wasm-simd-threaded.asyncify'],
  jsep: ['ort.min.mjs', 'ort-wasm-simd-threaded.jsep'],
};
let instances = 0;

/** What exporters write. Which spelling is the fastest is not measured yet: `--engines ort,ort+layer,ort+fused` tells. */
const SPELLING: Readonly<Record<Build, Spelling>> = {
  webgpu: { norm: 'instance', attention: 'plain' },
  jsep: { norm: 'instance', attention: 'plain' },
};

const STORAGE_AND_COPIES = 0x80 | 0x04 | 0x08;

/**
 * @param importer imports by address
 * @param base where the files of onnxruntime-web/dist are
 * @param capture ONNX Runtime replays its recorded commands (enableGraphCapture)
 */
export function ort(
  build: Build,
  importer: (name: string) => Promise<unknown>,
  base: string,
  capture: boolean,
  force: Partial<Spelling> = {},
): Engine {
  interface Port {
    readonly name: string;
    readonly dims: readonly number[];
    readonly data: Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer>;
  }
  /** An instance for every session: two sessions of one instance lose each other's buffers (1.30.0). */
  const load = async (): Promise<Ort> => {
    const [main, wasm] = FILES[build];
    const own = `?${instances++}`;
    const library = (await importer(`${base}${main}${own}`)) as Ort;
    library.env.wasm.wasmPaths = { mjs: `${base}${wasm}.mjs${own}`, wasm: `${base}${wasm}.wasm` };
    library.env.logLevel = 'error';
    return library;
  };

  /** One session with its buffers: `once` runs the network once, x to y; `back` copies y to x. */
  async function start(model: Uint8Array, ports: readonly Port[]) {
    const library = await load();
    const session = await library.InferenceSession.create(model, {
      executionProviders: ['webgpu'],
      preferredOutputLocation: 'gpu-buffer',
      enableGraphCapture: capture,
    });
    const device = await library.env.webgpu.device;
    const buffers = new Map<string, GPUBuffer>();
    const tensor = ({ name, dims, data }: Port): Tensor => {
      const size = Math.ceil(data.byteLength / 16) * 16;
      const buffer = device.createBuffer({ label: name, size, usage: STORAGE_AND_COPIES });
      device.queue.writeBuffer(buffer, 0, data);
      buffers.set(name, buffer);
      const dataType = data instanceof Int32Array ? 'int32' : 'float32';
      return library.Tensor.fromGpuBuffer(buffer, { dataType, dims });
    };
    const feeds = Object.fromEntries(ports.map((port) => [port.name, tensor(port)]));
    const x = ports[0]!;
    const fetches = { y: tensor({ ...x, name: 'y' }) };
    const bytes = x.data.byteLength;
    return {
      write: (name: string, data: Float32Array<ArrayBuffer>) =>
        device.queue.writeBuffer(buffers.get(name)!, 0, data),
      once: () => session.run(feeds, fetches),
      back() {
        const encoder = device.createCommandEncoder();
        encoder.copyBufferToBuffer(buffers.get('y')!, 0, buffers.get('x')!, 0, bytes);
        device.queue.submit([encoder.finish()]);
      },
      async read(): Promise<Float32Array> {
        const staging = device.createBuffer({ size: bytes, usage: 0x01 | 0x08 }); // MAP_READ | COPY_DST
        const encoder = device.createCommandEncoder();
        encoder.copyBufferToBuffer(buffers.get('y')!, 0, staging, 0, bytes);
        device.queue.submit([encoder.finish()]);
        await staging.mapAsync(1);
        const data = new Float32Array(staging.getMappedRange().slice(0));
        staging.destroy();
        return data;
      },
      async release() {
        await session.release();
        buffers.forEach((buffer) => buffer.destroy());
      },
    };
  }

  const spelling = { ...SPELLING[build], ...force };
  return {
    name: `${build === 'webgpu' ? 'ort' : 'ort-jsep'}${capture ? '+capture' : ''}`,
    async open({ network, batch, xT, labels }): Promise<Runner> {
      const [height, width] = network.config.sampleSize!;
      const one = Float32Array.of(1);
      const ports: Port[] = [
        { name: 'x', dims: [batch, network.config.inChannels, height, width], data: xT },
        { name: 't', dims: [batch, 1], data: new Float32Array(batch) },
        { name: 'a', dims: [1], data: one },
        { name: 'b', dims: [1], data: one },
        ...(labels ? [{ name: 'labels', dims: [batch], data: Int32Array.from(labels) }] : []),
      ];
      const session = await start(networkOnnx(network, batch, spelling), ports);
      const t = new Float32Array(batch);
      const [a, b] = [new Float32Array(1), new Float32Array(1)];
      const step = (numbers: { t: number; a: number; b: number }) => {
        session.write('t', t.fill(numbers.t));
        session.write('a', a.fill(numbers.a));
        session.write('b', b.fill(numbers.b));
        return session.once();
      };
      return {
        note: '',
        async predict(at) {
          session.write('x', xT);
          await step({ t: at, a: 0, b: 1 });
          return session.read();
        },
        async run(steps) {
          session.write('x', xT);
          for (const [k, numbers] of affineSteps(network, steps).entries()) {
            if (k > 0) session.back();
            await step(numbers);
          }
          return session.read();
        },
        destroy: () => void session.release(),
      };
    },
    async openLayer({ layer, batch, x }): Promise<Runner> {
      const ports: Port[] = [{ name: 'x', dims: [batch, LAYER.channels, layer.size, layer.size], data: x }];
      const session = await start(layerOnnx(layer, batch, spelling, LAYER.channels), ports);
      const run: Runner['run'] = async (times) => {
        for (let i = 0; i < times; i++) await session.once();
        return session.read();
      };
      return { note: '', predict: () => run(1), run, destroy: () => void session.release() };
    },
  };
}
