// Nearest-neighbour upsampling by two: out[n, c, y, x] = in[n, c, y / 2, x / 2]. Layout c4.
// One invocation writes one pixel of four channels.

const WORKGROUP: u32 = {{WORKGROUP}}u;

struct Layer {
  PLANES: u32, // N * blocks of channels
  H_IN: u32,
  W_IN: u32,
  W_OUT: u32,
  PIXELS: u32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> output: array<T4>;
@group(0) @binding(1) var<storage, read> input: array<T4>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let id = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let plane = id / layer.PIXELS;
  if (plane >= layer.PLANES) {
    return;
  }
  let y = id % layer.PIXELS / layer.W_OUT;
  let x = id % layer.W_OUT;
  output[id] = input[(plane * layer.H_IN + y / 2u) * layer.W_IN + x / 2u];
}
