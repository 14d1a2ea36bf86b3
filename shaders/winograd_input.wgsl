// The first pass of Winograd's convolution F(2x2, 3x3) (Lavin & Gray 2016, section 4.1), for stride 1 and one pixel of
// zeros around: of every patch d of 4 x 4 pixels that belongs to 2 x 2 pixels of the output,
//
//   out[4 i + j, c, tile] = (B^T d B)[i, j],   B^T = (1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1)
//
// Input in c4; out as 16 images in c4, a pixel a tile, tiles counted through all images (n, y, x); f32 always.
// With UPSAMPLED the input is half as wide and high, and every pixel counts for 2 x 2.
// One invocation does one patch of four channels.

override WORKGROUP: u32;

struct Layer {
  C_BLOCKS: u32,
  H: u32, // of the convolution's input; with UPSAMPLED twice the input's
  W: u32,
  TILES_X: u32,
  TILES_IMAGE: u32,
  TILES: u32, // of all images of this launch
  FIRST: u32, // the first of them
}
@group(0) @binding(9) var<uniform> layer: Layer;

@group(0) @binding(0) var<storage, read_write> output: array<vec4f>;
@group(0) @binding(1) var<storage, read> input: array<T4>;

fn pixel(plane: u32, y: u32, x: u32) -> vec4f {
  // Through u32, what is left of or above the image is beyond its end.
  let inside = y < layer.H && x < layer.W;
#if UPSAMPLED
  let at = (plane * (layer.H / 2u) + y / 2u) * (layer.W / 2u) + x / 2u;
#else
  let at = (plane * layer.H + y) * layer.W + x;
#endif
  return select(vec4f(0), vec4f(input[select(0u, at, inside)]), inside);
}

// A column of B^T d.
fn column(plane: u32, y: u32, x: u32) -> mat4x4f {
  let d0 = pixel(plane, y, x);
  let d1 = pixel(plane, y + 1u, x);
  let d2 = pixel(plane, y + 2u, x);
  let d3 = pixel(plane, y + 3u, x);
  return mat4x4f(d0 - d2, d1 + d2, d2 - d1, d1 - d3);
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let id = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let tile = id % layer.TILES;
  let block = id / layer.TILES;
  if (block >= layer.C_BLOCKS) {
    return;
  }
  let y = tile % layer.TILES_IMAGE / layer.TILES_X * 2u - 1u;
  let x = tile % layer.TILES_X * 2u - 1u;
  let plane = (layer.FIRST + tile / layer.TILES_IMAGE) * layer.C_BLOCKS + block;
  let c0 = column(plane, y, x);
  let c1 = column(plane, y, x + 1u);
  let c2 = column(plane, y, x + 2u);
  let c3 = column(plane, y, x + 3u);
  let step = layer.C_BLOCKS * layer.TILES;
  output[id] = c0[0] - c2[0];
  output[id + step] = c1[0] + c2[0];
  output[id + 2u * step] = c2[0] - c1[0];
  output[id + 3u * step] = c1[0] - c3[0];
  output[id + 4u * step] = c0[1] - c2[1];
  output[id + 5u * step] = c1[1] + c2[1];
  output[id + 6u * step] = c2[1] - c1[1];
  output[id + 7u * step] = c1[1] - c3[1];
  output[id + 8u * step] = c0[2] - c2[2];
  output[id + 9u * step] = c1[2] + c2[2];
  output[id + 10u * step] = c2[2] - c1[2];
  output[id + 11u * step] = c1[2] - c3[2];
  output[id + 12u * step] = c0[3] - c2[3];
  output[id + 13u * step] = c1[3] + c2[3];
  output[id + 14u * step] = c2[3] - c1[3];
  output[id + 15u * step] = c1[3] - c3[3];
}
