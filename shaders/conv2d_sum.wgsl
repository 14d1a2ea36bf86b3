// The end of a convolution that went to several workgroups (shaders/conv2d_tiled.wgsl with SPLIT): adds the parts of each
// sum, and does what shaders/lib/epilogue.wgsl says.
//
// One invocation does one vec4.

const WORKGROUP: u32 = {{WORKGROUP}}u;

struct Layer {
  N: u32,
  CO_BLOCKS: u32,
  PIXELS: u32,
  PARTS: u32,
  SCALE: f32,
  TIME_OF: u32, // blocks of an image in timeBias
  TIME_FIRST: u32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(1) var<storage, read> partial: array<vec4f>; // (PARTS, the output)

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let at = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let count = layer.N * layer.CO_BLOCKS * layer.PIXELS;
  if (at >= count) {
    return;
  }
  var sum = vec4f(0);
  for (var part = 0u; part < layer.PARTS; part++) {
    sum += partial[part * count + at];
  }
  let plane = at / layer.PIXELS;
  finish(plane / layer.CO_BLOCKS, plane % layer.CO_BLOCKS, at, sum);
}
