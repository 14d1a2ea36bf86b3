// One step of the sampler on the state, x_t -> x_{t-1} (src/scheduler/step.ts):
//
//   m      = m_null + guidance * (m_class - m_null)        with GUIDED; else the network's output
//   x0Hat  = clamp(x0_x * x + x0_m * m, -clip, clip)
//   x     <- next_x * x + next_x0 * x0Hat + next_m * m + sigma * z
//
// z comes from the generator, stream 1, step `index` (src/scheduler/noise.ts), or with GIVEN from a buffer.
// All planar f32: x, x0Hat and z (N, ELEMENTS); output (N, ELEMENTS), or with GUIDED (2 N, ELEMENTS), class first.
// `fault` becomes 1 when a number that is not finite enters the state: seen in its bits, since WGSL may assume
// that there are none.
//
// One invocation updates four consecutive elements of one image.

override WORKGROUP: u32;
override N: u32;
override ELEMENTS: u32; // of one image

override BLOCKS = (ELEMENTS + 3u) / 4u;

struct Step {
  x0_x: f32,
  x0_m: f32,
  clip: f32, // largest f32 when x0Hat is not clipped
  next_x: f32,
  next_x0: f32,
  next_m: f32,
  sigma: f32,
  guidance: f32,
  index: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> x0Hat: array<f32>;
@group(0) @binding(2) var<storage, read> output: array<f32>;
@group(0) @binding(3) var<uniform> step: Step;
@group(0) @binding(4) var<storage, read_write> fault: atomic<u32>;
#if GIVEN
@group(0) @binding(5) var<storage, read> z: array<f32>;
#else
@group(0) @binding(5) var<storage, read> seeds: array<vec2u>;
@group(0) @binding(6) var<storage, read> normal_table: array<vec4u>;
#endif

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let id = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let block = id % BLOCKS;
  let n = id / BLOCKS;
  if (n >= N) {
    return;
  }
#if GIVEN
#else
  let words = philox4x32_10(vec4u(block, step.index, 1u, 0u), seeds[n]);
#endif
  for (var l = 0u; l < 4u; l++) {
    let element = block * 4u + l;
    if (element < ELEMENTS) {
      let at = n * ELEMENTS + element;
#if GUIDED
      let m_null = output[N * ELEMENTS + at];
      let m = m_null + step.guidance * (output[at] - m_null);
#else
      let m = output[at];
#endif
      let x0 = clamp(step.x0_x * x[at] + step.x0_m * m, -step.clip, step.clip);
      var next = step.next_x * x[at] + step.next_x0 * x0 + step.next_m * m;
      if (step.sigma > 0.0) {
#if GIVEN
        next += step.sigma * z[at];
#else
        next += step.sigma * normal_from_bits(words[l]);
#endif
      }
      x0Hat[at] = x0;
      x[at] = next;
      if ((bitcast<u32>(next) & 0x7f800000u) == 0x7f800000u) {
        atomicOr(&fault, 1u);
      }
    }
  }
}
