var<workgroup> partial: array<f32, WORKGROUP>;

// The sum of one number of every invocation, given to all. WORKGROUP is a power of two.
fn sum(invocation: u32, value: f32) -> f32 {
  partial[invocation] = value;
  for (var half = WORKGROUP / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (invocation < half) {
      partial[invocation] += partial[invocation + half];
    }
  }
  let result = workgroupUniformLoad(&partial[0]);
  workgroupBarrier();
  return result;
}
