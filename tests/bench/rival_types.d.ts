/** What the bench uses of its rivals: their packages are installed by `npm run bench` only, so the types stand here. */

declare module '@tensorflow/tfjs-core' {
  export interface Tensor {
    readonly shape: number[];
    data(): Promise<Float32Array | Int32Array>;
    dispose(): void;
  }
  type Numbers = Float32Array | Int32Array;
  export function setBackend(name: string): Promise<boolean>;
  export function ready(): Promise<void>;
  export function tensor(values: Numbers, shape: number[], dtype?: string): Tensor;
  export function keep(x: Tensor): Tensor;
  export function tidy<R>(f: () => R): R;
  export function add(a: Tensor, b: Tensor): Tensor;
  export function mul(a: Tensor, b: Tensor | number): Tensor;
  export function squaredDifference(a: Tensor, b: Tensor): Tensor;
  export function sigmoid(x: Tensor): Tensor;
  export function sin(x: Tensor): Tensor;
  export function cos(x: Tensor): Tensor;
  export function softmax(x: Tensor): Tensor;
  export function mean(x: Tensor, axis: number, keepDims?: boolean): Tensor;
  export function reshape(x: Tensor, shape: number[]): Tensor;
  export function transpose(x: Tensor, perm: number[]): Tensor;
  export function slice(x: Tensor, begin: number | number[], size: readonly number[]): Tensor;
  export function concat(parts: Tensor[], axis: number): Tensor;
  export function gather(x: Tensor, indices: Tensor): Tensor;
  export function matMul(a: Tensor, b: Tensor, transposeA?: boolean, transposeB?: boolean): Tensor;
  export function batchNorm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    offset: Tensor,
    scale: Tensor,
    epsilon: number,
  ): Tensor;
  export const fused: {
    conv2d(options: {
      x: Tensor;
      filter: Tensor;
      bias: Tensor;
      strides: number;
      pad: number | 'same';
    }): Tensor;
    matMul(options: { a: Tensor; b: Tensor; bias: Tensor }): Tensor;
  };
  export const image: { resizeNearestNeighbor(x: Tensor, size: [number, number]): Tensor };
}
declare module '@tensorflow/tfjs-backend-webgpu' {}
declare module 'protobufjs/light.js' {
  const protobuf: {
    Root: {
      fromJSON(json: object): {
        lookupType(name: string): { encode(message: object): { finish(): Uint8Array } };
      };
    };
  };
  export default protobuf;
}
