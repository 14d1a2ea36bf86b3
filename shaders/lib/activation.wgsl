// The activation of a network: SiLU unless GELU, RELU or MISH is set.
#if GELU
// x Phi(x), erf by Abramowitz & Stegun 7.1.26 (error below 1.5e-7).
fn activation(x: vec4f) -> vec4f {
  let z = abs(x) * 0.7071067811865476;
  let t = 1.0 / (1.0 + 0.3275911 * z);
  let tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    * exp(max(-z * z, vec4f(-80.0)));
  return x * select(0.5 * tail, 1.0 - 0.5 * tail, x >= vec4f(0.0));
}
#elif RELU
fn activation(x: vec4f) -> vec4f {
  return max(x, vec4f(0.0));
}
#elif MISH
// x tanh(ln(1 + e^x)) = x (n - 1) / (n + 1), n = (1 + e^x)^2; x itself where e^x is past f32.
fn activation(x: vec4f) -> vec4f {
  let e = exp(min(x, vec4f(20.0)));
  let m = e * (e + 2.0);
  return select(x * (m / (m + 2.0)), x, x > vec4f(20.0));
}
#else
// x sigmoid(x). The exponent stays below overflow; the result is -0 there.
fn activation(x: vec4f) -> vec4f {
  return x / (1.0 + exp(min(-x, vec4f(80.0))));
}
#endif
