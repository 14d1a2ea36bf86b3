var<workgroup> partial: array<f32, WORKGROUP>;

// The sum of one number of every invocation, given to all. WORKGROUP is a power of two.
fn sum(lane: u32, value: f32) -> f32 {
  partial[lane] = value;
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      partial[lane] += partial[lane + half];
    }
  }
  let result = workgroupUniformLoad(&partial[0]);
  workgroupBarrier();
  return result;
}
