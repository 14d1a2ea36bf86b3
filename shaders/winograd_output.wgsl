// The last pass of Winograd's convolution F(4x4, 3x3): of the 36 products m of every tile 4 x 4 pixels,
//
//   out[n, c, 4 ty + i, 4 tx + j] = f(scale * (bias[c] + timeBias[n, c] + residual[n, c, ...] + (A^T m A)[i, j])),
//   A^T = (1 1 1 1 1 0; 0 1 -1 2 -2 0; 0 1 1 4 4 0; 0 1 -1 8 -8 1)
//
// m as shaders/winograd_input.wgsl leaves it; out in c4. One invocation does one tile of four channels.

#import dispatch
#if ACTIVATION
#import activation
#endif

struct Layer {
  cblocks: u32,
  h: u32,
  w: u32,
  tiles_x: u32,
  tiles_per_image: u32,
  tiles: u32, // of all images of this launch
  first: u32, // the first of them
  scale: f32,
  time_stride: u32, // blocks per image in timeBias
  time_offset: u32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> output: array<T4>;
@group(0) @binding(1) var<storage, read> m: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<T4>;
#if TIME_BIAS
@group(0) @binding(4) var<storage, read> timeBias: array<T4>;
#endif
#if RESIDUAL
@group(0) @binding(5) var<storage, read> residual: array<T4>;
#endif

// Greater than any index: pixels outside of the image.
const FAR = 0x40000000u;

fn row(plane: u32, y: u32) -> u32 {
  return select(FAR, (plane * layer.h + y) * layer.w, y < layer.h);
}

fn place(x: u32) -> u32 {
  return select(FAR, x, x < layer.w);
}

fn store(at: u32, sum: vec4f) {
  if (at >= FAR) {
    return;
  }
  var value = sum;
#if RESIDUAL
  value += vec4f(residual[at]);
#endif
#if ACTIVATION
  output[at] = T4(activation(value * layer.scale));
#else
  output[at] = T4(value * layer.scale);
#endif
}

// A^T m, of a column.
fn back(m0: vec4f, m1: vec4f, m2: vec4f, m3: vec4f, m4: vec4f, m5: vec4f) -> mat4x4f {
  let even = m1 + m2;
  let odd = m1 - m2;
  let even2 = m3 + m4;
  let odd2 = m3 - m4;
  return mat4x4f(m0 + even + even2, odd + 2.0 * odd2, even + 4.0 * even2, odd + 8.0 * odd2 + m5);
}

fn column(id: u32, step: u32) -> mat4x4f {
  return back(m[id], m[id + 6u * step], m[id + 12u * step], m[id + 18u * step], m[id + 24u * step], m[id + 30u * step]);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) invocation: u32,
) {
  let id = linear_id(workgroup_id, num_workgroups, invocation);
  let tile = id % layer.tiles;
  let cblock = id / layer.tiles;
  if (cblock >= layer.cblocks) {
    return;
  }
  let n = layer.first + tile / layer.tiles_per_image;
  let plane = n * layer.cblocks + cblock;
  var base = vec4f(bias[cblock]);
#if TIME_BIAS
  base += vec4f(timeBias[n * layer.time_stride + layer.time_offset + cblock]);
#endif
  let step = layer.cblocks * layer.tiles;
  let y = tile % layer.tiles_per_image / layer.tiles_x * 4u;
  let x = tile % layer.tiles_x * 4u;
  let x0 = place(x);
  let x1 = place(x + 1u);
  let x2 = place(x + 2u);
  let x3 = place(x + 3u);
  var c: array<mat4x4f, 6>;
  for (var j = 0u; j < 6u; j++) {
    c[j] = column(id + j * step, step);
  }
  for (var i = 0u; i < 4u; i++) {
    let at = row(plane, y + i);
    let r = back(c[0][i], c[1][i], c[2][i], c[3][i], c[4][i], c[5][i]);
    store(at + x0, base + r[0]);
    store(at + x1, base + r[1]);
    store(at + x2, base + r[2]);
    store(at + x3, base + r[3]);
  }
}
