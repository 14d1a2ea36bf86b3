// What inpainting adds to a step (RePaint, Lugmayr et al. 2022), in place, with own noise z:
//
//   x = mask * (c * x + s * z) + (1 - mask) * (a * known + b * z)
//
// After a step c = 1, s = 0: what is painted stays, the rest is the known picture at the new noise level (eq. 8a, 8c).
// In a jump back c and s noise the whole state to the level that a and b stand for (algorithm 1, line 10).
// x, known and mask planar f32 (N, ELEMENTS); mask 1 where the picture is painted. z: stream 2, step `index`.
// A mask of 0 or 1 leaves the other side out. One invocation does four consecutive elements of one image.

const WORKGROUP: u32 = {{WORKGROUP}}u;

struct Layer {
  N: u32,
  ELEMENTS: u32, // of one image
  BLOCKS: u32,
}
@group(0) @binding(9) var<uniform> layer: Layer;

struct Repaint {
  c: f32,
  s: f32,
  a: f32,
  b: f32,
  index: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> known: array<f32>;
@group(0) @binding(2) var<storage, read> mask: array<f32>;
@group(0) @binding(3) var<uniform> repaint: Repaint;
@group(0) @binding(4) var<storage, read> seeds: array<vec2u>;
@group(0) @binding(5) var<storage, read> normal_table: array<vec4u>;

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let id = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let block = id % layer.BLOCKS;
  let n = id / layer.BLOCKS;
  if (n >= layer.N) {
    return;
  }
  let words = philox4x32_10(vec4u(block, repaint.index, 2u, 0u), seeds[n]);
  for (var l = 0u; l < 4u; l++) {
    let element = block * 4u + l;
    if (element < layer.ELEMENTS) {
      let at = n * layer.ELEMENTS + element;
      let z = normal_from_bits(words[l]);
      let painted = repaint.c * x[at] + repaint.s * z;
      let kept = repaint.a * known[at] + repaint.b * z;
      let w = mask[at];
      x[at] = select(w * painted + (1.0 - w) * kept, select(kept, painted, w == 1.0), w == 0.0 || w == 1.0);
    }
  }
}
