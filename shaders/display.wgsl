// Shows a batch of pictures on a canvas, as a grid: one triangle over the whole canvas, one lookup a canvas pixel.
//
// The number shown is v = A x + B y, of x and y planar f32 (N, C, H, W): x_t itself, x0Hat, or what follows from two
// stored tensors, such as the predicted noise. v becomes the brightness v / 2 + 0.5, clamped to [0, 1] (the hardware
// rounds to 8 bits). One or two channels are shown as grey, three and more as red, green, blue. Every picture is
// magnified ZOOM times without smoothing; GAP canvas pixels between pictures, and cells past N, are transparent.

struct View {
  N: u32,
  C: u32,
  H: u32,
  W: u32,
  COLUMNS: u32,
  ZOOM: u32,
  GAP: u32,
  A: f32,
  B: f32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<uniform> view: View;

@vertex
fn cover(@builtin(vertex_index) i: u32) -> @builtin(position) vec4f {
  return vec4f(f32(i & 1u) * 4.0 - 1.0, f32(i >> 1u) * 4.0 - 1.0, 0.0, 1.0);
}

fn brightness(n: u32, c: u32, row: u32, column: u32) -> f32 {
  let i = ((n * view.C + c) * view.H + row) * view.W + column;
  return clamp((view.A * x[i] + view.B * y[i]) * 0.5 + 0.5, 0.0, 1.0);
}

@fragment
fn paint(@builtin(position) position: vec4f) -> @location(0) vec4f {
  let pixel = vec2u(position.xy);
  let pitch = vec2u(view.W, view.H) * view.ZOOM + view.GAP;
  let cell = pixel / pitch;
  let at = pixel % pitch / view.ZOOM;
  let n = cell.y * view.COLUMNS + cell.x;
  if (n >= view.N || cell.x >= view.COLUMNS || at.x >= view.W || at.y >= view.H) {
    return vec4f(0);
  }
  let grey = brightness(n, 0u, at.y, at.x);
  if (view.C < 3u) {
    return vec4f(grey, grey, grey, 1.0);
  }
  return vec4f(grey, brightness(n, 1u, at.y, at.x), brightness(n, 2u, at.y, at.x), 1.0);
}
