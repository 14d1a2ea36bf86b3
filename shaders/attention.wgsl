// Scaled dot-product attention over the pixels of each image (Vaswani et al. 2017, eq. 1) in one pass:
//
//   out[n, h D + d, i] = sum over j of softmax_j(scale * sum over d' of q[n, h D + d', i] k[n, h D + d', j]) v[n, h D + d, j]
//
// i and j are pixels (tokens), h is a head of D = head_dim channels. Layout c4. q, k and v may be slices of larger tensors:
// `_stride` blocks per image, of which the slice begins at `_offset`. Softmax and sums are in f32.
//
// Four queries of a head are computed together, with the keys in chunks of 256: their scores, the softmax of each row about
// its maximum so far, the weighted values. With several chunks (CHUNKED), the sums so far are in `sums`, and are corrected if
// a larger score is met (online softmax, Milakov & Gimelshein 2018).
//
// One workgroup computes the four queries. Its invocations share keys, rows and channels evenly, whatever their number.
// BARRIER_FREE: one invocation computes them, with its scores in `scratch`. For software adapters, on which barriers are
//   slow to run and to compile.
// ALIGNED: head_dim is a multiple of four. Otherwise two heads may share a block, and components are stored one by one.

#import dispatch
#if BARRIER_FREE
const TOGETHER = 1u;
const SHARE = 1u;
const ROWS = 1u;
#else
const TOGETHER: u32 = WORKGROUP;
// Invocations that share a row of scores, and rows that are done at a time.
const SHARE: u32 = max(WORKGROUP / 4u, 1u);
const ROWS: u32 = min(WORKGROUP, 4u);
#endif

struct Layer {
  n: u32,
  c: u32,
  heads: u32,
  tokens: u32,
  head_dim: u32,
  cblocks: u32,
  tiles: u32, // of four queries
  opaque_4: u32, // 4, unknown to the compiler: unrolled loops take long to compile
  q_stride: u32,
  q_offset: u32,
  k_stride: u32,
  k_offset: u32,
  v_stride: u32,
  v_offset: u32,
  scale: f32,
  workgroup_offset: u32, // of a launch that is a part of a larger one
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> output: array<T4>;
@group(0) @binding(1) var<storage, read> q: array<T4>;
@group(0) @binding(2) var<storage, read> k: array<T4>;
@group(0) @binding(3) var<storage, read> v: array<T4>;
#if CHUNKED
@group(0) @binding(4) var<storage, read_write> sums: array<vec4f>;
#endif

const CHUNK = 256u;
const LOWEST = -3.0e38;

// Of each query 64 numbers, of four keys each.
#if BARRIER_FREE
@group(0) @binding(5) var<storage, read_write> scratch: array<vec4f>;
var<private> base: u32;
var<private> row_max: array<f32, 4>;
var<private> row_sum: array<f32, 4>;
var<private> correction: array<f32, 4>;

fn score(at: u32) -> vec4f {
  return scratch[base + at];
}
fn put(at: u32, value: vec4f) {
  scratch[base + at] = value;
}
#else
var<workgroup> scores: array<vec4f, 256>;
var<workgroup> row_max: array<f32, 4>;
var<workgroup> row_sum: array<f32, 4>;
var<workgroup> correction: array<f32, 4>;
var<workgroup> partial: array<f32, WORKGROUP>;
var<workgroup> partial_sum: array<f32, WORKGROUP>;

fn score(at: u32) -> vec4f {
  return scores[at];
}
fn put(at: u32, value: vec4f) {
  scores[at] = value;
}
#endif

// Components of the block that begins at `channel` and belong to the head from `first` to before `end`.
fn in_head(channel: u32, first: u32, end: u32) -> vec4<bool> {
  let c = vec4u(channel) + vec4u(0u, 1u, 2u, 3u);
  return (c >= vec4u(first)) & (c < vec4u(end));
}

fn store(plane: u32, i: u32, cblock: u32, h: u32, row: u32, last: bool, first: bool, sum: vec4f) {
  if (i >= layer.tokens) {
    return;
  }
  let at = plane + i;
  var value = sum;
#if CHUNKED
  if (!first) {
    value += sums[at] * correction[row];
  }
#endif
  if (last) {
    value /= row_sum[row];
  }
#if ALIGNED
#if CHUNKED
  if (!last) {
    sums[at] = value;
    return;
  }
#endif
  output[at] = T4(value);
#else
  let head_mask = in_head(cblock * 4u, h * layer.head_dim, (h + 1u) * layer.head_dim);
  // Components past the last channel are zero.
  let past = vec4u(cblock * 4u) + vec4u(0u, 1u, 2u, 3u) >= vec4u(layer.c);
  for (var l = 0u; l < 4u; l++) {
    if (head_mask[l]) {
#if CHUNKED
      if (!last) {
        sums[at][l] = value[l];
        continue;
      }
#endif
      output[at][l] = T(value[l]);
    } else if (past[l]) {
      output[at][l] = T(0);
    }
  }
#endif
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) invocation: u32,
) {
#if BARRIER_FREE
  let id = layer.workgroup_offset * WORKGROUP + linear_id(workgroup_id, num_workgroups, invocation);
  let local = 0u;
  base = id * 256u;
#else
  let id = layer.workgroup_offset + workgroup_index(workgroup_id, num_workgroups);
  let local = invocation;
#endif
  let i = id % layer.tiles * 4u;
  let h = id / layer.tiles % layer.heads;
  let n = id / (layer.tiles * layer.heads);
  if (n >= layer.n) {
    return;
  }
  let channel = h * layer.head_dim;
  let first_block = channel / 4u;
  let end_block = (channel + layer.head_dim + 3u) / 4u;
  let ia = min(vec4u(i) + vec4u(0u, 1u, 2u, 3u), vec4u(layer.tokens - 1u));

  for (var chunk = 0u; chunk < layer.tokens; chunk += CHUNK) {
    let keys = min(CHUNK, layer.tokens - chunk);

    for (var g = local; g * 4u < keys; g += TOGETHER) {
      let index = vec4u(g * 4u) + vec4u(0u, 1u, 2u, 3u);
      let j = chunk + min(index, vec4u(keys - 1u));
      var s0 = vec4f(0);
      var s1 = vec4f(0);
      var s2 = vec4f(0);
      var s3 = vec4f(0);
      for (var b = first_block; b < end_block; b++) {
        let q_plane = (n * layer.q_stride + layer.q_offset + b) * layer.tokens;
        let k_plane = (n * layer.k_stride + layer.k_offset + b) * layer.tokens;
        var k0 = vec4f(k[k_plane + j.x]);
        var k1 = vec4f(k[k_plane + j.y]);
        var k2 = vec4f(k[k_plane + j.z]);
        var k3 = vec4f(k[k_plane + j.w]);
#if !ALIGNED
        let head_mask = in_head(b * 4u, channel, channel + layer.head_dim);
        k0 = select(vec4f(0), k0, head_mask);
        k1 = select(vec4f(0), k1, head_mask);
        k2 = select(vec4f(0), k2, head_mask);
        k3 = select(vec4f(0), k3, head_mask);
#endif
        // Columns are keys: transposed, one product computes four scores of a query.
        let four = transpose(mat4x4f(k0, k1, k2, k3));
        s0 += four * vec4f(q[q_plane + ia.x]);
        s1 += four * vec4f(q[q_plane + ia.y]);
        s2 += four * vec4f(q[q_plane + ia.z]);
        s3 += four * vec4f(q[q_plane + ia.w]);
      }
      let valid = index < vec4u(keys);
      put(g, select(vec4f(LOWEST), s0 * layer.scale, valid));
      put(64u + g, select(vec4f(LOWEST), s1 * layer.scale, valid));
      put(128u + g, select(vec4f(LOWEST), s2 * layer.scale, valid));
      put(192u + g, select(vec4f(LOWEST), s3 * layer.scale, valid));
    }
#if !BARRIER_FREE
    workgroupBarrier();
#endif

    for (var r = 0u; r < layer.opaque_4; r += ROWS) {
      let row = r + local / SHARE;
      let part = local % SHARE;
      var four = vec4f(LOWEST);
      for (var g = part; g * 4u < keys; g += SHARE) {
        four = max(four, score(row * 64u + g));
      }
      var top = max(max(four.x, four.y), max(four.z, four.w));
#if !BARRIER_FREE
      partial[local] = top;
      workgroupBarrier();
      for (var p = 0u; p < SHARE; p++) {
        top = max(top, partial[local - part + p]);
      }
#endif
      var before = LOWEST;
      if (chunk > 0u) {
        before = row_max[row];
      }
      top = max(top, before);
      four = vec4f(0);
      for (var g = part; g * 4u < keys; g += SHARE) {
        let e = exp(score(row * 64u + g) - top);
        put(row * 64u + g, e);
        four += e;
      }
      var sum = dot(four, vec4f(1));
#if !BARRIER_FREE
      partial_sum[local] = sum;
      workgroupBarrier();
      for (var p = 1u; p < SHARE; p++) {
        sum += partial_sum[(local + p) % WORKGROUP]; // only that of the first part is used
      }
#endif
      if (part == 0u) {
        let rescale = exp(before - top);
        if (chunk > 0u) {
          sum += row_sum[row] * rescale;
        }
        correction[row] = rescale;
        row_sum[row] = sum;
        row_max[row] = top;
      }
    }
#if !BARRIER_FREE
    workgroupBarrier();
#endif

    let first = chunk == 0u;
    let last = chunk + CHUNK >= layer.tokens;
    for (var cblock = first_block + local; cblock < end_block; cblock += TOGETHER) {
      let plane = (n * layer.v_stride + layer.v_offset + cblock) * layer.tokens + chunk;
      var o0 = vec4f(0);
      var o1 = vec4f(0);
      var o2 = vec4f(0);
      var o3 = vec4f(0);
      for (var g = 0u; g * 4u < keys; g++) {
        // Keys past the end have zero weight.
        let j = min(vec4u(g * 4u) + vec4u(0u, 1u, 2u, 3u), vec4u(keys - 1u));
        let four = mat4x4f(vec4f(v[plane + j.x]), vec4f(v[plane + j.y]), vec4f(v[plane + j.z]), vec4f(v[plane + j.w]));
        o0 += four * score(g);
        o1 += four * score(64u + g);
        o2 += four * score(128u + g);
        o3 += four * score(192u + g);
      }
      var sum = array(o0, o1, o2, o3);
      let out = (n * layer.cblocks + cblock) * layer.tokens;
      for (var r = 0u; r < layer.opaque_4; r++) {
        store(out, i + r, cblock, h, r, last, first, sum[r]);
      }
    }
#if !BARRIER_FREE
    workgroupBarrier();
#endif
  }
}
