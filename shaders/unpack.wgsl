// From the network to the scheduler: c4 to planar f32, out[FIRST + n, c, p] = in[n, c, p], with DIVIDED over divisor[FIRST + n].
// One invocation writes one scalar.

const WORKGROUP: u32 = {{WORKGROUP}}u;

struct Layer {
  N: u32,
  C: u32,
  PIXELS: u32,
  BLOCKS: u32,
  FIRST: u32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> output: array<f32>;
@group(0) @binding(1) var<storage, read> input: array<T4>;
#if DIVIDED
@group(0) @binding(2) var<storage, read> divisor: array<f32>;
#endif

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let id = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let pixel = id % layer.PIXELS;
  let c = id / layer.PIXELS % layer.C;
  let n = id / (layer.PIXELS * layer.C);
  if (n >= layer.N) {
    return;
  }
  let value = f32(input[(n * layer.BLOCKS + c / 4u) * layer.PIXELS + pixel][c % 4u]);
  let at = layer.FIRST * layer.C * layer.PIXELS + id;
#if DIVIDED
  output[at] = value / divisor[layer.FIRST + n];
#else
  output[at] = value;
#endif
}
