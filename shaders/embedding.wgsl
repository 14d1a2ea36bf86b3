// Adds the embedding of a class: out[n, c] = in[n, c] + table[label[n], c].
// With TIME the learned embedding of a timestep: out[n, c] = table[t[n], c], rows past the end counting as the last.
//
// Vectors (N, C, 1, 1) in c4, table (K, C, 1, 1) in c4, label one u32 and t one f32 an image. One invocation does four
// channels.

const WORKGROUP: u32 = {{WORKGROUP}}u;

struct Layer {
  N: u32,
  C_BLOCKS: u32,
  ROWS: u32,
  FIRST: u32, // of the labels or timesteps
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> output: array<T4>;
@group(0) @binding(2) var<storage, read> table: array<T4>;
#if TIME
@group(0) @binding(1) var<storage, read> t: array<f32>;
#else
@group(0) @binding(1) var<storage, read> input: array<T4>;
@group(0) @binding(3) var<storage, read> label: array<u32>;
#endif

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let id = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let n = id / layer.C_BLOCKS;
  if (n >= layer.N) {
    return;
  }
#if TIME
  let row = min(u32(max(t[layer.FIRST + n], 0.0) + 0.5), layer.ROWS - 1u);
  output[id] = table[row * layer.C_BLOCKS + id % layer.C_BLOCKS];
#else
  let row = min(label[layer.FIRST + n], layer.ROWS - 1u);
  output[id] = T4(vec4f(input[id]) + vec4f(table[row * layer.C_BLOCKS + id % layer.C_BLOCKS]));
#endif
}
