// The last pass of Winograd's convolution F(2x2, 3x3): of the 16 products m of every tile 2 x 2 pixels,
//
//   out[n, c, 2 ty + i, 2 tx + j] = f(scale * (bias[c] + timeBias[n, c] + residual[n, c, ...] + (A^T m A)[i, j])),
//   A^T = (1 1 1 0; 0 1 -1 -1)
//
// m as shaders/winograd_input.wgsl leaves it; out in c4. One invocation does one tile of four channels.

override WORKGROUP: u32;

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

fn store(plane: u32, y: u32, x: u32, sum: vec4f) {
  if (y >= layer.H || x >= layer.W) {
    return;
  }
  let at = (plane * layer.H + y) * layer.W + x;
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
  let a0 = m[id];
  let a1 = m[id + step];
  let a2 = m[id + 2u * step];
  let a3 = m[id + 3u * step];
  let b0 = m[id + 4u * step];
  let b1 = m[id + 5u * step];
  let b2 = m[id + 6u * step];
  let b3 = m[id + 7u * step];
  let c0 = m[id + 8u * step];
  let c1 = m[id + 9u * step];
  let c2 = m[id + 10u * step];
  let c3 = m[id + 11u * step];
  let d0 = m[id + 12u * step];
  let d1 = m[id + 13u * step];
  let d2 = m[id + 14u * step];
  let d3 = m[id + 15u * step];
  let y = tile % layer.TILES_IMAGE / layer.TILES_X * 2u;
  let x = tile % layer.TILES_X * 2u;
  // Rows of A^T m.
  let p0 = a0 + b0 + c0;
  let p1 = a1 + b1 + c1;
  let p2 = a2 + b2 + c2;
  let p3 = a3 + b3 + c3;
  let q0 = b0 - c0 - d0;
  let q1 = b1 - c1 - d1;
  let q2 = b2 - c2 - d2;
  let q3 = b3 - c3 - d3;
  store(plane, y, x, base + (p0 + p1 + p2));
  store(plane, y, x + 1u, base + (p1 - p2 - p3));
  store(plane, y + 1u, x, base + (q0 + q1 + q2));
  store(plane, y + 1u, x + 1u, base + (q1 - q2 - q3));
}
