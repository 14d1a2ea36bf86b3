// Group normalisation (Wu & He 2018), with an activation behind it where asked for.
//
//   out[n, c, p] = f((in[n, c, p] - mean) / sqrt(variance + eps) * gamma[c] + beta[c])
//
// mean and (biased) variance are over the C / groups channels of a group and all its pixels; f = activation or identity.
// With SCALED (adaptive group norm, Dhariwal & Nichol 2021, eq. 5) its argument is first multiplied by 1 + scale[n, c];
// with SHIFTED shift[n, c] is added, with RESIDUAL residual[n, c, p].
//
// Layout c4. One workgroup does one group of one image, in two passes. First every invocation sums its own items and their
// squares about the first of them (which keeps the variance of numbers far from zero); its mean and its squares about that
// are then joined with the others' (Chan, Golub & LeVeque 1979). Then the output.
// With CONCAT the channels are those of input, then those of second.
// With ALIGNED the channels of a group are whole blocks and an item is a vec4; else an item is one scalar.

#import dispatch
#import sum
#if ACTIVATION
#import activation
#endif

struct Layer {
  n: u32,
  c: u32,
  groups: u32,
  pixels: u32,
  eps: f32,
  cblocks: u32,
  channels_per_group: u32, // of one group
  items: u32,
  scale_stride: u32, // blocks of an image in scale
  scale_offset: u32,
  shift_stride: u32,
  shift_offset: u32,
  a_cblocks: u32, // of input, with CONCAT; the others are of second
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(2) var<storage, read> gamma: array<T4>;
@group(0) @binding(3) var<storage, read> beta: array<T4>;
#if SCALED
@group(0) @binding(4) var<storage, read> scale: array<T4>;
#endif
#if SHIFTED
@group(0) @binding(5) var<storage, read> shift: array<T4>;
#endif

#if ALIGNED
@group(0) @binding(0) var<storage, read_write> output: array<T4>;
@group(0) @binding(1) var<storage, read> input: array<T4>;
#if RESIDUAL
@group(0) @binding(6) var<storage, read> residual: array<T4>;
#endif

fn at(n: u32, g: u32, item: u32) -> u32 {
  return (n * layer.cblocks + g * (layer.channels_per_group / 4u)) * layer.pixels + item;
}
#if CONCAT
@group(0) @binding(7) var<storage, read> second: array<T4>;

fn load(n: u32, g: u32, item: u32) -> vec4f {
  let cblock = g * (layer.channels_per_group / 4u) + item / layer.pixels;
  let pixel = item % layer.pixels;
  if (cblock < layer.a_cblocks) {
    return vec4f(input[(n * layer.a_cblocks + cblock) * layer.pixels + pixel]);
  }
  return vec4f(second[(n * (layer.cblocks - layer.a_cblocks) + cblock - layer.a_cblocks) * layer.pixels + pixel]);
}
#else
fn load(n: u32, g: u32, item: u32) -> vec4f {
  return vec4f(input[at(n, g, item)]);
}
#endif
fn total(v: vec4f) -> f32 {
  return v.x + v.y + v.z + v.w;
}
const WIDTH = 4.0;
alias Item = vec4f;
fn store(n: u32, g: u32, item: u32, normal: vec4f) {
  let cblock = g * (layer.channels_per_group / 4u) + item / layer.pixels;
  var v = normal * vec4f(gamma[cblock]) + vec4f(beta[cblock]);
#if SCALED
  v *= 1.0 + vec4f(scale[n * layer.scale_stride + layer.scale_offset + cblock]);
#endif
#if SHIFTED
  v += vec4f(shift[n * layer.shift_stride + layer.shift_offset + cblock]);
#endif
#if RESIDUAL
  v += vec4f(residual[at(n, g, item)]);
#endif
#if ACTIVATION
  v = activation(v);
#endif
  output[at(n, g, item)] = T4(v);
}
#else
@group(0) @binding(0) var<storage, read_write> output: array<T>;
@group(0) @binding(1) var<storage, read> input: array<T>;
#if RESIDUAL
@group(0) @binding(6) var<storage, read> residual: array<T>;
#endif

fn at(n: u32, c: u32, pixel: u32) -> u32 {
  return ((n * layer.cblocks + c / 4u) * layer.pixels + pixel) * 4u + c % 4u;
}
fn load(n: u32, g: u32, item: u32) -> f32 {
  return f32(input[at(n, g * layer.channels_per_group + item / layer.pixels, item % layer.pixels)]);
}
fn total(v: f32) -> f32 {
  return v;
}
const WIDTH = 1.0;
alias Item = f32;
fn store(n: u32, g: u32, item: u32, normal: f32) {
  let c = g * layer.channels_per_group + item / layer.pixels;
  var v = normal * f32(gamma[c / 4u][c % 4u]) + f32(beta[c / 4u][c % 4u]);
#if SCALED
  v *= 1.0 + f32(scale[n * layer.scale_stride + layer.scale_offset + c / 4u][c % 4u]);
#endif
#if SHIFTED
  v += f32(shift[n * layer.shift_stride + layer.shift_offset + c / 4u][c % 4u]);
#endif
#if RESIDUAL
  v += f32(residual[at(n, c, item % layer.pixels)]);
#endif
#if ACTIVATION
  v = activation(vec4f(v)).x;
#endif
  output[at(n, c, item % layer.pixels)] = T(v);
}
#endif

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) invocation: u32,
) {
  let id = workgroup_index(workgroup_id, num_workgroups);
  let g = id % layer.groups;
  let n = id / layer.groups;
  if (n >= layer.n) {
    return;
  }
  let count = f32(layer.channels_per_group * layer.pixels);
  let first = load(n, g, min(invocation, layer.items - 1u));
  let centre = total(first) / WIDTH;
  var own = Item(0);
  var squares = Item(0);
  for (var item = invocation; item < layer.items; item += WORKGROUP) {
    let d = load(n, g, item) - centre;
    own += d;
    squares += d * d;
  }
  let own_count = WIDTH * f32((layer.items + WORKGROUP - 1u - min(invocation, layer.items)) / WORKGROUP);
  let own_sum = total(own);
  let mean = sum(invocation, centre * own_count + own_sum) / count;
  // Squares about the mean of all: those about the centre, moved by the difference.
  let offset = mean - centre;
  let moved = total(squares) - 2.0 * offset * own_sum + own_count * offset * offset;
  let factor = 1.0 / sqrt(max(sum(invocation, moved), 0.0) / count + layer.eps);
  for (var item = invocation; item < layer.items; item += WORKGROUP) {
    store(n, g, item, (load(n, g, item) - mean) * factor);
  }
#if SCALAR
  // Components past the last channel are zero.
  if (g == layer.groups - 1u) {
    for (var c = layer.c; c < layer.cblocks * 4u; c++) {
      for (var pixel = invocation; pixel < layer.pixels; pixel += WORKGROUP) {
        output[at(n, c, pixel)] = T(0);
      }
    }
  }
#endif
}
