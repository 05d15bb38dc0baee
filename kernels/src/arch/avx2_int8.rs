//! Products of weights in blocks of 32, each with one scale at its beginning, with int8 activations, by AVX2.
//!
//! Not here: how formats are unpacked (`x86_codes.rs`), the products of AVX-512 (`vnni.rs`).
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

use super::x86_codes::Codes;
use crate::generic::int8::{INT8_BLOCK, Int8Rows};
use crate::vector::Vector;
use crate::view::MatMut;

/// 32 products of a magnitude and a signed byte, added by twos to 16 bits and by fours to 32.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn multiply(w: __m256i, x: __m256i) -> __m256i {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe { _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1)) }
}

/// The f16 that a block begins with.
///
/// # Safety
/// The CPU has F16C, and the format begins with its scale.
#[inline(always)]
unsafe fn scale<B: Codes>(block: &B) -> f32 {
    debug_assert!(!B::HAS_MINIMA && B::GROUP == INT8_BLOCK && B::LEN == INT8_BLOCK);
    // SAFETY: a block is longer than two bytes; the features are the caller's.
    unsafe {
        _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(core::ptr::from_ref(block).cast::<u16>().read_unaligned()))))
    }
}

/// `out = x · wᵀ`. w: (n, k); x: (m, k); out: (m, n)
///
/// # Safety
/// - The shapes are as said and k is a multiple of 32.
/// - The CPU has AVX2, FMA and F16C.
#[inline(always)]
pub(super) unsafe fn matmul<B: Codes, const MR: usize, const NR: usize>(
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
            rows::<B, MR, NR>(w, x, k, r, out);
            r += MR;
        }
        while r < n {
            rows::<B, 1, NR>(w, x, k, r, out);
            r += 1;
        }
    }
}

/// Weight rows `r..r + MR` against all activation rows.
///
/// # Safety
/// As [`matmul`]; the weight rows exist.
#[inline(always)]
unsafe fn rows<B: Codes, const MR: usize, const NR: usize>(w: &[B], x: Int8Rows<'_>, k: usize, r: usize, out: &mut MatMut<'_>) {
    let m = out.rows();
    let mut t = 0;
    // SAFETY: each tile's rows exist; the features are the caller's.
    unsafe {
        while m - t >= NR {
            tile::<B, MR, NR>(w, x, k, r, t, out);
            t += NR;
        }
        while t < m {
            tile::<B, MR, 1>(w, x, k, r, t, out);
            t += 1;
        }
    }
}

/// One tile of outputs.
///
/// # Safety
/// As [`matmul`]; weight rows `r..r + MR` and activation rows `t..t + NR` exist.
#[inline(always)]
unsafe fn tile<B: Codes, const MR: usize, const NR: usize>(
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
                codes[a] = (block.codes(0), scale(block));
            }
            for b in 0..NR {
                let bytes = _mm256_loadu_si256(q.add(b * k + i * INT8_BLOCK).cast());
                let scale = *scales.add(b * n_blocks + i);
                for a in 0..MR {
                    let sums = multiply(_mm256_abs_epi8(codes[a].0), _mm256_sign_epi8(bytes, codes[a].0));
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
