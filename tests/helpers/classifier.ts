/** The judge of weights/train/digits/classifier.py, naive, in float64: (1, 1, 32, 32) in [-1, 1] -> logits of ten digits. */

import { readFileSync } from 'node:fs';
import { readSafetensors, toFloat32 } from '../../src/engine/formats/safetensors.ts';
import { conv2d } from '../reference/conv2d.ts';
import { linear } from '../reference/linear.ts';
import { make, type Array4 } from './array.ts';

const FILE = new URL('../fixtures/digits/classifier.safetensors', import.meta.url);
const tensors = readSafetensors(readFileSync(FILE), 'classifier.safetensors');

function parameter(name: string): Array4 {
  const tensor = tensors.get(name)!;
  const data = toFloat32(tensor);
  const [a = 1, b = 1, c = 1, d = 1] = tensor.shape;
  return make([a, b, c, d], (i) => data[i]!);
}

const relu = ({ shape, data }: Array4): Array4 => make(shape, (i) => Math.max(data[i]!, 0));

function maxPool(x: Array4): Array4 {
  const [n, c, h, w] = x.shape;
  return make([n, c, h / 2, w / 2], (i) => {
    const [column, row] = [i % (w / 2), Math.floor(i / (w / 2))]; // row counts through all pworkgroupSize: h is even
    const at = 2 * row * w + 2 * column;
    return Math.max(x.data[at]!, x.data[at + 1]!, x.data[at + w]!, x.data[at + w + 1]!);
  });
}

export function classify(picture: ArrayLike<number>): { digit: number; logits: number[] } {
  let x = make([1, 1, 32, 32], (i) => picture[i]!);
  for (const layer of ['conv1', 'conv2', 'conv3'])
    x = maxPool(relu(conv2d(x, parameter(`${layer}.weight`), parameter(`${layer}.bias`).data)));
  x = { shape: [1, 512, 1, 1], data: x.data };
  x = relu(linear(x, parameter('fc1.weight'), parameter('fc1.bias').data));
  const logits = [...linear(x, parameter('fc2.weight'), parameter('fc2.bias').data).data];
  return { digit: logits.indexOf(Math.max(...logits)), logits };
}
