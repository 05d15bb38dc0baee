//! Products of weights in blocks with a few rows of int8 activations by AVX-512 VNNI, weights as they lie: what one row and more have in common.
//!
//! Not here: one row (`vnni_one.rs`), more (`vnni_few.rs`), many (`vnni_panels.rs`), how an output is summed (`vnni.rs`), how formats are unpacked
//! (`vnni_quads.rs`, `vnni_scales.rs`).
//!
//! ```text
//! pack all rows: of each 16 groups the bytes in the order in which the format's codes are unpacked, then what belongs to the groups
//! for some weight rows far apart, each read as one stream, 16 groups at a time; for each row of activations:
//!     integer sums become one vector whose lanes are groups
//!     chains = fma(f32(sums), scale_w * scale_x, chains)
//! ```

use core::arch::x86_64::*;

use super::vnni::{CHAINS, Line};
use super::vnni_quads::{Quads, group};
use super::vnni_tiles::MIN_ROWS_OF_TILES;
use super::{vnni_few, vnni_one};
use crate::generic::int8::{INT8_BLOCK, Int8Rows};
use crate::view::MatMut;

/// How far ahead of each stream the second-level cache is asked for more, see `INT8.md`.
pub(super) const AHEAD: usize = 512;

/// The same on Intel's CPUs, see `generic/matmul.rs`.
const AHEAD_ON_INTEL: usize = 4096;

/// Rows that share what was unpacked: all that are few.
pub(super) const MAX_ROWS: usize = MIN_ROWS_OF_TILES - 1;

/// Lines of 16 groups of a packed row: the bytes, the scales, and where their sums begin or, with minima, what those are multiplied by.
#[inline(always)]
pub(super) const fn lines_of_step<B: Quads>() -> usize {
    B::GROUP / 4 + 2
}

/// Steps of 16 groups of a row, the last one filled up.
#[inline(always)]
pub(super) const fn n_steps<B: Quads>(k: usize) -> usize {
    (k / B::GROUP).div_ceil(CHAINS)
}

/// Blocks of a step.
#[inline(always)]
pub(super) const fn step_len<B: Quads>() -> usize {
    CHAINS * B::GROUP / B::LEN
}

/// The groups of step `s` that there are, as a mask.
#[inline(always)]
pub(super) fn valid<B: Quads>(k: usize, s: usize) -> u16 {
    (0xffff_u32 >> (CHAINS - CHAINS.min(k / B::GROUP - s * CHAINS))) as u16
}

/// `out = x · wᵀ` of rows `first..` of activations.
///
/// # Safety
/// As [`super::vnni::matmul`].
#[inline(always)]
pub(super) unsafe fn matmul<B: Quads, const INTEL: bool>(
    w: &[B],
    x: Int8Rows<'_>,
    k: usize,
    first: usize,
    out: &mut MatMut<'_>,
    scratch: &mut [Line],
) {
    let row_lines = n_steps::<B>(k) * lines_of_step::<B>();
    let n_at_once = MAX_ROWS.min(scratch.len() / row_lines);
    assert!(n_at_once > 0, "scratch of {} lines", scratch.len());
    let mut t = first;
    while t < out.rows() {
        let n = n_at_once.min(out.rows() - t);
        for (i, to) in scratch.chunks_exact_mut(row_lines).take(n).enumerate() {
            if n == 1 {
                pack::<B, false>(x, k, t + i, to);
            } else {
                pack::<B, true>(x, k, t + i, to);
            }
        }
        // SAFETY: the rows exist and were packed; the features are the caller's.
        unsafe {
            if n == 1 {
                vnni_one::matmul::<B, INTEL>(w, scratch, k, out.row_mut(t));
            } else {
                vnni_few::matmul::<B, INTEL>(w, &scratch[..n * row_lines], k, t, out);
            }
        }
        t += n;
    }
}

/// Packs row `t`, groups that it has too few of for whole steps as zeros. `ACROSS`: for codes transposed by `across` of `vnni_few.rs`, else
/// for codes as they are unpacked.
#[inline(always)]
fn pack<B: Quads, const ACROSS: bool>(x: Int8Rows<'_>, k: usize, t: usize, to: &mut [Line]) {
    let (n_groups, n_halves) = (k / B::GROUP, B::GROUP / 16);
    for (s, to) in to.chunks_exact_mut(lines_of_step::<B>()).enumerate() {
        let (bytes, ends) = to.split_at_mut(B::GROUP / 4);
        for j in 0..4 {
            for l in 0..4 {
                let (g, lane) = (s * CHAINS + group::<B>(j, l), 4 * l + j);
                for h in 0..n_halves {
                    let mut fours = [0; 4];
                    if g < n_groups {
                        let from = &x.q[t * k + g * B::GROUP + 16 * h..][..16];
                        // SAFETY: the load is of the slice's 16 bytes.
                        fours = unsafe { from.as_ptr().cast::<[i32; 4]>().read_unaligned() };
                    }
                    for d in 0..4 {
                        if ACROSS {
                            bytes[4 * h + d].0[lane] = fours[d];
                        } else {
                            bytes[j * n_halves + h].0[4 * l + d] = fours[d];
                        }
                    }
                }
                let block = (t * k + g * B::GROUP) / INT8_BLOCK;
                let end = match (B::HAS_MINIMA, B::GROUP) {
                    _ if g >= n_groups => 0,
                    (true, _) => x.offsets[block].to_bits() as i32,
                    (_, 16) => x.half_starts[t * n_groups + g] >> B::SHIFT,
                    _ => x.starts[block] >> B::SHIFT,
                };
                let lane = if ACROSS { lane } else { group::<B>(j, l) };
                ends[0].0[lane] = if g < n_groups { x.scales[block].to_bits() as i32 } else { 0 };
                ends[1].0[lane] = end;
            }
        }
    }
}

/// Asks for the lines of a later step of the stream at `w`.
///
/// # Safety
/// The CPU has AVX-512F.
#[inline(always)]
pub(super) unsafe fn prefetch<B: Quads, const INTEL: bool>(w: *const B, ahead: usize) {
    let ahead = if INTEL { AHEAD_ON_INTEL } else { ahead };
    for line in 0..(step_len::<B>() * size_of::<B>()).div_ceil(64) {
        // SAFETY: a prefetch of any address is allowed.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(w.cast::<i8>().wrapping_add(ahead + 64 * line)) }
    }
}

/// The chains after one more step: `ends` are the lines of activations that follow their bytes.
///
/// # Safety
/// As [`super::vnni::matmul`]; two lines are readable at `ends`.
#[inline(always)]
pub(super) unsafe fn scaled<B: Quads>(
    sums: __m512i,
    (scales, minima): (__m512, __m512),
    ends: *const Line,
    chains: __m512,
    valid: u16,
) -> __m512 {
    // SAFETY: the caller's contract.
    unsafe {
        let sums = if B::HAS_MINIMA { sums } else { _mm512_add_epi32(sums, _mm512_load_si512(ends.add(1).cast())) };
        let scales = _mm512_mul_ps(scales, _mm512_load_ps(ends.cast()));
        let chains = _mm512_mask3_fmadd_ps(_mm512_cvtepi32_ps(sums), scales, chains, valid);
        if B::HAS_MINIMA { _mm512_mask3_fmadd_ps(minima, _mm512_load_ps(ends.add(1).cast()), chains, valid) } else { chains }
    }
}

/// Where group i is after transposing.
pub(super) const fn lanes_of_groups<B: Quads>() -> Line {
    let mut at = [0; CHAINS];
    let mut i = 0;
    while i < CHAINS {
        at[group::<B>(i % 4, i / 4)] = i as i32;
        i += 1;
    }
    Line(at)
}

/// The sums of four outputs.
///
/// # Safety
/// The CPU has AVX-512F.
#[inline(always)]
pub(super) unsafe fn sums_of_chains(chains: [__m512; 4]) -> [f32; 4] {
    let [a, b, c, d] = chains;
    let mut sums = [0.0; 4];
    // SAFETY: the store is of the array; the features are the caller's.
    unsafe {
        // Quarters 0 and 2, and 1 and 3, of two; then each quarter of all four.
        let (ab, cd) = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0x88>(c, d));
        let (first, third) = (_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xdd>(ab, cd));
        let (ab, cd) = (_mm512_shuffle_f32x4::<0xdd>(a, b), _mm512_shuffle_f32x4::<0xdd>(c, d));
        let (second, fourth) = (_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xdd>(ab, cd));
        let parts = _mm512_add_ps(_mm512_add_ps(_mm512_add_ps(first, second), third), fourth);
        let two = _mm512_add_ps(parts, _mm512_permute_ps::<0b11_10_11_10>(parts));
        let one = _mm512_add_ps(two, _mm512_movehdup_ps(two));
        let firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
        _mm_storeu_ps(sums.as_mut_ptr(), _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, one)));
    }
    sums
}
