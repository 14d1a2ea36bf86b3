/** The bits of GPUBufferUsage and GPUMapMode (WebGPU, sections 5.1.2 and 5.4), which Node has only after a device is open. */

export const MAP_READ = 0x01;
export const COPY_SRC = 0x04;
export const COPY_DST = 0x08;
export const UNIFORM = 0x40;
export const STORAGE = 0x80;
export const QUERY_RESOLVE = 0x200;

/** The argument of mapAsync. */
export const MAP_MODE_READ = 0x01;
