// Two-dimensional convolution.
//
//   out[n, co, oy, ox] = f(scale * (bias[co] + timeBias[n, co] + residual[n, co, oy, ox]
//                        + sum over ci, ky, kx of weight[co, ci, ky, kx] * in[n, ci, oy * S + ky - top, ox * S + kx - left]))
//
// f = activation or identity.
// Input outside the image counts as zero. Layout c4 (src/tensor.ts). Weights are packed [co / 4][ky][kx][ci / 4]
// as 4x4 matrices that map four input channels to four output channels.
//
// One invocation computes eight consecutive pixels (in row-major order) of two blocks of output channels.
// No workgroup memory, no barrier. Sums are in f32 whatever the storage type.

override WORKGROUP: u32;

struct Layer {
  N: u32,
  CI_BLOCKS: u32,
  CO_BLOCKS: u32,
  H_IN: u32,
  W_IN: u32,
  H_OUT: u32,
  W_OUT: u32,
  K: u32,
  STRIDE: u32,
  TOP: u32,
  LEFT: u32,
  SCALE: f32,
  PIXELS_IN: u32,
  PIXELS: u32,
  TILES: u32,
  PAIRS: u32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> output: array<T4>;
@group(0) @binding(1) var<storage, read> input: array<T4>;
@group(0) @binding(2) var<storage, read> weight: array<M4>;
@group(0) @binding(3) var<storage, read> bias: array<T4>;
#if TIME_BIAS
@group(0) @binding(4) var<storage, read> timeBias: array<T4>;
#endif
#if RESIDUAL
@group(0) @binding(5) var<storage, read> residual: array<T4>;
#endif

fn store(n: u32, co: u32, pixel: u32, sum: vec4f) {
  if (pixel >= layer.PIXELS || co >= layer.CO_BLOCKS) {
    return;
  }
  let at = (n * layer.CO_BLOCKS + co) * layer.PIXELS + pixel;
  var value = sum + vec4f(bias[co]);
#if TIME_BIAS
  value += vec4f(timeBias[n * layer.CO_BLOCKS + co]);
#endif
#if RESIDUAL
  value += vec4f(residual[at]);
#endif
#if ACTIVATION
  output[at] = T4(activation(value * layer.SCALE));
#else
  output[at] = T4(value * layer.SCALE);
#endif
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let id = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let first = (id % layer.TILES) * 8u;
  let co = (id / layer.TILES % layer.PAIRS) * 2u;
  let n = id / (layer.TILES * layer.PAIRS);
  if (n >= layer.N) {
    return;
  }
  let next = min(co + 1u, layer.CO_BLOCKS - 1u); // an odd count of blocks: computed twice, stored once

  // Plain loops over small arrays: a GPU's compiler unrolls them into registers, and a software adapter compiles
  // them in a second, where the same text written out took SwiftShader thirty.
  var sums: array<vec4f, 16>; // pixel p of the first block at p, of the second at 8 + p
  var source: array<i32, 8>; // where tap (ky, kx) of pixel p lies in its plane; -1 outside the image
  for (var ky = 0u; ky < layer.K; ky++) {
    for (var kx = 0u; kx < layer.K; kx++) {
      for (var p = 0u; p < 8u; p++) {
        let pixel = min(first + p, layer.PIXELS - 1u);
        let y = i32(pixel / layer.W_OUT * layer.STRIDE + ky) - i32(layer.TOP);
        let x = i32(pixel % layer.W_OUT * layer.STRIDE + kx) - i32(layer.LEFT);
        let inside = y >= 0 && x >= 0 && y < i32(layer.H_IN) && x < i32(layer.W_IN);
        source[p] = select(-1, y * i32(layer.W_IN) + x, inside);
      }
      let tapA = ((co * layer.K + ky) * layer.K + kx) * layer.CI_BLOCKS;
      let tapB = ((next * layer.K + ky) * layer.K + kx) * layer.CI_BLOCKS;
      for (var ci = 0u; ci < layer.CI_BLOCKS; ci++) {
        let plane = (n * layer.CI_BLOCKS + ci) * layer.PIXELS_IN;
        let a = mat4x4f(weight[tapA + ci]);
        let b = mat4x4f(weight[tapB + ci]);
        for (var p = 0u; p < 8u; p++) {
          let at = source[p];
          let v = select(vec4f(0), vec4f(input[plane + u32(max(at, 0))]), at >= 0);
          sums[p] += a * v;
          sums[8u + p] += b * v;
        }
      }
    }
  }

  for (var i = 0u; i < 16u; i++) {
    store(n, co + i / 8u, first + i % 8u, sums[i]);
  }
}
