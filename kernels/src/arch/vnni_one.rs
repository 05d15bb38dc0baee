//! The product of weights in blocks with one row of int8 activations by AVX-512 VNNI.
//!
//! Not here: how activations are packed and sums scaled (`vnni_rows.rs`), more rows (`vnni_few.rs`).
//!
//! ```text
//! the weights are STREAMS streams, each a part of the rows one after another; for each row of a stream, 16 groups at a time; for each stream:
//!     four vectors of four groups, each group in its own 128 bits, are transposed to one whose lanes are groups
//! ```

use core::arch::x86_64::*;

use super::vnni::{CHAINS, Line, sixteen_groups};
use super::vnni_quads::{Halves, Quads};
use super::vnni_rows::{AHEAD, lanes_of_groups, lines_of_step, prefetch, scaled, step_len, sums_of_chains, valid};

/// Weight rows, far apart, that a single row of activations reads side by side.
const STREAMS: usize = 4;

/// All outputs of one row of activations, which is packed. The weights are a few streams, each a part of the rows, and read side by side.
///
/// # Safety
/// As [`super::vnni::matmul`].
#[inline(always)]
pub(super) unsafe fn matmul<B: Quads, const INTEL: bool>(w: &[B], packed: &[Line], k: usize, out: &mut [f32]) {
    let row_len = k / B::LEN;
    let stream = if INTEL { 0 } else { out.len() / STREAMS };
    // SAFETY: the rows exist; the features are the caller's.
    unsafe {
        for r in 0..stream {
            let sums = dots::<B, STREAMS, INTEL>(w, r * row_len, stream * row_len, packed, k);
            for i in 0..STREAMS {
                out[i * stream + r] = sums[i];
            }
        }
        for r in STREAMS * stream..out.len() {
            [out[r]] = dots::<B, 1, INTEL>(w, r * row_len, 0, packed, k);
        }
    }
}

/// The outputs of one packed row of activations and `S` weight rows, which begin with block `first` and every `apart` blocks on.
///
/// # Safety
/// As [`super::vnni::matmul`]; the rows exist, and `packed` has one.
#[inline(always)]
unsafe fn dots<B: Quads, const S: usize, const INTEL: bool>(
    w: &[B],
    first: usize,
    apart: usize,
    packed: &[Line],
    k: usize,
) -> [f32; S] {
    let (n_groups, n_whole) = (k / B::GROUP, k / B::GROUP / CHAINS);
    debug_assert!(packed.len() >= n_groups.div_ceil(CHAINS) * lines_of_step::<B>());
    let mut sums = [0.0; S];
    // SAFETY: the groups exist, or are zeros, or another row's, and then left out by a mask; the features are the caller's.
    unsafe {
        let mut chains = [_mm512_setzero_ps(); S];
        let mut x = packed.as_ptr();
        for s in 0..n_whole {
            for i in 0..S {
                let w = w.as_ptr().add(first + i * apart + s * step_len::<B>());
                prefetch::<B, INTEL>(w, AHEAD);
                chains[i] = step(w, x, chains[i], u16::MAX);
            }
            x = x.add(lines_of_step::<B>());
        }
        if n_whole * CHAINS < n_groups {
            let mut room = [const { core::mem::MaybeUninit::uninit() }; CHAINS];
            for i in 0..S {
                let w = sixteen_groups(w, first + i * apart + n_whole * step_len::<B>(), &mut room);
                chains[i] = step(w, x, chains[i], valid::<B>(k, n_whole));
            }
        }
        let mut four = [_mm512_setzero_ps(); STREAMS];
        four[..S].copy_from_slice(&chains);
        sums.copy_from_slice(&sums_of_chains(four)[..S]);
    }
    sums
}

/// The chains after one more step of a row of activations, whose lines begin at `x`.
///
/// # Safety
/// As [`dots`]; 16 groups are readable at `w`, and a step's lines at `x`.
#[inline(always)]
unsafe fn step<B: Quads>(w: *const B, x: *const Line, chains: __m512, valid: u16) -> __m512 {
    // SAFETY: the caller's contract.
    unsafe { scaled::<B>(sums::<B>(&B::quads(w), x), B::scales(w), x.add(B::GROUP / 4), chains, valid) }
}

/// The sums of 16 groups of unsigned codes with packed activations; lanes are groups.
///
/// # Safety
/// As [`dots`]; the activations of 16 groups are readable at `x`.
#[inline(always)]
unsafe fn sums<B: Quads>(codes: &Halves, x: *const Line) -> __m512i {
    // SAFETY: the caller's contract.
    unsafe {
        let mut v = [_mm512_setzero_si512(); 4];
        for h in 0..B::GROUP / 16 {
            for j in 0..4 {
                let x = _mm512_load_si512(x.add(j * (B::GROUP / 16) + h).cast());
                v[j] = _mm512_dpbusd_epi32(v[j], codes[j][h], x);
            }
        }
        // Of each group's four lanes: pairs, then wholes. In each quarter, lane j is then vector j's.
        let a = _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
        let b = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
        let sums = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
        _mm512_permutexvar_epi32(_mm512_load_si512(const { lanes_of_groups::<B>() }.0.as_ptr().cast()), sums)
    }
}
