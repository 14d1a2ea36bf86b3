// From the state to the network: planar f32 to c4, out[n, c, p] = SCALE * in[(FIRST + n) % N_IN, c, p] + OFFSET.
//
// With guidance the network sees every image twice; a batch may go through it in pieces of N, from FIRST. Lanes past C hold zero.
// One invocation writes one pixel of four channels.

const WORKGROUP: u32 = {{WORKGROUP}}u;

struct Layer {
  N: u32,
  N_IN: u32,
  C: u32,
  PIXELS: u32,
  SCALE: f32,
  OFFSET: f32,
  BLOCKS: u32,
  FIRST: u32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> output: array<T4>;
@group(0) @binding(1) var<storage, read> input: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let id = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let pixel = id % layer.PIXELS;
  let block = id / layer.PIXELS % layer.BLOCKS;
  let n = id / (layer.PIXELS * layer.BLOCKS);
  if (n >= layer.N) {
    return;
  }
  var v = vec4f(0);
  for (var l = 0u; l < 4u; l++) {
    let c = block * 4u + l;
    if (c < layer.C) {
      v[l] = layer.SCALE * input[((layer.FIRST + n) % layer.N_IN * layer.C + c) * layer.PIXELS + pixel] + layer.OFFSET;
    }
  }
  output[id] = T4(v);
}
