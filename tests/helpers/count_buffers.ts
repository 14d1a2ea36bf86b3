import type { Gpu } from '../../src/engine/gpu/device.ts';

/** The same device, counting the bytes of its buffers that are alive. */
export function countBuffers(real: Gpu): {
  gpu: Gpu;
  alive: () => number;
  /** Most bytes alive at once, since the last `reset`. */
  peak: () => number;
  reset: () => void;
} {
  let [alive, peak] = [0, 0];
  const device = new Proxy(real.device, {
    get(target, key) {
      if (key === 'createBuffer')
        return (descriptor: GPUBufferDescriptor) => {
          const buffer = target.createBuffer(descriptor);
          alive += descriptor.size;
          peak = Math.max(peak, alive);
          const destroy = buffer.destroy.bind(buffer);
          let gone = false;
          buffer.destroy = () => {
            if (!gone) alive -= descriptor.size;
            gone = true;
            return destroy();
          };
          return buffer;
        };
      const value = Reflect.get(target, key) as unknown;
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
  return { gpu: { ...real, device }, alive: () => alive, peak: () => peak, reset: () => (peak = alive) };
}
