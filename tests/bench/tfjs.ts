/** The rival tfjs: the network in its operations, NHWC, weights resident, everything in tidy. */

import type * as TF from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Engine, Runner } from './engine.ts';
import { affineSteps } from './engine.ts';
import { LAYER, type Weight } from './networks.ts';
import { walk, walkLayer, type Ops } from './walk.ts';

type T = Tensor;
type Tf = typeof TF;

async function loadTf(load: (name: string) => Promise<unknown>): Promise<Tf> {
  const tf = (await load('@tensorflow/tfjs-core')) as Tf;
  await load('@tensorflow/tfjs-backend-webgpu');
  if (!(await tf.setBackend('webgpu'))) throw new Error('tfjs finds no WebGPU');
  await tf.ready();
  return tf;
}

/** Weights in the layouts of tfjs: convolutions (K, K, in, out), linear (in, out). */
function upload(tf: Tf, weights: ReadonlyMap<string, Weight>): Map<string, T> {
  const out = new Map<string, T>();
  for (const [name, { shape, data }] of weights) {
    if (shape.length === 1 || name === 'class_embedding.weight' || !name.endsWith('.weight')) {
      out.set(name, tf.tensor(data, [...shape]));
      continue;
    }
    const [o, i, k = 1] = shape as [number, number, number?];
    const turned = new Float32Array(data.length);
    const taps = k * k;
    for (let r = 0; r < o; r++)
      for (let c = 0; c < i; c++)
        for (let tap = 0; tap < taps; tap++) turned[(tap * i + c) * o + r] = data[(r * i + c) * taps + tap]!;
    out.set(name, tf.tensor(turned, shape.length === 4 ? [k, k, i, o] : [i, o]));
  }
  return out;
}

function operations(tf: Tf, weights: Map<string, T>, batch: number, inputs: { t?: T; labels?: T }): Ops<T> {
  const silu = (x: T): T => tf.mul(x, tf.sigmoid(x));
  const get = (name: string): T => weights.get(name)!;
  /** (..., in) -> (..., out) */
  const dense = (name: string, x: T): T =>
    tf.fused.matMul({ a: x, b: get(`${name}.weight`), bias: get(`${name}.bias`) });
  return {
    silu,
    linear: dense,
    conv: (name, x, padding = 'same') =>
      tf.fused.conv2d({
        x,
        filter: get(`${name}.weight`),
        bias: get(`${name}.bias`),
        strides: padding === 'same' ? 1 : 2,
        pad: padding === 'half' ? 1 : 'same', // TensorFlow's SAME of stride 2 pads right and below
      }),
    norm(name, x, groups, eps, activated) {
      const [, h, w, c] = x.shape as [number, number, number, number];
      const part = c / groups;
      const split = tf.reshape(x, [batch, h * w, groups, part]);
      // Inner sums are the fast ones: one transpose for both moments.
      const rows = tf.reshape(tf.transpose(split, [0, 2, 1, 3]), [batch, groups, h * w * part]);
      const mean = tf.mean(rows, 2, true);
      const variance = tf.mean(tf.squaredDifference(rows, mean), 2);
      const y = tf.batchNorm(
        split,
        tf.reshape(mean, [batch, 1, groups, 1]),
        tf.reshape(variance, [batch, 1, groups, 1]),
        tf.reshape(get(`${name}.bias`), [1, 1, groups, part]),
        tf.reshape(get(`${name}.weight`), [1, 1, groups, part]),
        eps,
      );
      const out = tf.reshape(y, x.shape);
      return activated ? silu(out) : out;
    },
    shift: (x, vector) => tf.add(x, tf.reshape(vector, [batch, 1, 1, x.shape[3]!])),
    add: (x, y) => tf.add(x, y),
    concat: (x, y) => tf.concat([x, y], 3),
    upsample: (x) => tf.image.resizeNearestNeighbor(x, [2 * x.shape[1]!, 2 * x.shape[2]!]),
    attention(name, x, heads) {
      const [, h, w, c] = x.shape as [number, number, number, number];
      const d = c / heads;
      const flat = tf.reshape(x, [batch * h * w, c]);
      const part = (layer: string): T => {
        const y = tf.reshape(dense(`${name}.${layer}`, flat), [batch, h * w, heads, d]);
        return heads === 1
          ? tf.reshape(y, [batch, h * w, c])
          : tf.reshape(tf.transpose(y, [0, 2, 1, 3]), [batch * heads, h * w, d]);
      };
      const scores = tf.matMul(tf.mul(part('to_q'), 1 / Math.sqrt(d)), part('to_k'), false, true);
      let mixed = tf.matMul(tf.softmax(scores), part('to_v'));
      if (heads > 1) mixed = tf.transpose(tf.reshape(mixed, [batch, heads, h * w, d]), [0, 2, 1, 3]);
      return tf.reshape(dense(`${name}.to_out.0`, tf.reshape(mixed, [batch * h * w, c])), x.shape);
    },
    time(f, cosFirst) {
      const angle = tf.mul(inputs.t!, frequencyOf(tf, f));
      const parts = [tf.sin(angle), tf.cos(angle)];
      return tf.concat(cosFirst ? parts.reverse() : parts, 1);
    },
    classes: (x) => tf.add(x, tf.gather(get('class_embedding.weight'), inputs.labels!)),
  };
}

const frequencyCache = new WeakMap<Float32Array, T>();
function frequencyOf(tf: Tf, f: Float32Array<ArrayBuffer>): T {
  let tensor = frequencyCache.get(f);
  if (!tensor) frequencyCache.set(f, (tensor = tf.keep(tf.tensor(f, [1, f.length]))));
  return tensor;
}

const toNhwc = (tf: Tf, x: Float32Array<ArrayBuffer>, [n, c, h, w]: readonly number[]): T =>
  tf.tidy(() => tf.transpose(tf.tensor(x, [n!, c!, h!, w!]), [0, 2, 3, 1]));
async function toPlanar(tf: Tf, x: T): Promise<Float32Array> {
  const turned = tf.transpose(x, [0, 3, 1, 2]);
  const data = (await turned.data()) as Float32Array;
  turned.dispose();
  return data;
}

export const tfjs = (load: (name: string) => Promise<unknown>): Engine => ({
  name: 'tfjs',
  async open({ network, batch, xT, labels }) {
    const tf = await loadTf(load);
    const weights = upload(tf, network.weights);
    const [h, w] = network.config.sampleSize!;
    const start = toNhwc(tf, xT, [batch, network.config.inChannels, h, w]);
    const classes = labels && tf.tensor(Int32Array.from(labels), [batch], 'int32');
    const times = new Map<number, T>();
    const step = (x: T, { t, a, b }: { t: number; a: number; b: number }): T => {
      let time = times.get(t);
      if (!time) times.set(t, (time = tf.tensor(new Float32Array(batch).fill(t), [batch, 1])));
      return tf.tidy(() => {
        const all = walk(network, operations(tf, weights, batch, { t: time, ...(classes ? { labels: classes } : {}) }), x); // prettier-ignore
        // A learned variance is left out.
        const eps = all.shape[3]! > x.shape[3]! ? tf.slice(all, [0, 0, 0, 0], x.shape) : all;
        return tf.add(tf.mul(x, a), tf.mul(eps, b));
      });
    };
    return {
      note: '',
      async predict(t) {
        const eps = step(start, { t, a: 0, b: 1 });
        const data = await toPlanar(tf, eps);
        eps.dispose();
        return data;
      },
      async run(steps) {
        let x = start;
        for (const numbers of affineSteps(network, steps)) {
          const next = step(x, numbers);
          if (x !== start) x.dispose();
          x = next;
        }
        const data = await toPlanar(tf, x);
        x.dispose();
        return data;
      },
      destroy: () => [start, ...weights.values(), ...times.values()].forEach((tensor) => tensor.dispose()),
    };
  },
  async openLayer({ layer, batch, x }) {
    const tf = await loadTf(load);
    const weights = upload(tf, layer.weights);
    const start = toNhwc(tf, x, [batch, LAYER.channels, layer.size, layer.size]);
    const run: Runner['run'] = async (times) => {
      let y = start;
      for (let i = 0; i < times; i++) {
        if (y !== start) y.dispose();
        y = tf.tidy(() => walkLayer(layer, operations(tf, weights, batch, {}), start));
      }
      const data = await toPlanar(tf, y);
      y.dispose();
      return data;
    };
    return {
      note: '',
      predict: () => run(1),
      run,
      destroy: () => [start, ...weights.values()].forEach((tensor) => tensor.dispose()),
    };
  },
});
