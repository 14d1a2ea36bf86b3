// The convolution of shaders/conv2d.wgsl as a product of matrices in workgroup memory, for GPUs. Rows are the pixels of all
// images; the sum runs over kernel positions and input channels (implicit GEMM).
//
// A workgroup of 64 computes ROWS pixels of COLUMNS blocks of output channels. For four blocks of input channels at a time,
// it loads input and weights to workgroup memory. Then every invocation multiplies in registers for ROWS / THREADS pixels,
// 4 or (ROWS_8) 8, and one block or (CBLOCKS_2) two. Sums are in f32.
//
// UPSAMPLED: the input is half as wide and high, and every pixel counts for 2 x 2.
// SPLIT_K: split_k workgroups share a sum, for images with too few pixels to fill a GPU. Each takes its share of the steps
//   (four blocks of input channels at one kernel position) and writes to `partial`; shaders/conv2d_sum.wgsl adds the parts.
//   No atomics: the order of the sums is always the same.

#import dispatch
#if !SPLIT_K
#import epilogue
#endif

struct Layer {
  n: u32,
  in_cblocks: u32,
  out_cblocks: u32,
  h_in: u32, // with UPSAMPLED twice the input's
  w_in: u32,
  w_out: u32,
  kernel_size: u32,
  stride: u32,
  pad_top: u32,
  pad_left: u32,
  scale: f32,
  pixels: u32, // of an image of the output
  tiles: u32, // of ROWS pixels each
  time_stride: u32, // blocks per image in timeBias
  time_offset: u32,
  split_k: u32, // 1 unless SPLIT_K
  workgroup_offset: u32, // of a launch that is a part of a larger one
}
@group(0) @binding(9) var<uniform> layer: Layer;

#if SPLIT_K
@group(0) @binding(0) var<storage, read_write> partial: array<vec4f>; // (split_k, the output)
#endif
@group(0) @binding(1) var<storage, read> input: array<T4>;
@group(0) @binding(2) var<storage, read> weight: array<T4>; // columns of the 4x4 matrices

const ROWS = {{ROWS}}u;
const COLUMNS = {{COLUMNS}}u;
const THREADS = {{THREADS}}u; // along the pixels; 64 / THREADS along the blocks
const DEPTH = 4u; // blocks of input channels at a time

var<workgroup> pixels: array<T4, ROWS * DEPTH>; // [block][pixel]
var<workgroup> weights: array<T4, COLUMNS * DEPTH * 4u>; // [block out][block in][column]

fn store(part: u32, row: u32, co: u32, sum: vec4f) {
  if (row >= layer.n * layer.pixels || co >= layer.out_cblocks) {
    return;
  }
  let n = row / layer.pixels;
  let at = (n * layer.out_cblocks + co) * layer.pixels + row % layer.pixels;
#if SPLIT_K
  partial[part * layer.n * layer.out_cblocks * layer.pixels + at] = sum;
#else
  finish(n, co, at, sum);
#endif
}

fn matrix(column: u32, depth: u32) -> mat4x4f {
  let at = (column * DEPTH + depth) * 4u;
  return mat4x4f(vec4f(weights[at]), vec4f(weights[at + 1u]), vec4f(weights[at + 2u]), vec4f(weights[at + 3u]));
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) invocation: u32,
) {
  // No early return: the barriers need all invocations.
  let id = layer.workgroup_offset + workgroup_index(workgroup_id, num_workgroups);
  let first_row = id % layer.tiles * ROWS;
  let first_column = id / layer.tiles / layer.split_k * COLUMNS;
  // Of its steps.
  let part = id / layer.tiles % layer.split_k;
  let depths = (layer.in_cblocks + DEPTH - 1u) / DEPTH;
  let begin = part * (layer.kernel_size * layer.kernel_size * depths) / layer.split_k;
  let end = (part + 1u) * (layer.kernel_size * layer.kernel_size * depths) / layer.split_k;
  // The pixel that this invocation loads, of some blocks.
  let own_row = min(first_row + invocation % ROWS, layer.n * layer.pixels - 1u);
  let n = own_row / layer.pixels;
  let top = i32(own_row % layer.pixels / layer.w_out * layer.stride) - i32(layer.pad_top);
  let left = i32(own_row % layer.w_out * layer.stride) - i32(layer.pad_left);
#if UPSAMPLED
  let width = layer.w_in / 2u;
  let plane = layer.h_in / 2u * width;
#else
  let width = layer.w_in;
  let plane = layer.h_in * width;
#endif
  // What it computes.
  let x = invocation % THREADS;
  let y = invocation / THREADS;

  var s00 = vec4f(0);
  var s01 = vec4f(0);
  var s02 = vec4f(0);
  var s03 = vec4f(0);
#if ROWS_8
  var s04 = vec4f(0);
  var s05 = vec4f(0);
  var s06 = vec4f(0);
  var s07 = vec4f(0);
#endif
#if CBLOCKS_2
  var s10 = vec4f(0);
  var s11 = vec4f(0);
  var s12 = vec4f(0);
  var s13 = vec4f(0);
#if ROWS_8
  var s14 = vec4f(0);
  var s15 = vec4f(0);
  var s16 = vec4f(0);
  var s17 = vec4f(0);
#endif
#endif

  for (var tap = begin / depths; tap * depths < end; tap++) {
    let ci_begin = (max(begin, tap * depths) - tap * depths) * DEPTH;
    let ci_end = (min(end, (tap + 1u) * depths) - tap * depths) * DEPTH;
    // As u32, a pixel left of or above the image is beyond its end.
    let py = u32(top + i32(tap / layer.kernel_size));
    let px = u32(left + i32(tap % layer.kernel_size));
    let inside = py < layer.h_in && px < layer.w_in;
#if UPSAMPLED
    let at = n * layer.in_cblocks * plane + py / 2u * width + px / 2u;
#else
    let at = n * layer.in_cblocks * plane + py * width + px;
#endif
    for (var ci = ci_begin; ci < ci_end; ci += DEPTH) {
      for (var d = invocation / ROWS; d < DEPTH; d += WORKGROUP / ROWS) {
        let real = inside && ci + d < layer.in_cblocks;
        pixels[d * ROWS + invocation % ROWS] = select(T4(0), input[select(0u, at + (ci + d) * plane, real)], real);
      }
      for (var i = invocation; i < COLUMNS * DEPTH * 4u; i += WORKGROUP) {
        let co = first_column + i / (DEPTH * 4u);
        let cblock = ci + i / 4u % DEPTH;
        let real = co < layer.out_cblocks && cblock < layer.in_cblocks;
        let index = ((co * layer.kernel_size * layer.kernel_size + tap) * layer.in_cblocks + cblock) * 4u + i % 4u;
        weights[i] = select(T4(0), weight[select(0u, index, real)], real);
      }
      workgroupBarrier();
      for (var d = 0u; d < DEPTH; d++) {
        let row = d * ROWS + x;
        let m0 = matrix(y, d);
        let x0 = vec4f(pixels[row]);
        let x1 = vec4f(pixels[row + THREADS]);
        let x2 = vec4f(pixels[row + 2u * THREADS]);
        let x3 = vec4f(pixels[row + 3u * THREADS]);
        s00 += m0 * x0;
        s01 += m0 * x1;
        s02 += m0 * x2;
        s03 += m0 * x3;
#if CBLOCKS_2
        let m1 = matrix(y + WORKGROUP / THREADS, d);
        s10 += m1 * x0;
        s11 += m1 * x1;
        s12 += m1 * x2;
        s13 += m1 * x3;
#endif
#if ROWS_8
        let x4 = vec4f(pixels[row + 4u * THREADS]);
        let x5 = vec4f(pixels[row + 5u * THREADS]);
        let x6 = vec4f(pixels[row + 6u * THREADS]);
        let x7 = vec4f(pixels[row + 7u * THREADS]);
        s04 += m0 * x4;
        s05 += m0 * x5;
        s06 += m0 * x6;
        s07 += m0 * x7;
#if CBLOCKS_2
        s14 += m1 * x4;
        s15 += m1 * x5;
        s16 += m1 * x6;
        s17 += m1 * x7;
#endif
#endif
      }
      workgroupBarrier();
    }
  }

  let row = first_row + x;
  let co = first_column + y;
  store(part, row, co, s00);
  store(part, row + THREADS, co, s01);
  store(part, row + 2u * THREADS, co, s02);
  store(part, row + 3u * THREADS, co, s03);
#if ROWS_8
  store(part, row + 4u * THREADS, co, s04);
  store(part, row + 5u * THREADS, co, s05);
  store(part, row + 6u * THREADS, co, s06);
  store(part, row + 7u * THREADS, co, s07);
#endif
#if CBLOCKS_2
  store(part, row, co + WORKGROUP / THREADS, s10);
  store(part, row + THREADS, co + WORKGROUP / THREADS, s11);
  store(part, row + 2u * THREADS, co + WORKGROUP / THREADS, s12);
  store(part, row + 3u * THREADS, co + WORKGROUP / THREADS, s13);
#if ROWS_8
  store(part, row + 4u * THREADS, co + WORKGROUP / THREADS, s14);
  store(part, row + 5u * THREADS, co + WORKGROUP / THREADS, s15);
  store(part, row + 6u * THREADS, co + WORKGROUP / THREADS, s16);
  store(part, row + 7u * THREADS, co + WORKGROUP / THREADS, s17);
#endif
#endif
}
