//! Products of weights in blocks with int8 activations by AVX2: `vpmaddubsw`, 32 multiply-adds of bytes to 16 sums.
//!
//! Not here: how formats are unpacked (`avx2_int8_panels.rs`), the products of AVX-512 (`vnni.rs`).
//!
//! ```text
//! for each one or two panels of eight weight rows, whose lanes are the rows:
//!     for each segment of k:
//!         unpack the panels' segment into the first-level cache
//!         for each tile of up to four activation rows:
//!             for each group of weights that share a scale:
//!                 out = fma(f32(exact sum of the group), scale_w * scale_x, out)      then, with minima,
//!                 out = fma(minimum, offset_x, out)
//! ```
//!
//! An output is that one chain along k, whatever the panel, the segment or the tile, and integer sums have no order: one row of activations and
//! many differ in nothing but nesting.
//!
//! One operand must be unsigned. Codes of up to six bits are stored without signs, larger by a constant, and each sum is less by as many times the
//! activations' sum, which is exact; two to eight of their products fit in the 16 bits that AVX2 adds them in. A code of eight bits gives its sign to
//! the activation, exactly: activations are never -128. Two products of at most 128 · 127 fit.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::avx2_int8_panels::{Added, Codes, PANEL_ROWS, Panel, Rows, To};
use crate::generic::int8::{CODE_OFFSET, INT8_BLOCK, Int8Rows};
use crate::vector::Vector;
use crate::view::MatMut;

/// Rows of activations up to which the eight rows of a panel are as many streams of weights.
const FEW_ROWS: usize = 6;

/// How far ahead of each stream the second-level cache is asked for more. Measured, see `ARCHITECTURE.md`.
const AHEAD: usize = 512;

/// Weights of each row that one panel has in a segment, or two panels together.
const SEGMENT: usize = 2048;

/// Room for the unpacked segment of one or two panels, about half of the first-level cache.
struct Room {
    codes: [MaybeUninit<__m256i>; SEGMENT / 4],
    scales: [MaybeUninit<__m256>; SEGMENT / 16],
    minima: [MaybeUninit<__m256>; SEGMENT / 16],
}

impl Room {
    /// The part of panel `a` of `mr`.
    #[inline(always)]
    fn part(&mut self, a: usize, mr: usize) -> To {
        To {
            codes: self.codes[a * (SEGMENT / 4 / mr)..].as_mut_ptr().cast(),
            scales: self.scales[a * (SEGMENT / 16 / mr)..].as_mut_ptr().cast(),
            minima: self.minima[a * (SEGMENT / 16 / mr)..].as_mut_ptr().cast(),
        }
    }
}

/// Weight rows of a panel: `first`, and `apart` from each other. Those beyond the `count`-th are the last, again.
#[derive(Clone, Copy)]
struct PanelRows {
    first: usize,
    apart: usize,
    count: usize,
}

impl PanelRows {
    /// The weight row, and so the column of outputs, of a lane.
    #[inline(always)]
    fn row(&self, lane: usize) -> usize {
        self.first + lane.min(self.count - 1) * self.apart
    }

    /// Their outputs.
    ///
    /// # Safety
    /// - The columns lie in `out`.
    /// - The CPU has AVX2.
    #[inline(always)]
    unsafe fn load(&self, out: &[f32]) -> __m256 {
        if self.apart == 1 && self.count == PANEL_ROWS {
            // SAFETY: eight columns from the first on exist; the features are the caller's.
            return unsafe { __m256::load(out[self.first..][..PANEL_ROWS].as_ptr()) };
        }
        let mut lanes = [0.0; PANEL_ROWS];
        for (lane, x) in lanes.iter_mut().enumerate() {
            *x = out[self.row(lane)];
        }
        // SAFETY: the array has as many; the features are the caller's.
        unsafe { __m256::load(lanes.as_ptr()) }
    }

    /// Writes them.
    ///
    /// # Safety
    /// As [`Self::load`].
    #[inline(always)]
    unsafe fn store(&self, sums: __m256, out: &mut [f32]) {
        if self.apart == 1 && self.count == PANEL_ROWS {
            // SAFETY: eight columns from the first on exist; the features are the caller's.
            return unsafe { sums.store(out[self.first..][..PANEL_ROWS].as_mut_ptr()) };
        }
        let mut lanes = [0.0; PANEL_ROWS];
        // SAFETY: the array has as many; the features are the caller's.
        unsafe { sums.store(lanes.as_mut_ptr()) };
        for lane in 0..self.count {
            out[self.row(lane)] = lanes[lane];
        }
    }
}

/// `out = x · wᵀ`. w: (n, k); x: (m, k); out: (m, n)
///
/// # Safety
/// - The shapes are as said and k is a multiple of the block.
/// - The CPU has AVX2, FMA and F16C.
#[inline(always)]
pub(super) unsafe fn matmul<P: Panel>(w: &[P], x: Int8Rows<'_>, k: usize, out: &mut MatMut<'_>) {
    let (m, n) = (out.rows(), out.cols());
    debug_assert!(w.len() * P::LEN == n * k && x.q.len() == m * k && k.is_multiple_of(P::LEN));
    let mut r = 0;
    // SAFETY: the rows of each panel exist; the features are the caller's.
    unsafe {
        if m <= FEW_ROWS {
            let apart = n / PANEL_ROWS;
            while r < apart {
                panels::<P, 1>(w, x, k, [PanelRows { first: r, apart, count: PANEL_ROWS }], out);
                r += 1;
            }
            r *= PANEL_ROWS;
        }
        while n - r > PANEL_ROWS {
            let count = PANEL_ROWS.min(n - r - PANEL_ROWS);
            let second = PanelRows { first: r + PANEL_ROWS, apart: 1, count };
            panels::<P, 2>(w, x, k, [PanelRows { first: r, apart: 1, count: PANEL_ROWS }, second], out);
            r += PANEL_ROWS + count;
        }
        if r < n {
            panels::<P, 1>(w, x, k, [PanelRows { first: r, apart: 1, count: n - r }], out);
        }
    }
}

/// `MR` panels against all activation rows.
///
/// # Safety
/// As [`matmul`]; the weight rows exist.
#[inline(always)]
unsafe fn panels<P: Panel, const MR: usize>(w: &[P], x: Int8Rows<'_>, k: usize, rows: [PanelRows; MR], out: &mut MatMut<'_>) {
    let m = out.rows();
    let mut room =
        Room { codes: [MaybeUninit::uninit(); _], scales: [MaybeUninit::uninit(); _], minima: [MaybeUninit::uninit(); _] };
    for from in (0..k).step_by(SEGMENT / MR) {
        let len = (SEGMENT / MR).min(k - from);
        let mut parts = [room.part(0, MR); MR];
        // SAFETY: the rows have the blocks of the segment, for which there is room; the features are the caller's.
        unsafe {
            for a in 0..MR {
                parts[a] = room.part(a, MR);
                unpack(w, k, from, len, rows[a], parts[a]);
            }
            let mut t = 0;
            while t < m {
                let segment = Segment { from, len, added: P::ADDED, x, k, t };
                t += match m - t {
                    1 => rows_of_tile::<P, MR, 1>(parts, segment, rows, out),
                    2 | 3 => rows_of_tile::<P, MR, 2>(parts, segment, rows, out),
                    _ => rows_of_tile::<P, MR, 4>(parts, segment, rows, out),
                };
            }
        }
    }
}

/// Unpacks weights `from..from + len` of the rows of a panel.
///
/// # Safety
/// As [`matmul`]; the rows have these weights, a whole number of blocks, and `to` has room for them.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn unpack<P: Panel>(w: &[P], k: usize, from: usize, len: usize, rows: PanelRows, to: To) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut blocks: Rows<P> = [w.as_ptr(); PANEL_ROWS];
        for (lane, block) in blocks.iter_mut().enumerate() {
            *block = w.as_ptr().add((rows.row(lane) * k + from) / P::LEN);
        }
        for i in 0..len / P::LEN {
            let at = To {
                codes: to.codes.add(i * (P::LEN / 4)),
                scales: to.scales.add(i * (P::LEN / P::Codes::GROUP)),
                minima: to.minima.add(i * (P::LEN / P::Codes::GROUP)),
            };
            for block in blocks {
                for line in 0..size_of::<P>().div_ceil(64) {
                    __m256::prefetch(block.cast::<u8>().wrapping_add(AHEAD + 64 * line));
                }
            }
            P::unpack(&blocks, at);
            for block in &mut blocks {
                *block = block.wrapping_add(1);
            }
        }
    }
}

/// A segment of k and what is multiplied there.
#[derive(Clone, Copy)]
struct Segment<'a> {
    from: usize,
    len: usize,
    added: Added,
    x: Int8Rows<'a>,
    k: usize,
    /// The first activation row.
    t: usize,
}

/// `MR` unpacked panels against `NR` activation rows; returns how many.
///
/// # Safety
/// As [`tile`]; the columns of `rows` and the activation rows lie in `out`.
#[inline(always)]
unsafe fn rows_of_tile<P: Panel, const MR: usize, const NR: usize>(
    panels: [To; MR],
    segment: Segment<'_>,
    rows: [PanelRows; MR],
    out: &mut MatMut<'_>,
) -> usize {
    // SAFETY: the caller's contract.
    unsafe {
        let mut acc = [[_mm256_setzero_ps(); MR]; NR];
        if segment.from > 0 {
            for b in 0..NR {
                for a in 0..MR {
                    acc[b][a] = rows[a].load(out.row_mut(segment.t + b));
                }
            }
        }
        tile::<P::Codes, MR, NR>(panels, segment, &mut acc);
        for b in 0..NR {
            for a in 0..MR {
                rows[a].store(acc[b][a], out.row_mut(segment.t + b));
            }
        }
        NR
    }
}

/// 32 products of codes with activations, added by twos to 16 bits.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn multiply<C: Codes>(codes: __m256i, x: __m256i) -> __m256i {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe {
        if C::SIGNED {
            _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(x, codes))
        } else {
            _mm256_maddubs_epi16(codes, x)
        }
    }
}

/// Adds to the outputs what a segment brings. One function for all formats with codes of a kind.
///
/// # Safety
/// - The panels hold the segment, and there are `NR` activation rows of `k` from `t` on.
/// - The CPU has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<C: Codes, const MR: usize, const NR: usize>(
    mut panels: [To; MR],
    segment: Segment<'_>,
    acc: &mut [[__m256; MR]; NR],
) {
    let Segment { from, len, added, x, k, t } = segment;
    // SAFETY: the caller's contract: all loads are of groups that the panels, or of blocks that the activation rows have.
    unsafe {
        let ones = _mm256_set1_epi16(1);
        let (blocks, blocks_apart) = ((t * k + from) / INT8_BLOCK, k / INT8_BLOCK);
        for g in 0..len / C::GROUP {
            let q = x.q.as_ptr().add(t * k + from + g * C::GROUP);
            let mut sums = [[_mm256_setzero_si256(); MR]; NR];
            for first in (0..C::GROUP / 4).step_by(C::DEPTH) {
                let mut short = [[_mm256_setzero_si256(); MR]; NR];
                for d in first..first + C::DEPTH {
                    let mut codes = [_mm256_setzero_si256(); MR];
                    for a in 0..MR {
                        codes[a] = *panels[a].codes.add(d);
                    }
                    for b in 0..NR {
                        let bytes = _mm256_set1_epi32(q.add(b * k + 4 * d).cast::<i32>().read_unaligned());
                        for a in 0..MR {
                            short[b][a] = _mm256_add_epi16(short[b][a], multiply::<C>(codes[a], bytes));
                        }
                    }
                }
                for b in 0..NR {
                    for a in 0..MR {
                        sums[b][a] = _mm256_add_epi32(sums[b][a], _mm256_madd_epi16(short[b][a], ones));
                    }
                }
            }
            let block = blocks + g * C::GROUP / INT8_BLOCK;
            if let Added::Offset(offset) = added {
                // Those of the activations are for codes that are 128 too large.
                let part = _mm_cvtsi32_si128((CODE_OFFSET.ilog2() - offset.ilog2()) as i32);
                for b in 0..NR {
                    let start = if C::GROUP == INT8_BLOCK {
                        *x.starts.as_ptr().add(block + b * blocks_apart)
                    } else {
                        *x.half_starts.as_ptr().add(2 * (block + b * blocks_apart) + g % 2)
                    };
                    let start = _mm256_sra_epi32(_mm256_set1_epi32(start), part);
                    for a in 0..MR {
                        sums[b][a] = _mm256_add_epi32(sums[b][a], start);
                    }
                }
            }
            for b in 0..NR {
                let scale = _mm256_set1_ps(*x.scales.as_ptr().add(block + b * blocks_apart));
                for a in 0..MR {
                    let scale = _mm256_mul_ps(*panels[a].scales, scale);
                    acc[b][a] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[b][a]), scale, acc[b][a]);
                }
            }
            if added == Added::Minimum {
                for b in 0..NR {
                    let offset = _mm256_set1_ps(*x.offsets.as_ptr().add(block + b * blocks_apart));
                    for a in 0..MR {
                        acc[b][a] = _mm256_fmadd_ps(*panels[a].minima, offset, acc[b][a]);
                    }
                }
            }
            for panel in &mut panels {
                panel.codes = panel.codes.add(C::GROUP / 4);
                panel.scales = panel.scales.add(1);
                panel.minima = panel.minima.add(1);
            }
        }
    }
}
