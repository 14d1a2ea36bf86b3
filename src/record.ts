/**
 * One step of a run as tapes: the network and the update, and the buffers that steer them.
 *
 * Nothing here calls the GPU. `Model` builds what is recorded; `planMemory` counts what building would allocate.
 */

import { DiffusionError } from './errors.ts';
import { Tape, type Copy, type Variants } from './gpu/tape.ts';
import { COPY_DST, COPY_SRC, STORAGE, UNIFORM } from './gpu/usage.ts';
import { noise, type NoiseSource } from './ops/noise.ts';
import { pack, unpack, type Piece } from './ops/pack.ts';
import { repaint, REPAINT_BYTES } from './ops/repaint.ts';
import { update, UPDATE_STEP_BYTES } from './ops/update.ts';
import { normalTable } from './schedule/normal_table.ts';
import { blocks, bytesOf, type Shape, type Storage, type Tensor } from './tensor.ts';
import { checkSize, type UNetConfig } from './unet/config.ts';
import { recordTimes, recordUNet, timeLayers, type Times } from './unet/unet.ts';
import type { UNetWeights } from './unet/weights.ts';

/** What a recording of one step is made for; what is absent is off. */
export interface StepShape {
  readonly count: number;
  readonly height: number;
  readonly width: number;
  /** The network sees every image with its class and without. */
  readonly guided?: boolean;
  /** The noise of the steps is given, not generated. */
  readonly givenNoise?: boolean;
  /** States that the sampler remembers, 0 to 6. */
  readonly slots?: number;
  /** Each image is measured before the update: for rescaled guidance and dynamic thresholding. */
  readonly measured?: boolean;
  /** Part of a picture is kept. */
  readonly masked?: boolean;
}

/** Makes a buffer of at least so many bytes. */
export type MakeBuffer = (label: string, bytes: number, usage: number) => GPUBuffer;

/** A multiple of what every binding takes. */
export const bufferSize = (bytes: number): number => Math.ceil(bytes / 16) * 16;

/** What the network takes from timesteps and classes, of many steps at a time. */
export interface Ahead<T = Tape> {
  /** Fills the tables. */
  readonly tables: T;
  /** Steps that they hold. */
  readonly steps: number;
  /** (steps * passes * count, 1, 1, 1): the timestep of every image that the network sees in the first step, in the second ... */
  readonly timestep: Tensor;
  /** What goes from the tables to the network before the first step of them; before step k from k * stride bytes behind it. */
  readonly copies: readonly (Copy & { readonly stride: number })[];
}

export interface RecordedStep {
  /** x_t -> x_{t-1}: network and update. */
  readonly step: Tape;
  /** Fills `x` with x_T. */
  readonly start: Tape;
  /** Noises the whole state (RePaint); null unless masked. */
  readonly jump: Tape | null;
  /** Null where a step computes its own: when the tables would be large. */
  readonly ahead: Ahead | null;
  readonly x: Tensor;
  readonly x0Hat: Tensor;
  /** What the sampler remembers, planar (slots * count, C, H, W); null without slots. */
  readonly history: Tensor | null;
  /** (passes * count, 1, 1, 1): the timestep of every image that the network sees; without memory where nothing reads it. */
  readonly timestep: Tensor;
  readonly z: Tensor | null;
  readonly known: Tensor | null;
  readonly mask: Tensor | null;
  /** One u32 for each timestep of `ahead`, or without it of `timestep`. */
  readonly labels: GPUBuffer | null;
  readonly seeds: GPUBuffer;
  readonly normalTable: GPUBuffer;
  readonly uniforms: GPUBuffer;
  readonly fault: GPUBuffer;
  readonly repaintNumbers: GPUBuffer | null;
}

/** Whether the network can be sampled from; if not, it can still be run alone. */
export const canSample = ({ classEmbedType, inChannels, outChannels }: UNetConfig): boolean =>
  classEmbedType === null && (outChannels === inChannels || outChannels === 2 * inChannels);

/**
 * @param limit bytes that may be bound in one piece
 * @param variants how layers are computed
 * @throws unsupported-model, when a run of this shape is none for this network
 */
export function recordStep(
  config: UNetConfig,
  weights: UNetWeights,
  shape: StepShape,
  make: MakeBuffer,
  source: string,
  limit: number,
  variants?: Variants,
): RecordedStep {
  const { count: n, height, width, guided, givenNoise, slots = 0, measured, masked } = shape;
  if (config.outChannels !== config.inChannels && config.outChannels !== 2 * config.inChannels)
    throw new DiffusionError(
      'unsupported-model',
      `${source} gives ${config.outChannels} channels for ${config.inChannels}.`,
      'Use a model with as many channels out as in, or twice as many (a learned variance).',
    );
  if (config.classEmbedType !== null)
    throw new DiffusionError(
      'unsupported-model',
      `${source} takes labels that are not classes (class_embed_type ${config.classEmbedType}).`,
      'Run the network alone, or sample with a model that has num_class_embeds, or no classes.',
    );
  checkSize(config, height, width, source);
  const passes = guided ? 2 : 1;
  const state: Shape = [n, config.inChannels, height, width];
  const tape = new Tape(variants);
  const x = tape.pinned('x', state, 'f32');
  const x0Hat = tape.pinned('x0Hat', state, 'f32');
  const timestep = tape.pinned('timestep', [passes * n, 1, 1, 1], 'f32');
  const z = givenNoise ? tape.pinned('z', state, 'f32') : null;
  const history = slots > 0 ? tape.pinned('history', [slots * n, state[1], height, width], 'f32') : null;
  const steps = stepsAhead(weights, passes * n, limit);
  const labels =
    config.numClassEmbeds === null ? null : make('labels', steps * passes * n * 4, STORAGE | COPY_DST);
  const from: NoiseSource = {
    seeds: make('seeds', n * 8, STORAGE | COPY_DST),
    normalTable: make('normalTable', normalTable.byteLength, STORAGE | COPY_DST),
  };
  const uniforms = make('step', UPDATE_STEP_BYTES, UNIFORM | COPY_DST);
  const fault = make('fault', 4, STORAGE | COPY_SRC | COPY_DST);

  const ahead = steps > 1 ? recordAhead(config, weights, steps, passes * n, labels) : null;
  const output = recordNetwork(tape, config, weights, { x, timestep, labels, passes, ahead }, limit);
  update(tape, 'update', { x, x0Hat, output, step: uniforms, fault, z: z ?? from, history }, measured);
  const painting = masked
    ? {
        known: tape.pinned('known', state, 'f32'),
        mask: tape.pinned('mask', state, 'f32'),
        numbers: make('repaint', REPAINT_BYTES, UNIFORM | COPY_DST),
      }
    : null;
  if (painting) repaint(tape, 'repaint', { x, ...painting, source: from });
  const start = new Tape();
  noise(start, 'x_T', x, from, 1);
  const jump = painting && new Tape();
  if (jump) repaint(jump, 'jump', { x, ...painting, source: from });
  const { known = null, mask = null, numbers = null } = painting ?? {};
  return { step: tape, start, jump, ahead, x, x0Hat, history, timestep, z, known, mask, labels, ...from, uniforms, fault, repaintNumbers: numbers }; // prettier-ignore
}

/** Steps whose tables are made at a time, and bytes that they may take. */
const STEPS_AHEAD = 16;
const TABLES = 2 ** 24;

/** Steps whose tables are made together; 1: a step computes its own. */
function stepsAhead(weights: UNetWeights, total: number, limit: number): number {
  const row = timeLayers(weights).reduce(
    (sum, label) => sum + blocks(weights.layers.get(label)!.cOut) * 4,
    0,
  );
  const most = Math.floor(Math.min(TABLES, limit) / (row * bytesOf[weights.dtype] * total));
  return Math.max(1, Math.min(STEPS_AHEAD, most));
}

interface Tables extends Omit<Ahead, 'copies'> {
  readonly times: Times;
  readonly copies: Ahead['copies'][number][];
}

function recordAhead(
  config: UNetConfig,
  weights: UNetWeights,
  steps: number,
  total: number,
  labels: GPUBuffer | null,
): Tables {
  const tables = new Tape();
  const timestep = tables.pinned('timesteps', [steps * total, 1, 1, 1], 'f32');
  const times = recordTimes(tables, config, weights, { timestep, labels });
  for (const table of times.values()) table.storage.pinned = true;
  return { tables, steps, timestep, times, copies: [] };
}

/** A piece's own part of a step's row of the tables, which is copied there before the step. */
function timesFrom(tape: Tape, { times, copies }: Tables, total: number, piece: Piece): Times {
  return new Map(
    [...times].map(([label, table]) => {
      const to = tape.pinned(`${label}.now`, [piece.count, table.shape[1], 1, 1], table.dtype, 'c4');
      const image = blocks(table.shape[1]) * 4 * bytesOf[table.dtype];
      copies.push({
        from: table,
        offset: piece.first * image,
        stride: total * image,
        bytes: piece.count * image,
        to,
      });
      return [label, to];
    }),
  );
}

/** WebGPU's default maxStorageBufferBindingSize: what every GPU binds in one piece. */
export const DEFAULT_BINDING = 128 * 2 ** 20;

export interface NetworkInputs {
  readonly x: Tensor;
  readonly timestep: Tensor;
  readonly labels: GPUBuffer | Tensor | null;
  /** The network sees every image so many times. */
  readonly passes: number;
  /** Where timestep and labels were taken in already. */
  readonly ahead?: Tables | null;
}

/**
 * Planar sample -> planar raw output, with the images repeated `passes` times. Where one tensor of the whole batch would
 * be larger than `limit` bytes, the batch goes through in equal pieces, which use the same memory one after the other.
 */
export function recordNetwork(
  tape: Tape,
  config: UNetConfig,
  weights: UNetWeights,
  { x, timestep, labels, passes, ahead = null }: NetworkInputs,
  limit: number,
): Tensor {
  const [n, , h, w] = x.shape;
  const total = passes * n;
  const out = tape.pinned('output', [total, config.outChannels, h, w], 'f32');
  const centred = config.centerInputSample ? { scale: 2, offset: -1 } : {};
  // diffusers: what Fourier features tell of the noise level, the output is divided by (Song et al. 2021b, appendix C.1).
  const divisor = config.timeEmbeddingType === 'fourier' ? timestep : null;
  const record = (onto: Tape, first: number, count: number, from = ahead): void => {
    const piece = { first, count };
    const sample = pack(onto, 'sample', x, { dtype: weights.dtype, repeat: passes, piece, ...centred });
    const times = from
      ? timesFrom(onto, from, total, piece)
      : recordTimes(onto, config, weights, { timestep, labels, piece });
    const raw = recordUNet(onto, config, weights, { sample, times });
    unpack(onto, 'output', raw, out, divisor, first);
  };
  let pieces = 1;
  if (total > 1 && config.classEmbedType === null) {
    const one = new Tape(tape.variants);
    record(one, 0, 1, ahead && { ...ahead, copies: [] });
    const largest = one.largestTemporary;
    if (largest * total > limit) pieces = Math.ceil(total / Math.max(1, Math.floor(limit / largest)));
  }
  const size = Math.ceil(total / pieces);
  for (let first = 0; first < total; first += size) record(tape, first, Math.min(size, total - first));
  return out;
}

/** Bytes that the tapes of a step allocate besides what `make` made, and the largest piece that a dispatch binds. */
export function tapesMemory({ step, start, jump, ahead }: RecordedStep): {
  bytes: number;
  largestBinding: number;
} {
  const owned = new Set<Storage>();
  const all = [step, start, ...(jump ? [jump] : []), ...(ahead ? [ahead.tables] : [])].map((tape) =>
    tape.memory(owned),
  );
  return {
    bytes: all.reduce((sum, { bytes }) => sum + bytes, 0),
    largestBinding: Math.max(...all.map(({ largestBinding }) => largestBinding)),
  };
}
