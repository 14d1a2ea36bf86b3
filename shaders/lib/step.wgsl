// What shaders/update.wgsl and shaders/measure.wgsl have in common: the numbers of a step, and the guided output.
//
// output is planar f32: (N, OUT) with OUT = ELEMENTS, or 2 ELEMENTS where the variance is learned (its numbers come
// second); with GUIDED (2 N, OUT), the images with their class first.

struct Layer {
  N: u32,
  ELEMENTS: u32, // of one image
  OUT: u32,
  BLOCKS: u32,
  SLOTS: u32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

struct Step {
  x0_x: f32,
  x0_m: f32,
  clip: f32, // largest f32 when x0Hat is not clipped; with dynamic thresholding the largest threshold
  sigma: f32,
  guidance: f32,
  index: u32,
  rescale: f32, // of the guided output, 0 to 1
  quantile: f32, // of dynamic thresholding; 0 when it is off
  log_variance: vec2f, // bounds of the learned variance; both 0 when sigma says it all
  mix: array<vec4f, 21>,
}

@group(0) @binding(2) var<storage, read> output: array<f32>;
@group(0) @binding(3) var<uniform> step: Step;

fn with_class(n: u32, element: u32) -> f32 {
  return output[n * layer.OUT + element];
}

fn guided(n: u32, element: u32) -> f32 {
#if GUIDED
  let m_null = output[(layer.N + n) * layer.OUT + element];
  return m_null + step.guidance * (with_class(n, element) - m_null);
#else
  return with_class(n, element);
#endif
}
