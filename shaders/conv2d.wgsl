// Two-dimensional convolution, barrier-free.
//
//   out[n, co, oy, ox] = f(scale * (bias[co] + timeBias[n, co] + residual[n, co, oy, ox]
//                        + sum over ci, ky, kx of weight[co, ci, ky, kx] * in[n, ci, oy * S + ky - top, ox * S + kx - left]))
//
// f = activation or identity.
// Input outside the image counts as zero. Layout c4 (src/tensor.ts). Weights are packed [co / 4][ky][kx][ci / 4]
// as 4x4 matrices that map four input channels to four output channels.
// With PLAIN, K = S = 1 and no padding. With STACKED also a product of matrices for each n with weights of its own:
// out[n] = weight[n] * in[n], without bias (the middle of Winograd's convolution). With JOINED, which is PLAIN, the input's
// channels are those of input, then those of second.
//
// Four invocations, a quad, compute 16 consecutive pixels (in row-major order) of four blocks of output channels.
// Each of them computes 8 pixels of 2 blocks: it loads 4 pixels and one block's matrix, and gets the others from its
// neighbours (with QUADS by registers; without, by loading them too). On software adapters a load costs as much as a
// hundred multiply-adds. No workgroup memory, no barrier. Sums are in f32 whatever the storage type.

const WORKGROUP: u32 = {{WORKGROUP}}u;

struct Layer {
  N: u32,
  CI_BLOCKS: u32,
  CO_BLOCKS: u32,
  H_IN: u32,
  W_IN: u32,
  W_OUT: u32,
  K: u32,
  STRIDE: u32,
  TOP: u32,
  LEFT: u32,
  SCALE: f32,
  PIXELS_IN: u32,
  TIME_OF: u32, // blocks of an image in timeBias
  TIME_FIRST: u32,
  A_BLOCKS: u32, // of input, with JOINED; the others are of second
  PIXELS: u32,
  TILES: u32, // of 16 pixels
  GROUPS: u32, // of 4 blocks
  STORES: u32, // 16
  SKIP: u32, // workgroups before this launch's first
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(1) var<storage, read> input: array<T4>;
@group(0) @binding(2) var<storage, read> weight: array<M4>;
#if JOINED
@group(0) @binding(6) var<storage, read> second: array<T4>;
#endif

fn store(n: u32, co: u32, pixel: u32, sum: vec4f) {
  if (pixel >= layer.PIXELS || co >= layer.CO_BLOCKS || n >= layer.N) {
    return;
  }
  finish(n, co, (n * layer.CO_BLOCKS + co) * layer.PIXELS + pixel, sum);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  // No early return: all four of a quad are needed to the end.
  let quad = ((layer.SKIP + group.y * groups.x + group.x) * WORKGROUP + lane) / 4u;
  let a = lane & 1u;
  let b = (lane >> 1u) & 1u;
  let pixel = quad % layer.TILES * 16u + a * 8u;
  let block = quad / layer.TILES % layer.GROUPS * 4u + b * 2u;
  let n = quad / (layer.TILES * layer.GROUPS);
  // What this invocation loads, and what its neighbours load for it.
  let own = pixel + b * 4u;
  let other = pixel + (1u - b) * 4u;
  let co = block + a;
  let co_other = block + 1u - a;
  let n_load = min(n, layer.N - 1u);
  let co_load = min(co, layer.CO_BLOCKS - 1u);

  var s00 = vec4f(0);
  var s01 = vec4f(0);
  var s02 = vec4f(0);
  var s03 = vec4f(0);
  var s04 = vec4f(0);
  var s05 = vec4f(0);
  var s06 = vec4f(0);
  var s07 = vec4f(0);
  var s10 = vec4f(0);
  var s11 = vec4f(0);
  var s12 = vec4f(0);
  var s13 = vec4f(0);
  var s14 = vec4f(0);
  var s15 = vec4f(0);
  var s16 = vec4f(0);
  var s17 = vec4f(0);

  let pixels = min(vec4u(own) + vec4u(0u, 1u, 2u, 3u), vec4u(layer.PIXELS - 1u));
#if !QUADS
  let pixels_other = min(vec4u(other) + vec4u(0u, 1u, 2u, 3u), vec4u(layer.PIXELS - 1u));
  let co_other_load = min(co_other, layer.CO_BLOCKS - 1u);
#endif
#if PLAIN
  {
    {
      let at = pixels;
#if STACKED
      let tap = (n_load * layer.CO_BLOCKS + co_load) * layer.CI_BLOCKS;
#else
      let tap = co_load * layer.CI_BLOCKS;
#endif
#if !QUADS
      let at_other = pixels_other;
#if STACKED
      let tap_other = (n_load * layer.CO_BLOCKS + co_other_load) * layer.CI_BLOCKS;
#else
      let tap_other = co_other_load * layer.CI_BLOCKS;
#endif
#endif
#else
  let top = vec4i(pixels / layer.W_OUT * layer.STRIDE) - i32(layer.TOP);
  let left = vec4i(pixels % layer.W_OUT * layer.STRIDE) - i32(layer.LEFT);
#if !QUADS
  let top_other = vec4i(pixels_other / layer.W_OUT * layer.STRIDE) - i32(layer.TOP);
  let left_other = vec4i(pixels_other % layer.W_OUT * layer.STRIDE) - i32(layer.LEFT);
#endif
  for (var ky = 0u; ky < layer.K; ky++) {
    for (var kx = 0u; kx < layer.K; kx++) {
      let y = top + i32(ky);
      let x = left + i32(kx);
      // Through u32, what is left of or above the image is beyond its end.
      let inside = (vec4u(y) < vec4u(layer.H_IN)) & (vec4u(x) < vec4u(layer.W_IN));
      let at = select(vec4u(0), vec4u(y * i32(layer.W_IN) + x), inside);
      let tap = ((co_load * layer.K + ky) * layer.K + kx) * layer.CI_BLOCKS;
#if !QUADS
      let y_other = top_other + i32(ky);
      let x_other = left_other + i32(kx);
      let inside_other = (vec4u(y_other) < vec4u(layer.H_IN)) & (vec4u(x_other) < vec4u(layer.W_IN));
      let at_other = select(vec4u(0), vec4u(y_other * i32(layer.W_IN) + x_other), inside_other);
      let tap_other = ((co_other_load * layer.K + ky) * layer.K + kx) * layer.CI_BLOCKS;
#endif
#endif
      for (var ci = 0u; ci < layer.CI_BLOCKS; ci++) {
        let m0 = mat4x4f(weight[tap + ci]);
#if JOINED
        var x0: vec4f;
        var x1: vec4f;
        var x2: vec4f;
        var x3: vec4f;
#if !QUADS
        var x4: vec4f;
        var x5: vec4f;
        var x6: vec4f;
        var x7: vec4f;
#endif
        if (ci < layer.A_BLOCKS) {
          let plane = (n_load * layer.A_BLOCKS + ci) * layer.PIXELS_IN;
          x0 = vec4f(input[plane + at.x]);
          x1 = vec4f(input[plane + at.y]);
          x2 = vec4f(input[plane + at.z]);
          x3 = vec4f(input[plane + at.w]);
#if !QUADS
          x4 = vec4f(input[plane + at_other.x]);
          x5 = vec4f(input[plane + at_other.y]);
          x6 = vec4f(input[plane + at_other.z]);
          x7 = vec4f(input[plane + at_other.w]);
#endif
        } else {
          let plane = (n_load * (layer.CI_BLOCKS - layer.A_BLOCKS) + ci - layer.A_BLOCKS) * layer.PIXELS_IN;
          x0 = vec4f(second[plane + at.x]);
          x1 = vec4f(second[plane + at.y]);
          x2 = vec4f(second[plane + at.z]);
          x3 = vec4f(second[plane + at.w]);
#if !QUADS
          x4 = vec4f(second[plane + at_other.x]);
          x5 = vec4f(second[plane + at_other.y]);
          x6 = vec4f(second[plane + at_other.z]);
          x7 = vec4f(second[plane + at_other.w]);
#endif
        }
#else
        let plane = (n_load * layer.CI_BLOCKS + ci) * layer.PIXELS_IN;
        var x0 = vec4f(input[plane + at.x]);
        var x1 = vec4f(input[plane + at.y]);
        var x2 = vec4f(input[plane + at.z]);
        var x3 = vec4f(input[plane + at.w]);
#endif
#if !PLAIN
        x0 = select(vec4f(0), x0, inside.x);
        x1 = select(vec4f(0), x1, inside.y);
        x2 = select(vec4f(0), x2, inside.z);
        x3 = select(vec4f(0), x3, inside.w);
#endif
#if QUADS
        let x4 = quadSwapY(x0);
        let x5 = quadSwapY(x1);
        let x6 = quadSwapY(x2);
        let x7 = quadSwapY(x3);
        let m1 = mat4x4f(quadSwapX(m0[0]), quadSwapX(m0[1]), quadSwapX(m0[2]), quadSwapX(m0[3]));
#else
        let m1 = mat4x4f(weight[tap_other + ci]);
#if !JOINED
        var x4 = vec4f(input[plane + at_other.x]);
        var x5 = vec4f(input[plane + at_other.y]);
        var x6 = vec4f(input[plane + at_other.z]);
        var x7 = vec4f(input[plane + at_other.w]);
#endif
#if !PLAIN
        x4 = select(vec4f(0), x4, inside_other.x);
        x5 = select(vec4f(0), x5, inside_other.y);
        x6 = select(vec4f(0), x6, inside_other.z);
        x7 = select(vec4f(0), x7, inside_other.w);
#endif
#endif
        s00 += m0 * x0;
        s01 += m0 * x1;
        s02 += m0 * x2;
        s03 += m0 * x3;
        s04 += m0 * x4;
        s05 += m0 * x5;
        s06 += m0 * x6;
        s07 += m0 * x7;
        s10 += m1 * x0;
        s11 += m1 * x1;
        s12 += m1 * x2;
        s13 += m1 * x3;
        s14 += m1 * x4;
        s15 += m1 * x5;
        s16 += m1 * x6;
        s17 += m1 * x7;
      }
    }
  }

  var sums = array(s00, s01, s02, s03, s04, s05, s06, s07, s10, s11, s12, s13, s14, s15, s16, s17);
  // A loop of unknown length: unrolled, it takes llvmpipe ten seconds to compile.
  for (var i = 0u; i < layer.STORES; i++) {
    store(n, select(co, co_other, i >= 8u), select(own, other, (i & 4u) != 0u) + (i & 3u), sums[i]);
  }
}
