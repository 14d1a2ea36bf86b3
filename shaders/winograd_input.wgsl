// The first pass of Winograd's convolution F(4x4, 3x3) (Lavin & Gray 2016, section 4.3), for stride 1 and one pixel of
// zeros around: of every patch d of 6 x 6 pixels that belongs to 4 x 4 pixels of the output,
//
//   out[6 i + j, c, tile] = (B^T d B)[i, j],
//   B^T = (4 0 -5 0 1 0; 0 -4 -4 1 1 0; 0 4 -4 -1 1 0; 0 -2 -1 2 1 0; 0 2 -1 -2 1 0; 0 4 0 -5 0 1)
//
// Input in c4; out as 36 images in c4, a pixel a tile, tiles counted through all images (n, y, x); f32 always.
// With UPSAMPLED the input is half as wide and high, and every pixel counts for 2 x 2.
// One invocation does one patch of four channels.

#import dispatch

struct Layer {
  cblocks: u32,
  h: u32, // of the convolution's input; with UPSAMPLED twice the input's
  w: u32,
  tiles_x: u32,
  tiles_per_image: u32,
  tiles: u32, // of all images of this launch
  first: u32, // the first of them
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> output: array<vec4f>;
@group(0) @binding(1) var<storage, read> input: array<T4>;

// Greater than any index: pixels outside of the image.
const FAR = 0x40000000u;

// Index of the first pixel of a row. As u32, a row above the image is below its end.
fn row(plane: u32, y: u32) -> u32 {
#if UPSAMPLED
  return select(FAR, (plane * (layer.h / 2u) + y / 2u) * (layer.w / 2u), y < layer.h);
#else
  return select(FAR, (plane * layer.h + y) * layer.w, y < layer.h);
#endif
}

fn place(x: u32) -> u32 {
#if UPSAMPLED
  return select(FAR, x / 2u, x < layer.w);
#else
  return select(FAR, x, x < layer.w);
#endif
}

fn pixel(at: u32) -> vec4f {
  return select(vec4f(0), vec4f(input[at]), at < FAR);
}

// B^T d, of a column.
fn forward(d0: vec4f, d1: vec4f, d2: vec4f, d3: vec4f, d4: vec4f, d5: vec4f) -> array<vec4f, 6> {
  let even = d4 - 4.0 * d2;
  let odd = d3 - 4.0 * d1;
  let near = d4 - d2;
  let far = 2.0 * (d3 - d1);
  return array<vec4f, 6>(
    4.0 * (d0 - d2) + near,
    even + odd,
    even - odd,
    near + far,
    near - far,
    4.0 * d1 - 5.0 * d3 + d5,
  );
}

fn store(id: u32, step: u32, r: array<vec4f, 6>) {
  output[id] = r[0];
  output[id + step] = r[1];
  output[id + 2u * step] = r[2];
  output[id + 3u * step] = r[3];
  output[id + 4u * step] = r[4];
  output[id + 5u * step] = r[5];
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) workgroup_id: vec3u,
  @builtin(num_workgroups) num_workgroups: vec3u,
  @builtin(local_invocation_index) invocation: u32,
) {
  let id = linear_id(workgroup_id, num_workgroups, invocation);
  let tile = id % layer.tiles;
  let cblock = id / layer.tiles;
  if (cblock >= layer.cblocks) {
    return;
  }
  let y = tile % layer.tiles_per_image / layer.tiles_x * 4u - 1u;
  let x = tile % layer.tiles_x * 4u - 1u;
  let plane = (layer.first + tile / layer.tiles_per_image) * layer.cblocks + cblock;
  let step = layer.cblocks * layer.tiles;
  let r0 = row(plane, y);
  let r1 = row(plane, y + 1u);
  let r2 = row(plane, y + 2u);
  let r3 = row(plane, y + 3u);
  let r4 = row(plane, y + 4u);
  let r5 = row(plane, y + 5u);
  var c: array<array<vec4f, 6>, 6>;
  for (var j = 0u; j < 6u; j++) {
    let xj = place(x + j);
    c[j] = forward(pixel(r0 + xj), pixel(r1 + xj), pixel(r2 + xj), pixel(r3 + xj), pixel(r4 + xj), pixel(r5 + xj));
  }
  for (var i = 0u; i < 6u; i++) {
    store(id + 6u * i * step, step, forward(c[0][i], c[1][i], c[2][i], c[3][i], c[4][i], c[5][i]));
  }
}
