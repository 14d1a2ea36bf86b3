// Bilinear upsampling by two with aligned corners: pixel (y, x) of the result lies at (y, x) * (side - 1) / (2 side - 1)
// of the input, and takes the four around it by their nearness. Layout c4. One invocation writes one pixel of four
// channels.

#import dispatch

struct Layer {
  planes: u32, // N * blocks of channels
  h_in: u32,
  w_in: u32,
  w_out: u32,
  pixels: u32,
  y_step: f32,
  x_step: f32,
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
  let y = f32(id % layer.pixels / layer.w_out) * layer.y_step;
  let x = f32(id % layer.w_out) * layer.x_step;
  let top = u32(y);
  let left = u32(x);
  let bottom = min(top + 1u, layer.h_in - 1u);
  let right = min(left + 1u, layer.w_in - 1u);
  let at = plane * layer.h_in;
  let upper = mix(vec4f(input[(at + top) * layer.w_in + left]), vec4f(input[(at + top) * layer.w_in + right]), x - f32(left));
  let lower = mix(vec4f(input[(at + bottom) * layer.w_in + left]), vec4f(input[(at + bottom) * layer.w_in + right]), x - f32(left));
  output[id] = T4(mix(upper, lower, y - f32(top)));
}
