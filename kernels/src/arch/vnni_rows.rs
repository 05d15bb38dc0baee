//! Products of weights in blocks with a few rows of int8 activations by AVX-512 VNNI, weights as they lie.
//!
//! Not here: many rows (`vnni_panels.rs`), how an output is summed (`vnni.rs`), how formats are unpacked (`vnni_quads.rs`, `vnni_scales.rs`).
//!
//! ```text
//! pack up to four rows: of each 16 groups the bytes in the order in which the format's codes are unpacked, then what belongs to the groups
//! for each weight row, as one stream, 16 groups at a time; for each row of activations:
//!     four vectors of four groups, each group in its own 128 bits, are transposed to one whose lanes are groups
//!     chains = fma(f32(sums), scale_w * scale_x, chains)
//! ```

use core::arch::x86_64::*;

use super::vnni::{Line, sixteen_groups};
use super::vnni_quads::{Halves, Quads, group};
use crate::generic::int8::{CHAINS, INT8_BLOCK, Int8Rows};
use crate::view::MatMut;

/// Rows that share a pass over the weights.
const MAX_ROWS: usize = 4;

/// How far ahead of the stream of weights the second-level cache is asked for more, see `generic/matmul.rs`.
const PREFETCH_BYTES: usize = 4096;

/// Lines of 16 groups of a packed row: the bytes, the scales, and where their sums begin or, with minima, what those are multiplied by.
#[inline(always)]
const fn lines_of_step<B: Quads>() -> usize {
    B::GROUP / 4 + 2
}

/// `out = x · wᵀ` of rows `first..` of activations.
///
/// # Safety
/// As [`super::vnni::matmul`].
#[inline(always)]
pub(super) unsafe fn matmul<B: Quads, const PREFETCH: bool>(
    w: &[B],
    x: Int8Rows<'_>,
    k: usize,
    first: usize,
    out: &mut MatMut<'_>,
    scratch: &mut [Line],
) {
    let row_lines = (k / B::GROUP).div_ceil(CHAINS) * lines_of_step::<B>();
    let n_at_once = MAX_ROWS.min(scratch.len() / row_lines);
    assert!(n_at_once > 0, "scratch of {} lines", scratch.len());
    let mut t = first;
    while t < out.rows() {
        let n = n_at_once.min(out.rows() - t);
        for (i, to) in scratch.chunks_exact_mut(row_lines).take(n).enumerate() {
            pack::<B>(x, k, t + i, to);
        }
        // SAFETY: the rows exist and were packed; the features are the caller's.
        unsafe {
            match n {
                1 => rows::<B, 1, PREFETCH>(w, scratch, k, t, out),
                2 => rows::<B, 2, PREFETCH>(w, scratch, k, t, out),
                3 => rows::<B, 3, PREFETCH>(w, scratch, k, t, out),
                _ => rows::<B, MAX_ROWS, PREFETCH>(w, scratch, k, t, out),
            }
        }
        t += n;
    }
}

/// Packs row `t`, groups that it has too few of for whole steps as zeros.
#[inline(always)]
fn pack<B: Quads>(x: Int8Rows<'_>, k: usize, t: usize, to: &mut [Line]) {
    let n_groups = k / B::GROUP;
    for (s, to) in to.chunks_exact_mut(lines_of_step::<B>()).enumerate() {
        let (bytes, ends) = to.split_at_mut(B::GROUP / 4);
        for (i, line) in bytes.iter_mut().enumerate() {
            // Of each vector first halves, then second halves.
            let (j, h) = (i / (B::GROUP / 16), i % (B::GROUP / 16));
            for (l, to) in line.0.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let g = s * CHAINS + group::<B>(j, l);
                *to = [0; 4];
                if g < n_groups {
                    let from = &x.q[t * k + g * B::GROUP + 16 * h..][..16];
                    // SAFETY: the load is of the slice's 16 bytes.
                    *to = unsafe { from.as_ptr().cast::<[i32; 4]>().read_unaligned() };
                }
            }
        }
        for i in 0..CHAINS {
            let g = s * CHAINS + i;
            let block = (t * k + g * B::GROUP) / INT8_BLOCK;
            let end = match (B::HAS_MINIMA, B::GROUP) {
                _ if g >= n_groups => 0,
                (true, _) => x.offsets[block].to_bits() as i32,
                (_, 16) => x.half_starts[t * n_groups + g] >> B::SHIFT,
                _ => x.starts[block] >> B::SHIFT,
            };
            ends[0].0[i] = if g < n_groups { x.scales[block].to_bits() as i32 } else { 0 };
            ends[1].0[i] = end;
        }
    }
}

/// All outputs of activation rows `t..t + NR`, which are packed.
///
/// # Safety
/// As [`super::vnni::matmul`]; the rows exist.
#[inline(always)]
unsafe fn rows<B: Quads, const NR: usize, const PREFETCH: bool>(
    w: &[B],
    packed: &[Line],
    k: usize,
    t: usize,
    out: &mut MatMut<'_>,
) {
    let row_len = k / B::LEN;
    for r in 0..out.cols() {
        // SAFETY: the row exists; the features are the caller's.
        let sums = unsafe { dot::<B, NR, PREFETCH>(w, r * row_len, packed, k) };
        for b in 0..NR {
            out.set(t + b, r, sums[b]);
        }
    }
}

/// The outputs of the weight row that begins with block `first`, for `NR` packed rows of activations.
///
/// # Safety
/// As [`super::vnni::matmul`]; the row exists, and `packed` has `NR` rows.
#[inline(always)]
unsafe fn dot<B: Quads, const NR: usize, const PREFETCH: bool>(w: &[B], first: usize, packed: &[Line], k: usize) -> [f32; NR] {
    let (n_groups, step_len) = (k / B::GROUP, CHAINS * B::GROUP / B::LEN);
    let n_steps = n_groups.div_ceil(CHAINS);
    let row_lines = n_steps * lines_of_step::<B>();
    debug_assert!(packed.len() >= NR * row_lines);
    let mut room = [const { core::mem::MaybeUninit::uninit() }; CHAINS];
    // SAFETY: the groups exist, or are zeros, or another row's, and then left out by a mask; the features are the caller's.
    unsafe {
        let mut chains = [_mm512_setzero_ps(); NR];
        for s in 0..n_steps {
            let n = CHAINS.min(n_groups - s * CHAINS);
            let valid = (0xffff_u32 >> (CHAINS - n)) as u16;
            let w = sixteen_groups(w, first + s * step_len, &mut room);
            if PREFETCH {
                for line in 0..(step_len * size_of::<B>()).div_ceil(64) {
                    _mm_prefetch::<_MM_HINT_T1>(w.cast::<i8>().wrapping_add(PREFETCH_BYTES + 64 * line));
                }
            }
            let codes = B::quads(w);
            let (scales_w, minima) = B::scales(w);
            for (b, chains) in chains.iter_mut().enumerate() {
                let x = packed.as_ptr().add(b * row_lines + s * lines_of_step::<B>());
                let sums = sums::<B>(&codes, x);
                let ends = x.add(B::GROUP / 4);
                let (scales, end) = (_mm512_load_ps(ends.cast()), ends.add(1));
                let sums = if B::HAS_MINIMA { sums } else { _mm512_add_epi32(sums, _mm512_load_si512(end.cast())) };
                *chains = _mm512_mask3_fmadd_ps(_mm512_cvtepi32_ps(sums), _mm512_mul_ps(scales_w, scales), *chains, valid);
                if B::HAS_MINIMA {
                    *chains = _mm512_mask3_fmadd_ps(minima, _mm512_load_ps(end.cast()), *chains, valid);
                }
            }
        }
        let mut out = [0.0; NR];
        for b in 0..NR {
            out[b] = sum_of_chains(chains[b]);
        }
        out
    }
}

/// The sums of 16 groups of unsigned codes with packed activations; lanes are groups.
///
/// # Safety
/// As [`dot`]; the activations of 16 groups are readable at `x`.
#[inline(always)]
unsafe fn sums<B: Quads>(codes: &Halves, x: *const Line) -> __m512i {
    /// Where group i is after transposing.
    const fn lanes<B: Quads>() -> Line {
        let mut at = [0; CHAINS];
        let mut i = 0;
        while i < CHAINS {
            at[group::<B>(i % 4, i / 4)] = i as i32;
            i += 1;
        }
        Line(at)
    }
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
        let order = const { lanes::<B>() };
        _mm512_permutexvar_epi32(_mm512_load_si512(order.0.as_ptr().cast()), sums)
    }
}

/// The sum of an output.
///
/// # Safety
/// The CPU has AVX-512F.
#[inline(always)]
unsafe fn sum_of_chains(chains: __m512) -> f32 {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe {
        let parts = _mm_add_ps(_mm512_castps512_ps128(chains), _mm512_extractf32x4_ps::<1>(chains));
        let parts = _mm_add_ps(parts, _mm512_extractf32x4_ps::<2>(chains));
        let parts = _mm_add_ps(parts, _mm512_extractf32x4_ps::<3>(chains));
        let two = _mm_add_ps(parts, _mm_movehl_ps(parts, parts));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
    }
}
