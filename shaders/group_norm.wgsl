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
// With JOINED the channels are those of input, then those of second.
// With ALIGNED the channels of a group are whole blocks and an item is a vec4; else an item is one scalar.

const WORKGROUP: u32 = {{WORKGROUP}}u;

struct Layer {
  N: u32,
  C: u32,
  GROUPS: u32,
  PIXELS: u32,
  EPS: f32,
  C_BLOCKS: u32,
  CHANNELS: u32, // of one group
  ITEMS: u32,
  SCALE_OF: u32, // blocks of an image in scale
  SCALE_FIRST: u32,
  SHIFT_OF: u32,
  SHIFT_FIRST: u32,
  A_BLOCKS: u32, // of input, with JOINED; the others are of second
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
  return (n * layer.C_BLOCKS + g * (layer.CHANNELS / 4u)) * layer.PIXELS + item;
}
#if JOINED
@group(0) @binding(7) var<storage, read> second: array<T4>;

fn load(n: u32, g: u32, item: u32) -> vec4f {
  let block = g * (layer.CHANNELS / 4u) + item / layer.PIXELS;
  let pixel = item % layer.PIXELS;
  if (block < layer.A_BLOCKS) {
    return vec4f(input[(n * layer.A_BLOCKS + block) * layer.PIXELS + pixel]);
  }
  return vec4f(second[(n * (layer.C_BLOCKS - layer.A_BLOCKS) + block - layer.A_BLOCKS) * layer.PIXELS + pixel]);
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
  let block = g * (layer.CHANNELS / 4u) + item / layer.PIXELS;
  var v = normal * vec4f(gamma[block]) + vec4f(beta[block]);
#if SCALED
  v *= 1.0 + vec4f(scale[n * layer.SCALE_OF + layer.SCALE_FIRST + block]);
#endif
#if SHIFTED
  v += vec4f(shift[n * layer.SHIFT_OF + layer.SHIFT_FIRST + block]);
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
  return ((n * layer.C_BLOCKS + c / 4u) * layer.PIXELS + pixel) * 4u + c % 4u;
}
fn load(n: u32, g: u32, item: u32) -> f32 {
  return f32(input[at(n, g * layer.CHANNELS + item / layer.PIXELS, item % layer.PIXELS)]);
}
fn total(v: f32) -> f32 {
  return v;
}
const WIDTH = 1.0;
alias Item = f32;
fn store(n: u32, g: u32, item: u32, normal: f32) {
  let c = g * layer.CHANNELS + item / layer.PIXELS;
  var v = normal * f32(gamma[c / 4u][c % 4u]) + f32(beta[c / 4u][c % 4u]);
#if SCALED
  v *= 1.0 + f32(scale[n * layer.SCALE_OF + layer.SCALE_FIRST + c / 4u][c % 4u]);
#endif
#if SHIFTED
  v += f32(shift[n * layer.SHIFT_OF + layer.SHIFT_FIRST + c / 4u][c % 4u]);
#endif
#if RESIDUAL
  v += f32(residual[at(n, c, item % layer.PIXELS)]);
#endif
#if ACTIVATION
  v = activation(vec4f(v)).x;
#endif
  output[at(n, c, item % layer.PIXELS)] = T(v);
}
#endif

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let id = group.y * groups.x + group.x;
  let g = id % layer.GROUPS;
  let n = id / layer.GROUPS;
  if (n >= layer.N) {
    return;
  }
  let count = f32(layer.CHANNELS * layer.PIXELS);
  let first = load(n, g, min(lane, layer.ITEMS - 1u));
  let centre = total(first) / WIDTH;
  var own = Item(0);
  var squares = Item(0);
  for (var item = lane; item < layer.ITEMS; item += WORKGROUP) {
    let d = load(n, g, item) - centre;
    own += d;
    squares += d * d;
  }
  let own_count = WIDTH * f32((layer.ITEMS + WORKGROUP - 1u - min(lane, layer.ITEMS)) / WORKGROUP);
  let own_sum = total(own);
  let mean = sum(lane, centre * own_count + own_sum) / count;
  // Squares about the mean of all: those about the centre, moved by the difference.
  let offset = mean - centre;
  let moved = total(squares) - 2.0 * offset * own_sum + own_count * offset * offset;
  let factor = 1.0 / sqrt(max(sum(lane, moved), 0.0) / count + layer.EPS);
  for (var item = lane; item < layer.ITEMS; item += WORKGROUP) {
    store(n, g, item, (load(n, g, item) - mean) * factor);
  }
#if SCALAR
  // Lanes past C of the last block hold zero.
  if (g == layer.GROUPS - 1u) {
    for (var c = layer.C; c < layer.C_BLOCKS * 4u; c++) {
      for (var pixel = lane; pixel < layer.PIXELS; pixel += WORKGROUP) {
        output[at(n, c, pixel)] = T(0);
      }
    }
  }
#endif
}
