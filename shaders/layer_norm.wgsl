// Layer normalisation over the channels of each pixel (Ba et al. 2016):
//
//   out[n, c, p] = (in[n, c, p] - mean) / sqrt(variance + eps) * gamma[c] + beta[c]
//
// mean and (biased) variance are over the C channels of pixel p of image n. Layout c4; gamma and beta padded with zeros.
// One invocation does one pixel, in three passes.

#import dispatch

struct Layer {
  n: u32,
  c: u32,
  cblocks: u32,
  pixels: u32,
  eps: f32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> output: array<T4>;
@group(0) @binding(1) var<storage, read> input: array<T4>;
@group(0) @binding(2) var<storage, read> gamma: array<T4>;
@group(0) @binding(3) var<storage, read> beta: array<T4>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) invocation: u32,
) {
  let id = linear_id(workgroup_id, num_workgroups, invocation);
  let n = id / layer.pixels;
  if (n >= layer.n) {
    return;
  }
  let first = n * layer.cblocks * layer.pixels + id % layer.pixels;
  let count = f32(layer.c);
  var sum = vec4f(0); // components past the last channel are zero
  for (var b = 0u; b < layer.cblocks; b++) {
    sum += vec4f(input[first + b * layer.pixels]);
  }
  let mean = dot(sum, vec4f(1)) / count;
  var squares = vec4f(0);
  for (var b = 0u; b < layer.cblocks; b++) {
    let real = vec4u(b * 4u) + vec4u(0u, 1u, 2u, 3u) < vec4u(layer.c);
    let d = select(vec4f(0), vec4f(input[first + b * layer.pixels]) - mean, real);
    squares += d * d;
  }
  let factor = 1.0 / sqrt(dot(squares, vec4f(1)) / count + layer.eps);
  for (var b = 0u; b < layer.cblocks; b++) {
    let normal = (vec4f(input[first + b * layer.pixels]) - mean) * factor;
    output[first + b * layer.pixels] = T4(normal * vec4f(gamma[b]) + vec4f(beta[b]));
  }
}
