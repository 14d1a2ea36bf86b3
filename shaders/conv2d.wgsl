// Two-dimensional convolution, without barriers and workgroup memory.
//
//   out[n, co, oy, ox] = f(scale * (bias[co] + timeBias[n, co] + residual[n, co, oy, ox]
//                        + sum over ci, ky, kx of weight[co, ci, ky, kx] * in[n, ci, oy * S + ky - top, ox * S + kx - left]))
//
// f is the activation or the identity. Input outside the image counts as zero. Layout c4 (src/core/tensor.ts). Weights are packed
// [co / 4][ky][kx][ci / 4] as 4x4 matrices from four input channels to four output channels.
//
// POINTWISE: kernel size and stride are 1, without padding.
// BATCHED: also a product of matrices for each n with weights of its own, out[n] = weight[n] * in[n], without bias. The
//   middle pass of Winograd's convolution.
// CONCAT: also the channels of `second` follow those of `input`.
//
// Four invocations, a quad, compute 16 consecutive pixels (in row-major order) of four blocks of output channels. Each
// computes 8 pixels of 2 blocks. It loads 4 of its 8 pixels and 1 of its 2 matrices. With QUADS the rest comes from its
// quad neighbours by quadSwap; without, it loads the rest itself. On software adapters a load costs as much as a hundred
// multiply-adds. Sums are in f32 whatever the storage type.

#import dispatch
#import epilogue

struct Layer {
  n: u32,
  in_cblocks: u32,
  out_cblocks: u32,
  h_in: u32,
  w_in: u32,
  w_out: u32,
  kernel_size: u32,
  stride: u32,
  pad_top: u32,
  pad_left: u32,
  scale: f32,
  pixels_in: u32,
  time_stride: u32, // blocks per image in timeBias
  time_offset: u32,
  a_cblocks: u32, // blocks of input, with CONCAT; the rest are of second
  pixels: u32,
  tiles: u32, // of 16 pixels
  cblock_groups: u32, // of 4 blocks
  opaque_16: u32, // 16, unknown to the compiler: it must not unroll the loop of the stores
  workgroup_offset: u32, // of a launch that is a part of a larger one
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(1) var<storage, read> input: array<T4>;
@group(0) @binding(2) var<storage, read> weight: array<M4>;
#if CONCAT
@group(0) @binding(6) var<storage, read> second: array<T4>;
#endif

fn store(n: u32, co: u32, pixel: u32, sum: vec4f) {
  if (pixel >= layer.pixels || co >= layer.out_cblocks || n >= layer.n) {
    return;
  }
  finish(n, co, (n * layer.out_cblocks + co) * layer.pixels + pixel, sum);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) invocation: u32,
) {
  // No early return: quadSwap needs all four of a quad.
  let quad = (layer.workgroup_offset * WORKGROUP + linear_id(workgroup_id, num_workgroups, invocation)) / 4u;
  let a = invocation & 1u;
  let b = (invocation >> 1u) & 1u;
  let pixel = quad % layer.tiles * 16u + a * 8u;
  let cblock = quad / layer.tiles % layer.cblock_groups * 4u + b * 2u;
  let n = quad / (layer.tiles * layer.cblock_groups);
  // What this invocation loads, and what its neighbours load.
  let own = pixel + b * 4u;
  let other = pixel + (1u - b) * 4u;
  let co = cblock + a;
  let co_other = cblock + 1u - a;
  let n_load = min(n, layer.n - 1u);
  let co_load = min(co, layer.out_cblocks - 1u);

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

  let pixels = min(vec4u(own) + vec4u(0u, 1u, 2u, 3u), vec4u(layer.pixels - 1u));
#if !QUADS
  let pixels_other = min(vec4u(other) + vec4u(0u, 1u, 2u, 3u), vec4u(layer.pixels - 1u));
  let co_other_load = min(co_other, layer.out_cblocks - 1u);
#endif
#if POINTWISE
  {
    {
      let at = pixels;
#if BATCHED
      let tap = (n_load * layer.out_cblocks + co_load) * layer.in_cblocks;
#else
      let tap = co_load * layer.in_cblocks;
#endif
#if !QUADS
      let at_other = pixels_other;
#if BATCHED
      let tap_other = (n_load * layer.out_cblocks + co_other_load) * layer.in_cblocks;
#else
      let tap_other = co_other_load * layer.in_cblocks;
#endif
#endif
#else
  let top = vec4i(pixels / layer.w_out * layer.stride) - i32(layer.pad_top);
  let left = vec4i(pixels % layer.w_out * layer.stride) - i32(layer.pad_left);
#if !QUADS
  let top_other = vec4i(pixels_other / layer.w_out * layer.stride) - i32(layer.pad_top);
  let left_other = vec4i(pixels_other % layer.w_out * layer.stride) - i32(layer.pad_left);
#endif
  for (var ky = 0u; ky < layer.kernel_size; ky++) {
    for (var kx = 0u; kx < layer.kernel_size; kx++) {
      let y = top + i32(ky);
      let x = left + i32(kx);
      // As u32, a pixel left of or above the image is beyond its end.
      let inside = (vec4u(y) < vec4u(layer.h_in)) & (vec4u(x) < vec4u(layer.w_in));
      let at = select(vec4u(0), vec4u(y * i32(layer.w_in) + x), inside);
      let tap = ((co_load * layer.kernel_size + ky) * layer.kernel_size + kx) * layer.in_cblocks;
#if !QUADS
      let y_other = top_other + i32(ky);
      let x_other = left_other + i32(kx);
      let inside_other = (vec4u(y_other) < vec4u(layer.h_in)) & (vec4u(x_other) < vec4u(layer.w_in));
      let at_other = select(vec4u(0), vec4u(y_other * i32(layer.w_in) + x_other), inside_other);
      let tap_other = ((co_other_load * layer.kernel_size + ky) * layer.kernel_size + kx) * layer.in_cblocks;
#endif
#endif
      for (var ci = 0u; ci < layer.in_cblocks; ci++) {
        let m0 = mat4x4f(weight[tap + ci]);
#if CONCAT
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
        if (ci < layer.a_cblocks) {
          let plane = (n_load * layer.a_cblocks + ci) * layer.pixels_in;
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
          let plane = (n_load * (layer.in_cblocks - layer.a_cblocks) + ci - layer.a_cblocks) * layer.pixels_in;
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
        let plane = (n_load * layer.in_cblocks + ci) * layer.pixels_in;
        var x0 = vec4f(input[plane + at.x]);
        var x1 = vec4f(input[plane + at.y]);
        var x2 = vec4f(input[plane + at.z]);
        var x3 = vec4f(input[plane + at.w]);
#endif
#if !POINTWISE
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
#if !CONCAT
        var x4 = vec4f(input[plane + at_other.x]);
        var x5 = vec4f(input[plane + at_other.y]);
        var x6 = vec4f(input[plane + at_other.z]);
        var x7 = vec4f(input[plane + at_other.w]);
#endif
#if !POINTWISE
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
  // Unrolled, this loop takes llvmpipe ten seconds to compile.
  for (var i = 0u; i < layer.opaque_16; i++) {
    store(n, select(co, co_other, i >= 8u), select(own, other, (i & 4u) != 0u) + (i & 3u), sums[i]);
  }
}
