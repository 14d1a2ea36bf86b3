// The convolution of shaders/conv2d.wgsl as a product of matrices in workgroup memory, for GPUs: rows are pixels of all
// images, the sum runs over kernel positions and input channels (implicit GEMM).
//
// A workgroup of 64 computes ROWS pixels of COLUMNS blocks of output channels. For four blocks of input channels at a time
// it brings what is needed of the input and of the weights to workgroup memory, once for all; then every invocation
// multiplies for ROWS / THREADS pixels, 4 or with TALL 8, and one block or with WIDE two, in registers. Sums are in f32.
// With UPSAMPLED the input is half as wide and high, and every pixel counts for 2 x 2.
//
// With SPLIT the sum goes to PARTS workgroups, where an image has too few pixels to fill a GPU: each takes its share of the
// steps (four blocks of input channels at one kernel position), and its sums go to `partial`, where
// shaders/conv2d_sum.wgsl adds them and does the rest. No atomics: the order of the sums is always the same.

const WORKGROUP: u32 = {{WORKGROUP}}u; // 64

struct Layer {
  N: u32,
  CI_BLOCKS: u32,
  CO_BLOCKS: u32,
  H_IN: u32, // with UPSAMPLED twice the input's
  W_IN: u32,
  W_OUT: u32,
  K: u32,
  STRIDE: u32,
  TOP: u32,
  LEFT: u32,
  SCALE: f32,
  PIXELS: u32, // of an image of the output
  TILES: u32, // of ROWS pixels
  TIME_OF: u32, // blocks of an image in timeBias
  TIME_FIRST: u32,
  PARTS: u32, // 1 unless SPLIT
  SKIP: u32, // workgroups before this launch's first
}
@group(0) @binding(9) var<uniform> layer: Layer;

#if SPLIT
@group(0) @binding(0) var<storage, read_write> partial: array<vec4f>; // (PARTS, the output)
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
  if (row >= layer.N * layer.PIXELS || co >= layer.CO_BLOCKS) {
    return;
  }
  let n = row / layer.PIXELS;
  let at = (n * layer.CO_BLOCKS + co) * layer.PIXELS + row % layer.PIXELS;
#if SPLIT
  partial[part * layer.N * layer.CO_BLOCKS * layer.PIXELS + at] = sum;
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
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  // No early return: all are needed at the barriers.
  let id = layer.SKIP + group.y * groups.x + group.x;
  let first_row = id % layer.TILES * ROWS;
  let first_column = id / layer.TILES / layer.PARTS * COLUMNS;
  // Of its steps.
  let part = id / layer.TILES % layer.PARTS;
  let depths = (layer.CI_BLOCKS + DEPTH - 1u) / DEPTH;
  let begin = part * (layer.K * layer.K * depths) / layer.PARTS;
  let end = (part + 1u) * (layer.K * layer.K * depths) / layer.PARTS;
  // The pixel that this invocation loads, of some blocks.
  let own_row = min(first_row + lane % ROWS, layer.N * layer.PIXELS - 1u);
  let n = own_row / layer.PIXELS;
  let top = i32(own_row % layer.PIXELS / layer.W_OUT * layer.STRIDE) - i32(layer.TOP);
  let left = i32(own_row % layer.W_OUT * layer.STRIDE) - i32(layer.LEFT);
#if UPSAMPLED
  let width = layer.W_IN / 2u;
  let plane = layer.H_IN / 2u * width;
#else
  let width = layer.W_IN;
  let plane = layer.H_IN * width;
#endif
  // What it computes.
  let x = lane % THREADS;
  let y = lane / THREADS;

  var s00 = vec4f(0);
  var s01 = vec4f(0);
  var s02 = vec4f(0);
  var s03 = vec4f(0);
#if TALL
  var s04 = vec4f(0);
  var s05 = vec4f(0);
  var s06 = vec4f(0);
  var s07 = vec4f(0);
#endif
#if WIDE
  var s10 = vec4f(0);
  var s11 = vec4f(0);
  var s12 = vec4f(0);
  var s13 = vec4f(0);
#if TALL
  var s14 = vec4f(0);
  var s15 = vec4f(0);
  var s16 = vec4f(0);
  var s17 = vec4f(0);
#endif
#endif

  for (var tap = begin / depths; tap * depths < end; tap++) {
    let ci_begin = (max(begin, tap * depths) - tap * depths) * DEPTH;
    let ci_end = (min(end, (tap + 1u) * depths) - tap * depths) * DEPTH;
    // Through u32, what is left of or above the image is beyond its end.
    let py = u32(top + i32(tap / layer.K));
    let px = u32(left + i32(tap % layer.K));
    let inside = py < layer.H_IN && px < layer.W_IN;
#if UPSAMPLED
    let at = n * layer.CI_BLOCKS * plane + py / 2u * width + px / 2u;
#else
    let at = n * layer.CI_BLOCKS * plane + py * width + px;
#endif
    for (var ci = ci_begin; ci < ci_end; ci += DEPTH) {
      for (var d = lane / ROWS; d < DEPTH; d += 64u / ROWS) {
        let real = inside && ci + d < layer.CI_BLOCKS;
        pixels[d * ROWS + lane % ROWS] = select(T4(0), input[select(0u, at + (ci + d) * plane, real)], real);
      }
      for (var i = lane; i < COLUMNS * DEPTH * 4u; i += 64u) {
        let co = first_column + i / (DEPTH * 4u);
        let block = ci + i / 4u % DEPTH;
        let real = co < layer.CO_BLOCKS && block < layer.CI_BLOCKS;
        let index = ((co * layer.K * layer.K + tap) * layer.CI_BLOCKS + block) * 4u + i % 4u;
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
#if WIDE
        let m1 = matrix(y + 64u / THREADS, d);
        s10 += m1 * x0;
        s11 += m1 * x1;
        s12 += m1 * x2;
        s13 += m1 * x3;
#endif
#if TALL
        let x4 = vec4f(pixels[row + 4u * THREADS]);
        let x5 = vec4f(pixels[row + 5u * THREADS]);
        let x6 = vec4f(pixels[row + 6u * THREADS]);
        let x7 = vec4f(pixels[row + 7u * THREADS]);
        s04 += m0 * x4;
        s05 += m0 * x5;
        s06 += m0 * x6;
        s07 += m0 * x7;
#if WIDE
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
#if TALL
  store(part, row + 4u * THREADS, co, s04);
  store(part, row + 5u * THREADS, co, s05);
  store(part, row + 6u * THREADS, co, s06);
  store(part, row + 7u * THREADS, co, s07);
#endif
#if WIDE
  store(part, row, co + 64u / THREADS, s10);
  store(part, row + THREADS, co + 64u / THREADS, s11);
  store(part, row + 2u * THREADS, co + 64u / THREADS, s12);
  store(part, row + 3u * THREADS, co + 64u / THREADS, s13);
#if TALL
  store(part, row + 4u * THREADS, co + 64u / THREADS, s14);
  store(part, row + 5u * THREADS, co + 64u / THREADS, s15);
  store(part, row + 6u * THREADS, co + 64u / THREADS, s16);
  store(part, row + 7u * THREADS, co + 64u / THREADS, s17);
#endif
#endif
}
