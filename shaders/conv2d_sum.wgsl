// The end of a convolution that went to several workgroups (shaders/conv2d_tiled.wgsl with SPLIT):
//
//   out = f(scale * (sum over parts of partial + bias + timeBias + residual)), f = activation or identity.
//
// Layout c4 (src/tensor.ts). One invocation does one vec4.

override WORKGROUP: u32;

struct Layer {
  N: u32,
  CO_BLOCKS: u32,
  PIXELS: u32,
  PARTS: u32,
  SCALE: f32,
  TIME_OF: u32, // blocks of an image in timeBias
  TIME_FIRST: u32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> output: array<T4>;
@group(0) @binding(1) var<storage, read> partial: array<vec4f>; // (PARTS, the output)
@group(0) @binding(3) var<storage, read> bias: array<T4>;
#if TIME_BIAS
@group(0) @binding(4) var<storage, read> timeBias: array<T4>;
#endif
#if RESIDUAL
@group(0) @binding(5) var<storage, read> residual: array<T4>;
#endif

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let at = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let count = layer.N * layer.CO_BLOCKS * layer.PIXELS;
  if (at >= count) {
    return;
  }
  let co = at / layer.PIXELS % layer.CO_BLOCKS;
  var value = vec4f(bias[co]);
#if TIME_BIAS
  value += vec4f(timeBias[at / layer.PIXELS / layer.CO_BLOCKS * layer.TIME_OF + layer.TIME_FIRST + co]);
#endif
#if RESIDUAL
  value += vec4f(residual[at]);
#endif
  for (var part = 0u; part < layer.PARTS; part++) {
    value += partial[part * count + at];
  }
#if ACTIVATION
  output[at] = T4(activation(value * layer.SCALE));
#else
  output[at] = T4(value * layer.SCALE);
#endif
}
