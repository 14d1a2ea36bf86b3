// From the network to the scheduler: c4 to planar f32, out[n, c, p] = in[n, c, p].
// One invocation writes one scalar.

override WORKGROUP: u32;
override N: u32;
override C: u32;
override PIXELS: u32;

override BLOCKS = (C + 3u) / 4u;

@group(0) @binding(0) var<storage, read_write> output: array<f32>;
@group(0) @binding(1) var<storage, read> input: array<T4>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let id = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let pixel = id % PIXELS;
  let c = id / PIXELS % C;
  let n = id / (PIXELS * C);
  if (n >= N) {
    return;
  }
  output[id] = f32(input[(n * BLOCKS + c / 4u) * PIXELS + pixel][c % 4u]);
}
