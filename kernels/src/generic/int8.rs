//! Activations in blocks of 32 signed bytes, and how they are rounded to them.
//!
//! Not here: products (`arch/x86_int8.rs`). Scales are f32, since activations of one row may differ by more than f16 holds.

/// Activations in a block, as many as weights in a block of `Q8_0` and `Q4_0`.
pub const INT8_BLOCK: usize = 32;

/// Rows of activations as bytes: element i of a row is `q[i] · scales[i / INT8_BLOCK]`.
#[derive(Clone, Copy)]
pub struct Int8Rows<'a> {
    /// (m, k), each in -127..=127; k is a multiple of [`INT8_BLOCK`]
    pub q: &'a [i8],
    /// (m, k / INT8_BLOCK)
    pub scales: &'a [f32],
}

/// Rounds each block to nearest, ties to even, the largest magnitude to 127. A block with an infinity or a NaN gets it as its scale, so
/// that it comes through a product as a NaN. x, q: (n,), n a multiple of [`INT8_BLOCK`]; scales: (n / INT8_BLOCK,)
pub fn round_to_int8(x: &[f32], q: &mut [i8], scales: &mut [f32]) {
    assert!(x.len() == q.len() && x.len() == scales.len() * INT8_BLOCK, "round_to_int8");
    for ((x, q), scale) in x.chunks_exact(INT8_BLOCK).zip(q.chunks_exact_mut(INT8_BLOCK)).zip(scales) {
        let mut max = 0.0f32;
        for x in x {
            max = if x.abs() > max || x.is_nan() { x.abs() } else { max };
        }
        *scale = max / 127.0;
        // Of a block of zeros, and of numbers so small that the quotient is infinite, nothing is left.
        let inverse = 127.0 / max;
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        for (x, q) in x.iter().zip(q) {
            *q = (x * inverse).round_ties_even() as i8;
        }
    }
}
