//! Activations in blocks of 32 signed bytes, and how they are rounded to them.
//!
//! Not here: products, and the order in which those of many rows read activations (`arch/portable_int8*.rs`, `arch/avx2_int8*.rs`,
//! `arch/vnni*.rs`). Scales are f32, since activations of one row may differ by more than f16 holds.

use crate::generic::attempt::{TRIED, Tried, least_of};
use crate::vector::Vector;

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
    /// The same for each half of a block. (m, 2 · k / INT8_BLOCK)
    pub half_offsets: &'a [f32],
    /// The same numbers by tiles of rows, all that [`Kernels::int8_tiles`](crate::Kernels::int8_tiles) tells of or, where one does without, none.
    pub tiles: &'a [i32],
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
    /// (m, 2 · k / INT8_BLOCK)
    pub half_offsets: &'a mut [f32],
}

impl Int8Rows<'_> {
    /// Whether the lengths of all fields but the tiles belong together, for whole rows of `k`.
    pub(crate) fn is_consistent(&self, k: usize) -> bool {
        let n = self.q.len() / INT8_BLOCK;
        k.is_multiple_of(INT8_BLOCK)
            && self.q.len().is_multiple_of(k)
            && [self.scales.len(), self.starts.len(), self.offsets.len()] == [n; 3]
            && [self.half_starts.len(), self.half_offsets.len()] == [2 * n; 2]
    }
}

/// How activations are rounded to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Int8Rounding {
    /// With the scale that takes the largest magnitude of a block to 127.
    Plain,
    /// With the scale of the least squared error among some: a fifth less of it for a few times the work, worth it where weights lose as
    /// little, those of 8 bits.
    Fitted,
}

/// Codes that the largest magnitude of a block is taken to, as parts of 127; nothing is rounded to 128. Smaller ones make the step coarser, which
/// is soon more than luck can make good.
const FACTORS: Tried =
    [1.0, 127.49 / 127.0, 126.4 / 127.0, 125.7 / 127.0, 125.0 / 127.0, 124.3 / 127.0, 123.6 / 127.0, 122.9 / 127.0];

/// Added to a small f32, it leaves the nearest integer in the low bits, ties to even.
const ROUND: f32 = (3 << 22) as f32;

/// Rounds each block; see [`Kernels::round_to_int8`](crate::Kernels::round_to_int8), which checks the lengths. But for the fit, plain loops over
/// arrays, of which the compiler makes what vectors the caller has.
///
/// # Safety
/// The CPU has the features that `V` needs.
#[inline(always)]
pub(crate) unsafe fn round_to_int8<V: Vector, const FITTED: bool>(x: &[f32], to: Int8RowsMut<'_>) {
    let Int8RowsMut { q, scales, starts, half_starts, offsets, half_offsets } = to;
    let ((x, _), (q, _)) = (x.as_chunks::<INT8_BLOCK>(), q.as_chunks_mut::<INT8_BLOCK>());
    for (i, (x, q)) in x.iter().zip(q).enumerate() {
        // SAFETY: the features are the caller's.
        let (scale, sums) = unsafe { round_block::<V, FITTED>(x, q) };
        scales[i] = scale;
        half_starts[2 * i] = -CODE_OFFSET * sums[0];
        half_starts[2 * i + 1] = -CODE_OFFSET * sums[1];
        starts[i] = -CODE_OFFSET * (sums[0] + sums[1]);
        offsets[i] = scale * -(sums[0] + sums[1]) as f32;
        half_offsets[2 * i] = scale * -sums[0] as f32;
        half_offsets[2 * i + 1] = scale * -sums[1] as f32;
    }
}

/// Rounds one block and returns its scale and the sums of its halves.
///
/// # Safety
/// The CPU has the features that `V` needs.
#[inline(always)]
unsafe fn round_block<V: Vector, const FITTED: bool>(x: &[f32; INT8_BLOCK], q: &mut [i8; INT8_BLOCK]) -> (f32, [i32; 2]) {
    // Magnitudes have the order of their bits, infinity and NaN above all numbers.
    let mut bits = 0;
    for i in 0..INT8_BLOCK {
        bits = i32::max(bits, (x[i].to_bits() & 0x7fff_ffff) as i32);
    }
    let max = f32::from_bits(bits as u32);
    let inverse = 127.0 / max;
    let (mut scale, mut integers, mut sums) = (max / 127.0, [0; INT8_BLOCK], [0; 2]);
    // Of a block of zeros, and of numbers so small that the quotient is infinite, nothing is left.
    if inverse.is_finite() && max.is_finite() {
        let mut steps = [0.0; INT8_BLOCK];
        for i in 0..INT8_BLOCK {
            steps[i] = x[i] * inverse;
        }
        if FITTED {
            // SAFETY: the features are the caller's.
            let (factor, step) = unsafe { fit::<V>(&steps) };
            scale *= step;
            for i in 0..INT8_BLOCK {
                steps[i] *= factor;
            }
        }
        for i in 0..INT8_BLOCK {
            integers[i] = (steps[i] + ROUND).to_bits() as i32 - ROUND.to_bits() as i32;
        }
    }
    for i in 0..INT8_BLOCK {
        q[i] = integers[i] as i8;
    }
    for i in 0..INT8_BLOCK / 2 {
        sums[0] += integers[i];
        sums[1] += integers[INT8_BLOCK / 2 + i];
    }
    (scale, sums)
}

/// Of the numbers x of a block, the largest of magnitude 127: the factor f that takes them to the codes q which stand for them best, the nearest
/// to f · x, and the step d between codes with which d · q is nearest to x.
///
/// With r = f · x - q, least squares has f · d = 1 + Σrq / Σq², which leaves Σr² - (Σrq)² / Σq² of errors in steps. Lanes are factors, and no
/// product is fused with a sum, so that the choice is the same everywhere.
///
/// # Safety
/// The CPU has the features that `V` needs.
#[inline(always)]
unsafe fn fit<V: Vector>(x: &[f32; INT8_BLOCK]) -> (f32, f32) {
    let (mut errors, mut steps) = ([0.0; TRIED], [0.0; TRIED]);
    // SAFETY: the features are the caller's; TRIED is a multiple of LANES, so that each load and store is within its array.
    unsafe {
        for c in (0..TRIED).step_by(V::LANES) {
            let factor = V::load(FACTORS[c..].as_ptr());
            let (mut rr, mut rq, mut qq) = (V::splat(0.0), V::splat(0.0), V::splat(0.0));
            for i in 0..INT8_BLOCK {
                let scaled = V::splat(x[i]).mul(factor);
                let q = scaled.round();
                let r = scaled.sub(q);
                rr = rr.add(r.mul(r));
                rq = rq.add(r.mul(q));
                qq = qq.add(q.mul(q));
            }
            let more = rq.div(qq);
            rr.sub(rq.mul(more)).div(factor.mul(factor)).max(V::splat(0.0)).store(errors[c..].as_mut_ptr());
            V::splat(1.0).add(more).div(factor).store(steps[c..].as_mut_ptr());
        }
    }
    let best = least_of(&errors);
    (FACTORS[best], steps[best])
}
