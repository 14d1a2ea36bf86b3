// Halves the image: out[n, c, y, x] = the mean, or with MAX the largest, of the 2 x 2 pixels at (2 y, 2 x). Layout c4.
// One invocation writes one pixel of four channels.

const WORKGROUP: u32 = {{WORKGROUP}}u;

struct Layer {
  PLANES: u32, // N * blocks of channels
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
  let at = plane * layer.PIXELS * 4u + 2u * y * layer.W_IN + 2u * x;
  let pixels = array(vec4f(input[at]), vec4f(input[at + 1u]), vec4f(input[at + layer.W_IN]), vec4f(input[at + layer.W_IN + 1u]));
#if MAX
  output[id] = T4(max(max(pixels[0], pixels[1]), max(pixels[2], pixels[3])));
#else
  output[id] = T4(0.25 * (pixels[0] + pixels[1] + pixels[2] + pixels[3]));
#endif
}
