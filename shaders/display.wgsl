// Shows a batch of pictures on a canvas, as a grid: one triangle over the whole canvas, one lookup a canvas pixel.
//
// The number shown is v = a x + b y, of x and y planar f32 (n, c, h, w): x_t itself, x0Hat, or what follows from two
// stored tensors, such as the predicted noise. v becomes the brightness v / 2 + 0.5, clamped to [0, 1] (the hardware
// rounds to 8 bits). One or two channels are shown as grey, three and more as red, green, blue. Every picture is
// magnified `zoom` times without smoothing. `gap` canvas pixels between pictures, and cells past n, are transparent.

struct View {
  n: u32,
  c: u32,
  h: u32,
  w: u32,
  columns: u32,
  zoom: u32,
  gap: u32,
  a: f32,
  b: f32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<uniform> view: View;

@vertex
fn cover(@builtin(vertex_index) i: u32) -> @builtin(position) vec4f {
  return vec4f(f32(i & 1u) * 4.0 - 1.0, f32(i >> 1u) * 4.0 - 1.0, 0.0, 1.0);
}

fn brightness(n: u32, c: u32, row: u32, column: u32) -> f32 {
  let i = ((n * view.c + c) * view.h + row) * view.w + column;
  return clamp((view.a * x[i] + view.b * y[i]) * 0.5 + 0.5, 0.0, 1.0);
}

@fragment
fn paint(@builtin(position) position: vec4f) -> @location(0) vec4f {
  let pixel = vec2u(position.xy);
  let pitch = vec2u(view.w, view.h) * view.zoom + view.gap;
  let cell = pixel / pitch;
  let at = pixel % pitch / view.zoom;
  let n = cell.y * view.columns + cell.x;
  if (n >= view.n || cell.x >= view.columns || at.x >= view.w || at.y >= view.h) {
    return vec4f(0);
  }
  let grey = brightness(n, 0u, at.y, at.x);
  if (view.c < 3u) {
    return vec4f(grey, grey, grey, 1.0);
  }
  return vec4f(grey, brightness(n, 1u, at.y, at.x), brightness(n, 2u, at.y, at.x), 1.0);
}
