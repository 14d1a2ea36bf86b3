// Bilinear upsampling by two with aligned corners: pixel (y, x) of the result lies at (y, x) * (side - 1) / (2 side - 1)
// of the input, and takes the four around it by their nearness. Layout c4. One invocation writes one pixel of four
// channels.

const WORKGROUP: u32 = {{WORKGROUP}}u;

struct Layer {
  PLANES: u32, // N * blocks of channels
  H_IN: u32,
  W_IN: u32,
  W_OUT: u32,
  PIXELS: u32,
  Y_STEP: f32,
  X_STEP: f32,
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
  let y = f32(id % layer.PIXELS / layer.W_OUT) * layer.Y_STEP;
  let x = f32(id % layer.W_OUT) * layer.X_STEP;
  let top = u32(y);
  let left = u32(x);
  let bottom = min(top + 1u, layer.H_IN - 1u);
  let right = min(left + 1u, layer.W_IN - 1u);
  let at = plane * layer.H_IN;
  let upper = mix(vec4f(input[(at + top) * layer.W_IN + left]), vec4f(input[(at + top) * layer.W_IN + right]), x - f32(left));
  let lower = mix(vec4f(input[(at + bottom) * layer.W_IN + left]), vec4f(input[(at + bottom) * layer.W_IN + right]), x - f32(left));
  output[id] = T4(mix(upper, lower, y - f32(top)));
}
