//! The product of weights in blocks with a few rows of int8 activations, two or more, by AVX-512 VNNI.
//!
//! Not here: how activations are packed and sums scaled (`vnni_rows.rs`), one row (`vnni_one.rs`), many (`vnni_panels.rs`).
//!
//! ```text
//! for each pair of weight rows, far apart, 16 groups at a time:
//!     unpack the codes of both and transpose them: lanes are groups
//!     for each row of activations:
//!         sums of eight products of bytes, of both; each load of activations serves the two
//! ```

use core::arch::x86_64::*;

use super::vnni::{CHAINS, Line, sixteen_groups};
use super::vnni_quads::{Halves, Quads, group};
use super::vnni_rows::{
    AHEAD, MAX_ROWS, lanes_of_groups, lines_of_step, n_steps, prefetch, scaled, step_len, sums_of_chains, valid,
};
use crate::view::MatMut;

/// Weight rows whose unpacked codes meet each load of activations.
const PAIR: usize = 2;

/// Lines of activations that leave half of the first-level cache free. More come through it again and again, beside which [`AHEAD`] is too late.
const NEAR_LINES: usize = 256;

/// What is asked ahead then, see `INT8.md`.
const FAR_AHEAD: usize = 4096;

/// Outputs that are written together: a line.
const OUTPUTS: usize = 16;

/// All outputs of the activation rows from `t` on that are packed, two or more. Pairs of weight rows, again from parts far apart, are unpacked
/// for all of them.
///
/// # Safety
/// As [`super::vnni::matmul`]; the rows exist.
#[inline(always)]
pub(super) unsafe fn matmul<B: Quads, const INTEL: bool>(w: &[B], packed: &[Line], k: usize, t: usize, out: &mut MatMut<'_>) {
    let (row_len, n) = (k / B::LEN, out.cols());
    let half = n.div_ceil(PAIR);
    let n_rows = packed.len() / (n_steps::<B>(k) * lines_of_step::<B>());
    let mut chains = Chains([[Line([0; CHAINS]); PAIR]; MAX_ROWS + 1]);
    // Outputs of a few weight rows, so that `out` is written by lines: its rows may all lie in the same few lines of the first-level cache.
    let mut sums = [[[0.0; OUTPUTS]; PAIR]; MAX_ROWS + 1];
    for first in (0..half).step_by(OUTPUTS) {
        let n_outputs = OUTPUTS.min(half - first);
        for r in 0..n_outputs {
            // The second half's last row may be missing: it is the first row of all, again.
            let other = if half + first + r < n { half } else { 0 };
            // SAFETY: the rows exist; the features are the caller's.
            unsafe {
                pair::<B, INTEL>(w, (first + r) * row_len, other * row_len, packed, k, &mut chains.0[..n_rows]);
                let order = _mm512_load_si512(const { lanes_of_groups::<B>() }.0.as_ptr().cast());
                for b in (0..n_rows).step_by(2) {
                    let mut four = [_mm512_setzero_ps(); 4];
                    for i in 0..4 {
                        four[i] =
                            _mm512_permutexvar_ps(order, _mm512_load_ps(chains.0[b + i / PAIR][i % PAIR].0.as_ptr().cast()));
                    }
                    let four = sums_of_chains(four);
                    for i in 0..4 {
                        sums[b + i / PAIR][i % PAIR][r] = four[i];
                    }
                }
            }
        }
        for b in 0..n_rows {
            for i in 0..PAIR {
                let to = &mut out.row_mut(t + b)[i * half + first..];
                let n_outputs = n_outputs.min(to.len());
                to[..n_outputs].copy_from_slice(&sums[b][i][..n_outputs]);
            }
        }
    }
}

/// The bits of the chains of each row of activations and two weight rows; lanes are in the order of transposed groups.
struct Chains([[Line; PAIR]; MAX_ROWS + 1]);

/// The chains of packed rows of activations and two weight rows, which begin with blocks `first` and `first + apart`.
///
/// # Safety
/// As [`super::vnni::matmul`]; the rows exist; `packed` has as many rows as `chains`.
#[inline(always)]
unsafe fn pair<B: Quads, const INTEL: bool>(
    w: &[B],
    first: usize,
    apart: usize,
    packed: &[Line],
    k: usize,
    chains: &mut [[Line; PAIR]],
) {
    let row_lines = n_steps::<B>(k) * lines_of_step::<B>();
    debug_assert!(packed.len() == chains.len() * row_lines);
    let mut room = [const { core::mem::MaybeUninit::uninit() }; CHAINS];
    let ahead = if packed.len() <= NEAR_LINES { AHEAD } else { FAR_AHEAD };
    // SAFETY: the groups exist, or are zeros, or another row's, and then left out by a mask; the features are the caller's.
    unsafe {
        let order = _mm512_load_si512(const { groups_of_lanes::<B>() }.0.as_ptr().cast());
        for s in 0..n_steps::<B>(k) {
            let mut codes = [[_mm512_setzero_si512(); 8]; PAIR];
            let mut scales = [(_mm512_setzero_ps(), _mm512_setzero_ps()); PAIR];
            for i in 0..PAIR {
                let w = sixteen_groups(w, first + i * apart + s * step_len::<B>(), &mut room);
                prefetch::<B, INTEL>(w, ahead);
                codes[i] = across::<B>(&B::quads(w));
                let (scales_w, minima) = B::scales(w);
                scales[i] = (_mm512_permutexvar_ps(order, scales_w), _mm512_permutexvar_ps(order, minima));
            }
            let mut x = packed.as_ptr().add(s * lines_of_step::<B>());
            // Groups that a row has not are zeros among the activations, and zeros here.
            let valid = _mm512_cmplt_epi32_mask(order, _mm512_set1_epi32(valid::<B>(k, s).count_ones() as i32));
            // The first step finds the chains of the pair before, and begins with zeros.
            let begun = if s == 0 { 0 } else { u16::MAX };
            for chains in chains.iter_mut() {
                // Two sums of each, so that not every product waits for the one before.
                let mut sums = [[_mm512_setzero_si512(); 2]; PAIR];
                for line in 0..B::GROUP / 4 {
                    let x = _mm512_load_si512(x.add(line).cast());
                    for i in 0..PAIR {
                        sums[i][line / (B::GROUP / 8)] = _mm512_dpbusd_epi32(sums[i][line / (B::GROUP / 8)], codes[i][line], x);
                    }
                }
                for i in 0..PAIR {
                    let chain = chains[i].0.as_mut_ptr().cast();
                    let sum = _mm512_add_epi32(sums[i][0], sums[i][1]);
                    let sum = scaled::<B>(sum, scales[i], x.add(B::GROUP / 4), _mm512_maskz_load_ps(begun, chain), valid);
                    _mm512_store_ps(chain, sum);
                }
                x = x.add(row_lines);
            }
        }
    }
}

/// Which group is where after transposing.
const fn groups_of_lanes<B: Quads>() -> Line {
    let mut at = [0; CHAINS];
    let mut i = 0;
    while i < CHAINS {
        at[i] = group::<B>(i % 4, i / 4) as i32;
        i += 1;
    }
    Line(at)
}

/// Codes transposed: lane 4l + j of vector 4h + d has the d-th four of the h-th 16 codes of group [`group::<B>(j, l)`](group), so that sums of all
/// vectors are those of groups.
///
/// # Safety
/// The CPU has AVX-512F.
#[inline(always)]
unsafe fn across<B: Quads>(codes: &Halves) -> [__m512i; 8] {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe {
        let mut to = [_mm512_setzero_si512(); 8];
        for h in 0..B::GROUP / 16 {
            let [a, b, c, d] = [codes[0][h], codes[1][h], codes[2][h], codes[3][h]];
            let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
            to[4 * h] = _mm512_unpacklo_epi64(ab, cd);
            to[4 * h + 1] = _mm512_unpackhi_epi64(ab, cd);
            let (ab, cd) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
            to[4 * h + 2] = _mm512_unpacklo_epi64(ab, cd);
            to[4 * h + 3] = _mm512_unpackhi_epi64(ab, cd);
        }
        to
    }
}
