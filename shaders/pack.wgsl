// From the state to the network: planar f32 to c4, out[n, c, p] = SCALE * in[n % N_IN, c, p] + OFFSET.
//
// With guidance the network sees every image twice: N = 2 * N_IN. Lanes past C hold zero.
// One invocation writes one pixel of four channels.

override WORKGROUP: u32;
override N: u32;
override N_IN: u32;
override C: u32;
override PIXELS: u32;
override SCALE: f32;
override OFFSET: f32;

override BLOCKS = (C + 3u) / 4u;

@group(0) @binding(0) var<storage, read_write> output: array<T4>;
@group(0) @binding(1) var<storage, read> input: array<f32>;

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
  var v = vec4f(0);
  for (var l = 0u; l < 4u; l++) {
    let c = block * 4u + l;
    if (c < C) {
      v[l] = SCALE * input[(n % N_IN * C + c) * PIXELS + pixel] + OFFSET;
    }
  }
  output[id] = T4(v);
}
