// A standard normal number from 32 random bits, by an inverse cumulative distribution in integers only, so that
// every device gives the same number, bit for bit (WGSL's log, sqrt and cos differ between devices).
//
// The top bit is the sign; the other 31 bits P give the tail probability p = (2 P + 1) / 2^33 in (0, 1/2).
// Piece 8 e + s holds p in [2^e (1 + s/8), 2^e (1 + (s+1)/8)) / 2^33, where the upper-tail quantile is the cubic
// c0 - u (c1 - u (c2 - u c3)), u in [0, 1), coefficients in units of 2^-27 (src/schedule/normal_table.ts).
// The result is rounded to units of 2^-21: below 8 it has at most 24 bits, so its conversion to f32 is exact.
//
// The kernel declares `normal_table: array<vec4u>`.
#import philox

fn normal_from_bits(bits: u32) -> f32 {
  let m = (bits << 1u) | 1u;
  let zeros = countLeadingZeros(m);
  let fraction = (m << zeros) & 0x7fffffffu;
  let piece = normal_table[(31u - zeros) * 8u + (fraction >> 28u)];
  let u = fraction << 4u;
  let q = piece.x - mul_high(u, piece.y - mul_high(u, piece.z - mul_high(u, piece.w)));
  let magnitude = f32((q + 32u) >> 6u) * 0x1p-21;
  return select(magnitude, -magnitude, (bits >> 31u) == 1u);
}
