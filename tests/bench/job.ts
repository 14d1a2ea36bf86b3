/** One comparison, from its names to its numbers: the same in Node and in the page. */

import type { Gpu } from '../../src/engine/gpu/device.ts';
import { openGpu } from '../../src/engine/gpu/device.ts';
import { normals, STREAM_X_T } from '../../src/schedule/noise.ts';
import { measureAdapter, type AdapterFigures } from './adapter.ts';
import { ours, type Engine, type Way } from './engine.ts';
import { compare, type Contender, type Failure, type Protocol, type Timing } from './measure.ts';
import { LAYER, LAYERS, openLayer, openNetwork, type OpenFolder } from './networks.ts';
import { ort } from './ort.ts';
import { installProbe } from './probe.ts';
import { costs, type LayerCost } from './roofline.ts';
import { tfjs } from './tfjs.ts';

export interface Place {
  /** Entry point of WebGPU; the same at every call. */
  gpu(): Promise<GPU | undefined>;
  /** Imports a rival by its package name or address. */
  load(name: string): Promise<unknown>;
  readonly open: OpenFolder;
  /** Address of onnxruntime-web/dist/. */
  readonly ortBase: string;
}

export interface Spec {
  /** Of networks.ts: a network or a layer. */
  readonly name: string;
  readonly batch: number;
  readonly engines: readonly string[];
  readonly protocol: Omit<Protocol, 'log' | 'compareAt' | 'tolerance'>;
}

export interface Outcome {
  readonly name: string;
  readonly batch: number;
  readonly parameters: number;
  /** Milliseconds of a layer's run are those of so many layers in a row. */
  readonly repeats: number;
  readonly layers: readonly LayerCost[];
  readonly timings: readonly Timing[];
  readonly failures: readonly Failure[];
}

/** Sums in f32 over thousands of numbers, in another order. */
const TOLERANCE = { f32: 2e-3, f16: 5e-2 };

export const ENGINES = ['ours', 'ours-f16', 'ort', 'ort+capture', 'ort-jsep', 'ort-jsep+capture', 'tfjs'];

function engineOf(name: string, place: Place): Engine {
  const [own, way] = name.split('+') as [string, Way?];
  if (own === 'ours' || own === 'ours-f16') return ours(place.gpu, own === 'ours' ? 'f32' : 'f16', way);
  if (name === 'tfjs') return tfjs(place.load);
  // ort, ort-jsep; +capture; +layer, +fused: other spellings of norm and attention, to try what is fastest.
  const [build, ...options] = name.split('+');
  const spelling = {
    ...(options.includes('layer') ? { norm: 'layer' as const } : {}),
    ...(options.includes('fused') ? { attention: 'fused' as const } : {}),
  };
  const capture = options.includes('capture');
  return {
    ...ort(build === 'ort-jsep' ? 'jsep' : 'webgpu', place.load, place.ortBase, capture, spelling),
    name,
  };
}

/** null where the network's checkpoint is not here. */
export async function runSpec(
  spec: Spec,
  place: Place,
  log: (line: string) => void,
): Promise<Outcome | null> {
  installProbe();
  const { name, batch } = spec;
  const isLayer = name in LAYERS;
  const network = isLayer ? null : await openNetwork(name, place.open);
  if (!isLayer && !network) return null;
  const layer = isLayer ? openLayer(name) : null;
  const noise = (size: number): Float32Array<ArrayBuffer> => normals(7, STREAM_X_T, 0, batch * size);
  log(`${name}, batch ${batch}`);

  const contender = (engineName: string): Contender => {
    const engine = engineOf(engineName, place);
    const open = (): ReturnType<Contender['open']> => {
      if (layer)
        return engine.openLayer({ layer, batch, x: noise(LAYER.channels * layer.size * layer.size) });
      const { inChannels, sampleSize, numClassEmbeds } = network!.config;
      const labels =
        numClassEmbeds === null ? null : Array.from({ length: batch }, (_, n) => n % numClassEmbeds);
      return engine.open({
        network: network!,
        batch,
        xT: noise(inChannels * sampleSize![0] * sampleSize![1]),
        labels,
      });
    };
    return {
      name: engine.name,
      tolerance: engineName.startsWith('ours-f16') ? TOLERANCE.f16 : TOLERANCE.f32,
      open,
    };
  };
  const T = network?.schedule.T ?? 1;
  const { timings, failures } = await compare(spec.engines.map(contender), {
    ...spec.protocol,
    compareAt: layer ? [0] : [T - 1, Math.floor(T / 4)],
    log,
  });
  return {
    name,
    batch,
    parameters:
      network?.parameters ?? [...layer!.weights.values()].reduce((sum, w) => sum + w.data.length, 0),
    repeats: layer ? LAYER.repeats : 1,
    layers: costs(network ? { network } : { layer: layer! }, batch),
    timings,
    failures,
  };
}

export async function adapterFigures(place: Place): Promise<AdapterFigures> {
  const gpu: Gpu = await openGpu(await place.gpu());
  try {
    return await measureAdapter(gpu);
  } finally {
    gpu.destroy();
  }
}
