//! Products of a single row of activations in vectors of 256 bits: each code is used once, so that sums are transposed and not codes.
//!
//! Not here: more rows, and the order of sums that they share (`avx2_int8.rs`).
//!
//! ```text
//! for each block of eight weight rows, whose outputs are lanes:
//!     for each 32 codes of the block:
//!         multiply them, row by row, by the same 32 activations
//!         transpose the products of the eight rows, and add them: a sum for each lane, or two
//!         scale the sums, and add them to the outputs, as for more rows
//! ```

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::avx2_int8::{AHEAD, PanelRows, next, prefetch};
use super::avx2_int8_dot::{ByteDot, added};
use super::avx2_int8_panels::{Added, Kind, PANEL_ROWS, Panel, Rows, Scales};
use super::avx2_int8_tiles::Source;
use crate::generic::int8::{INT8_BLOCK, Int8Rows};

/// The outputs of some weight rows. w: (n, k); x: (1, k)
///
/// # Safety
/// - The weight rows exist, and k is a multiple of the block.
/// - The CPU has AVX2, FMA, F16C and what `D` needs.
#[inline(always)]
pub(super) unsafe fn one_row<D: ByteDot, P: Panel>(w: &[P], x: Int8Rows<'_>, k: usize, rows: PanelRows) -> __m256 {
    /// The groups of a block, at most.
    const MAX_GROUPS: usize = 16;
    const { assert!(P::LEN / P::Kind::GROUP <= MAX_GROUPS) };
    let (mut scales, mut minima) = ([MaybeUninit::<__m256>::uninit(); MAX_GROUPS], [MaybeUninit::<__m256>::uninit(); MAX_GROUPS]);
    let to = Scales { scales: scales.as_mut_ptr().cast(), minima: minima.as_mut_ptr().cast() };
    // SAFETY: the rows have k / LEN blocks, the activations k / INT8_BLOCK; the features are the caller's.
    unsafe {
        let x = Source::of_rows(x, k, 0, 0);
        let (mut blocks, mut acc) = (rows.blocks(w, k, 0), _mm256_setzero_ps());
        for first in (0..k / INT8_BLOCK).step_by(P::LEN / INT8_BLOCK) {
            prefetch(&blocks, AHEAD);
            P::scales(&blocks, to);
            acc = step_of_one_row::<D, P>(&blocks, x, first, 0, to, acc);
            if P::LEN > INT8_BLOCK {
                // One by one, so that the shifts of their bits are constants.
                const { assert!(P::LEN == INT8_BLOCK || P::LEN == 8 * INT8_BLOCK) };
                acc = step_of_one_row::<D, P>(&blocks, x, first, 1, to, acc);
                acc = step_of_one_row::<D, P>(&blocks, x, first, 2, to, acc);
                acc = step_of_one_row::<D, P>(&blocks, x, first, 3, to, acc);
                acc = step_of_one_row::<D, P>(&blocks, x, first, 4, to, acc);
                acc = step_of_one_row::<D, P>(&blocks, x, first, 5, to, acc);
                acc = step_of_one_row::<D, P>(&blocks, x, first, 6, to, acc);
                acc = step_of_one_row::<D, P>(&blocks, x, first, 7, to, acc);
            }
            next(&mut blocks);
        }
        acc
    }
}

/// What the `i`-th 32 weights of the rows' blocks add to their outputs; block `first` of the activations belongs to the first 32.
///
/// # Safety
/// As [`one_row`]; `unpacked` are the blocks' scales and minima.
#[inline(always)]
unsafe fn step_of_one_row<D: ByteDot, P: Panel>(
    blocks: &Rows<P>,
    x: Source<false>,
    first: usize,
    i: usize,
    unpacked: Scales,
    mut acc: __m256,
) -> __m256 {
    // SAFETY: the caller's contract.
    unsafe {
        let block = first + i;
        let bytes = x.block(0, block);
        let mut products = [_mm256_setzero_si256(); PANEL_ROWS];
        for j in 0..PANEL_ROWS {
            let codes = (*blocks[j]).codes(i);
            let codes = match added::<D, P>() {
                Added::Offset(offset) => _mm256_add_epi8(codes, _mm256_set1_epi8(offset as i8)),
                _ => codes,
            };
            products[j] = D::multiply::<P::Kind>(codes, bytes);
        }
        let [low, high] = halves_of_rows::<D, P::Kind>(products);
        // The sums of the one group, or of the two.
        let sums = if P::Kind::GROUP == INT8_BLOCK { [_mm256_add_epi32(low, high); 2] } else { [low, high] };
        for g in 0..INT8_BLOCK / P::Kind::GROUP {
            let at = i * (INT8_BLOCK / P::Kind::GROUP) + g;
            let group = block * (INT8_BLOCK / P::Kind::GROUP) + g;
            let mut sum = sums[g];
            if let Added::Offset(offset) = added::<D, P>() {
                sum = _mm256_add_epi32(sum, x.start::<P::Kind>(0, group, offset));
            }
            let scale = _mm256_mul_ps(*unpacked.scales.add(at), x.scale::<P::Kind>(0, group));
            acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, acc);
            if P::ADDED == Added::Minimum {
                acc = _mm256_fmadd_ps(*unpacked.minima.add(at), x.offset::<P::Kind>(0, group), acc);
            }
        }
        acc
    }
}

/// Of the products of eight rows, added by twos or by fours, the sums of the first and of the second half of each row: a lane for each.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn halves_of_rows<D: ByteDot, K: Kind>(products: [__m256i; PANEL_ROWS]) -> [__m256i; 2] {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe {
        // How many sums of two products can be added before they are widened to 32 bits: up to four, each step adds twice as many.
        let depth = if D::PRODUCTS == 2 { K::DEPTH } else { 0 };
        let (ones, mut v) = (_mm256_set1_epi16(1), products);
        if depth == 1 {
            for j in 0..PANEL_ROWS {
                v[j] = _mm256_madd_epi16(v[j], ones);
            }
        }
        for j in 0..4 {
            let (low, high) = (_mm256_unpacklo_epi32(v[2 * j], v[2 * j + 1]), _mm256_unpackhi_epi32(v[2 * j], v[2 * j + 1]));
            v[j] = if depth >= 2 { _mm256_add_epi16(low, high) } else { _mm256_add_epi32(low, high) };
            if depth == 2 {
                v[j] = _mm256_madd_epi16(v[j], ones);
            }
        }
        for j in 0..2 {
            let (low, high) = (_mm256_unpacklo_epi64(v[2 * j], v[2 * j + 1]), _mm256_unpackhi_epi64(v[2 * j], v[2 * j + 1]));
            v[j] = if depth >= 4 { _mm256_madd_epi16(_mm256_add_epi16(low, high), ones) } else { _mm256_add_epi32(low, high) };
        }
        [_mm256_permute2x128_si256::<0x20>(v[0], v[1]), _mm256_permute2x128_si256::<0x31>(v[0], v[1])]
    }
}
