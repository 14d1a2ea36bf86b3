// One step of the sampler on the state, x_t -> x_{t-1} (src/schedule/step.ts):
//
//   m      = m_null + guidance * (m_class - m_null)        with GUIDED; else the network's output
//   x0Hat  = clamp(x0_x * x + x0_m * m, -clip, clip)
//   x, h_0, h_1, ... <- one linear combination each of (x, x0Hat, m, h_0, h_1, ...),   x += sigma * z
//
// With MEASURED, m is multiplied by the image's rescale factor, and with dynamic thresholding x0Hat is clamped to the
// image's threshold s and divided by it (shaders/measure.wgsl). If the variance is learned, sigma is multiplied by
// exp(1/2 (log_variance.x + (v + 1) / 2 (log_variance.y - log_variance.x))), v the network's second half.
//
// `step.rows` has the factors of each combination. A factor of zero leaves its number out, also one that is not finite.
// z comes from the generator, stream 1, step `index` (src/schedule/noise.ts), or with GIVEN_NOISE from a buffer.
// All are planar f32: x, x0Hat and z (n, elements); h (slots, n, elements); output as in shaders/lib/step.wgsl.
// `fault` becomes 1 when the network gives a number that is not finite, or one enters the state: seen in its bits, since
// WGSL may assume that there are none. (Clamped, one that is not finite may look like -1.)
//
// One invocation updates four consecutive elements of one image.

#import dispatch
#import step
#if !GIVEN_NOISE
#import normal
#endif

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> x0Hat: array<f32>;
@group(0) @binding(4) var<storage, read_write> fault: atomic<u32>;
#if MEASURED
@group(0) @binding(8) var<storage, read> measures: array<vec2f>; // of each image: rescale factor, threshold
#endif
#if HISTORY
@group(0) @binding(7) var<storage, read_write> h: array<f32>;
#endif
#if GIVEN_NOISE
@group(0) @binding(5) var<storage, read> z: array<f32>;
#else
@group(0) @binding(5) var<storage, read> seeds: array<vec2u>;
@group(0) @binding(6) var<storage, read> normal_table: array<vec4u>;
#endif

fn term(factor: f32, number: f32) -> f32 {
  if (factor == 0.0) {
    return 0.0;
  }
  return factor * number;
}

fn infinite(number: f32) -> bool {
  return (bitcast<u32>(number) & 0x7f800000u) == 0x7f800000u;
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) invocation: u32,
) {
  let id = linear_id(workgroup_id, num_workgroups, invocation);
  let counter = id % layer.counters;
  let n = id / layer.counters;
  if (n >= layer.n) {
    return;
  }
#if !GIVEN_NOISE
  let words = philox4x32_10(vec4u(counter, step.index, 1u, 0u), seeds[n]);
#endif
  for (var l = 0u; l < 4u; l++) {
    let element = counter * 4u + l;
    if (element < layer.elements) {
      let at = n * layer.elements + element;
      var m = guided(n, element);
#if MEASURED
      m *= measures[n].x;
#endif
      var x0 = step.x0_x * x[at] + step.x0_m * m;
#if MEASURED
      if (step.quantile > 0.0) {
        let s = clamp(measures[n].y, 1.0, step.clip);
        x0 = clamp(x0, -s, s) / s;
      } else {
        x0 = clamp(x0, -step.clip, step.clip);
      }
#else
      x0 = clamp(x0, -step.clip, step.clip);
#endif
      let own = vec3f(x[at], x0, m);
#if HISTORY
      var old: array<f32, 6>;
      for (var k = 0u; k < layer.slots; k++) {
        old[k] = h[(k * layer.n * layer.elements) + at];
      }
      for (var row = 1u; row <= layer.slots; row++) {
        var value = term(step.rows[row].own.x, own.x) + term(step.rows[row].own.y, own.y) + term(step.rows[row].own.z, own.z);
        for (var k = 0u; k < layer.slots; k++) {
          value += term(step.rows[row].h[k / 4u][k % 4u], old[k]);
        }
        h[((row - 1u) * layer.n * layer.elements) + at] = value;
      }
#endif
      var next = term(step.rows[0].own.x, own.x) + term(step.rows[0].own.y, own.y) + term(step.rows[0].own.z, own.z);
#if HISTORY
      for (var k = 0u; k < layer.slots; k++) {
        next += term(step.rows[0].h[k / 4u][k % 4u], old[k]);
      }
#endif
      if (step.sigma > 0.0) {
        var sigma = step.sigma;
        if (layer.out_elements > layer.elements) {
          let v = with_class(n, layer.elements + element);
          sigma *= exp(0.5 * mix(step.log_variance.x, step.log_variance.y, 0.5 * (v + 1.0)));
        }
#if GIVEN_NOISE
        next += sigma * z[at];
#else
        next += sigma * normal_from_bits(words[l]);
#endif
      }
      x0Hat[at] = x0;
      x[at] = next;
      if (infinite(next) || infinite(m)) {
        atomicOr(&fault, 1u);
      }
    }
  }
}
