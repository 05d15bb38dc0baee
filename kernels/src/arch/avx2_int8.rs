//! Products of weights in blocks with int8 activations in vectors of 256 bits: the rungs AVX2 and AVX-VNNI.
//!
//! Not here: one row of activations (`avx2_int8_one.rs`), the instruction that multiplies (`avx2_int8_dot.rs`, `avx_vnni.rs`), how formats are
//! unpacked (`avx2_int8_panels.rs`, `avx2_int8_formats.rs`), how activations are read (`avx2_int8_tiles.rs`), the products of AVX-512 (`vnni.rs`).
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
//! activations' sum, which is exact; two to eight of their products fit in the 16 bits that AVX2 adds them in. There a code of eight bits gives its
//! sign to the activation, exactly: activations are never -128, and two products of at most 128 · 127 fit. AVX-VNNI has codes of eight bits larger
//! by a constant, too.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::avx2_int8_dot::{ByteDot, added, is_split, split};
use super::avx2_int8_panels::{Added, Kind, PANEL_ROWS, Panel, Rows, Scales};
use super::avx2_int8_tiles::{Source, TILE_ROWS, tile_len};
use crate::generic::int8::Int8Rows;
use crate::vector::Vector;
use crate::view::MatMut;

/// Rows of activations up to which the eight rows of a panel are as many streams of weights.
const FEW_ROWS: usize = 6;

/// How far ahead of each stream of weights the second-level cache is asked for more. Measured, see `INT8.md`.
pub(super) const AHEAD: usize = 512;

/// Weights of each row that one panel has in a segment, or two panels together.
const SEGMENT: usize = 2048;

/// Room for the unpacked segment of one or two panels, about half of the first-level cache.
struct Room {
    codes: [MaybeUninit<__m256i>; SEGMENT / 4],
    scales: [MaybeUninit<__m256>; SEGMENT / 16],
    minima: [MaybeUninit<__m256>; SEGMENT / 16],
}

impl Room {
    /// The equal parts of `MR` panels.
    #[inline(always)]
    fn parts<const MR: usize>(&mut self) -> [Part; MR] {
        let (scales, minima) = (self.scales.as_mut_ptr().cast::<__m256>(), self.minima.as_mut_ptr().cast::<__m256>());
        let mut parts = [Part { codes: self.codes.as_mut_ptr().cast(), scales: Scales { scales, minima } }; MR];
        for (a, part) in parts.iter_mut().enumerate() {
            let groups = a * (SEGMENT / 16 / MR);
            part.codes = part.codes.wrapping_add(a * (SEGMENT / 4 / MR));
            part.scales = Scales { scales: scales.wrapping_add(groups), minima: minima.wrapping_add(groups) };
        }
        parts
    }
}

/// Where a panel's segment lies: codes, [group][GROUP / 4] vectors or, split, twice as many, and scales and minima, a vector for each group. The
/// minima of a format that has none have what the products of split codes begin with.
#[derive(Clone, Copy)]
pub(super) struct Part {
    codes: *mut __m256i,
    scales: Scales,
}

/// All of these need AVX2, and that what is asked for lies in the room.
impl Part {
    /// Vector `d` of the codes.
    ///
    /// # Safety
    /// See above.
    #[inline(always)]
    pub unsafe fn codes(&self, d: usize) -> __m256i {
        // SAFETY: the contract stated above.
        unsafe { *self.codes.add(d) }
    }

    /// The codes from vector `d` on.
    ///
    /// # Safety
    /// See above.
    #[inline(always)]
    pub unsafe fn codes_from(&self, d: usize) -> *const __m256i {
        // SAFETY: the contract stated above.
        unsafe { self.codes.add(d) }
    }

    /// Writes vector `d` of the codes.
    ///
    /// # Safety
    /// See above.
    #[inline(always)]
    pub unsafe fn set_codes(&self, d: usize, codes: __m256i) {
        // SAFETY: the contract stated above.
        unsafe { *self.codes.add(d) = codes };
    }

    /// What the products of the first group begin with, if its codes are split.
    #[inline(always)]
    pub fn begin(&self) -> *const __m256i {
        self.scales.minima.cast()
    }

    /// Writes what the products of group `g` begin with.
    ///
    /// # Safety
    /// See above.
    #[inline(always)]
    pub unsafe fn set_begin(&self, g: usize, begin: __m256i) {
        // SAFETY: the contract stated above.
        unsafe { *self.scales.minima.add(g).cast() = begin };
    }

    /// The same from `n` groups further on, of which each has so many vectors of codes.
    ///
    /// # Safety
    /// See above.
    #[inline(always)]
    unsafe fn after(self, n: usize, vectors: usize) -> Part {
        // SAFETY: the contract stated above.
        unsafe {
            let scales = Scales { scales: self.scales.scales.add(n), minima: self.scales.minima.add(n) };
            Part { codes: self.codes.add(n * vectors), scales }
        }
    }
}

/// The vectors of codes that a group of `MR` panels at a time has in each of them.
const fn vectors<D: ByteDot, K: Kind>(panels: usize) -> usize {
    K::GROUP / 4 * if is_split::<D, K>(panels) { 2 } else { 1 }
}

/// Weight rows of a panel: `first`, and `apart` from each other. Those beyond the `count`-th are the last, again.
#[derive(Clone, Copy)]
pub(super) struct PanelRows {
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

    /// The block of each row that begins with its weight `from`.
    ///
    /// # Safety
    /// The rows, of `k` weights, have one.
    #[inline(always)]
    pub unsafe fn blocks<P: Panel>(&self, w: &[P], k: usize, from: usize) -> Rows<P> {
        let mut blocks = [w.as_ptr(); PANEL_ROWS];
        for (lane, block) in blocks.iter_mut().enumerate() {
            // SAFETY: the caller's contract.
            *block = unsafe { w.as_ptr().add((self.row(lane) * k + from) / P::LEN) };
        }
        blocks
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
/// - The CPU has AVX2, FMA, F16C and what `D` needs.
#[inline(always)]
pub(super) unsafe fn matmul<D: ByteDot, P: Panel>(w: &[P], x: Int8Rows<'_>, k: usize, out: &mut MatMut<'_>) {
    let (m, n) = (out.rows(), out.cols());
    debug_assert!(w.len() * P::LEN == n * k && x.q.len() == m * k && k.is_multiple_of(P::LEN));
    let mut r = 0;
    // SAFETY: the rows of each panel exist; the features are the caller's.
    unsafe {
        if m <= FEW_ROWS {
            let apart = n / PANEL_ROWS;
            for first in 0..apart {
                let rows = PanelRows { first, apart, count: PANEL_ROWS };
                match m {
                    1 => rows.store(D::one_row(w, x, k, rows), out.row_mut(0)),
                    _ => panels::<D, P, 1>(w, x, k, [rows], out),
                }
            }
            r = apart * PANEL_ROWS;
        }
        while n - r > PANEL_ROWS {
            let count = PANEL_ROWS.min(n - r - PANEL_ROWS);
            let second = PanelRows { first: r + PANEL_ROWS, apart: 1, count };
            panels::<D, P, 2>(w, x, k, [PanelRows { first: r, apart: 1, count: PANEL_ROWS }, second], out);
            r += PANEL_ROWS + count;
        }
        if r < n {
            panels::<D, P, 1>(w, x, k, [PanelRows { first: r, apart: 1, count: n - r }], out);
        }
    }
}

/// `MR` panels against all activation rows.
///
/// # Safety
/// As [`matmul`]; the weight rows exist.
#[inline(always)]
unsafe fn panels<D: ByteDot, P: Panel, const MR: usize>(
    w: &[P],
    x: Int8Rows<'_>,
    k: usize,
    rows: [PanelRows; MR],
    out: &mut MatMut<'_>,
) {
    let m = out.rows();
    let mut room =
        Room { codes: [MaybeUninit::uninit(); _], scales: [MaybeUninit::uninit(); _], minima: [MaybeUninit::uninit(); _] };
    let parts = room.parts();
    // Of a stream the bytes that follow; after rows that are neighbours come those of the next panels.
    let ahead = if rows[0].apart == 1 { MR * PANEL_ROWS * (k / P::LEN) * size_of::<P>() } else { AHEAD };
    let segment = SEGMENT / MR * (P::Kind::GROUP / 4) / vectors::<D, P::Kind>(MR);
    for from in (0..k).step_by(segment) {
        let len = segment.min(k - from);
        // SAFETY: the rows have the blocks of the segment, for which there is room; the features are the caller's.
        unsafe {
            for a in 0..MR {
                unpack::<D, P, MR>(w, k, from, len, rows[a], ahead, parts[a]);
            }
            let segment = Segment { begins: from == 0, len, added: added::<D, P>() };
            let mut t = 0;
            for i in 0..x.tiles.len() / tile_len(k) {
                t += rows_of_tile::<D, P, MR, TILE_ROWS, true>(parts, segment, Source::of_tile(x, k, i, from), rows, t, out);
            }
            while t < m {
                let source = Source::of_rows(x, k, t, from);
                t += match m - t {
                    1 => rows_of_tile::<D, P, MR, 1, false>(parts, segment, source, rows, t, out),
                    2 | 3 => rows_of_tile::<D, P, MR, 2, false>(parts, segment, source, rows, t, out),
                    _ => rows_of_tile::<D, P, MR, TILE_ROWS, false>(parts, segment, source, rows, t, out),
                };
            }
        }
    }
}

/// Asks for the lines that are `ahead` of the blocks.
#[inline(always)]
pub(super) fn prefetch<P: Panel>(blocks: &Rows<P>, ahead: usize) {
    for block in blocks {
        for line in 0..size_of::<P>().div_ceil(64) {
            // SAFETY: a hint, which reads nothing.
            unsafe { __m256::prefetch(block.cast::<u8>().wrapping_add(ahead + 64 * line)) };
        }
    }
}

/// Goes on to the next block of each row.
#[inline(always)]
pub(super) fn next<P: Panel>(blocks: &mut Rows<P>) {
    for block in blocks {
        *block = block.wrapping_add(1);
    }
}

/// Unpacks weights `from..from + len` of the rows of a panel.
///
/// # Safety
/// As [`matmul`]; the rows have these weights, a whole number of blocks, and `to` has room for them.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn unpack<D: ByteDot, P: Panel, const MR: usize>(
    w: &[P],
    k: usize,
    from: usize,
    len: usize,
    rows: PanelRows,
    ahead: usize,
    to: Part,
) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut blocks = rows.blocks(w, k, from);
        for i in 0..len / P::LEN {
            let to = to.after(i * (P::LEN / P::Kind::GROUP), vectors::<D, P::Kind>(MR));
            prefetch(&blocks, ahead);
            P::unpack(&blocks, to.codes);
            P::scales(&blocks, to.scales);
            if is_split::<D, P::Kind>(MR) {
                split::<P::Kind>(to, P::LEN / P::Kind::GROUP);
            }
            next(&mut blocks);
        }
    }
}

/// A segment of k.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    /// Whether it is the first, where chains begin.
    begins: bool,
    /// Its weights.
    len: usize,
    /// What sums of the format lack.
    added: Added,
}

/// `MR` unpacked panels against `NR` activation rows, whose outputs are from row `t` on; returns how many.
///
/// # Safety
/// As [`tile`]; the columns of `rows` and the activation rows lie in `out`.
#[inline(always)]
unsafe fn rows_of_tile<D: ByteDot, P: Panel, const MR: usize, const NR: usize, const PACKED: bool>(
    panels: [Part; MR],
    segment: Segment,
    x: Source<PACKED>,
    rows: [PanelRows; MR],
    t: usize,
    out: &mut MatMut<'_>,
) -> usize {
    // SAFETY: the caller's contract.
    unsafe {
        let mut acc = [[_mm256_setzero_ps(); MR]; NR];
        if !segment.begins {
            for b in 0..NR {
                for a in 0..MR {
                    acc[b][a] = rows[a].load(out.row_mut(t + b));
                }
            }
        }
        D::tile::<P::Kind, MR, NR, PACKED>(panels, segment, x, &mut acc);
        for b in 0..NR {
            for a in 0..MR {
                rows[a].store(acc[b][a], out.row_mut(t + b));
            }
        }
        NR
    }
}

/// Adds to the outputs what a segment brings. One function for all formats with codes of a kind.
///
/// # Safety
/// - The panels and `NR` activation rows hold the segment.
/// - The CPU has AVX2, FMA, F16C and what `D` needs.
#[inline(always)]
pub(super) unsafe fn tile<D: ByteDot, K: Kind, const MR: usize, const NR: usize, const PACKED: bool>(
    mut panels: [Part; MR],
    segment: Segment,
    x: Source<PACKED>,
    acc: &mut [[__m256; MR]; NR],
) {
    // SAFETY: the caller's contract: all loads are of groups that the panels, or that the activation rows have.
    unsafe {
        // A copy, which need not be in memory.
        let mut out = *acc;
        for g in 0..segment.len / K::GROUP {
            let mut sums = [[_mm256_setzero_si256(); MR]; NR];
            D::add_group::<K, MR, NR, PACKED>(&panels, x, g, &mut sums);
            // Not where the sums begin: it would be kept in registers all the while, which the sums need.
            if let Added::Offset(offset) = segment.added {
                for b in 0..NR {
                    let start = x.start::<K>(b, g, offset);
                    for a in 0..MR {
                        sums[b][a] = _mm256_add_epi32(sums[b][a], start);
                    }
                }
            }
            for b in 0..NR {
                let scale = x.scale::<K>(b, g);
                for a in 0..MR {
                    let scale = _mm256_mul_ps(*panels[a].scales.scales, scale);
                    out[b][a] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[b][a]), scale, out[b][a]);
                }
            }
            if segment.added == Added::Minimum {
                for b in 0..NR {
                    let offset = x.offset::<K>(b, g);
                    for a in 0..MR {
                        out[b][a] = _mm256_fmadd_ps(*panels[a].scales.minima, offset, out[b][a]);
                    }
                }
            }
            for panel in &mut panels {
                *panel = panel.after(1, vectors::<D, K>(MR));
            }
        }
        *acc = out;
    }
}
