// Two-dimensional convolution.
//
//   out[n, co, oy, ox] = scale * (bias[co] + timeBias[n, co] + residual[n, co, oy, ox]
//                        + sum over ci, ky, kx of weight[co, ci, ky, kx] * in[n, ci, oy * S + ky - top, ox * S + kx - left])
//
// Input outside the image counts as zero. Layout c4 (src/tensor.ts). Weights are packed [co / 4][ky][kx][ci / 4]
// as 4x4 matrices that map four input channels to four output channels.
//
// One invocation computes eight consecutive pixels (in row-major order) of two blocks of output channels.
// No workgroup memory, no barrier. Sums are in f32 whatever the storage type.

override WORKGROUP: u32;
override N: u32;
override CI_BLOCKS: u32;
override CO_BLOCKS: u32;
override H_IN: u32;
override W_IN: u32;
override H_OUT: u32;
override W_OUT: u32;
override K: u32;
override STRIDE: u32;
override TOP: u32;
override LEFT: u32;
override SCALE: f32;

override PIXELS_IN = H_IN * W_IN;
override PIXELS = H_OUT * W_OUT;
override TILES = (PIXELS + 7u) / 8u;
override PAIRS = (CO_BLOCKS + 1u) / 2u;

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

// Top left corner of the window of an output pixel.
fn corner(pixel: u32) -> vec2i {
  let p = min(pixel, PIXELS - 1u);
  return vec2i(i32((p / W_OUT) * STRIDE) - i32(TOP), i32((p % W_OUT) * STRIDE) - i32(LEFT));
}

fn inside(at: vec2i) -> bool {
  return at.x >= 0 && at.y >= 0 && at.x < i32(H_IN) && at.y < i32(W_IN);
}

fn load(at: vec2i, plane: u32, inside: bool) -> vec4f {
  return select(vec4f(0), vec4f(input[select(0u, plane + u32(at.x) * W_IN + u32(at.y), inside)]), inside);
}

fn store(n: u32, co: u32, pixel: u32, sum: vec4f) {
  if (pixel >= PIXELS || co >= CO_BLOCKS) {
    return;
  }
  let at = (n * CO_BLOCKS + co) * PIXELS + pixel;
  var value = sum + vec4f(bias[co]);
#if TIME_BIAS
  value += vec4f(timeBias[n * CO_BLOCKS + co]);
#endif
#if RESIDUAL
  value += vec4f(residual[at]);
#endif
  output[at] = T4(value * SCALE);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let id = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let first = (id % TILES) * 8u;
  let co = (id / TILES % PAIRS) * 2u;
  let n = id / (TILES * PAIRS);
  if (n >= N) {
    return;
  }
  let next = min(co + 1u, CO_BLOCKS - 1u); // an odd count of blocks: computed twice, stored once

  let c0 = corner(first);
  let c1 = corner(first + 1u);
  let c2 = corner(first + 2u);
  let c3 = corner(first + 3u);
  let c4 = corner(first + 4u);
  let c5 = corner(first + 5u);
  let c6 = corner(first + 6u);
  let c7 = corner(first + 7u);

  var a0 = vec4f(0); var b0 = vec4f(0);
  var a1 = vec4f(0); var b1 = vec4f(0);
  var a2 = vec4f(0); var b2 = vec4f(0);
  var a3 = vec4f(0); var b3 = vec4f(0);
  var a4 = vec4f(0); var b4 = vec4f(0);
  var a5 = vec4f(0); var b5 = vec4f(0);
  var a6 = vec4f(0); var b6 = vec4f(0);
  var a7 = vec4f(0); var b7 = vec4f(0);

  for (var ky = 0u; ky < K; ky++) {
    for (var kx = 0u; kx < K; kx++) {
      let step = vec2i(i32(ky), i32(kx));
      let i0 = inside(c0 + step);
      let i1 = inside(c1 + step);
      let i2 = inside(c2 + step);
      let i3 = inside(c3 + step);
      let i4 = inside(c4 + step);
      let i5 = inside(c5 + step);
      let i6 = inside(c6 + step);
      let i7 = inside(c7 + step);
      let weightA = ((co * K + ky) * K + kx) * CI_BLOCKS;
      let weightB = ((next * K + ky) * K + kx) * CI_BLOCKS;
      for (var ci = 0u; ci < CI_BLOCKS; ci++) {
        let plane = (n * CI_BLOCKS + ci) * PIXELS_IN;
        let a = mat4x4f(weight[weightA + ci]);
        let b = mat4x4f(weight[weightB + ci]);
        let v0 = load(c0 + step, plane, i0);
        let v1 = load(c1 + step, plane, i1);
        let v2 = load(c2 + step, plane, i2);
        let v3 = load(c3 + step, plane, i3);
        let v4 = load(c4 + step, plane, i4);
        let v5 = load(c5 + step, plane, i5);
        let v6 = load(c6 + step, plane, i6);
        let v7 = load(c7 + step, plane, i7);
        a0 += a * v0; b0 += b * v0;
        a1 += a * v1; b1 += b * v1;
        a2 += a * v2; b2 += b * v2;
        a3 += a * v3; b3 += b * v3;
        a4 += a * v4; b4 += b * v4;
        a5 += a * v5; b5 += b * v5;
        a6 += a * v6; b6 += b * v6;
        a7 += a * v7; b7 += b * v7;
      }
    }
  }

  store(n, co, first, a0);
  store(n, co, first + 1u, a1);
  store(n, co, first + 2u, a2);
  store(n, co, first + 3u, a3);
  store(n, co, first + 4u, a4);
  store(n, co, first + 5u, a5);
  store(n, co, first + 6u, a6);
  store(n, co, first + 7u, a7);
  store(n, co + 1u, first, b0);
  store(n, co + 1u, first + 1u, b1);
  store(n, co + 1u, first + 2u, b2);
  store(n, co + 1u, first + 3u, b3);
  store(n, co + 1u, first + 4u, b4);
  store(n, co + 1u, first + 5u, b5);
  store(n, co + 1u, first + 6u, b6);
  store(n, co + 1u, first + 7u, b7);
}
