import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseSchedulerConfig } from '../../src/schedule/config.ts';
import { parseUNetConfig } from '../../src/engine/unet/config.ts';
import { checkParameters, parameterCount } from '../../src/engine/unet/parameters.ts';
import { readSafetensors, type WeightTensor } from '../../src/engine/formats/safetensors.ts';
import { refusal } from '../helpers/refusal.ts';
import { HOSTILE_CONFIGS, HOSTILE_SCHEDULERS } from './hostile.ts';

const fixture = (path: string) => readFileSync(new URL(`../fixtures/unets/${path}`, import.meta.url));
const good = JSON.parse(fixture('attention/unet/config.json').toString()) as Record<string, unknown>;

describe('configs of the network', () => {
  it('there are more than thirty hostile ones', () => expect(HOSTILE_CONFIGS.length).toBeGreaterThan(30));

  it.each(HOSTILE_CONFIGS)('%s', (_, change, key) => {
    const error = refusal(() => parseUNetConfig({ ...good, attention_head_dim: 8, ...change }, 'config.json'));
    expect(error.code).toBe('unsupported-model');
    expect(error.what).toMatch(key);
    expect(error.what.length).toBeLessThan(400);
  });

  it.each([null, 7, 'x', [], undefined])('%j is no config', (json) => {
    expect(refusal(() => parseUNetConfig(json, 'config.json')).code).toBe('unsupported-model');
  });

  it('an absent key means the class default; null keeps its own meaning', () => {
    const c = parseUNetConfig({ block_out_channels: [32, 64], down_block_types: ['DownBlock2D', 'AttnDownBlock2D'], up_block_types: ['AttnUpBlock2D', 'UpBlock2D'] }, 'x'); // prettier-ignore
    expect(c).toMatchObject({
      inChannels: 3,
      attentionHeadDim: 8,
      normNumGroups: 32,
      normEps: 1e-5,
      layersPerBlock: 2,
      freqShift: 0,
      flipSinToCos: true,
      downsamplePadding: 1,
      sampleSize: null,
      timeEmbeddingDim: 128,
      numClassEmbeds: null,
    });
    expect(parseUNetConfig({ ...good, attention_head_dim: null }, 'x').attentionHeadDim).toBe(null);
    const rest = { ...good };
    delete rest['attention_head_dim'];
    expect(parseUNetConfig(rest, 'x').attentionHeadDim).toBe(8);
  });

  it('the names of old checkpoints', () => {
    const old = { ...good, down_block_types: ['UNetResDownBlock2D', 'UNetResAttnDownBlock2D'], up_block_types: ['UNetResAttnUpBlock2D', 'UNetResUpBlock2D'] }; // prettier-ignore
    expect(parseUNetConfig(old, 'x')).toEqual(parseUNetConfig(good, 'x'));
  });
});

describe('configs of the scheduler', () => {
  it.each(HOSTILE_SCHEDULERS)('%s', (_, change, key) => {
    const error = refusal(() => parseSchedulerConfig(change, 'scheduler_config.json'));
    expect(error.code).toBe('unsupported-model');
    expect(error.what).toMatch(key);
  });

  it('the class names the sampler that a run takes when it names none', () => {
    expect(parseSchedulerConfig({ _class_name: 'DDPMScheduler' }, 'x').scheduler).toBe('ddpm');
    expect(parseSchedulerConfig({ _class_name: 'DDIMScheduler' }, 'x').scheduler).toBe('ddim');
    const unipc = parseSchedulerConfig({ _class_name: 'UniPCMultistepScheduler', use_karras_sigmas: true }, 'x');
    expect(unipc).toMatchObject({ scheduler: 'unipc', sigmas: 'karras', spacing: 'linspace', clip: null });
  });

  it('solver_order, algorithm_type and solver_type are read, not ignored', () => {
    const parse = (json: object) => parseSchedulerConfig(json, 'x');
    const multistep = { _class_name: 'DPMSolverMultistepScheduler' };
    expect(parse(multistep).scheduler).toBe('dpmpp-2m');
    expect(parse({ ...multistep, solver_order: 3 }).scheduler).toBe('dpmpp-3m');
    expect(parse({ ...multistep, algorithm_type: 'sde-dpmsolver++' }).scheduler).toBe('dpmpp-sde');
    const unipc = { _class_name: 'UniPCMultistepScheduler', solver_order: 3, solver_type: 'bh1' };
    expect(parse(unipc)).toMatchObject({ order: 3, bh: 'bh1' });
  });

  it('null means the class defaults', () => {
    expect(parseSchedulerConfig(null, 'x')).toEqual({
      scheduler: 'ddim',
      order: 2,
      bh: 'bh2',
      sigmas: null,
      zeroSnr: false,
      T: 1000,
      betas: { kind: 'linear', start: 0.0001, end: 0.02 },
      predictionType: 'epsilon',
      clip: 1,
      spacing: 'leading',
      offset: 0,
      variance: 'fixed_small',
      finalAlphaOne: null,
    });
  });
});

describe('tensors against the config', () => {
  const config = parseUNetConfig(good, 'x');
  const tensors = () => readSafetensors(fixture('attention/unet/diffusion_pytorch_model.safetensors'), 'x');

  it('a matching file passes, and the count of parameters is right', () => {
    const all = tensors();
    checkParameters(config, all, 'x');
    const count = [...all.values()].reduce((sum, t) => sum + t.shape.reduce((a, b) => a * b, 1), 0);
    expect(parameterCount(config)).toBe(count);
  });

  it('every missing, extra and misshaped tensor is listed by name', () => {
    const all = tensors();
    all.delete('conv_in.weight');
    all.delete('mid_block.resnets.0.norm1.bias');
    const stray: WeightTensor = { ...all.get('conv_out.bias')!, name: 'stray.weight' };
    all.set('stray.weight', stray);
    all.set('conv_out.weight', { ...all.get('conv_out.weight')!, shape: [3, 16, 9, 1] });
    const error = refusal(() => checkParameters(config, all, 'x'));
    expect(error.code).toBe('bad-weights');
    for (const name of ['conv_in.weight', 'mid_block.resnets.0.norm1.bias', 'stray.weight', 'conv_out.weight'])
      expect(error.what).toContain(name);
  });
});
