// Joins two tensors along the channels: out[n, c] = a[n, c] for c < CA, b[n, c - CA] after. Layout c4.
//
// One invocation writes one pixel of four channels. With ALIGNED, CA is a multiple of four and blocks move whole.

override WORKGROUP: u32;
override N: u32;
override CA: u32;
override CB: u32;
override PIXELS: u32;

override A_BLOCKS = (CA + 3u) / 4u;
override B_BLOCKS = (CB + 3u) / 4u;
override BLOCKS = (CA + CB + 3u) / 4u;

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
  let pixel = id % PIXELS;
  let block = id / PIXELS % BLOCKS;
  let n = id / (PIXELS * BLOCKS);
  if (n >= N) {
    return;
  }
#if ALIGNED
  if (block < A_BLOCKS) {
    output[id] = a[(n * A_BLOCKS + block) * PIXELS + pixel];
  } else {
    output[id] = b[(n * B_BLOCKS + block - A_BLOCKS) * PIXELS + pixel];
  }
#else
  var v = T4(0);
  for (var l = 0u; l < 4u; l++) {
    let c = block * 4u + l;
    if (c < CA) {
      v[l] = a[(n * A_BLOCKS + c / 4u) * PIXELS + pixel][c % 4u];
    } else if (c < CA + CB) {
      v[l] = b[(n * B_BLOCKS + (c - CA) / 4u) * PIXELS + pixel][(c - CA) % 4u];
    }
  }
  output[id] = v;
#endif
}
