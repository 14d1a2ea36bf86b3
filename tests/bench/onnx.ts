/** A network as an ONNX model (opset 17, static shapes), written by protobufjs. */

import protobuf from 'protobufjs/light.js';
import type { Layer, Network, Weight } from './networks.ts';
import { walk, walkLayer, type Ops } from './walk.ts';

/** The part of onnx.proto that is used here; the numbers are its own. */
const proto = protobuf.Root.fromJSON({
  nested: {
    Model: {
      fields: {
        irVersion: { id: 1, type: 'int64' },
        producerName: { id: 2, type: 'string' },
        graph: { id: 7, type: 'Graph' },
        opsetImport: { id: 8, rule: 'repeated', type: 'Opset' },
      },
    },
    Opset: { fields: { domain: { id: 1, type: 'string' }, version: { id: 2, type: 'int64' } } },
    Graph: {
      fields: {
        node: { id: 1, rule: 'repeated', type: 'Node' },
        name: { id: 2, type: 'string' },
        initializer: { id: 5, rule: 'repeated', type: 'Tensor' },
        input: { id: 11, rule: 'repeated', type: 'ValueInfo' },
        output: { id: 12, rule: 'repeated', type: 'ValueInfo' },
      },
    },
    Node: {
      fields: {
        input: { id: 1, rule: 'repeated', type: 'string' },
        output: { id: 2, rule: 'repeated', type: 'string' },
        name: { id: 3, type: 'string' },
        opType: { id: 4, type: 'string' },
        attribute: { id: 5, rule: 'repeated', type: 'Attribute' },
        domain: { id: 7, type: 'string' },
      },
    },
    Attribute: {
      fields: {
        name: { id: 1, type: 'string' },
        f: { id: 2, type: 'float' },
        i: { id: 3, type: 'int64' },
        s: { id: 4, type: 'bytes' },
        ints: { id: 8, rule: 'repeated', type: 'int64' },
        type: { id: 20, type: 'int32' },
      },
    },
    Tensor: {
      fields: {
        dims: { id: 1, rule: 'repeated', type: 'int64' },
        dataType: { id: 2, type: 'int32' },
        name: { id: 8, type: 'string' },
        rawData: { id: 9, type: 'bytes' },
      },
    },
    ValueInfo: { fields: { name: { id: 1, type: 'string' }, type: { id: 2, type: 'Type' } } },
    Type: { fields: { tensorType: { id: 1, type: 'TensorType' } } },
    TensorType: { fields: { elemType: { id: 1, type: 'int32' }, shape: { id: 2, type: 'TensorShape' } } },
    TensorShape: { fields: { dim: { id: 1, rule: 'repeated', type: 'Dimension' } } },
    Dimension: { fields: { dimValue: { id: 1, type: 'int64' } } },
  },
});

const FLOAT = 1;
const INT32 = 6;
const INT64 = 7;
type Attribute = number | string | readonly number[];

/** A value of the graph by name, with its static shape. */
interface Value {
  readonly name: string;
  readonly shape: readonly number[];
}

class Graph {
  readonly #nodes: { input: string[]; output: string[] }[] = [];
  readonly #initializers: object[] = [];
  readonly #inputs: object[] = [];
  readonly #constants = new Map<string, Value>();
  readonly #domains = new Set<string>();
  #count = 0;

  node(
    opType: string,
    inputs: readonly Value[],
    shape: readonly number[],
    attributes: Readonly<Record<string, Attribute>> = {},
    { name = `${opType}_${this.#count++}`, domain = '' } = {},
  ): Value {
    this.#domains.add(domain);
    const attribute = Object.entries(attributes).map(([key, value]) => {
      if (typeof value === 'string') return { name: key, s: new TextEncoder().encode(value), type: 3 };
      if (typeof value === 'object') return { name: key, ints: value, type: 7 };
      return FLOATS.has(key) ? { name: key, f: value, type: 1 } : { name: key, i: value, type: 2 };
    });
    const input = inputs.map((v) => v.name);
    const node = { input, output: [name], name, opType, domain, attribute };
    this.#nodes.push(node);
    return { name, shape };
  }

  input(name: string, shape: readonly number[], type = FLOAT): Value {
    this.#inputs.push(info(name, shape, type));
    return { name, shape };
  }

  floats(name: string, shape: readonly number[], data: Float32Array<ArrayBuffer>): Value {
    return this.#initializer(name, shape, FLOAT, data);
  }

  ints(values: readonly number[]): Value {
    return this.#initializer(
      `ints ${values.join()}`,
      [values.length],
      INT64,
      BigInt64Array.from(values, BigInt),
    );
  }

  #initializer(
    name: string,
    shape: readonly number[],
    dataType: number,
    data: ArrayBufferView<ArrayBuffer>,
  ): Value {
    let value = this.#constants.get(name);
    if (!value) {
      const rawData = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      this.#initializers.push({ name, dims: shape, dataType, rawData });
      this.#constants.set(name, (value = { name, shape }));
    }
    return value;
  }

  /** The model whose one output, y, is this value: that of the last node. */
  encode({ shape }: Value): Uint8Array {
    this.#nodes.at(-1)!.output = ['y'];
    const Model = proto.lookupType('Model');
    const opsets: Record<string, number> = { '': 17, 'com.microsoft': 1 };
    return Model.encode({
      irVersion: 8,
      producerName: 'diffusion-sampler bench',
      opsetImport: [...this.#domains].map((domain) => ({ domain, version: opsets[domain] })),
      graph: {
        name: 'network',
        node: this.#nodes,
        initializer: this.#initializers,
        input: this.#inputs,
        output: [info('y', shape, FLOAT)],
      },
    }).finish();
  }
}
const FLOATS = new Set(['epsilon', 'scale', 'alpha']);
const info = (name: string, shape: readonly number[], elemType: number): object => ({
  name,
  type: { tensorType: { elemType, shape: { dim: shape.map((dimValue) => ({ dimValue })) } } },
});

/** The ways to write what ONNX has no operator for (or ONNX Runtime no kernel): it gets the fastest. */
export interface Spelling {
  /** Group norm by InstanceNormalization over (N, groups, rest), or by LayerNormalization over the same. */
  readonly norm: 'instance' | 'layer';
  /** MatMul, Softmax, MatMul; or ONNX Runtime's own MultiHeadAttention. */
  readonly attention: 'plain' | 'fused';
}

function operations(
  g: Graph,
  weights: ReadonlyMap<string, Weight>,
  batch: number,
  spelling: Spelling,
): Ops<Value> {
  const weight = (name: string, shape = weights.get(name)!.shape): Value =>
    g.floats(name, shape, weights.get(name)!.data);
  const reshape = (x: Value, shape: readonly number[]): Value => g.node('Reshape', [x, g.ints(shape)], shape);
  const like = (op: string, x: Value, y: Value): Value => g.node(op, [x, y], x.shape);
  const silu = (x: Value): Value => like('Mul', x, g.node('Sigmoid', [x], x.shape));
  /** (in, out), as MatMul takes it. */
  const transposed = (name: string): Value => {
    const { shape, data } = weights.get(name)!;
    const [rows, columns] = shape as [number, number];
    const out = new Float32Array(data.length);
    for (let r = 0; r < rows; r++)
      for (let k = 0; k < columns; k++) out[k * rows + r] = data[r * columns + k]!;
    return g.floats(`${name} transposed`, [columns, rows], out);
  };
  const dense = (name: string, x: Value): Value => {
    const w = transposed(`${name}.weight`);
    const shape = [...x.shape.slice(0, -1), w.shape[1]!];
    return like('Add', g.node('MatMul', [x, w], shape), weight(`${name}.bias`));
  };
  return {
    silu,
    conv(name, x, padding = 'same') {
      const [cOut, , k] = weights.get(`${name}.weight`)!.shape as [number, number, number];
      const strides = padding === 'same' ? 1 : 2;
      const around = padding === 'half-low' ? 0 : (k - 1) / 2;
      const after = padding === 'half-low' ? 1 : around;
      const shape = [batch, cOut, x.shape[2]! / strides, x.shape[3]! / strides];
      return g.node('Conv', [x, weight(`${name}.weight`), weight(`${name}.bias`)], shape, {
        kernel_shape: [k, k],
        pads: [around, around, after, after],
        strides: [strides, strides],
      }); // prettier-ignore
    },
    norm(name, x, groups, eps, activated) {
      const c = x.shape[1]!;
      const length = (c / groups) * x.shape[2]! * x.shape[3]!;
      const rows = reshape(x, [batch, groups, length]);
      const ones = (n: number): Value => g.floats(`ones ${n}`, [n], new Float32Array(n).fill(1));
      const zeros = (n: number): Value => g.floats(`zeros ${n}`, [n], new Float32Array(n));
      const normal =
        spelling.norm === 'instance'
          ? g.node('InstanceNormalization', [rows, ones(groups), zeros(groups)], rows.shape, { epsilon: eps })
          : g.node('LayerNormalization', [rows, ones(length), zeros(length)], rows.shape, {
              axis: 2,
              epsilon: eps,
            }); // prettier-ignore
      const scaled = like('Mul', reshape(normal, x.shape), weight(`${name}.weight`, [c, 1, 1]));
      const y = like('Add', scaled, weight(`${name}.bias`, [c, 1, 1]));
      return activated ? silu(y) : y;
    },
    linear(name, x) {
      const w = weight(`${name}.weight`);
      return g.node('Gemm', [x, w, weight(`${name}.bias`)], [batch, w.shape[0]!], { transB: 1 });
    },
    shift: (x, vector) => like('Add', x, reshape(vector, [batch, x.shape[1]!, 1, 1])),
    add: (x, y) => like('Add', x, y),
    concat(x, y) {
      const shape = [batch, x.shape[1]! + y.shape[1]!, x.shape[2]!, x.shape[3]!];
      return g.node('Concat', [x, y], shape, { axis: 1 });
    },
    upsample(x) {
      const [, c, h, w] = x.shape as [number, number, number, number];
      const none = { name: '', shape: [] };
      const scales = g.floats('scales', [4], Float32Array.of(1, 1, 2, 2));
      return g.node('Resize', [x, none, scales], [batch, c, 2 * h, 2 * w], {
        mode: 'nearest',
        nearest_mode: 'floor',
        coordinate_transformation_mode: 'asymmetric',
      });
    },
    attention(name, x, heads) {
      const [, c, h, w] = x.shape as [number, number, number, number];
      const [tokens, d] = [h * w, c / heads];
      const flat = g.node('Transpose', [reshape(x, [batch, c, tokens])], [batch, tokens, c], {
        perm: [0, 2, 1],
      });
      const [q, k, v] = ['to_q', 'to_k', 'to_v'].map((part) => dense(`${name}.${part}`, flat)) as [
        Value,
        Value,
        Value,
      ];
      let mixed: Value;
      if (spelling.attention === 'fused') {
        const domain = 'com.microsoft';
        mixed = g.node('MultiHeadAttention', [q, k, v], q.shape, { num_heads: heads }, { domain });
      } else {
        const split = (y: Value): Value =>
          heads === 1
            ? y
            : g.node('Transpose', [reshape(y, [batch, tokens, heads, d])], [batch, heads, tokens, d], {
                perm: [0, 2, 1, 3],
              });
        const turned = (y: Value): Value =>
          heads === 1
            ? g.node('Transpose', [y], [batch, d, tokens], { perm: [0, 2, 1] })
            : g.node('Transpose', [reshape(y, [batch, tokens, heads, d])], [batch, heads, d, tokens], {
                perm: [0, 2, 3, 1],
              });
        const square = heads === 1 ? [batch, tokens, tokens] : [batch, heads, tokens, tokens];
        const factor = g.floats(`1/sqrt ${d}`, [1], Float32Array.of(1 / Math.sqrt(d)));
        const scores = g.node('MatMul', [like('Mul', split(q), factor), turned(k)], square);
        const values = split(v);
        mixed = g.node('MatMul', [g.node('Softmax', [scores], square, { axis: -1 }), values], values.shape);
        if (heads > 1)
          mixed = reshape(
            g.node('Transpose', [mixed], [batch, tokens, heads, d], { perm: [0, 2, 1, 3] }),
            q.shape,
          );
      }
      const out = dense(`${name}.to_out.0`, mixed);
      return reshape(g.node('Transpose', [out], [batch, c, tokens], { perm: [0, 2, 1] }), x.shape);
    },
    time(f, cosFirst) {
      const t = g.input('t', [batch, 1]);
      const shape = [batch, f.length];
      const angle = g.node('Mul', [t, g.floats('frequencies', [1, f.length], f)], shape);
      const parts = [g.node('Sin', [angle], shape), g.node('Cos', [angle], shape)];
      return g.node('Concat', cosFirst ? parts.reverse() : parts, [batch, 2 * f.length], { axis: 1 });
    },
    classes(x) {
      const table = weight('class_embedding.weight');
      const rows = g.node('Gather', [table, g.input('labels', [batch], INT32)], x.shape, { axis: 0 });
      return like('Add', x, rows);
    },
  };
}

/** Inputs x, t, a, b and perhaps labels; output a x + b network(x, t): one step of DDIM. A learned variance is left out. */
export function networkOnnx(network: Network, batch: number, spelling: Spelling): Uint8Array {
  const g = new Graph();
  const [height, width] = network.config.sampleSize!;
  const x = g.input('x', [batch, network.config.inChannels, height, width]);
  let eps = walk(network, operations(g, network.weights, batch, spelling), x);
  const [, channels] = x.shape;
  if (eps.shape[1]! > channels!)
    eps = g.node('Slice', [eps, g.ints([0]), g.ints([channels!]), g.ints([1])], x.shape);
  const [a, b] = [g.input('a', [1]), g.input('b', [1])];
  return g.encode(g.node('Add', [g.node('Mul', [x, a], x.shape), g.node('Mul', [eps, b], x.shape)], x.shape));
}

/** Input x, output y. */
export function layerOnnx(layer: Layer, batch: number, spelling: Spelling, channels: number): Uint8Array {
  const g = new Graph();
  const x = g.input('x', [batch, channels, layer.size, layer.size]);
  return g.encode(walkLayer(layer, operations(g, layer.weights, batch, spelling), x));
}
