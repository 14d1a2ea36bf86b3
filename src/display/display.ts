/** Pictures from GPU memory to a canvas by a render pass: nothing is read back. */

import code from '../../shaders/display.wgsl?raw';
import type { Gpu } from '../gpu/device.ts';
import type { Tensor } from '../tensor.ts';

/** Canvas pixels between the pictures of a grid. */
const GAP = 4;
/** The canvas grows to about this many pixels a side, in whole multiples of the picture. */
const SIDE = 768;

export class Display {
  readonly canvas: HTMLCanvasElement;
  readonly #gpu: Gpu;
  readonly #context: GPUCanvasContext;
  readonly #pipeline: GPURenderPipeline;
  readonly #view: GPUBuffer;
  #bindings: { readonly buffer: GPUBuffer; readonly group: GPUBindGroup } | null = null;

  /** Takes over the canvas. */
  constructor(gpu: Gpu, canvas: HTMLCanvasElement) {
    const { device } = gpu;
    const format = navigator.gpu.getPreferredCanvasFormat();
    const module = device.createShaderModule({ label: 'display', code });
    this.canvas = canvas;
    this.#gpu = gpu;
    this.#context = canvas.getContext('webgpu')!;
    this.#context.configure({ device, format, alphaMode: 'premultiplied' });
    this.#pipeline = device.createRenderPipeline({
      label: 'display',
      layout: 'auto',
      vertex: { module, entryPoint: 'cover' },
      fragment: { module, entryPoint: 'paint', targets: [{ format }] },
    });
    this.#view = device.createBuffer({ label: 'display.view', size: 32, usage: 0x48 }); // UNIFORM | COPY_DST
  }

  /** Draws x, planar f32 (N, C, H, W), shown from -1 (black) to 1 (white). */
  draw(x: Tensor): void {
    const { device } = this.#gpu;
    const [n, c, h, w] = x.shape;
    const columns = Math.ceil(Math.sqrt(n));
    const rows = Math.ceil(n / columns);
    const zoom = Math.max(1, Math.floor(SIDE / (columns * w)));
    const width = columns * (w * zoom + GAP) - GAP;
    const height = rows * (h * zoom + GAP) - GAP;
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
    device.queue.writeBuffer(this.#view, 0, Uint32Array.of(n, c, h, w, columns, zoom, GAP));
    const buffer = x.storage.buffer!;
    if (this.#bindings?.buffer !== buffer) {
      const entries = [
        { binding: 0, resource: { buffer } },
        { binding: 1, resource: { buffer: this.#view } },
      ];
      const layout = this.#pipeline.getBindGroupLayout(0);
      this.#bindings = { buffer, group: device.createBindGroup({ label: 'display', layout, entries }) };
    }
    const encoder = device.createCommandEncoder({ label: 'display' });
    const pass = encoder.beginRenderPass({
      label: 'display',
      colorAttachments: [
        { view: this.#context.getCurrentTexture().createView(), loadOp: 'clear', storeOp: 'store' },
      ],
    });
    pass.setPipeline(this.#pipeline);
    pass.setBindGroup(0, this.#bindings.group);
    pass.draw(3);
    pass.end();
    device.queue.submit([encoder.finish()]);
  }

  destroy(): void {
    this.#context.unconfigure();
    this.#view.destroy();
  }
}
