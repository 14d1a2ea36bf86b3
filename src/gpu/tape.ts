/**
 * The tape: a network is recorded once as a flat list of dispatches over tensors, then built and replayed.
 *
 * Recording makes no GPU call. `build` compiles all pipelines in parallel, plans the memory (two tensors share
 * a buffer when their lives do not overlap), makes every bind group, and returns a `Recording`. Replaying
 * allocates nothing and reads nothing back.
 */

import { mebibytes } from '../core/format.ts';
import { DiffusionError } from '../errors.ts';
import { byteLength, type DType, type Layout, type Shape, type Storage, type Tensor } from '../tensor.ts';
import type { Gpu } from './device.ts';
import { gpuError, scoped } from './scope.ts';
import { assemble, storageTypes, type Defines, type Shader } from './shader.ts';
import { COPY_DST, COPY_SRC, STORAGE, UNIFORM } from './usage.ts';

export interface Dispatch {
  /** Owner and thing, as in `down_blocks.0.resnets.0.conv1`. */
  readonly label: string;
  readonly shader: Shader;
  /** Scalar type of the kernel's storage. */
  readonly dtype: DType;
  readonly defines?: Defines;
  /** The numbers of this launch, by the field names of the shader's `struct Layer`. One with SKIP may be done in several. */
  readonly constants: Readonly<Record<string, number>>;
  /** By binding number in group 0; null where this variant of the shader has none. */
  readonly bindings: readonly (Tensor | GPUBuffer | null)[];
  /** Invocations wanted in all; the grid is folded into two dimensions where one is not enough. */
  readonly threads: number;
  readonly workgroupSize: number;
  /** Multiply-adds count two; zero for what only moves data. */
  readonly flops?: number;
  /** How much longer a FLOP takes than a convolution's; 1 unless given. */
  readonly weight?: number;
}

/** Widest grid in one dimension that WebGPU guarantees (maxComputeWorkgroupsPerDimension). */
const MAX_GRID = 65535;

/** Folds `workgroups` into [x, y]; shaders undo it with `wid.y * count.x + wid.x` and guard the overhang. */
export function fold(workgroups: number): [number, number] {
  if (workgroups <= MAX_GRID) return [workgroups, 1];
  const y = Math.ceil(workgroups / MAX_GRID);
  return [Math.ceil(workgroups / y), y];
}

// Numbers, not GPUBufferUsage.*: in Node the globals may not be there.

/** Where every shader has its `layer: Layer`. */
const LAYER_BINDING = 9;
/** Distance between two slots: WebGPU's default minUniformBufferOffsetAlignment. */
const SLOT = 256;

/** The fields of a shader's `Layer`: all, name, type. */
const fieldsOf = new Map<string, readonly RegExpExecArray[]>();

/** The bytes of a launch's `Layer`, field by field as the shader declares them. */
function layerNumbers({ shader, constants }: Dispatch): Uint8Array {
  let fields = fieldsOf.get(shader.code);
  if (!fields) {
    const text = /struct Layer \{([^}]*)\}/.exec(shader.code)?.[1] ?? '';
    fieldsOf.set(shader.code, (fields = [...text.matchAll(/(\w+): (u32|f32)/g)]));
  }
  const view = new DataView(new ArrayBuffer(fields.length * 4));
  const left = new Set(Object.keys(constants));
  fields.forEach(([, name = '', type], i) => {
    const value = constants[name];
    if (value === undefined) throw new Error(`shader ${shader.name}: the launcher gives no ${name}`);
    if (type === 'f32') view.setFloat32(i * 4, value, true);
    else if (Number.isInteger(value) && value >= 0 && value < 2 ** 32) view.setUint32(i * 4, value, true);
    else throw new Error(`shader ${shader.name}: ${name} is ${value}, and should be a u32`);
    left.delete(name);
  });
  if (left.size > 0) throw new Error(`shader ${shader.name} has no ${[...left].join(', ')}`);
  return new Uint8Array(view.buffer);
}

/** One image of a convolution: what its variant may depend on (not on the batch, so that batches equal singles). */
export interface ConvShape {
  readonly cIn: number;
  readonly cOut: number;
  readonly size: number;
  readonly stride: number;
  /** Of the output. */
  readonly h: number;
  readonly w: number;
}

/** Every way to compute a convolution. tiled-R/P: tiles of R pixels, the sum of each in P parts. */
export const CONV_VARIANTS = [
  'direct',
  'winograd',
  'tiled-16',
  'tiled-16/4',
  'tiled-16/16',
  'tiled-32',
  'tiled-64',
] as const;
export type ConvVariant = (typeof CONV_VARIANTS)[number];

/** How a network is computed on an adapter (ops/variants.ts). */
export interface Variants {
  /** Which way a convolution goes. */
  conv(this: void, shape: ConvShape): ConvVariant;
  /** Invocations of a workgroup that works together, with barriers: 4, 8, ... 64. */
  readonly lanes: number;
  /** Attention without barriers: an invocation for four queries, not a workgroup. */
  readonly alone: boolean;
  /** FLOPs of one dispatch, about: so that none keeps the GPU for long. Larger ones are done in several. */
  readonly most: number;
}

/** What suits no adapter in particular. */
export const PLAIN: Variants = { conv: () => 'direct', lanes: 64, alone: false, most: 2e10 };

/** What asks least of a driver: no barriers but the norms', no workgroup memory but theirs. */
export const LEAST: Variants = { ...PLAIN, alone: true };

export class Tape {
  readonly dispatches: Dispatch[] = [];
  /** Dispatches that run once, when the tape is built: weights in another form. */
  readonly preparations: Dispatch[] = [];
  readonly #prepared = new Map<string, Tensor>();
  readonly variants: Variants;

  constructor(variants: Variants = PLAIN) {
    this.variants = variants;
  }

  /** A tensor that lives from its first write to its last read. */
  temp(label: string, shape: Shape, dtype: DType, layout: Layout = 'c4'): Tensor {
    return makeTensor(label, shape, dtype, layout, false);
  }

  /** A tensor that lives as long as the recording: what goes in, what comes out. */
  pinned(label: string, shape: Shape, dtype: DType, layout: Layout = 'planar'): Tensor {
    return makeTensor(label, shape, dtype, layout, true);
  }

  record(dispatch: Dispatch): void {
    const { constants, flops = 0, weight = 1, threads, workgroupSize } = dispatch;
    const pieces = 'SKIP' in constants ? Math.ceil((flops * weight) / this.variants.most) : 1;
    if (pieces < 2) {
      this.dispatches.push(dispatch);
      return;
    }
    const workgroups = Math.ceil(threads / workgroupSize);
    const each = Math.ceil(workgroups / pieces);
    for (let SKIP = 0; SKIP < workgroups; SKIP += each) {
      const own = Math.min(each, workgroups - SKIP);
      const [part, work] = [{ ...constants, SKIP }, flops * (own / workgroups)];
      this.dispatches.push({ ...dispatch, constants: part, threads: own * workgroupSize, flops: work });
    }
  }

  /**
   * A tensor that is made once, when the tape is built, and lives as long as the recording. The same label gives the
   * same tensor.
   */
  prepared(label: string, shape: Shape, dispatch: (out: Tensor) => Dispatch): Tensor {
    let tensor = this.#prepared.get(label);
    if (!tensor) {
      tensor = makeTensor(label, shape, 'f32', 'planar', true);
      this.#prepared.set(label, tensor);
      this.preparations.push(dispatch(tensor));
    }
    return tensor;
  }

  get flops(): number {
    return this.dispatches.reduce((sum, d) => sum + (d.flops ?? 0), 0);
  }

  /**
   * What `build` will allocate, and the largest piece of memory that a dispatch binds, in bytes. No GPU call.
   * @param owned storages that have their memory from another tape; those of this one are added
   */
  memory(owned = new Set<Storage>()): { bytes: number; largestBinding: number } {
    const all = [...this.preparations, ...this.dispatches];
    let bytes = Math.max(all.length, 1) * SLOT;
    for (const slot of plan(this.dispatches, owned)) {
      bytes += slot.bytes;
      slot.tensors.forEach((storage) => owned.add(storage));
    }
    const sizes = all.flatMap((d) =>
      d.bindings.map((b) => (!b ? 0 : 'storage' in b ? b.storage.bytes : b.size)),
    );
    return { bytes, largestBinding: sizes.reduce((a, b) => Math.max(a, b), 0) };
  }

  /** Bytes of the largest tensor that is not pinned. */
  get largestTemporary(): number {
    const sizes = this.dispatches.flatMap((d) =>
      d.bindings.map((b) => (b && 'storage' in b && !b.storage.pinned ? b.storage.bytes : 0)),
    );
    return sizes.reduce((a, b) => Math.max(a, b), 0);
  }

  /** @throws limits-too-small when a tensor is larger than one binding may be; out-of-memory; gpu-error */
  async build(gpu: Gpu, label: string): Promise<Recording> {
    const { device } = gpu;
    const all = [...this.preparations, ...this.dispatches];
    const limit = device.limits.maxStorageBufferBindingSize;
    for (const { bindings } of all)
      for (const b of bindings)
        if (b && 'storage' in b && b.storage.bytes > limit)
          throw new DiffusionError(
            'limits-too-small',
            `The tensor ${b.label} needs ${mebibytes(b.storage.bytes)} in one piece, and this GPU binds at most ${mebibytes(limit)}.`,
            'Draw fewer pictures at a time.',
          );

    // The numbers of all launches in one buffer, a slot each.
    const numbers = all.map(layerNumbers);
    const slots = new Uint8Array(Math.max(numbers.length, 1) * SLOT);
    numbers.forEach((bytes, i) => slots.set(bytes, i * SLOT));
    const owned: GPUBuffer[] = [];
    const making = scoped(device, () => {
      for (const { bytes, tensors, usage } of plan(this.dispatches)) {
        const buffer = device.createBuffer({ label: tensors[0]!.label, size: bytes, usage });
        owned.push(buffer);
        for (const tensor of tensors) tensor.buffer = buffer;
      }
      const size = slots.byteLength;
      const layers = device.createBuffer({ label: `${label}.layers`, size, usage: UNIFORM | COPY_DST });
      owned.push(layers);
      device.queue.writeBuffer(layers, 0, slots);
      return { layers, pipelines: Promise.all(all.map((d) => pipeline(gpu, d))) };
    });
    const { layers, pipelines } = making.result;
    pipelines.catch(() => {}); // awaited below, after the error scopes
    const fail = (cause: unknown, memory = false): DiffusionError => {
      owned.forEach((buffer) => buffer.destroy());
      if (cause instanceof DiffusionError) return cause;
      if (!memory) return gpuError(`The GPU refused a shader of ${label}.`, cause);
      return new DiffusionError(
        'out-of-memory',
        `The GPU has no room for ${mebibytes(owned.reduce((sum, b) => sum + b.size, 0))} of working memory.`,
        'Draw fewer pictures at a time.',
      );
    };
    const refusal = await making.refused;
    if (refusal) throw fail(refusal.message, refusal.memory);
    let compiled: GPUComputePipeline[];
    try {
      compiled = await pipelines;
      gpu.check();
    } catch (cause) {
      throw fail(cause);
    }
    const binding = scoped(device, () => {
      const layouts = new Map([...new Set(compiled)].map((p) => [p, p.getBindGroupLayout(0)]));
      return all.map((d, i): Command => {
        const pipeline = compiled[i]!;
        const layout = layouts.get(pipeline)!;
        const entries: GPUBindGroupEntry[] = d.bindings.flatMap((b, binding) =>
          b ? [{ binding, resource: { buffer: 'storage' in b ? b.storage.buffer! : b } }] : [],
        );
        const size = numbers[i]!.byteLength;
        entries.push({ binding: LAYER_BINDING, resource: { buffer: layers, offset: i * SLOT, size } });
        const bindGroup = device.createBindGroup({ label: d.label, layout, entries });
        const grid = fold(Math.ceil(d.threads / d.workgroupSize));
        return { label: d.label, pipeline, bindGroup, grid, flops: d.flops ?? 0, ms: guessMs(gpu, d) };
      });
    });
    const commands = binding.result;
    const unbound = await binding.refused;
    if (unbound) throw fail(unbound.message, unbound.memory);
    const first = this.preparations.length;
    if (first) run(device, new Recording(`${label}.preparation`, commands.slice(0, first), []));
    return new Recording(label, commands.slice(first), owned);
  }
}

/** Bytes that go from one tensor to another. */
export interface Copy {
  readonly from: Tensor;
  readonly offset: number;
  readonly bytes: number;
  readonly to: Tensor;
}

/** Replays a recording, or a piece of it, in a submit of its own, after copies. */
export function run(
  device: GPUDevice,
  recording: Recording,
  piece?: Stretch,
  copies: readonly Copy[] = [],
): void {
  const { label } = recording;
  const encoder = device.createCommandEncoder({ label });
  for (const { from, offset, to, bytes } of copies)
    encoder.copyBufferToBuffer(from.storage.buffer!, offset, to.storage.buffer!, 0, bytes);
  const pass = encoder.beginComputePass({ label });
  recording.replay(pass, piece);
  pass.end();
  device.queue.submit([encoder.finish()]);
}

/** Commands `from` to before `to`. */
export interface Stretch {
  readonly from: number;
  readonly to: number;
}

/** Milliseconds of a dispatch before it was measured: its multiply-adds by their weight, and the memory that it may touch. */
function guessMs({ isSoftware }: Gpu, { flops = 0, weight = 1, bindings }: Dispatch): number {
  const bytes = bindings.reduce((sum, b) => sum + (b ? ('storage' in b ? b.storage.bytes : b.size) : 0), 1);
  return (flops * weight + bytes * 4) / (isSoftware ? 2e6 : 2e8);
}

/** What a submit should keep the GPU at most, in milliseconds, so that the page gets it within 100. */
const SUBMIT_MS = 60;

interface Command {
  readonly label: string;
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
  readonly grid: readonly [number, number];
  readonly flops: number;
  /** Milliseconds that it is thought to take: a cautious guess, until `took` knows better. */
  readonly ms: number;
}

/** A built tape: owns its buffers, replays its dispatches. */
export class Recording {
  readonly label: string;
  readonly commands: readonly Command[];
  readonly #buffers: readonly GPUBuffer[];
  readonly #ms: number[];

  constructor(label: string, commands: readonly Command[], buffers: readonly GPUBuffer[]) {
    this.label = label;
    this.commands = commands;
    this.#buffers = buffers;
    this.#ms = commands.map(({ ms }) => ms);
  }

  /** Bytes of GPU memory that the recording owns (weights are not its own). */
  get bytes(): number {
    return this.#buffers.reduce((sum, b) => sum + b.size, 0);
  }

  get all(): Stretch {
    return { from: 0, to: this.commands.length };
  }

  /** Milliseconds that a stretch of commands is thought to take. */
  ms({ from, to } = this.all): number {
    return this.#ms.slice(from, to).reduce((sum, ms) => sum + ms, 0);
  }

  /** A stretch took so many milliseconds: what its commands are thought to take follows. */
  took(stretch: Stretch, ms: number): void {
    const before = this.ms(stretch);
    // What took much longer may have waited for something else; a coarse clock may say 0.
    const factor = Math.max(Math.min((before + ms) / 2, 2 * before), 0.01) / before;
    for (let i = stretch.from; i < stretch.to; i++) this.#ms[i]! *= factor;
  }

  /** All commands in pieces of about the same time, each short enough for a submit, or a single command. */
  split(): readonly Stretch[] {
    const all = this.ms();
    const target = all / Math.max(1, Math.ceil(all / SUBMIT_MS));
    const split: Stretch[] = [];
    let [from, piece] = [0, 0];
    this.#ms.forEach((ms, i) => {
      // A command goes to the piece that it leaves nearer to the target.
      if (i > from && piece + ms / 2 > target) {
        split.push({ from, to: i });
        [from, piece] = [i, 0];
      }
      piece += ms;
    });
    split.push({ from, to: this.#ms.length });
    return split;
  }

  replay(pass: GPUComputePassEncoder, { from, to } = this.all): void {
    for (let i = from; i < to; i++) {
      const { pipeline, bindGroup, grid } = this.commands[i]!;
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindGroup);
      pass.dispatchWorkgroups(grid[0], grid[1]);
    }
  }

  destroy(): void {
    for (const buffer of this.#buffers) buffer.destroy();
  }
}

// ---- tensors ----------------------------------------------------------------------------------------------

function makeTensor(label: string, shape: Shape, dtype: DType, layout: Layout, pinned: boolean): Tensor {
  const storage: Storage = { bytes: byteLength(shape, dtype, layout), buffer: null, pinned, label };
  return { storage, shape, dtype, layout, label };
}

/** The same memory seen with another shape of the same number of scalars. */
export function view(tensor: Tensor, shape: Shape, label = tensor.label): Tensor {
  if (byteLength(shape, tensor.dtype, tensor.layout) !== tensor.storage.bytes)
    throw new Error(`${label}: a view must keep the size of ${tensor.label}`);
  return { ...tensor, shape, label };
}

// ---- memory plan ------------------------------------------------------------------------------------------

interface Slot {
  bytes: number;
  usage: GPUBufferUsageFlags;
  tensors: Storage[];
  /** Index of the last dispatch that uses the slot so far. */
  until: number;
}

/**
 * Gives every storage that has no buffer yet a slot. Two temporaries share a slot when one's last use comes
 * before the other's first; best fit by size, growing the largest free slot when none is big enough.
 * (A slot is a buffer of its own: WebGPU tracks read and write use by whole buffer.)
 */
function plan(dispatches: readonly Dispatch[], owned?: ReadonlySet<Storage>): Slot[] {
  const life = new Map<Storage, { first: number; last: number }>();
  dispatches.forEach(({ bindings }, i) => {
    for (const b of bindings)
      if (b && 'storage' in b && !b.storage.buffer && !owned?.has(b.storage)) {
        const seen = life.get(b.storage);
        if (seen) seen.last = i;
        else life.set(b.storage, { first: i, last: i });
      }
  });
  const slots: Slot[] = [];
  for (const [storage, { first, last }] of life) {
    if (storage.pinned) {
      slots.push({
        bytes: storage.bytes,
        usage: STORAGE | COPY_SRC | COPY_DST,
        tensors: [storage],
        until: Infinity,
      });
      continue;
    }
    const free = slots.filter((s) => s.until < first);
    const fits = free.filter((s) => s.bytes >= storage.bytes).sort((a, b) => a.bytes - b.bytes)[0];
    const slot = fits ?? free.sort((a, b) => b.bytes - a.bytes)[0];
    if (slot) {
      slot.bytes = Math.max(slot.bytes, storage.bytes);
      slot.tensors.push(storage);
      slot.until = last;
    } else {
      slots.push({ bytes: storage.bytes, usage: STORAGE, tensors: [storage], until: last });
    }
  }
  return slots;
}

// ---- pipelines --------------------------------------------------------------------------------------------

const pipelineCache = new WeakMap<GPUDevice, Map<string, Promise<GPUComputePipeline>>>();
const moduleCache = new WeakMap<GPUDevice, Map<string, GPUShaderModule>>();

/**
 * The pipeline of a dispatch, one for each variant of a shader on a device. Sizes are uniforms, not pipeline
 * constants: all layers share a pipeline, so a network compiles in a tenth of the time.
 */
export function pipeline(gpu: Gpu, d: Dispatch): Promise<GPUComputePipeline> {
  const { device } = gpu;
  const pipelines = cached(pipelineCache, device);
  const modules = cached(moduleCache, device);
  const code = textFor(gpu, d);
  let promise = pipelines.get(code);
  if (!promise) {
    let module = modules.get(code);
    if (!module) modules.set(code, (module = device.createShaderModule({ label: kernelName(gpu, d), code })));
    promise = device.createComputePipelineAsync({
      label: d.shader.name,
      layout: 'auto',
      compute: { module, entryPoint: 'main' },
    });
    pipelines.set(code, promise);
    promise.catch(() => pipelines.delete(code)); // a failed one may be tried again
  }
  return promise;
}

/** The name of a kernel on a device: shader, dtype and structure, as in `conv2d f32 PLAIN BIAS QUADS`. One WGSL text has one name. */
export function kernelName(gpu: Gpu, d: Dispatch): string {
  const structure = Object.entries(d.defines ?? {}).flatMap(([name, value]) =>
    value === false ? [] : value === true ? name : `${name}=${value}`,
  );
  if (usesQuads(textFor(gpu, d))) structure.push('QUADS');
  return [d.shader.name, d.dtype, ...structure].join(' ');
}

const usesQuads = (text: string): boolean => /\bquad[A-Z]/.test(text);

const textFor = ({ quads }: Gpu, { shader, dtype, defines, workgroupSize }: Dispatch): string =>
  textOf(shader, dtype, { QUADS: quads, WORKGROUP: workgroupSize, ...defines });

/** What was assembled, so that the layers that share a shader do it once: they are a hundred. */
const texts = new Map<string, string>();

function textOf(shader: Shader, dtype: DType, defines: Defines): string {
  const key = `${dtype} ${JSON.stringify(defines)} ${shader.code}`;
  let text = texts.get(key);
  if (!text) {
    const body = assemble(shader, defines);
    const enable = usesQuads(body) ? 'enable subgroups;\n' : '';
    texts.set(key, (text = enable + storageTypes(dtype) + body));
  }
  return text;
}

function cached<K extends object, V>(cache: WeakMap<K, Map<string, V>>, key: K): Map<string, V> {
  let map = cache.get(key);
  if (!map) cache.set(key, (map = new Map()));
  return map;
}
