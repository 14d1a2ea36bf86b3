// A linear layer on one vector an image: out[n, o] = bias[o] + sum over i of weight[o, i] * f(in[n, i]),
// with f = activation or identity; with SUM plus addend[n, o].
//
// Layout: vectors are (N, C, 1, 1) in c4; weights are packed [o / 4][i / 4] as 4x4 matrices, as in conv2d.
// One invocation computes four outputs of one image.

const WORKGROUP: u32 = {{WORKGROUP}}u;

struct Layer {
  N: u32,
  I_BLOCKS: u32,
  O_BLOCKS: u32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> output: array<T4>;
@group(0) @binding(1) var<storage, read> input: array<T4>;
@group(0) @binding(2) var<storage, read> weight: array<M4>;
@group(0) @binding(3) var<storage, read> bias: array<T4>;
#if SUM
@group(0) @binding(4) var<storage, read> addend: array<T4>;
#endif

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let id = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let o = id % layer.O_BLOCKS;
  let n = id / layer.O_BLOCKS;
  if (n >= layer.N) {
    return;
  }
  var sum = vec4f(bias[o]);
#if SUM
  sum += vec4f(addend[id]);
#endif
  for (var i = 0u; i < layer.I_BLOCKS; i++) {
    var v = vec4f(input[n * layer.I_BLOCKS + i]);
#if ACTIVATION
    v = activation(v);
#endif
    sum += mat4x4f(weight[o * layer.I_BLOCKS + i]) * v;
  }
  output[id] = T4(sum);
}
