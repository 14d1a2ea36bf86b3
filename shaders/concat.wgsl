// Joins two tensors along the channels: out[n, c] = a[n, c] for c < CA, b[n, c - CA] after. Layout c4.
//
// One invocation writes one pixel of four channels. With ALIGNED, CA is a multiple of four and blocks move whole.

const WORKGROUP: u32 = {{WORKGROUP}}u;

struct Layer {
  N: u32,
  CA: u32,
  CB: u32,
  PIXELS: u32,
  A_BLOCKS: u32,
  B_BLOCKS: u32,
  BLOCKS: u32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> output: array<T4>;
@group(0) @binding(1) var<storage, read> a: array<T4>;
@group(0) @binding(2) var<storage, read> b: array<T4>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let id = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let pixel = id % layer.PIXELS;
  let block = id / layer.PIXELS % layer.BLOCKS;
  let n = id / (layer.PIXELS * layer.BLOCKS);
  if (n >= layer.N) {
    return;
  }
#if ALIGNED
  if (block < layer.A_BLOCKS) {
    output[id] = a[(n * layer.A_BLOCKS + block) * layer.PIXELS + pixel];
  } else {
    output[id] = b[(n * layer.B_BLOCKS + block - layer.A_BLOCKS) * layer.PIXELS + pixel];
  }
#else
  var v = T4(0);
  for (var l = 0u; l < 4u; l++) {
    let c = block * 4u + l;
    if (c < layer.CA) {
      v[l] = a[(n * layer.A_BLOCKS + c / 4u) * layer.PIXELS + pixel][c % 4u];
    } else if (c < layer.CA + layer.CB) {
      v[l] = b[(n * layer.B_BLOCKS + (c - layer.CA) / 4u) * layer.PIXELS + pixel][(c - layer.CA) % 4u];
    }
  }
  output[id] = v;
#endif
}
