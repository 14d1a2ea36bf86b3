// The sinusoidal embedding of the timestep (Vaswani et al. 2017, section 3.5; DDPM appendix B):
//
//   angle = t[n] * frequency[i];   out[n, :] = sin(angle) then cos(angle), or cos then sin with cos_first
//
// With LOG the angle is log(t[layer.first + n]) * frequency[i] (Gaussian Fourier features, Song et al. 2021b).
//
// t is planar (n, 1, 1, 1) f32, frequency has one f32 for each of the dim / 2 pairs (src/engine/kernels/timestep_embedding.ts), out
// is (n, dim, 1, 1) in c4; an odd dim leaves a zero at the end. One invocation computes four outputs.
//
// WGSL promises sin and cos only to 2^-11, and only on [-pi, pi]: they are computed here.

#import dispatch

struct Layer {
  n: u32,
  dim: u32,
  cos_first: u32, // 0 or 1
  half: u32,
  cblocks: u32,
  first: u32, // of the timesteps
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> output: array<T4>;
@group(0) @binding(1) var<storage, read> t: array<f32>;
@group(0) @binding(2) var<storage, read> frequency: array<f32>;

const PI = 3.14159265358979;

// sin(x) on [-pi / 2, pi / 2]: Taylor's series to x^13, remainder below 7e-10.
fn sine(x: f32) -> f32 {
  let y = x * x;
  return x * (1.0 + y * (-1.0 / 6.0 + y * (1.0 / 120.0 + y * (-1.0 / 5040.0 + y * (1.0 / 362880.0
    + y * (-1.0 / 39916800.0 + y * (1.0 / 6227020800.0)))))));
}

// x minus the nearest multiple of 2 pi, in two pieces (Cody & Waite): 6.28125 has 8 bits, so the first product is exact.
fn reduce(x: f32) -> f32 {
  let k = round(x * (0.5 / PI));
  return (x - k * 6.28125) - k * 0.0019353071795864769;
}

fn wave(angle: f32, cosine: bool) -> f32 {
  let r = reduce(angle);
  if (cosine) {
    return sine(0.5 * PI - abs(r));
  }
  return sine(select(r, sign(r) * PI - r, abs(r) > 0.5 * PI));
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) invocation: u32,
) {
  let id = linear_id(workgroup_id, num_workgroups, invocation);
  let n = id / layer.cblocks;
  if (n >= layer.n) {
    return;
  }
#if LOG
  let time = log(t[layer.first + n]);
#else
  let time = t[layer.first + n];
#endif
  var v = vec4f(0);
  for (var l = 0u; l < 4u; l++) {
    let c = (id % layer.cblocks) * 4u + l;
    if (c < 2u * layer.half) {
      let second = c >= layer.half;
      v[l] = wave(time * frequency[select(c, c - layer.half, second)], second != (layer.cos_first == 1u));
    }
  }
  output[id] = T4(v);
}
