// What inpainting adds to a step (RePaint, Lugmayr et al. 2022), in place, with own noise z:
//
//   x = mask * (c * x + s * z) + (1 - mask) * (a * known + b * z)
//
// After a step c = 1, s = 0: what is painted stays, the rest is the known picture at the new noise level (eq. 8a, 8c).
// In a jump back c and s noise the whole state to the level that a and b stand for (algorithm 1, line 10).
// x, known and mask are planar f32 (n, elements); mask is 1 for pixels that are regenerated. z: stream 2, step `index`.
// A mask of 0 or 1 leaves the other side out. One invocation does four consecutive elements of one image.

#import dispatch
#import normal

struct Layer {
  n: u32,
  elements: u32, // of one image
  counters: u32, // Philox counters per image: one for four elements
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
  let words = philox4x32_10(vec4u(counter, repaint.index, 2u, 0u), seeds[n]);
  for (var l = 0u; l < 4u; l++) {
    let element = counter * 4u + l;
    if (element < layer.elements) {
      let at = n * layer.elements + element;
      let z = normal_from_bits(words[l]);
      let painted = repaint.c * x[at] + repaint.s * z;
      let kept = repaint.a * known[at] + repaint.b * z;
      let w = mask[at];
      x[at] = select(w * painted + (1.0 - w) * kept, select(kept, painted, w == 1.0), w == 0.0 || w == 1.0);
    }
  }
}
