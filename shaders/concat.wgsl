// Concatenates two tensors along the channels: out[n, c] = a[n, c] for c < c_a, b[n, c - c_a] after. Layout c4.
//
// One invocation writes one pixel of four channels. With ALIGNED, c_a is a multiple of four, and whole blocks are copied.

#import dispatch

struct Layer {
  n: u32,
  c_a: u32,
  c_b: u32,
  pixels: u32,
  a_cblocks: u32,
  b_cblocks: u32,
  cblocks: u32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> output: array<T4>;
@group(0) @binding(1) var<storage, read> a: array<T4>;
@group(0) @binding(2) var<storage, read> b: array<T4>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) invocation: u32,
) {
  let id = linear_id(workgroup_id, num_workgroups, invocation);
  let pixel = id % layer.pixels;
  let cblock = id / layer.pixels % layer.cblocks;
  let n = id / (layer.pixels * layer.cblocks);
  if (n >= layer.n) {
    return;
  }
#if ALIGNED
  if (cblock < layer.a_cblocks) {
    output[id] = a[(n * layer.a_cblocks + cblock) * layer.pixels + pixel];
  } else {
    output[id] = b[(n * layer.b_cblocks + cblock - layer.a_cblocks) * layer.pixels + pixel];
  }
#else
  var v = T4(0);
  for (var l = 0u; l < 4u; l++) {
    let c = cblock * 4u + l;
    if (c < layer.c_a) {
      v[l] = a[(n * layer.a_cblocks + c / 4u) * layer.pixels + pixel][c % 4u];
    } else if (c < layer.c_a + layer.c_b) {
      v[l] = b[(n * layer.b_cblocks + (c - layer.c_a) / 4u) * layer.pixels + pixel][(c - layer.c_a) % 4u];
    }
  }
  output[id] = v;
#endif
}
