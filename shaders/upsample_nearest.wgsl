// Nearest-neighbour upsampling by two: out[n, c, y, x] = in[n, c, y / 2, x / 2]. Layout c4.
// One invocation writes one pixel of four channels.

#import dispatch

struct Layer {
  planes: u32, // N * blocks of channels
  h_in: u32,
  w_in: u32,
  w_out: u32,
  pixels: u32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> output: array<T4>;
@group(0) @binding(1) var<storage, read> input: array<T4>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) invocation: u32,
) {
  let id = linear_id(workgroup_id, num_workgroups, invocation);
  let plane = id / layer.pixels;
  if (plane >= layer.planes) {
    return;
  }
  let y = id % layer.pixels / layer.w_out;
  let x = id % layer.w_out;
  output[id] = input[(plane * layer.h_in + y / 2u) * layer.w_in + x / 2u];
}
