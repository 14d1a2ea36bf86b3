// Adds the embedding of a class: out[n, c] = in[n, c] + table[label[n], c].
// With TIME, the learned embedding of a timestep: out[n, c] = table[t[n], c]; a row past the end counts as the last.
//
// Vectors are (n, C, 1, 1) in c4, the table is (rows, C, 1, 1) in c4, `label` has one u32 and `t` one f32 per image. One
// invocation computes four channels.

#import dispatch

struct Layer {
  n: u32,
  cblocks: u32,
  rows: u32,
  first: u32, // of the labels or timesteps
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
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) invocation: u32,
) {
  let id = linear_id(workgroup_id, num_workgroups, invocation);
  let n = id / layer.cblocks;
  if (n >= layer.n) {
    return;
  }
#if TIME
  let row = min(u32(max(t[layer.first + n], 0.0) + 0.5), layer.rows - 1u);
  output[id] = table[row * layer.cblocks + id % layer.cblocks];
#else
  let row = min(label[layer.first + n], layer.rows - 1u);
  output[id] = T4(vec4f(input[id]) + vec4f(table[row * layer.cblocks + id % layer.cblocks]));
#endif
}
