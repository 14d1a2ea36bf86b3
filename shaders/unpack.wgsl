// From the network to the scheduler: c4 to planar f32, out[first + n, c, p] = in[n, c, p]; with DIVIDED, divided by
// divisor[first + n].
// One invocation writes one scalar.

#import dispatch

struct Layer {
  n: u32,
  c: u32,
  pixels: u32,
  cblocks: u32,
  first: u32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> output: array<f32>;
@group(0) @binding(1) var<storage, read> input: array<T4>;
#if DIVIDED
@group(0) @binding(2) var<storage, read> divisor: array<f32>;
#endif

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) invocation: u32,
) {
  let id = linear_id(workgroup_id, num_workgroups, invocation);
  let pixel = id % layer.pixels;
  let c = id / layer.pixels % layer.c;
  let n = id / (layer.pixels * layer.c);
  if (n >= layer.n) {
    return;
  }
  let value = f32(input[(n * layer.cblocks + c / 4u) * layer.pixels + pixel][c % 4u]);
  let at = layer.first * layer.c * layer.pixels + id;
#if DIVIDED
  output[at] = value / divisor[layer.first + n];
#else
  output[at] = value;
#endif
}
