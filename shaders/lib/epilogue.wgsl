// The end of a convolution, for one pixel of one block of output channels:
//
//   output[at] = f(scale * (sum + bias + timeBias + residual)), f = activation or identity; without BIAS none.
//
// Layout c4 (src/core/tensor.ts). `layer` has scale, time_stride (blocks of channels per image in timeBias) and time_offset (the first of them).
#if ACTIVATION
#import activation
#endif

@group(0) @binding(0) var<storage, read_write> output: array<T4>;
#if BIAS
@group(0) @binding(3) var<storage, read> bias: array<T4>;
#endif
#if TIME_BIAS
@group(0) @binding(4) var<storage, read> timeBias: array<T4>;
#endif
#if RESIDUAL
@group(0) @binding(5) var<storage, read> residual: array<T4>;
#endif

fn finish(n: u32, co: u32, at: u32, sum: vec4f) {
  var value = sum;
#if BIAS
  value += vec4f(bias[co]);
#endif
#if TIME_BIAS
  value += vec4f(timeBias[n * layer.time_stride + layer.time_offset + co]);
#endif
#if RESIDUAL
  value += vec4f(residual[at]);
#endif
#if ACTIVATION
  output[at] = T4(activation(value * layer.scale));
#else
  output[at] = T4(value * layer.scale);
#endif
}
