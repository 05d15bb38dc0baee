//! Activations in blocks of 32 signed bytes, and how they are rounded to them.
//!
//! Not here: products (`arch/avx2_int8.rs`, `arch/vnni.rs`). Scales are f32, since activations of one row may differ by more than f16 holds.

/// Activations in a block, as many as weights in a block of `Q8_0` and `Q4_0`.
pub const INT8_BLOCK: usize = 32;

/// What is added to a signed code of a weight where an instruction wants it unsigned.
pub(crate) const CODE_OFFSET: i32 = 128;

/// Rows of activations as bytes: element i of a row is `q[i] · scales[i / INT8_BLOCK]`. k is a multiple of [`INT8_BLOCK`].
#[derive(Clone, Copy)]
pub struct Int8Rows<'a> {
    /// (m, k), each in -127..=127
    pub q: &'a [i8],
    /// (m, k / INT8_BLOCK)
    pub scales: &'a [f32],
    /// -128 times each block's sum of bytes: where the sum of a product begins whose weights are stored 128 too large. (m, k / INT8_BLOCK)
    pub starts: &'a [i32],
    /// The same for each half of a block. (m, 2 · k / INT8_BLOCK)
    pub half_starts: &'a [i32],
    /// The negated sum of each block's activations, which a minimum of its weights is multiplied by. (m, k / INT8_BLOCK)
    pub offsets: &'a [f32],
}

/// Rows of activations as bytes, to be written; the fields are those of [`Int8Rows`].
pub struct Int8RowsMut<'a> {
    /// (m, k)
    pub q: &'a mut [i8],
    /// (m, k / INT8_BLOCK)
    pub scales: &'a mut [f32],
    /// (m, k / INT8_BLOCK)
    pub starts: &'a mut [i32],
    /// (m, 2 · k / INT8_BLOCK)
    pub half_starts: &'a mut [i32],
    /// (m, k / INT8_BLOCK)
    pub offsets: &'a mut [f32],
}

impl Int8Rows<'_> {
    /// Whether the lengths of all fields belong together.
    pub(crate) fn is_consistent(&self) -> bool {
        let n = self.q.len() / INT8_BLOCK;
        n * INT8_BLOCK == self.q.len()
            && [self.scales.len(), self.starts.len(), self.offsets.len(), self.half_starts.len() / 2] == [n; 4]
    }
}

/// Rounds each block to nearest, ties to even, the largest magnitude to 127. A block with an infinity or a NaN gets one as its scale, so
/// that it comes through a product as a NaN. x: (n,), n a multiple of [`INT8_BLOCK`]; to: of n activations
pub fn round_to_int8(x: &[f32], to: Int8RowsMut<'_>) {
    let Int8RowsMut { q, scales, starts, half_starts, offsets } = to;
    let n_blocks = scales.len();
    assert!(x.len() == q.len() && x.len() == n_blocks * INT8_BLOCK, "round_to_int8");
    assert!([starts.len(), offsets.len(), half_starts.len() / 2] == [n_blocks; 3], "round_to_int8");
    for (i, (x, q)) in x.chunks_exact(INT8_BLOCK).zip(q.chunks_exact_mut(INT8_BLOCK)).enumerate() {
        scales[i] = round_block(x, q);
        for (half, q) in q.chunks_exact(INT8_BLOCK / 2).enumerate() {
            half_starts[2 * i + half] = -CODE_OFFSET * q.iter().map(|&q| i32::from(q)).sum::<i32>();
        }
        starts[i] = half_starts[2 * i] + half_starts[2 * i + 1];
        offsets[i] = scales[i] * (starts[i] / CODE_OFFSET) as f32;
    }
}

/// Rounds one block and returns its scale.
#[inline(always)]
fn round_block(x: &[f32], q: &mut [i8]) -> f32 {
    /// Added to a small f32, it leaves the nearest integer in the low bits, ties to even.
    const ROUND: f32 = (3 << 22) as f32;
    // Magnitudes have the order of their bits, infinity and NaN above all numbers.
    let bits = x.iter().fold(0, |max, x| i32::max(max, (x.to_bits() & 0x7fff_ffff) as i32));
    let max = f32::from_bits(bits as u32);
    // Of a block of zeros, and of numbers so small that the quotient is infinite, nothing is left.
    let inverse = 127.0 / max;
    if inverse.is_finite() && max.is_finite() {
        for (x, q) in x.iter().zip(q) {
            *q = (x * inverse + ROUND).to_bits() as i8;
        }
    } else {
        q.fill(0);
    }
    max / 127.0
}
