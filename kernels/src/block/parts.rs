//! What several block formats share: half-precision scales, the packed 6-bit scales of Q4_K and Q5_K, the non-linear 4-bit codes.
//!
//! Not here: any format by itself; each is a file beside this one.

use half::f16;

/// Weights in a super-block of the K formats.
pub(super) const SUPER_BLOCK: usize = 256;

/// The values of the 4-bit codes of IQ4_NL and IQ4_XS.
pub(crate) const NON_LINEAR: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// A scale: an f16, little-endian.
#[inline(always)]
pub(super) fn scale(bytes: [u8; 2]) -> f32 {
    f16::from_le_bytes(bytes).to_f32()
}

/// Eight scales and eight minima of 6 bits each. Of both, the first four lie in the low 6 bits of bytes 0..4 and 4..8; the others have
/// their low 4 bits in a half of bytes 8..12 (scale low, minimum high) and their upper 2 bits above the first four.
#[inline(always)]
pub(super) fn scales_and_minima(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut minima) = ([0; 8], [0; 8]);
    for j in 0..4 {
        let (a, b, c) = (packed[j], packed[j + 4], packed[j + 8]);
        scales[j] = a & 0x3f;
        minima[j] = b & 0x3f;
        scales[j + 4] = (c & 0x0f) | ((a >> 6) << 4);
        minima[j + 4] = (c >> 4) | ((b >> 6) << 4);
    }
    (scales, minima)
}

/// The inverse of [`scales_and_minima`]; the upper two bits of each are dropped.
pub(super) fn packed(scales: &[u8; 8], minima: &[u8; 8]) -> [u8; 12] {
    let mut packed = [0; 12];
    for j in 0..4 {
        packed[j] = (scales[j] & 0x3f) | (scales[j + 4] >> 4) << 6;
        packed[j + 4] = (minima[j] & 0x3f) | (minima[j + 4] >> 4) << 6;
        packed[j + 8] = (scales[j + 4] & 0x0f) | (minima[j + 4] & 0x0f) << 4;
    }
    packed
}
