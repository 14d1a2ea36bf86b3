// The initial state of a run: x_T = sigma * z, z ~ N(0, 1), stream 0, step 0 (src/schedule/noise.ts).
//
// x is planar f32 (n, elements); seeds has one key per image. One invocation fills four consecutive elements.

#import dispatch
#import normal

struct Layer {
  n: u32,
  elements: u32, // of one image
  sigma: f32,
  counters: u32, // Philox counters per image: one for four elements
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> seeds: array<vec2u>;
@group(0) @binding(2) var<storage, read> normal_table: array<vec4u>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) invocation: u32,
) {
  let id = linear_id(workgroup_id, num_workgroups, invocation);
  let counter = id % layer.counters;
  let n = id / layer.counters;
  if (n >= layer.n) {
    return;
  }
  let words = philox4x32_10(vec4u(counter, 0u, 0u, 0u), seeds[n]);
  for (var l = 0u; l < 4u; l++) {
    if (counter * 4u + l < layer.elements) {
      x[n * layer.elements + counter * 4u + l] = layer.sigma * normal_from_bits(words[l]);
    }
  }
}
