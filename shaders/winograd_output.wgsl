// The last pass of Winograd's convolution F(4x4, 3x3): of the 36 products m of every tile 4 x 4 pixels,
//
//   out[n, c, 4 ty + i, 4 tx + j] = f(scale * (bias[c] + timeBias[n, c] + residual[n, c, ...] + (A^T m A)[i, j])),
//   A^T = (1 1 1 1 1 0; 0 1 -1 2 -2 0; 0 1 1 4 4 0; 0 1 -1 8 -8 1)
//
// m as shaders/winograd_input.wgsl leaves it; out in c4. One invocation does one tile of four channels.

const WORKGROUP: u32 = {{WORKGROUP}}u;

struct Layer {
  C_BLOCKS: u32,
  H: u32,
  W: u32,
  TILES_X: u32,
  TILES_IMAGE: u32,
  TILES: u32, // of all images of this launch
  FIRST: u32, // the first of them
  SCALE: f32,
  TIME_OF: u32, // blocks of an image in timeBias
  TIME_FIRST: u32,
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

// Further than any pixel: what is beside the image.
const FAR = 0x40000000u;

fn row(plane: u32, y: u32) -> u32 {
  return select(FAR, (plane * layer.H + y) * layer.W, y < layer.H);
}

fn place(x: u32) -> u32 {
  return select(FAR, x, x < layer.W);
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
  output[at] = T4(activation(value * layer.SCALE));
#else
  output[at] = T4(value * layer.SCALE);
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
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let id = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let tile = id % layer.TILES;
  let block = id / layer.TILES;
  if (block >= layer.C_BLOCKS) {
    return;
  }
  let n = layer.FIRST + tile / layer.TILES_IMAGE;
  let plane = n * layer.C_BLOCKS + block;
  var base = vec4f(bias[block]);
#if TIME_BIAS
  base += vec4f(timeBias[n * layer.TIME_OF + layer.TIME_FIRST + block]);
#endif
  let step = layer.C_BLOCKS * layer.TILES;
  let y = tile % layer.TILES_IMAGE / layer.TILES_X * 4u;
  let x = tile % layer.TILES_X * 4u;
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
