// Layer normalisation over the channels of each pixel (Ba et al. 2016):
//
//   out[n, c, p] = (in[n, c, p] - mean) / sqrt(variance + eps) * gamma[c] + beta[c]
//
// mean and (biased) variance are over the C channels of pixel p of image n. Layout c4; gamma and beta padded with zeros.
// One invocation does one pixel, in three passes.

const WORKGROUP: u32 = {{WORKGROUP}}u;

struct Layer {
  N: u32,
  C: u32,
  BLOCKS: u32,
  PIXELS: u32,
  EPS: f32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> output: array<T4>;
@group(0) @binding(1) var<storage, read> input: array<T4>;
@group(0) @binding(2) var<storage, read> gamma: array<T4>;
@group(0) @binding(3) var<storage, read> beta: array<T4>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let id = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let n = id / layer.PIXELS;
  if (n >= layer.N) {
    return;
  }
  let first = n * layer.BLOCKS * layer.PIXELS + id % layer.PIXELS;
  let count = f32(layer.C);
  var sum = vec4f(0); // lanes past C hold zero
  for (var b = 0u; b < layer.BLOCKS; b++) {
    sum += vec4f(input[first + b * layer.PIXELS]);
  }
  let mean = dot(sum, vec4f(1)) / count;
  var squares = vec4f(0);
  for (var b = 0u; b < layer.BLOCKS; b++) {
    let real = vec4u(b * 4u) + vec4u(0u, 1u, 2u, 3u) < vec4u(layer.C);
    let d = select(vec4f(0), vec4f(input[first + b * layer.PIXELS]) - mean, real);
    squares += d * d;
  }
  let factor = 1.0 / sqrt(dot(squares, vec4f(1)) / count + layer.EPS);
  for (var b = 0u; b < layer.BLOCKS; b++) {
    let normal = (vec4f(input[first + b * layer.PIXELS]) - mean) * factor;
    output[first + b * layer.PIXELS] = T4(normal * vec4f(gamma[b]) + vec4f(beta[b]));
  }
}
