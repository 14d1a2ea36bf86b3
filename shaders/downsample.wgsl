// Halves the image: out[n, c, y, x] is the mean, or with MAX the maximum, of the 2 x 2 pixels at (2 y, 2 x). Layout c4.
// One invocation writes one pixel of four channels.

#import dispatch

struct Layer {
  planes: u32, // N * blocks of channels
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
  let at = plane * layer.pixels * 4u + 2u * y * layer.w_in + 2u * x;
  let pixels = array(vec4f(input[at]), vec4f(input[at + 1u]), vec4f(input[at + layer.w_in]), vec4f(input[at + layer.w_in + 1u]));
#if MAX
  output[id] = T4(max(max(pixels[0], pixels[1]), max(pixels[2], pixels[3])));
#else
  output[id] = T4(0.25 * (pixels[0] + pixels[1] + pixels[2] + pixels[3]));
#endif
}
