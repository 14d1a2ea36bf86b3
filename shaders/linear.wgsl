// A linear layer on one vector an image: out[n, o] = bias[o] + sum over i of weight[o, i] * f(in[n, i]),
// with f = activation or identity; with SUM plus addend[n, o].
//
// Layout: vectors are (N, C, 1, 1) in c4; weights are packed [o / 4][i / 4] as 4x4 matrices, as in conv2d.
// One invocation computes four outputs of one image.

#import dispatch
#if ACTIVATION
#import activation
#endif

struct Layer {
  n: u32,
  in_cblocks: u32,
  out_cblocks: u32,
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
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) invocation: u32,
) {
  let id = linear_id(workgroup_id, num_workgroups, invocation);
  let o = id % layer.out_cblocks;
  let n = id / layer.out_cblocks;
  if (n >= layer.n) {
    return;
  }
  var sum = vec4f(bias[o]);
#if SUM
  sum += vec4f(addend[id]);
#endif
  for (var i = 0u; i < layer.in_cblocks; i++) {
    var v = vec4f(input[n * layer.in_cblocks + i]);
#if ACTIVATION
    v = activation(v);
#endif
    sum += mat4x4f(weight[o * layer.in_cblocks + i]) * v;
  }
  output[id] = T4(sum);
}
