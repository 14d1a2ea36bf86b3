// The second pass of a convolution with split K (shaders/conv2d_tiled.wgsl with SPLIT_K): adds the parts of each sum, then
// the epilogue (shaders/lib/epilogue.wgsl). One invocation computes one vec4.

#import dispatch
#import epilogue

struct Layer {
  n: u32,
  out_cblocks: u32,
  pixels: u32,
  split_k: u32,
  scale: f32,
  time_stride: u32, // blocks per image in timeBias
  time_offset: u32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(1) var<storage, read> partial: array<vec4f>; // (split_k, the output)

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) invocation: u32,
) {
  let at = linear_id(workgroup_id, num_workgroups, invocation);
  let count = layer.n * layer.out_cblocks * layer.pixels;
  if (at >= count) {
    return;
  }
  var sum = vec4f(0);
  for (var part = 0u; part < layer.split_k; part++) {
    sum += partial[part * count + at];
  }
  let plane = at / layer.pixels;
  finish(plane / layer.out_cblocks, plane % layer.out_cblocks, at, sum);
}
