// The state that a run starts from: x_T = SIGMA * z, z ~ N(0, 1), stream 0, step 0 (src/scheduler/noise.ts).
//
// x planar f32 (N, ELEMENTS); seeds one key an image. One invocation fills four consecutive elements.

override WORKGROUP: u32;
override N: u32;
override ELEMENTS: u32; // of one image
override SIGMA: f32;

override BLOCKS = (ELEMENTS + 3u) / 4u;

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
  let block = id % BLOCKS;
  let n = id / BLOCKS;
  if (n >= N) {
    return;
  }
  let words = philox4x32_10(vec4u(block, 0u, 0u, 0u), seeds[n]);
  for (var l = 0u; l < 4u; l++) {
    if (block * 4u + l < ELEMENTS) {
      x[n * ELEMENTS + block * 4u + l] = SIGMA * normal_from_bits(words[l]);
    }
  }
}
