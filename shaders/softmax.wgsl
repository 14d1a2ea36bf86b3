// Softmax of every row, in place: x[r, j] <- exp(x[r, j] - max) / sum over j of exp(x[r, j] - max).
//
// Planar f32, ROWS rows of LENGTH. One workgroup does one row.

override WORKGROUP: u32;

struct Layer {
  ROWS: u32,
  LENGTH: u32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> x: array<f32>;

var<workgroup> partial: array<f32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let row = group.y * groups.x + group.x;
  if (row >= layer.ROWS) {
    return;
  }
  let first = row * layer.LENGTH;

  var own = x[first];
  for (var j = lane; j < layer.LENGTH; j += WORKGROUP) {
    own = max(own, x[first + j]);
  }
  partial[lane] = own;
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      partial[lane] = max(partial[lane], partial[lane + half]);
    }
  }
  let highest = workgroupUniformLoad(&partial[0]);
  workgroupBarrier();

  own = 0.0;
  for (var j = lane; j < layer.LENGTH; j += WORKGROUP) {
    let e = exp(x[first + j] - highest);
    x[first + j] = e;
    own += e;
  }
  partial[lane] = own;
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      partial[lane] += partial[lane + half];
    }
  }
  let scale = 1.0 / workgroupUniformLoad(&partial[0]);
  for (var j = lane; j < layer.LENGTH; j += WORKGROUP) {
    x[first + j] *= scale;
  }
}
