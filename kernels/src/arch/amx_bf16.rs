//! Products of bf16 weights and bf16 activations by AMX: `tdpbf16ps`, 8192 multiply-adds of two tiles.
//!
//! Not here: the instructions themselves (`amx.rs`).
//!
//! Weights are the left operand, 16 rows by 32 numbers a tile, whose rows may lie any distance apart: few rows of activations take them as they lie. For
//! many, a block of them is copied to where its tiles stand side by side. Activations are the other operand, whose rows are pairs along the sums, and so they are
//! packed once for a product.
//!
//! ```text
//! activations, by tiles of up to 16 rows, as equally wide as can be:     [k / 32][16 pairs][rows][2]
//! few rows, two tiles at most:
//!     for each panel of 32 weight rows:                  four tiles of sums in registers over all of k
//! many rows:
//!     for as many panels as stay in a cache, for each block of k:
//!         copy the panels' blocks:                       [k / 32][32 rows][32]
//!         for each two tiles of activations, for each panel:
//!             four tiles of sums in registers over the block
//! an output:    sum = sum + ((w[0]·x[0] + w[2]·x[2] + ...) + (w[1]·x[1] + w[3]·x[3] + ...)), 32 numbers at a time
//! ```
//!
//! That is the order in which the instruction sums a number of a tile, whatever stands beside it, so one row and many have the same bits.

use core::arch::x86_64::*;
use core::ops::Range;

use half::bf16;

use super::amx::{Configured, LINE, Shape, TILE_ROWS, Tile, Walk, two_by_one, two_by_two};
use super::x86_transposed::transposed;
use crate::block::cast;
use crate::dispatch::{Bf16Rows, Tiles};
use crate::view::MatMut;

/// These tiles, to the table of kernels.
pub(super) const TILES: Tiles<bf16> = Tiles { count, len, pack };

/// Numbers of a step: two in each of the rows of a tile of activations.
const STEP: usize = 32;

/// Steps of a block of k, and panels that meet one tile of activations after another: such a block of weights, half a MiB, and its sums stay in the
/// second-level cache.
const BLOCK_STEPS: usize = 32;
const MAX_PANELS: usize = 8;

/// Rows ahead of the one that is copied for which the second-level cache is asked.
const ROWS_AHEAD: usize = 8;

/// Weight rows of a panel: two tiles.
const PANEL_ROWS: usize = 2 * TILE_ROWS;

/// The number of tiles of `m` rows.
fn count(m: usize) -> usize {
    m.div_ceil(TILE_ROWS)
}

/// Rows of each tile of `m` rows; the last one may have fewer, and then zeros.
fn width(m: usize) -> usize {
    m.div_ceil(count(m).max(1))
}

/// The numbers of a tile of `m` rows of `k`.
fn len(m: usize, k: usize) -> usize {
    k.next_multiple_of(STEP) * width(m)
}

/// Packs tile `i` of the rows of `x`. to: ([`len`],)
///
/// # Safety
/// - `x` is whole rows of `k` numbers, `i` is below [`count`] of them, and `to` is as long as stated.
/// - The CPU has AVX-512 F, BW and VL.
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
unsafe fn pack(x: &[bf16], k: usize, i: usize, to: &mut [bf16]) {
    const LANES: usize = 8;
    let (m, width) = (x.len() / k, width(x.len() / k));
    let n = width.min(m - i * width);
    for p in (0..k.next_multiple_of(STEP) / 2).step_by(LANES) {
        let valid = (k - (2 * p).min(k)).min(2 * LANES);
        for t in (0..width).step_by(LANES) {
            // SAFETY: loads are of what a row has from number 2p on, at most 8 pairs; stores of the rows of 8 pairs, of which the tile has as many; the
            // features are this function's.
            unsafe {
                let mut v = [_mm256_setzero_si256(); LANES];
                for r in t..n.min(t + LANES) {
                    let from = x.as_ptr().add((i * width + r) * k + 2 * p);
                    v[r - t] = _mm256_maskz_loadu_epi16(((1_u32 << valid) - 1) as u16, from.cast());
                }
                let rows = ((1_u32 << (width - t).min(LANES)) - 1) as u8;
                for (j, v) in transposed(&v).into_iter().enumerate() {
                    _mm256_mask_storeu_epi32(to.as_mut_ptr().add(2 * ((p + j) * width + t)).cast(), rows, v);
                }
            }
        }
    }
}

/// `out = x · wᵀ`. w: (n, k); x: (m, k); out: (m, n)
///
/// # Safety
/// - The shapes are as said, and all tiles were packed.
/// - The CPU has AVX-512 F, BW and VL and AMX with bf16.
#[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
pub(super) unsafe fn matmul_bf16_bf16(w: &[u8], x: Bf16Rows<'_>, k: usize, out: MatMut<'_>, scratch: &mut [f32]) {
    let w = cast::<bf16>(w).expect("checked by dispatch");
    let (m, n) = (out.rows(), out.cols());
    if m == 0 || n == 0 {
        return;
    }
    let (rows, pair_bytes) = (n.min(TILE_ROWS), 4 * width(m));
    let (sums, weights, pairs) =
        (Shape { rows, bytes: pair_bytes }, Shape { rows, bytes: LINE }, Shape { rows: TILE_ROWS, bytes: pair_bytes });
    // SAFETY: the CPU is the caller's; tiles are plain numbers.
    let (_configured, room) = unsafe {
        let tiles = [sums, sums, sums, sums, weights, weights, pairs, pairs];
        (Configured::new(tiles), scratch.align_to_mut::<Tile>().1)
    };
    let mut product = Product { w, x: x.tiles, k, rows, out };
    let (n_panels, n_pairs) = (n.div_ceil(PANEL_ROWS), count(m).div_ceil(2));
    // A panel's tiles of weights and of sums.
    let at_once = MAX_PANELS.min(room.len() / (2 * BLOCK_STEPS + 4 * n_pairs));
    // SAFETY: the shapes are as said; the features are this function's.
    unsafe {
        if n_pairs == 1 || at_once == 0 {
            for pair in 0..n_pairs {
                for panel in 0..n_panels {
                    product.in_place(panel, pair);
                }
            }
        } else {
            for first in (0..n_panels).step_by(at_once) {
                product.by_blocks(first..n_panels.min(first + at_once), n_pairs, room);
            }
        }
    }
}

/// A product under way.
struct Product<'a> {
    w: &'a [bf16],
    x: &'a [bf16],
    k: usize,
    /// Rows of a tile of weights.
    rows: usize,
    out: MatMut<'a>,
}

/// Two tiles of weights in memory, for some steps.
#[derive(Clone, Copy)]
struct Weights {
    tiles: [*const bf16; 2],
    /// Bytes from a row to the next, and from a step to the next.
    stride: usize,
    step: usize,
    /// Where those lie that come next, in lines side by side; or null.
    next: *const bf16,
}

impl Weights {
    /// Tiles that [`Product::copy`] made.
    fn of_copy(tiles: &[Tile]) -> Weights {
        let at = |tile: usize| tiles[tile].0.as_ptr().cast();
        Weights { tiles: [at(0), at(1)], stride: LINE, step: 2 * size_of::<Tile>(), next: core::ptr::null() }
    }
}

impl Product<'_> {
    /// The outputs of a panel with a pair of tiles, from weights as they lie.
    ///
    /// # Safety
    /// As [`matmul_bf16_bf16`], which configured the tiles; the panel and the pair exist.
    #[inline]
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
    unsafe fn in_place(&mut self, panel: usize, pair: usize) {
        let (k, n_whole) = (self.k, self.k / STEP);
        let mut sums = [Tile::ZERO; 4];
        let tiles = self.first_rows(panel).map(|row| self.w[row * k..].as_ptr());
        let next = self.w.as_ptr().wrapping_add((panel + 1) * PANEL_ROWS * k);
        // SAFETY: the caller's contract; whole steps are within the rows, and the one that is not is a copy.
        unsafe {
            self.multiply(Weights { tiles, stride: 2 * k, step: LINE, next }, pair, 0..n_whole, &mut sums);
            if n_whole * STEP < k {
                let mut last = [Tile::ZERO; 2];
                self.copy(panel, n_whole..n_whole + 1, &mut last);
                self.multiply(Weights::of_copy(&last), pair, n_whole..n_whole + 1, &mut sums);
            }
            self.finish(panel, pair, &sums);
        }
    }

    /// The outputs of some panels with all pairs of tiles, block by block of k. room: for two tiles of each step and panel, and four of each panel and pair
    ///
    /// # Safety
    /// As [`matmul_bf16_bf16`], which configured the tiles; the panels and so many pairs exist, and there is room.
    #[inline]
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
    unsafe fn by_blocks(&mut self, panels: Range<usize>, n_pairs: usize, room: &mut [Tile]) {
        let n_steps = self.k.div_ceil(STEP);
        let (weights, sums) = room.split_at_mut(panels.len() * 2 * BLOCK_STEPS);
        let (sums, _) = sums.as_chunks_mut::<4>();
        sums[..panels.len() * n_pairs].fill([Tile::ZERO; 4]);
        for from in (0..n_steps).step_by(BLOCK_STEPS) {
            let steps = from..n_steps.min(from + BLOCK_STEPS);
            let mut sums = sums.iter_mut();
            // SAFETY: the caller's contract; the steps exist.
            unsafe {
                for (panel, to) in panels.clone().zip(weights.chunks_exact_mut(2 * BLOCK_STEPS)) {
                    self.copy(panel, steps.clone(), &mut to[..2 * steps.len()]);
                }
                for pair in 0..n_pairs {
                    let weights = weights.chunks_exact(2 * BLOCK_STEPS);
                    for ((panel, weights), sums) in panels.clone().zip(weights).zip(&mut sums) {
                        self.multiply(Weights::of_copy(weights), pair, steps.clone(), sums);
                        if steps.end == n_steps {
                            self.finish(panel, pair, sums);
                        }
                    }
                }
            }
        }
    }

    /// The first weight rows of the two tiles of a panel: where a panel has too few, they have rows again.
    fn first_rows(&self, panel: usize) -> [usize; 2] {
        [0, 1].map(|half| (panel * PANEL_ROWS + half * TILE_ROWS).min(self.out.cols() - self.rows))
    }

    /// Copies some steps of a panel's weights, zeros behind the end of rows. to: two tiles of each step
    ///
    /// # Safety
    /// As [`Product::in_place`]; the steps exist.
    #[inline]
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
    unsafe fn copy(&self, panel: usize, steps: Range<usize>, to: &mut [Tile]) {
        let (k, (to, _)) = (self.k, to.as_chunks_mut::<2>());
        for (half, first) in self.first_rows(panel).into_iter().enumerate() {
            for r in 0..self.rows {
                let row = self.w[(first + r) * k..][..k].as_ptr();
                for (s, to) in steps.clone().zip(to.iter_mut()) {
                    let n = (k - s * STEP).min(STEP);
                    // SAFETY: the load is of `n` numbers of the row, the store of a row of the tile; lines that are asked for may be anywhere; the features
                    // are this function's.
                    unsafe {
                        let from = row.add(s * STEP);
                        _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(ROWS_AHEAD * k).cast());
                        let numbers = _mm512_maskz_loadu_epi16(u32::MAX >> (STEP - n), from.cast());
                        _mm512_store_si512(to[half].0[r].as_mut_ptr().cast(), numbers);
                    }
                }
            }
        }
    }

    /// Adds some steps to the sums of two tiles of weights, which begin with the first of them, with a pair of tiles.
    ///
    /// # Safety
    /// As [`Product::in_place`]; the steps exist, and `w` leads over them.
    #[inline]
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
    unsafe fn multiply(&self, w: Weights, pair: usize, steps: Range<usize>, sums: &mut [Tile; 4]) {
        if steps.is_empty() {
            return;
        }
        let (m, k) = (self.out.rows(), self.k);
        let (width, tile_len, n_tiles) = (width(m), len(m, k), count(m));
        let x = [2 * pair, (2 * pair + 1).min(n_tiles - 1)];
        let x = x.map(|tile| self.x[tile * tile_len + steps.start * STEP * width..].as_ptr());
        let walk = Walk {
            steps: steps.len(),
            w: w.tiles,
            w_stride: w.stride,
            w_step: w.step,
            x,
            x_stride: 4 * width,
            x_step: 2 * STEP * width,
            // Only the first pair asks.
            ahead: if pair == 0 { w.next.cast() } else { core::ptr::null() },
        };
        let products = if 2 * pair + 1 < n_tiles { two_by_two } else { two_by_one };
        // SAFETY: the tiles have the shapes that the walk leads over.
        unsafe { products(&walk, sums) }
    }

    /// Writes what was summed where it belongs.
    ///
    /// # Safety
    /// As [`Product::in_place`].
    #[inline]
    #[target_feature(enable = "avx2,avx512f,avx512bw,avx512vl")]
    unsafe fn finish(&mut self, panel: usize, pair: usize, sums: &[Tile; 4]) {
        const LANES: usize = 8;
        let (m, rows, first_rows) = (self.out.rows(), self.rows, self.first_rows(panel));
        let width = width(m);
        for (i, sums) in sums.iter().enumerate() {
            let (column, tile) = (first_rows[i / 2], 2 * pair + i % 2);
            let first = tile * width;
            if m == 1 && i % 2 == 0 {
                let out = &mut self.out.row_mut(0)[column..][..rows];
                out.iter_mut().zip(&sums.0).for_each(|(out, sums)| *out = sums[0]);
            } else if m > 1 {
                for r in (0..rows).step_by(LANES) {
                    for t in (0..width.min(m.saturating_sub(first))).step_by(LANES) {
                        let n = LANES.min(rows - r);
                        // SAFETY: loads are of the sums, stores of as many numbers as the row has; the features are this function's.
                        unsafe {
                            let mut v = [_mm256_setzero_si256(); LANES];
                            for j in 0..LANES {
                                v[j] = _mm256_loadu_si256(sums.0[r + j][t..].as_ptr().cast());
                            }
                            let v = transposed(&v);
                            for j in 0..LANES.min(width.min(m - first) - t) {
                                let out = &mut self.out.row_mut(first + t + j)[column + r..][..n];
                                _mm256_mask_storeu_epi32(out.as_mut_ptr().cast(), ((1_u32 << n) - 1) as u8, v[j]);
                            }
                        }
                    }
                }
            }
        }
    }
}
