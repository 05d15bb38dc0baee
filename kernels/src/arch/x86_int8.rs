//! Products of weights in blocks of 32 with int8 activations, by 256-bit vectors of bytes: what AVX2 and AVX-512 VNNI share.
//!
//! Not here: the instruction that multiplies bytes, which each rung brings ([`Bytes`]).
//!
//! ```text
//! for each tile of MR weight rows and NR activation rows:
//!     for each block along k:
//!         acc[b][a] += f32(|w| · sign(x, w), eight sums of four products) * (dw[a] * dx[b])
//!     out = reduce_add(acc)
//! ```
//!
//! One operand must be unsigned, so the weight's sign moves to the activation, exactly: activations are never -128. Two products of at most
//! 128 · 127 fit in the 16 bits that AVX2 adds them in. An output's sum is one chain along k, whatever the tile.

use core::arch::x86_64::*;

use crate::block::{Block, Q4_0, Q8_0};
use crate::generic::int8::{INT8_BLOCK, Int8Rows};
use crate::vector::Vector;
use crate::view::MatMut;

/// Multiplies 32 unsigned by 32 signed bytes.
///
/// # Safety
/// The CPU has the features of the implementing rung.
pub(super) unsafe trait Bytes {
    /// Eight sums of four products each.
    #[allow(clippy::missing_safety_doc, reason = "the contract stands on the trait")]
    unsafe fn dot(w: __m256i, x: __m256i) -> __m256i;
}

/// A format of blocks of 32 whose codes are signed bytes times one scale.
///
/// # Safety
/// `codes` needs AVX2.
pub(super) unsafe trait Codes: Block {
    /// The bits of the scale, an f16.
    fn scale_bits(&self) -> u16;
    /// The 32 codes in order.
    #[allow(clippy::missing_safety_doc, reason = "the contract stands on the trait")]
    unsafe fn codes(&self) -> __m256i;
}

// SAFETY: the load is of the 32 codes of the block.
unsafe impl Codes for Q8_0 {
    #[inline(always)]
    fn scale_bits(&self) -> u16 {
        self.parts().0
    }

    #[inline(always)]
    unsafe fn codes(&self) -> __m256i {
        // SAFETY: the array has 32 bytes; the features are the caller's.
        unsafe { _mm256_loadu_si256(self.parts().1.as_ptr().cast()) }
    }
}

// SAFETY: the load is of the 16 bytes of the block.
unsafe impl Codes for Q4_0 {
    #[inline(always)]
    fn scale_bits(&self) -> u16 {
        self.parts().0
    }

    #[inline(always)]
    unsafe fn codes(&self) -> __m256i {
        // SAFETY: the array has 16 bytes; the features are the caller's.
        unsafe {
            let packed = _mm_loadu_si128(self.parts().1.as_ptr().cast());
            let both = _mm256_set_m128i(_mm_srli_epi16::<4>(packed), packed);
            _mm256_sub_epi8(_mm256_and_si256(both, _mm256_set1_epi8(15)), _mm256_set1_epi8(8))
        }
    }
}

/// `out = x · wᵀ`. w: (n, k); x: (m, k); out: (m, n)
///
/// # Safety
/// - The shapes are as said and k is a multiple of 32.
/// - The CPU has AVX2, FMA, F16C and what `D` needs.
#[inline(always)]
pub(super) unsafe fn matmul<D: Bytes, B: Codes, const MR: usize, const NR: usize>(
    w: &[B],
    x: Int8Rows<'_>,
    k: usize,
    out: &mut MatMut<'_>,
) {
    let (m, n) = (out.rows(), out.cols());
    debug_assert!(B::LEN == INT8_BLOCK && w.len() * INT8_BLOCK == n * k && x.q.len() == m * k);
    let mut r = 0;
    // SAFETY: each tile's rows exist; the features are the caller's.
    unsafe {
        // One row of activations reads one row of weights after the other, as one stream.
        while m > 1 && n - r >= MR {
            rows::<D, B, MR, NR>(w, x, k, r, out);
            r += MR;
        }
        while r < n {
            rows::<D, B, 1, NR>(w, x, k, r, out);
            r += 1;
        }
    }
}

/// Weight rows `r..r + MR` against all activation rows.
///
/// # Safety
/// As [`matmul`]; the weight rows exist.
#[inline(always)]
unsafe fn rows<D: Bytes, B: Codes, const MR: usize, const NR: usize>(
    w: &[B],
    x: Int8Rows<'_>,
    k: usize,
    r: usize,
    out: &mut MatMut<'_>,
) {
    let m = out.rows();
    let mut t = 0;
    // SAFETY: each tile's rows exist; the features are the caller's.
    unsafe {
        while m - t >= NR {
            tile::<D, B, MR, NR>(w, x, k, r, t, out);
            t += NR;
        }
        while t < m {
            tile::<D, B, MR, 1>(w, x, k, r, t, out);
            t += 1;
        }
    }
}

/// One tile of outputs.
///
/// # Safety
/// As [`matmul`]; weight rows `r..r + MR` and activation rows `t..t + NR` exist.
#[inline(always)]
unsafe fn tile<D: Bytes, B: Codes, const MR: usize, const NR: usize>(
    w: &[B],
    x: Int8Rows<'_>,
    k: usize,
    r: usize,
    t: usize,
    out: &mut MatMut<'_>,
) {
    /// How far ahead of the stream of weights the second-level cache is asked for more, see `generic/matmul.rs`.
    const PREFETCH_BYTES: usize = 4096;
    let n_blocks = k / INT8_BLOCK;
    // SAFETY: the rows exist (the caller's contract) and have `n_blocks` blocks.
    unsafe {
        let (w, q, scales) = (w.as_ptr().add(r * n_blocks), x.q.as_ptr().add(t * k), x.scales.as_ptr().add(t * n_blocks));
        let mut acc = [[_mm256_setzero_ps(); MR]; NR];
        for i in 0..n_blocks {
            if MR == 1 {
                __m256::prefetch(w.add(i).cast::<u8>().wrapping_add(PREFETCH_BYTES));
            }
            let mut codes = [(_mm256_setzero_si256(), 0.0); MR];
            for a in 0..MR {
                let block = &*w.add(a * n_blocks + i);
                codes[a] = (block.codes(), _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(block.scale_bits())))));
            }
            for b in 0..NR {
                let bytes = _mm256_loadu_si256(q.add(b * k + i * INT8_BLOCK).cast());
                let scale = *scales.add(b * n_blocks + i);
                for a in 0..MR {
                    let sums = D::dot(_mm256_abs_epi8(codes[a].0), _mm256_sign_epi8(bytes, codes[a].0));
                    acc[b][a] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_set1_ps(codes[a].1 * scale), acc[b][a]);
                }
            }
        }
        for b in 0..NR {
            for a in 0..MR {
                out.row_mut(t + b)[r + a] = acc[b][a].reduce_add();
            }
        }
    }
}
