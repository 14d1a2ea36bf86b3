/** Every parameter of a `UNet2DModel` by name and shape, in the order of the network. */

import { DiffusionError } from '../errors.ts';
import { showShape } from '../tensor.ts';
import type { WeightTensor } from '../weights/safetensors.ts';
import { samplingOf, type UNetConfig } from './config.ts';
import { lectureParameters } from './lecture.ts';

export function expectedParameters(config: UNetConfig): Map<string, readonly number[]> {
  if (config.architecture === 'lecture') return lectureParameters(config);
  const all = new Map<string, readonly number[]>();
  const affine = (name: string, ...shape: number[]) => {
    all.set(`${name}.weight`, shape);
    all.set(`${name}.bias`, [shape[0]!]);
  };
  const { blockOutChannels: out, timeEmbeddingDim: timeDim, layersPerBlock } = config;
  const levels = out.length;
  const resnet = (name: string, cIn: number, cOut: number) => {
    affine(`${name}.norm1`, cIn);
    affine(`${name}.conv1`, cOut, cIn, 3, 3);
    affine(`${name}.time_emb_proj`, config.scaleShift ? 2 * cOut : cOut, timeDim);
    affine(`${name}.norm2`, cOut);
    affine(`${name}.conv2`, cOut, cOut, 3, 3);
    if (cIn !== cOut) affine(`${name}.conv_shortcut`, cOut, cIn, 1, 1);
  };
  const attention = (name: string, c: number, normed = true) => {
    if (normed) affine(`${name}.group_norm`, c);
    for (const part of ['to_q', 'to_k', 'to_v', 'to_out.0']) affine(`${name}.${part}`, c, c);
  };

  affine('conv_in', out[0]!, config.inChannels, 3, 3);
  const sampler = (name: string, way: 'down' | 'up', i: number, c: number) => {
    const sampling = samplingOf(config, way, i);
    if (sampling === 'conv') affine(`${name}.conv`, c, c, 3, 3);
    if (sampling === 'resnet') resnet(name, c, c);
  };
  const timestep = (name: string) => {
    affine(`${name}.linear_1`, timeDim, timeInputs(config));
    affine(`${name}.linear_2`, timeDim, timeDim);
  };
  if (config.timeEmbeddingType === 'fourier') all.set('time_proj.weight', [out[0]!]);
  if (config.frequencyTable) all.set('time_proj.weight', [config.timeProjDim / 2]);
  if (config.timeEmbeddingType === 'learned')
    all.set('time_proj.weight', [config.numTrainTimesteps!, out[0]!]);
  timestep('time_embedding');
  if (config.classEmbedType === 'timestep') timestep('class_embedding');
  if (config.numClassEmbeds !== null) all.set('class_embedding.weight', [config.numClassEmbeds, timeDim]);

  out.forEach((c, i) => {
    const name = `down_blocks.${i}`;
    for (let j = 0; j < layersPerBlock; j++) {
      resnet(`${name}.resnets.${j}`, j === 0 ? out[Math.max(i - 1, 0)]! : c, c);
      if (config.downBlockTypes[i] === 'AttnDownBlock2D') attention(`${name}.attentions.${j}`, c);
    }
    sampler(`${name}.downsamplers.0`, 'down', i, c);
  });
  if (config.hasMidBlock) {
    const c = out[levels - 1]!;
    resnet('mid_block.resnets.0', c, c);
    if (config.midAttention) attention('mid_block.attentions.0', c, config.attnNormNumGroups !== null);
    resnet('mid_block.resnets.1', c, c);
  }
  for (let i = 0; i < levels; i++) {
    const name = `up_blocks.${i}`;
    const c = out[levels - 1 - i]!;
    const previous = out[Math.min(levels - i, levels - 1)]!;
    const below = out[Math.max(levels - 2 - i, 0)]!;
    for (let j = 0; j <= layersPerBlock; j++) {
      resnet(`${name}.resnets.${j}`, (j === 0 ? previous : c) + (j === layersPerBlock ? below : c), c);
      if (config.upBlockTypes[i] === 'AttnUpBlock2D') attention(`${name}.attentions.${j}`, c);
    }
    sampler(`${name}.upsamplers.0`, 'up', i, c);
  }
  affine('conv_norm_out', out[0]!);
  affine('conv_out', config.outChannels, out[0]!, 3, 3);
  return all;
}

/** Numbers that the time embedding starts from. */
export const timeInputs = ({ timeEmbeddingType, timeProjDim }: UNetConfig): number =>
  timeEmbeddingType === 'fourier' ? 2 * timeProjDim : timeProjDim;

/** Counts the parameters. */
export const parameterCount = (config: UNetConfig): number =>
  [...expectedParameters(config).values()].reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);

/**
 * Checks that a file holds the parameters of the config and nothing else. Old attention weights of shape
 * [C, C, 1, 1] count as [C, C].
 * @throws bad-weights, listing every missing, extra and misshaped tensor by name
 */
export function checkParameters(
  config: UNetConfig,
  tensors: ReadonlyMap<string, WeightTensor>,
  source: string,
): void {
  const expected = expectedParameters(config);
  const faults: string[] = [];
  for (const [name, shape] of expected) {
    const tensor = tensors.get(name);
    if (!tensor) faults.push(`${name} is missing`);
    else {
      const came = tensor.shape.length === 4 && shape.length === 2 ? trim(tensor.shape) : tensor.shape;
      if (came.length !== shape.length || came.some((d, i) => d !== shape[i]))
        faults.push(`${name} has shape ${showShape(tensor.shape)} and should have ${showShape(shape)}`);
    }
  }
  for (const name of tensors.keys())
    if (!expected.has(name)) faults.push(`${name.slice(0, 200)} is not expected`);
  if (faults.length)
    throw new DiffusionError(
      'bad-weights',
      `The weights of ${source} do not fit its config: ${faults.length} of ${expected.size} parameters. ${faults.join('; ')}.`,
      'Check that config.json and the weights are of the same model.',
    );
}

const trim = (shape: readonly number[]): readonly number[] =>
  shape[2] === 1 && shape[3] === 1 ? shape.slice(0, 2) : shape;
