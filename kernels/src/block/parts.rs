//! What several block formats share: half-precision scales, packed 4-bit codes and fifth bits, the packed 6-bit scales of Q4_K and Q5_K, and
//! the non-linear 4-bit codes.
//!
//! Not here: any format by itself; each is a file beside this one.

use crate::convert::f16_to_f32;

/// Weights in a super-block of the K formats.
pub(super) const SUPER_BLOCK: usize = 256;

/// The values of the 4-bit codes of IQ4_NL and IQ4_XS.
pub(crate) const NON_LINEAR: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// A scale: an f16, little-endian.
#[inline(always)]
pub(super) fn scale(bytes: [u8; 2]) -> f32 {
    f16_to_f32(u16::from_le_bytes(bytes))
}

/// Bytes `8i..` of a block as one number. Codes are unpacked eight at a time in such numbers, each in its byte: that is fast on any CPU, and
/// loops over bytes are so only where the compiler happens to make vectors of them.
#[inline(always)]
pub(super) fn eight(bytes: &[u8], i: usize) -> u64 {
    u64::from_le_bytes(bytes.as_chunks().0[i])
}

/// A number in each of eight bytes.
#[inline(always)]
pub(super) const fn splat(byte: u8) -> u64 {
    byte as u64 * 0x0101_0101_0101_0101
}

/// `n` taken from each of eight codes below 128; `n <= 128`
#[inline(always)]
pub(super) fn less(codes: u64, n: u8) -> u64 {
    // With the highest bit set no byte borrows from the next; flipped, the bit is the sign.
    ((codes | splat(128)) - splat(n)) ^ splat(128)
}

/// Writes codes `8i..` of a block.
#[inline(always)]
pub(super) fn store(codes: u64, i: usize, out: &mut [i8]) {
    // SAFETY: every byte is a valid i8.
    out.as_chunks_mut().0[i] = unsafe { core::mem::transmute::<[u8; 8], [i8; 8]>(codes.to_le_bytes()) };
}

/// The low halves of 16 bytes, then the high halves.
#[inline(always)]
pub(super) fn nibbles(packed: &[u8; 16]) -> [u64; 4] {
    let (a, b) = (eight(packed, 0), eight(packed, 1));
    [a & splat(15), b & splat(15), (a >> 4) & splat(15), (b >> 4) & splat(15)]
}

/// 16 in each byte whose bit is set, else 0.
#[inline(always)]
pub(super) fn fifths(bits: u8) -> u64 {
    // Each byte keeps the bit of its number, which is then carried to the highest, whichever it was.
    let each = splat(bits) & 0x8040_2010_0804_0201;
    ((each + 0x0040_6070_787c_7e7f) & splat(128)) >> 3
}

/// The values of two codes of 4 bits, the first the lower.
pub(super) type Pairs = [[i8; 2]; 256];

/// Makes the table of pairs from that of codes.
pub(super) const fn pairs(values: &[i8; 16]) -> Pairs {
    let (mut pairs, mut i) = ([[0; 2]; 256], 0);
    while i < 256 {
        pairs[i] = [values[i % 16], values[i / 16]];
        i += 1;
    }
    pairs
}

/// The values of the codes of IQ4_NL and IQ4_XS by twos.
pub(super) static NON_LINEAR_PAIRS: Pairs = pairs(&NON_LINEAR);

/// The values of eight codes of 4 bits.
#[inline(always)]
fn looked_up(codes: u64, pairs: &Pairs) -> u64 {
    let packed = codes | (codes >> 4);
    let mut values = 0;
    for i in 0..4 {
        let [first, second] = pairs[(packed >> (16 * i)) as usize % 256];
        values |= u64::from(u16::from_le_bytes([first as u8, second as u8])) << (16 * i);
    }
    values
}

/// Writes the values of 32 codes of 4 bits, the first of which is code `8i` of a block: the low halves of 16 bytes, then the high halves.
#[inline(always)]
pub(super) fn store_values(packed: &[u8; 16], pairs: &Pairs, i: usize, out: &mut [i8]) {
    let codes = nibbles(packed);
    for j in 0..4 {
        store(looked_up(codes[j], pairs), i + j, out);
    }
}

/// The scales and minima of Q4_K and Q5_K, the packed numbers of [`scales_and_minima`] by a scale each. d, dmin: f16s; scales, minima: (8,)
#[inline(always)]
pub(super) fn scales_in_two_levels(d: [u8; 2], dmin: [u8; 2], packed: &[u8; 12], scales: &mut [f32], minima: &mut [f32]) {
    let (d, dmin, packed) = (scale(d), scale(dmin), scales_and_minima(packed));
    for j in 0..8 {
        (scales[j], minima[j]) = (d * f32::from(packed.0[j]), dmin * f32::from(packed.1[j]));
    }
}

/// Eight scales and eight minima of 6 bits each. Of both, the first four lie in the low 6 bits of bytes 0..4 and 4..8; the others have
/// their low 4 bits in a half of bytes 8..12 (scale low, minimum high) and their upper 2 bits above the first four.
#[inline(always)]
fn scales_and_minima(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let (words, _) = packed.as_chunks();
    let (a, b, c) = (u32::from_le_bytes(words[0]), u32::from_le_bytes(words[1]), u32::from_le_bytes(words[2]));
    (of_six_bits(a, c), of_six_bits(b, c >> 4))
}

/// Four numbers in the low 6 bits of bytes, and four whose low 4 bits are those of other bytes and whose upper 2 lie above the first four.
#[inline(always)]
fn of_six_bits(first: u32, low: u32) -> [u8; 8] {
    let others = (low & 0x0f0f_0f0f) | ((first >> 2) & 0x3030_3030);
    (u64::from(first & 0x3f3f_3f3f) | u64::from(others) << 32).to_le_bytes()
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
