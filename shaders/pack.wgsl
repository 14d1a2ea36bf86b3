// From the state to the network: planar f32 to c4, out[n, c, p] = scale * in[(first + n) % n_in, c, p] + offset.
//
// With guidance the network gets every image twice. A batch may go through it in parts of n images, from `first` on.
// Components past the last channel are zero.
// One invocation writes one pixel of four channels.

#import dispatch

struct Layer {
  n: u32,
  n_in: u32,
  c: u32,
  pixels: u32,
  scale: f32,
  offset: f32,
  cblocks: u32,
  first: u32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> output: array<T4>;
@group(0) @binding(1) var<storage, read> input: array<f32>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) invocation: u32,
) {
  let id = linear_id(workgroup_id, num_workgroups, invocation);
  let pixel = id % layer.pixels;
  let cblock = id / layer.pixels % layer.cblocks;
  let n = id / (layer.pixels * layer.cblocks);
  if (n >= layer.n) {
    return;
  }
  var v = vec4f(0);
  for (var l = 0u; l < 4u; l++) {
    let c = cblock * 4u + l;
    if (c < layer.c) {
      v[l] = layer.scale * input[((layer.first + n) % layer.n_in * layer.c + c) * layer.pixels + pixel] + layer.offset;
    }
  }
  output[id] = T4(v);
}
