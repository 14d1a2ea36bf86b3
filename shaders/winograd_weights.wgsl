// Weights for Winograd's convolution F(2x2, 3x3): of every 3 x 3 kernel g
//
//   out[4 i + j] = (G g G^T)[i, j],   G = (1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1)
//
// From the packed weights of shaders/conv2d.wgsl to 16 such sets of 1 x 1 kernels, f32 always. Once, before the first
// replay. One invocation does a column of one 4x4 matrix of channels.

override WORKGROUP: u32;

struct Layer {
  CI_BLOCKS: u32,
  CO_BLOCKS: u32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> output: array<vec4f>;
@group(0) @binding(1) var<storage, read> weight: array<T4>;

fn row(a: vec4f, b: vec4f, c: vec4f) -> mat4x4f {
  return mat4x4f(a, 0.5 * (a + b + c), 0.5 * (a - b + c), c);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let id = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let columns = layer.CI_BLOCKS * 4u;
  let co = id / columns;
  if (co >= layer.CO_BLOCKS) {
    return;
  }
  let first = co * 9u * columns + id % columns;
  let r0 = row(vec4f(weight[first]), vec4f(weight[first + columns]), vec4f(weight[first + 2u * columns]));
  let r1 = row(vec4f(weight[first + 3u * columns]), vec4f(weight[first + 4u * columns]), vec4f(weight[first + 5u * columns]));
  let r2 = row(vec4f(weight[first + 6u * columns]), vec4f(weight[first + 7u * columns]), vec4f(weight[first + 8u * columns]));
  let step = layer.CO_BLOCKS * columns;
  for (var j = 0u; j < 4u; j++) {
    let u = row(r0[j], r1[j], r2[j]);
    for (var i = 0u; i < 4u; i++) {
      output[(4u * i + j) * step + id] = u[i];
    }
  }
}
