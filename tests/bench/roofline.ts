/**
 * The least that an adapter can take for a network: sum over its layers of max(multiply-adds / peak, bytes / bandwidth).
 * What can be addressing counts nothing (concatenation, upsampling, residual sums ride on the convolutions); a norm
 * reads its input once more, for its statistics; sums are exact over the layers, zeros at the borders are not deducted.
 */

import type { AdapterFigures } from './adapter.ts';
import { LAYER, type Layer, type Network, type Weight } from './networks.ts';
import { walk, walkLayer, type Ops } from './walk.ts';

export interface LayerCost {
  /** The part of its name that tells its kind: 3x3 convolution at 16 x 16, ... */
  readonly kind: string;
  readonly name: string;
  readonly flops: number;
  readonly bytes: number;
}

type Shape = readonly number[];
const size = (shape: Shape): number => shape.reduce((a, b) => a * b, 1);

export function costs(work: { network: Network } | { layer: Layer }, batch: number, scalar = 4): LayerCost[] {
  const out: LayerCost[] = [];
  const weights: ReadonlyMap<string, Weight> = 'network' in work ? work.network.weights : work.layer.weights;
  const weightOf = (name: string): Shape => weights.get(`${name}.weight`)!.shape;
  const put = (kind: string, name: string, flops: number, numbers: number): void => {
    out.push({ kind, name, flops, bytes: numbers * scalar });
  };
  const side = (x: Shape): string => (x[2] === x[3] ? `${x[2]}²` : `${x[2]} x ${x[3]}`);
  const ops: Ops<Shape> = {
    conv(name, x, padding = 'same') {
      const w = weightOf(name);
      const [cOut, cIn, k] = w as [number, number, number];
      const by = padding === 'same' ? 1 : 2;
      const y = [batch, cOut, x[2]! / by, x[3]! / by];
      const kind = `conv ${k}x${k}${by > 1 ? ' /2' : ''} ${side(y)}`;
      put(kind, name, 2 * size(y) * cIn * k * k, size(x) + size(w) + size(y));
      return y;
    },
    norm(name, x) {
      put(`norm ${side(x)}`, name, 0, size(x));
      return x;
    },
    silu: (x) => x,
    linear(name, x) {
      const [cOut, cIn] = weightOf(name) as [number, number];
      put('linear', name, 2 * batch * cIn * cOut, size(x) + cIn * cOut + batch * cOut);
      return [batch, cOut];
    },
    shift: (x) => x,
    add: (x) => x,
    concat: (x, y) => [batch, x[1]! + y[1]!, x[2]!, x[3]!],
    upsample: (x) => [batch, x[1]!, 2 * x[2]!, 2 * x[3]!],
    attention(name, x) {
      const [, c, h, w] = x as [number, number, number, number];
      const projection = 2 * batch * c * c * h * w;
      put(
        `attention ${side(x)}`,
        name,
        4 * projection + 4 * batch * c * (h * w) ** 2,
        4 * c * c + 2 * size(x),
      );
      return x;
    },
    time: (f) => [batch, 2 * f.length],
    classes: (x) => x,
  };
  if ('network' in work) {
    const { config } = work.network;
    walk(work.network, ops, [batch, config.inChannels, ...config.sampleSize!]);
  } else walkLayer(work.layer, ops, [batch, LAYER.channels, work.layer.size, work.layer.size]);
  return out;
}

const milliseconds = ({ flops, bytes }: LayerCost, f: AdapterFigures): number =>
  Math.max(flops / f.peak.f32, bytes / Math.max(f.bandwidth.copy, f.bandwidth.read)) / 1e6;

export interface Roofline {
  readonly gflop: number;
  readonly ms: number;
  /** The part of `ms` of the layers of each kind, the largest first. */
  readonly kinds: readonly { kind: string; layers: number; gflop: number; ms: number }[];
}

/** @param dispatches of a step: each takes at least the adapter's floor */
export function roofline(
  layers: readonly LayerCost[],
  figures: AdapterFigures,
  dispatches: number,
): Roofline {
  const kinds = new Map<string, { kind: string; layers: number; gflop: number; ms: number }>();
  for (const layer of layers) {
    let row = kinds.get(layer.kind);
    if (!row) kinds.set(layer.kind, (row = { kind: layer.kind, layers: 0, gflop: 0, ms: 0 }));
    row.layers++;
    row.gflop += layer.flops / 1e9;
    row.ms += milliseconds(layer, figures);
  }
  const rows = [...kinds.values()].sort((a, b) => b.ms - a.ms);
  const floor = (dispatches * figures.dispatchMicroseconds) / 1000;
  return {
    gflop: rows.reduce((sum, r) => sum + r.gflop, 0),
    ms: rows.reduce((sum, r) => sum + r.ms, floor),
    kinds: rows,
  };
}

export interface KindRow {
  readonly kind: string;
  readonly layers: number;
  readonly gflop: number;
  readonly dispatches: number;
  /** Milliseconds that these dispatches took, each by itself. */
  readonly ms: number;
  /** The least that they could take, by the adapter's figures. */
  readonly roofMs: number;
}

/** What every kind of layer took, beside its roofline; the slowest first. A dispatch belongs to the layer that its label names. */
export function byKind(
  layers: readonly LayerCost[],
  dispatched: readonly { readonly label: string; readonly ms: number }[],
  figures: AdapterFigures,
): KindRow[] {
  const names = layers.toSorted((a, b) => b.name.length - a.name.length);
  const rows = new Map<string, { -readonly [K in keyof KindRow]: KindRow[K] }>();
  const row = (kind: string) => {
    if (!rows.has(kind)) rows.set(kind, { kind, layers: 0, gflop: 0, dispatches: 0, ms: 0, roofMs: 0 });
    return rows.get(kind)!;
  };
  for (const layer of layers) {
    const r = row(layer.kind);
    r.layers++;
    r.gflop += layer.flops / 1e9;
    r.roofMs += milliseconds(layer, figures);
  }
  for (const { label, ms } of dispatched) {
    const owner = names.find(({ name }) => label === name || label.startsWith(`${name}.`));
    // The time projections of all blocks are one product here.
    const r = row(owner?.kind ?? (label.startsWith('time_emb_proj') ? 'linear' : 'other'));
    r.dispatches++;
    r.ms += ms;
    r.roofMs += figures.dispatchMicroseconds / 1000;
  }
  return [...rows.values()].sort((a, b) => b.ms - a.ms);
}
