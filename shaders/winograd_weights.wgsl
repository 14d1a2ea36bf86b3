// Weights for Winograd's convolution F(4x4, 3x3): of every 3 x 3 kernel g
//
//   out[6 i + j] = (G g G^T)[i, j],   G = (1/4 0 0; -1/6 -1/6 -1/6; -1/6 1/6 -1/6; 1/24 1/12 1/6; 1/24 -1/12 1/6; 0 0 1)
//
// From the packed weights of shaders/conv2d.wgsl to 36 such sets of 1 x 1 kernels, f32 always. Once, before the first
// replay. One invocation does a column of one 4x4 matrix of channels.

#import dispatch

struct Layer {
  in_cblocks: u32,
  out_cblocks: u32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> output: array<vec4f>;
@group(0) @binding(1) var<storage, read> weight: array<T4>;

fn row(a: vec4f, b: vec4f, c: vec4f) -> array<vec4f, 6> {
  let even = a + c;
  let far = a + 4.0 * c;
  return array<vec4f, 6>(a / 4.0, (even + b) / -6.0, (even - b) / -6.0, (far + 2.0 * b) / 24.0, (far - 2.0 * b) / 24.0, c);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) invocation: u32,
) {
  let id = linear_id(workgroup_id, num_workgroups, invocation);
  let columns = layer.in_cblocks * 4u;
  let co = id / columns;
  if (co >= layer.out_cblocks) {
    return;
  }
  let first = co * 9u * columns + id % columns;
  let r0 = row(vec4f(weight[first]), vec4f(weight[first + columns]), vec4f(weight[first + 2u * columns]));
  let r1 = row(vec4f(weight[first + 3u * columns]), vec4f(weight[first + 4u * columns]), vec4f(weight[first + 5u * columns]));
  let r2 = row(vec4f(weight[first + 6u * columns]), vec4f(weight[first + 7u * columns]), vec4f(weight[first + 8u * columns]));
  let step = layer.out_cblocks * columns;
  for (var j = 0u; j < 6u; j++) {
    let u = row(r0[j], r1[j], r2[j]);
    for (var i = 0u; i < 6u; i++) {
      output[(6u * i + j) * step + id] = u[i];
    }
  }
}
