// The weighted sum of scaled dot-product attention: out[n, c, i] = sum over j of weights[n, c / D, i, j] * v[n, c, j].
//
// weights planar (N, HEADS, TOKENS, TOKENS) in f32, as softmax leaves them; v and out in c4.
// One invocation computes four channels of four queries. With ALIGNED, D is a multiple of four and the four
// channels are of one head; else every lane looks up its own head.

override WORKGROUP: u32;

struct Layer {
  N: u32,
  C: u32,
  HEADS: u32,
  TOKENS: u32,
  D: u32,
  C_BLOCKS: u32,
  TILES: u32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> output: array<T4>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<T4>;

#if ALIGNED
fn weight(n: u32, c: u32, i: u32, j: u32) -> vec4f {
  return vec4f(weights[((n * layer.HEADS + c / layer.D) * layer.TOKENS + i) * layer.TOKENS + j]);
}
#else
fn weight(n: u32, c: u32, i: u32, j: u32) -> vec4f {
  var result = vec4f(0);
  for (var lane = 0u; lane < 4u; lane++) {
    if (c + lane < layer.C) {
      result[lane] = weights[((n * layer.HEADS + (c + lane) / layer.D) * layer.TOKENS + i) * layer.TOKENS + j];
    }
  }
  return result;
}
#endif

fn token(i: u32) -> u32 {
  return min(i, layer.TOKENS - 1u);
}

fn store(plane: u32, i: u32, value: vec4f) {
  if (i < layer.TOKENS) {
    output[plane + i] = T4(value);
  }
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let id = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let i = (id % layer.TILES) * 4u;
  let block = id / layer.TILES % layer.C_BLOCKS;
  let n = id / (layer.TILES * layer.C_BLOCKS);
  if (n >= layer.N) {
    return;
  }
  let plane = (n * layer.C_BLOCKS + block) * layer.TOKENS;
  let c = block * 4u;
  var o0 = vec4f(0);
  var o1 = vec4f(0);
  var o2 = vec4f(0);
  var o3 = vec4f(0);
  for (var j = 0u; j < layer.TOKENS; j++) {
    let value = vec4f(v[plane + j]);
    o0 += weight(n, c, token(i), j) * value;
    o1 += weight(n, c, token(i + 1u), j) * value;
    o2 += weight(n, c, token(i + 2u), j) * value;
    o3 += weight(n, c, token(i + 3u), j) * value;
  }
  store(plane, i, o0);
  store(plane, i + 1u, o1);
  store(plane, i + 2u, o2);
  store(plane, i + 3u, o3);
}
