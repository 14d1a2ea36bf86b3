// Two numbers of each image that its step needs (src/schedule/step.ts, src/session/sample.ts):
//
//   factor     rescale * std(m_class) / std(m) + (1 - rescale), m the guided output    Lin et al. 2024, eq. 15 and 16
//   threshold  the quantile of |x0Hat| over the image, x0Hat from the rescaled m        Saharia et al. 2022, section 2.3
//
// The quantile is exact, linear between its two neighbours (as torch.quantile): the k-th smallest number is found bit by
// bit, eight at a time, in the bits of |x0Hat|, which sort as the numbers do.
//
// One workgroup measures one image. With GUIDED off the factor is 1.

#import dispatch
#import step
#import sum

@group(0) @binding(0) var<storage, read_write> measures: array<vec2f>;
@group(0) @binding(1) var<storage, read> x: array<f32>;

var<workgroup> histogram: array<atomic<u32>, 256>;
var<workgroup> chosen: vec2u; // bits found so far, numbers that are smaller
var<workgroup> above: atomic<u32>;

#if GUIDED
// Sum of squared deviations of the output with its class, or of the guided one.
fn spread(n: u32, invocation: u32, of_class: bool) -> f32 {
  var own = 0.0;
  for (var e = invocation; e < layer.elements; e += WORKGROUP) {
    own += select(guided(n, e), with_class(n, e), of_class);
  }
  let mean = sum(invocation, own) / f32(layer.elements);
  own = 0.0;
  for (var e = invocation; e < layer.elements; e += WORKGROUP) {
    let d = select(guided(n, e), with_class(n, e), of_class) - mean;
    own += d * d;
  }
  return sum(invocation, own);
}
#endif

fn magnitude(n: u32, element: u32, factor: f32) -> u32 {
  let x0 = step.x0_x * x[n * layer.elements + element] + step.x0_m * (guided(n, element) * factor);
  return bitcast<u32>(x0) & 0x7fffffffu;
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) invocation: u32,
) {
  let n = workgroup_index(workgroup_id, num_workgroups);
  if (n >= layer.n) {
    return;
  }
  var factor = 1.0;
#if GUIDED
  if (step.rescale > 0.0) {
    let of_class = spread(n, invocation, true);
    let of_guided = spread(n, invocation, false);
    if (of_guided > 0.0) {
      factor = mix(1.0, sqrt(of_class / of_guided), step.rescale);
    }
  }
#endif
  var threshold = 1.0;
  if (step.quantile > 0.0) {
    let position = step.quantile * f32(layer.elements - 1u);
    let rank = u32(position); // from 0
    if (invocation == 0u) {
      chosen = vec2u(0u);
      atomicStore(&above, 0x7f800000u);
    }
    for (var shift = 32u; shift > 0u; shift -= 8u) {
      for (var bin = invocation; bin < 256u; bin += WORKGROUP) {
        atomicStore(&histogram[bin], 0u);
      }
      let so_far = workgroupUniformLoad(&chosen);
      // Those that share the bits found so far; in the first round all.
      for (var e = invocation; e < layer.elements; e += WORKGROUP) {
        let bits = magnitude(n, e, factor);
        if (shift == 32u || (bits >> (shift & 31u)) == (so_far.x >> (shift & 31u))) {
          atomicAdd(&histogram[(bits >> (shift - 8u)) & 255u], 1u);
        }
      }
      workgroupBarrier();
      if (invocation == 0u) {
        var smaller = so_far.y;
        var bin = 0u;
        loop {
          let here = atomicLoad(&histogram[bin]);
          if (smaller + here > rank || bin == 255u) {
            break;
          }
          smaller += here;
          bin++;
        }
        chosen = vec2u(so_far.x | (bin << (shift - 8u)), smaller);
      }
      workgroupBarrier();
    }
    let found = workgroupUniformLoad(&chosen);
    // The next number in order: the same again if there are several, else the smallest above it.
    var equal = 0.0;
    for (var e = invocation; e < layer.elements; e += WORKGROUP) {
      let bits = magnitude(n, e, factor);
      if (bits == found.x) {
        equal += 1.0;
      } else if (bits > found.x) {
        atomicMin(&above, bits);
      }
    }
    let count = u32(sum(invocation, equal));
    threshold = bitcast<f32>(found.x);
    if (found.y + count <= rank + 1u && rank + 1u < layer.elements) {
      threshold = mix(threshold, bitcast<f32>(atomicLoad(&above)), position - f32(rank));
    }
  }
  if (invocation == 0u) {
    measures[n] = vec2f(factor, threshold);
  }
}
