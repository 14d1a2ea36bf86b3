// The state that a run starts from: x_T = SIGMA * z, z ~ N(0, 1), stream 0, step 0 (src/schedule/noise.ts).
//
// x planar f32 (N, ELEMENTS); seeds one key an image. One invocation fills four consecutive elements.

const WORKGROUP: u32 = {{WORKGROUP}}u;

struct Layer {
  N: u32,
  ELEMENTS: u32, // of one image
  SIGMA: f32,
  BLOCKS: u32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> seeds: array<vec2u>;
@group(0) @binding(2) var<storage, read> normal_table: array<vec4u>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let id = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let block = id % layer.BLOCKS;
  let n = id / layer.BLOCKS;
  if (n >= layer.N) {
    return;
  }
  let words = philox4x32_10(vec4u(block, 0u, 0u, 0u), seeds[n]);
  for (var l = 0u; l < 4u; l++) {
    if (block * 4u + l < layer.ELEMENTS) {
      x[n * layer.ELEMENTS + block * 4u + l] = layer.SIGMA * normal_from_bits(words[l]);
    }
  }
}
