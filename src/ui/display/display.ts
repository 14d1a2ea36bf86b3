/** Pictures from GPU memory to a canvas by a render pass: nothing is read back. */

import code from '../../../shaders/display.wgsl?raw';
import { DiffusionError } from '../../core/errors.ts';
import type { Gpu } from '../../engine/gpu/device.ts';
import { gpuError, scoped } from '../../engine/gpu/scope.ts';
import { packStruct, structLayout } from '../../engine/gpu/uniforms.ts';
import { COPY_DST, UNIFORM } from '../../engine/gpu/usage.ts';
import type { Term } from '../../session/state_view.ts';
import type { GpuTensor } from '../../core/tensor.ts';

/** struct View. */
const VIEW = structLayout(code, 'View');

/** Canvas pixels between the pictures of a grid. */
const GAP = 4;
/** The canvas grows to about this many pixels a side, in whole multiples of the picture. */
const SIDE = 768;

export interface DisplayOptions {
  /** The canvas gets about so many pixels a side; 768 unless given. */
  readonly side?: number;
  /** Columns of the grid; as many as rows, or one more, unless given. */
  readonly columns?: number;
}

/** A render pipeline, and why the GPU refuses it, if it does. */
interface Painting {
  readonly pipeline: GPURenderPipeline;
  refused: DiffusionError | null;
}

/** All canvases of a device share one pipeline. */
const paintings = new WeakMap<GPUDevice, Painting>();

function paintingOf(device: GPUDevice, format: GPUTextureFormat): Painting {
  const known = paintings.get(device);
  if (known) return known;
  const { result: pipeline, refused } = scoped(device, () => {
    const module = device.createShaderModule({ label: 'display', code });
    return device.createRenderPipeline({
      label: 'display',
      layout: 'auto',
      vertex: { module, entryPoint: 'cover' },
      fragment: { module, entryPoint: 'paint', targets: [{ format }] },
    });
  });
  const painting: Painting = { pipeline, refused: null };
  paintings.set(device, painting);
  void refused.then((refusal) => {
    if (refusal) painting.refused = gpuError('The GPU refused to show pictures.', refusal.message);
  });
  return painting;
}

export class Display {
  readonly canvas: HTMLCanvasElement | OffscreenCanvas;
  readonly gpu: Gpu;
  readonly #options: DisplayOptions;
  readonly #context: GPUCanvasContext;
  readonly #painting: Painting;
  readonly #view: GPUBuffer;
  #bindings: { readonly x: GPUBuffer; readonly y: GPUBuffer; readonly group: GPUBindGroup } | null = null;

  /** Takes over the canvas; a later Display, of another device, may take it over again. */
  constructor(gpu: Gpu, canvas: HTMLCanvasElement | OffscreenCanvas, options: DisplayOptions = {}) {
    const { device } = gpu;
    const format = navigator.gpu.getPreferredCanvasFormat();
    const context = canvas.getContext('webgpu') as GPUCanvasContext | null;
    if (!context)
      throw new DiffusionError(
        'no-adapter',
        'The browser gives no canvas to WebGPU.',
        'Turn on hardware acceleration in the browser settings, or update the graphics driver.',
      );
    this.canvas = canvas;
    this.gpu = gpu;
    this.#options = options;
    this.#context = context;
    this.#context.configure({ device, format, alphaMode: 'premultiplied' });
    this.#painting = paintingOf(device, format);
    this.#view = device.createBuffer({ label: 'display.view', size: VIEW.bytes, usage: UNIFORM | COPY_DST });
  }

  /**
   * Draws a tensor, or the sum of one or two terms, shown from -1 (black) to 1 (white): planar f32 (N, C, H, W) each, of
   * the same shape.
   * @throws gpu-error, if the GPU refused the shader (known only shortly after the display was made)
   */
  draw(shown: GpuTensor | readonly Term[]): void {
    const { device } = this.gpu;
    const { pipeline, refused } = this.#painting;
    if (refused) throw refused;
    const terms = 'buffer' in shown ? [{ tensor: shown, weight: 1 }] : shown;
    const [first, second = { tensor: first!.tensor, weight: 0 }] = terms;
    const [n, c, h, w] = first!.tensor.shape;
    const { side = SIDE, columns = Math.ceil(Math.sqrt(n)) } = this.#options;
    const rows = Math.ceil(n / columns);
    const zoom = Math.max(1, Math.floor(side / (columns * w)));
    const width = columns * (w * zoom + GAP) - GAP;
    const height = rows * (h * zoom + GAP) - GAP;
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
    const view = packStruct(VIEW, {
      n,
      c,
      h,
      w,
      columns,
      zoom,
      gap: GAP,
      a: first!.weight,
      b: second.weight,
    });
    device.queue.writeBuffer(this.#view, 0, view);
    const [x, y] = [first!.tensor.buffer, second.tensor.buffer];
    const { refused: fault } = scoped(device, () => {
      if (this.#bindings?.x !== x || this.#bindings.y !== y) {
        const entries = [x, y, this.#view].map((buffer, binding) => ({ binding, resource: { buffer } }));
        const layout = pipeline.getBindGroupLayout(0);
        this.#bindings = { x, y, group: device.createBindGroup({ label: 'display', layout, entries }) };
      }
      const encoder = device.createCommandEncoder({ label: 'display' });
      const pass = encoder.beginRenderPass({
        label: 'display',
        colorAttachments: [
          { view: this.#context.getCurrentTexture().createView(), loadOp: 'clear', storeOp: 'store' },
        ],
      });
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, this.#bindings.group);
      pass.draw(3);
      pass.end();
      device.queue.submit([encoder.finish()]);
    });
    void fault.then((refusal) => {
      if (refusal) this.#painting.refused ??= gpuError('The GPU refused to show pictures.', refusal.message);
    });
  }

  destroy(): void {
    this.#context.unconfigure();
    this.#view.destroy();
  }
}
