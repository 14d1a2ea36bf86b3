// Shared by shaders/update.wgsl and shaders/measure.wgsl: the numbers of a step, and the guided output.
//
// output is planar f32: (n, out_elements) with out_elements = elements, or 2 elements if the variance is learned (its
// numbers come second). With GUIDED it is (2 n, out_elements), the images with their class first.

struct Layer {
  n: u32,
  elements: u32, // of one image
  out_elements: u32,
  counters: u32, // Philox counters per image: one for four elements
  slots: u32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

// The factors of one linear combination.
struct Row {
  own: vec4f, // of x, x0Hat, m; the last is unused
  h: array<vec4f, 2>, // of h_0 ... h_5; the last two are unused
}

struct Step {
  x0_x: f32,
  x0_m: f32,
  clip: f32, // the largest f32 if x0Hat is not clipped; with dynamic thresholding the largest threshold
  sigma: f32,
  guidance: f32,
  index: u32,
  rescale: f32, // of the guided output, 0 to 1
  quantile: f32, // of dynamic thresholding; 0 if it is off
  log_variance: vec2f, // bounds of the learned variance; both 0 if sigma alone counts
  rows: array<Row, 7>, // of x, h_0 ... h_5
}

@group(0) @binding(2) var<storage, read> output: array<f32>;
@group(0) @binding(3) var<uniform> step: Step;

fn with_class(n: u32, element: u32) -> f32 {
  return output[n * layer.out_elements + element];
}

fn guided(n: u32, element: u32) -> f32 {
#if GUIDED
  let m_null = output[(layer.n + n) * layer.out_elements + element];
  return m_null + step.guidance * (with_class(n, element) - m_null);
#else
  return with_class(n, element);
#endif
}
