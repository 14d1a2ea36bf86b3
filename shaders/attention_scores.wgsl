// The scores of scaled dot-product attention (Vaswani et al. 2017, eq. 1), before softmax:
//
//   scores[n, h, i, j] = SCALE * sum over d of q[n, h * D + d, i] * k[n, h * D + d, j]
//
// i and j are pixels (tokens), h a head of D channels. q and k in c4, scores planar (N, HEADS, TOKENS, TOKENS), f32.
// One invocation computes four queries by four keys. With ALIGNED, D is a multiple of four.

override WORKGROUP: u32;

struct Layer {
  N: u32,
  HEADS: u32,
  TOKENS: u32,
  SCALE: f32,
  D: u32,
  C_BLOCKS: u32,
  TILES: u32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> scores: array<f32>;
@group(0) @binding(1) var<storage, read> q: array<T4>;
@group(0) @binding(2) var<storage, read> k: array<T4>;

fn token(i: u32) -> u32 {
  return min(i, layer.TOKENS - 1u);
}

// Four channels of a head; lanes past the head's end are zero.
fn mask(channel: u32, end: u32) -> vec4f {
  let c = vec4u(channel) + vec4u(0u, 1u, 2u, 3u);
  return select(vec4f(0), vec4f(1), c < vec4u(end));
}

fn store(row: u32, j: u32, i: u32, value: vec4f) {
  if (i >= layer.TOKENS) {
    return;
  }
  for (var lane = 0u; lane < 4u; lane++) {
    if (j + lane < layer.TOKENS) {
      scores[(row * layer.TOKENS + i) * layer.TOKENS + j + lane] = value[lane] * layer.SCALE;
    }
  }
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let id = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let j = (id % layer.TILES) * 4u;
  let i = (id / layer.TILES % layer.TILES) * 4u;
  let row = id / (layer.TILES * layer.TILES); // n * HEADS + h
  if (row >= layer.N * layer.HEADS) {
    return;
  }
  let h = row % layer.HEADS;
  let first = (row / layer.HEADS) * layer.C_BLOCKS;
  let i0 = token(i);
  let i1 = token(i + 1u);
  let i2 = token(i + 2u);
  let i3 = token(i + 3u);
  let j0 = token(j);
  let j1 = token(j + 1u);
  let j2 = token(j + 2u);
  let j3 = token(j + 3u);
  var s0 = vec4f(0);
  var s1 = vec4f(0);
  var s2 = vec4f(0);
  var s3 = vec4f(0);
  // Blocks that hold the head's channels; the first and the last may be shared with a neighbour.
  for (var b = h * layer.D / 4u; b * 4u < (h + 1u) * layer.D; b++) {
    let plane = (first + b) * layer.TOKENS;
#if ALIGNED
    let own = vec4f(1);
#else
    let own = mask(b * 4u, (h + 1u) * layer.D) * (vec4f(1) - mask(b * 4u, h * layer.D));
#endif
    let q0 = vec4f(q[plane + i0]) * own;
    let q1 = vec4f(q[plane + i1]) * own;
    let q2 = vec4f(q[plane + i2]) * own;
    let q3 = vec4f(q[plane + i3]) * own;
    // Columns are keys: transposed, one product gives the four scores of a query.
    let keys = transpose(mat4x4f(
      vec4f(k[plane + j0]), vec4f(k[plane + j1]), vec4f(k[plane + j2]), vec4f(k[plane + j3]),
    ));
    s0 += keys * q0;
    s1 += keys * q1;
    s2 += keys * q2;
    s3 += keys * q3;
  }
  store(row, j, i, s0);
  store(row, j, i + 1u, s1);
  store(row, j, i + 2u, s2);
  store(row, j, i + 3u, s3);
}
