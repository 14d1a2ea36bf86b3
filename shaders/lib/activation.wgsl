// SiLU (swish): x * sigmoid(x). The exponent is held below overflow, where the result is -0 anyway.
fn silu(x: vec4f) -> vec4f {
  return x / (1.0 + exp(min(-x, vec4f(80.0))));
}
