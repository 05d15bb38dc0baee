//! Products of many rows of f32 activations by AVX2: panels of 16 weight rows, widened and transposed, whose lanes are weight rows.
//!
//! Not here: few rows and one (`generic/matmul.rs`), bytes (`avx2_int8.rs`).
//!
//! Dot order adds lane l of an output over the elements l, l + 8, l + 16, ... of its rows, and then the eight lanes by a tree. Here a lane
//! is a weight row, and an output's eight sums are taken one after the other, each over the same elements in the same order, and added by the same
//! tree: the same bits. But no lanes are added across, an activation is broadcast to 16 rows, and what a pass over one of the eight
//! sums reads of a tile of activations is an eighth of it and stays in the first-level cache beside the weights that stream by. In dot order
//! all of a tile goes through that cache for each tile of weights.
//!
//! ```text
//! activations, by tiles of 6 rows, once for a product:     [8 sums][k / 8][8 rows, the last two zero]
//! for as many panels as the scratch holds:
//!     widen and transpose each:                            [8 sums][k / 8][16 rows]
//!     for each tile:
//!         for each panel:
//!             for each of the 8 sums:                      16 x 6 accumulators in registers over all of k / 8
//!             add the 8 sums
//! ```

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::x86_transposed::transposed;
use crate::block::Element;
use crate::dispatch::Tiles;
use crate::generic::load_tail;
use crate::generic::matmul_blocks::Packed;
use crate::generic::matmul_tile::part;
use crate::view::MatMut;

/// These tiles, to the table of kernels.
pub(super) const TILES: Tiles<f32> = Tiles { count: tiles, len: |_, k| tile_len(k), pack: pack_tile };

/// Rows from which on there are tiles: fewer do not pay for transposing the weights. Measured, see `ARCHITECTURE.md`.
const MIN_ROWS: usize = 12;

// Their heights are 4 to NR then.
const _: () = assert!(MIN_ROWS >= 8 && NR == 6);

/// The most activation rows in a tile: 12 accumulators leave two registers for weights and two for activations.
const NR: usize = 6;

/// Weight rows of a panel: two vectors.
const PANEL_ROWS: usize = 16;

/// The most panels that are multiplied with tile after tile.
const MAX_PANELS: usize = 12;

/// f32 of scratch that hold so many panels of rows of 2048 elements, 11 of 8192.
pub(super) const SCRATCH: usize = 3 << 19;

/// Lanes of a vector, and sums of an output.
const LANES: usize = 8;

/// Between the numbers of one sum and those of the next, so that the eight are not multiples of 4 KiB apart, which would compete for the
/// same lines of the first-level cache.
const GAP: usize = 16;

/// Steps of a sum between two looks at its end.
const UNROLLED: usize = 4;

/// Bytes of a cache line.
const LINE: usize = 64;

/// From a sum's numbers to the next sum's, of rows of `k` elements, `width` of which lie side by side.
const fn plane(k: usize, width: usize) -> usize {
    k.div_ceil(LANES) * width + GAP
}

/// The number of tiles of `m` rows, whose heights differ by one at most; none where rows are few.
const fn tiles(m: usize) -> usize {
    if m < MIN_ROWS { 0 } else { m.div_ceil(NR) }
}

/// The numbers of a tile of rows of `k`.
const fn tile_len(k: usize) -> usize {
    LANES * plane(k, LANES)
}

/// Packs tile `i` of the rows of `x`. to: ([`tile_len`],)
///
/// # Safety
/// - `x` is whole rows of `k` elements, `i` is below [`tiles`] of them, and `to` is as long as stated.
/// - The CPU has AVX2.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn pack_tile(x: &[f32], k: usize, i: usize, to: &mut [f32]) {
    let m = x.len() / k;
    let (from, end) = part(m, i, tiles(m));
    // SAFETY: the rows exist; the tile has a step of LANES numbers of each sum for every LANES elements; the features are this function's.
    unsafe {
        let mut rows = [core::ptr::null(); NR];
        for r in 0..NR {
            // A row that the tile lacks is another one, again.
            rows[r] = x.as_ptr().add((from + r).min(end - 1) * k);
        }
        let (to, plane) = (to.as_mut_ptr(), plane(k, LANES));
        for s in 0..k.div_ceil(LANES) {
            let mut v = [_mm256_setzero_si256(); LANES];
            for r in 0..NR {
                v[r] = _mm256_castps_si256(load(rows[r], s, k));
            }
            let v = transposed(&v);
            for l in 0..LANES {
                _mm256_storeu_ps(to.add(l * plane + s * LANES), _mm256_castsi256_ps(v[l]));
            }
        }
    }
}

/// Weight rows that panels are made of.
pub(super) trait Rows: Copy {
    /// An element of a row that can be loaded.
    type W: Element;
    /// Rows of scratch that it takes to make rows loadable.
    const ROOM: usize;
    /// Where the rows `first..first + n`, PANEL_ROWS at most, can be loaded from. room: (ROOM, k)
    ///
    /// # Safety
    /// The rows exist, each of `k` elements; the CPU has AVX2.
    unsafe fn rows(self, first: usize, n: usize, k: usize, room: &mut [f32]) -> *const Self::W;
}

impl<W: Element> Rows for &[W] {
    type W = W;
    const ROOM: usize = 0;

    #[inline(always)]
    unsafe fn rows(self, first: usize, _: usize, k: usize, _: &mut [f32]) -> *const W {
        self[first * k..].as_ptr()
    }
}

impl Rows for &Packed<'_> {
    type W = f32;
    const ROOM: usize = PANEL_ROWS;

    #[inline(always)]
    unsafe fn rows(self, first: usize, n: usize, k: usize, room: &mut [f32]) -> *const f32 {
        // SAFETY: the rows are whole blocks, and there is room for them; the features are the caller's.
        unsafe { (self.decode)(&self.bytes[first * self.row_bytes..][..n * self.row_bytes], &mut room[..n * k]) };
        room.as_ptr()
    }
}

/// `out = x · wᵀ` of all rows, which lie in tiles; false, and nothing is done, for want of scratch or tiles.
///
/// # Safety
/// - `w` is out.cols() rows of `k` elements; `x` is all tiles of out.rows() rows, or nothing.
/// - The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn matmul<R: Rows>(w: R, x: &[f32], k: usize, out: &mut MatMut<'_>, scratch: &mut [f32]) -> bool {
    let (m, n, panel_len) = (out.rows(), out.cols(), LANES * plane(k, PANEL_ROWS));
    if x.is_empty() || scratch.len() < R::ROOM * k + panel_len {
        return false;
    }
    let (room, panels) = scratch.split_at_mut(R::ROOM * k);
    let rows_at_once = MAX_PANELS.min(panels.len() / panel_len) * PANEL_ROWS;
    for first in (0..n).step_by(rows_at_once) {
        let rows = (first..n.min(first + rows_at_once)).step_by(PANEL_ROWS);
        // SAFETY: the rows exist; panels and tiles are those of rows of k; the features are the caller's.
        unsafe {
            for (r, panel) in rows.clone().zip(panels.chunks_exact_mut(panel_len)) {
                let some = PANEL_ROWS.min(n - r);
                widen(w.rows(r, some, k, room), some, k, panel);
            }
            for (i, x) in x.chunks_exact(tile_len(k)).enumerate() {
                let (t, end) = part(m, i, tiles(m));
                for (r, panel) in rows.clone().zip(panels.chunks_exact(panel_len)) {
                    match end - t {
                        NR => tile::<NR>(panel, x, k, t, r, out),
                        5 => tile::<5>(panel, x, k, t, r, out),
                        _ => tile::<4>(panel, x, k, t, r, out),
                    }
                }
            }
        }
    }
    true
}

/// Widens and transposes `n` rows of weights into a panel. Rows that it lacks are the last one, again.
///
/// # Safety
/// - `w` points at `n` rows of `k` elements, 1 to PANEL_ROWS; the panel is one of rows of `k`.
/// - The CPU has AVX2.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn widen<W: Element>(w: *const W, n: usize, k: usize, panel: &mut [f32]) {
    let (steps, per_line, plane) = (k.div_ceil(LANES), LINE / size_of::<W>() / LANES, plane(k, PANEL_ROWS));
    // SAFETY: the rows exist; the panel has a step of PANEL_ROWS numbers of each sum for every LANES elements; the features are this function's.
    unsafe {
        let to = panel.as_mut_ptr();
        for half in 0..PANEL_ROWS / LANES {
            let mut rows = [w; LANES];
            for r in 0..LANES {
                rows[r] = w.add((half * LANES + r).min(n - 1) * k);
            }
            for s in 0..steps {
                if s % per_line == 0 {
                    // The eight rows after these.
                    for r in 0..LANES {
                        _mm_prefetch::<_MM_HINT_T1>(rows[r].wrapping_add(LANES * k + s * LANES).cast());
                    }
                }
                let mut v = [_mm256_setzero_si256(); LANES];
                for r in 0..LANES {
                    v[r] = _mm256_castps_si256(load(rows[r], s, k));
                }
                let v = transposed(&v);
                for l in 0..LANES {
                    _mm256_storeu_ps(to.add(l * plane + s * PANEL_ROWS + half * LANES), _mm256_castsi256_ps(v[l]));
                }
            }
        }
    }
}

/// Step `s` of a row of `k` elements, zeros behind its end.
///
/// # Safety
/// The row and the step exist; the CPU has AVX2.
#[inline(always)]
unsafe fn load<W: Element>(row: *const W, s: usize, k: usize) -> __m256 {
    // SAFETY: the elements from `s * LANES` to the end of the step or of the row exist; the features are the caller's.
    unsafe {
        let at = row.add(s * LANES);
        if (s + 1) * LANES <= k { W::load(at) } else { load_tail(at, k - s * LANES) }
    }
}

/// One of the eight sums of each output of a panel and a tile of `R` rows.
type Sum<const R: usize> = [[__m256; 2]; R];

/// The outputs of a panel whose first row is `column` and a tile of `R` rows, the first of which is `t`. By itself, so that the compiler gives the
/// loop all registers.
///
/// # Safety
/// - `panel` and `x` are of rows of `k` elements; out: (m, n) where t + R <= m and column < n.
/// - The CPU has AVX2.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn tile<const R: usize>(panel: &[f32], x: &[f32], k: usize, t: usize, column: usize, out: &mut MatMut<'_>) {
    let mut sums = [const { MaybeUninit::<Sum<R>>::uninit() }; LANES];
    let (steps, mut w, mut x) = (k.div_ceil(LANES), panel.as_ptr(), x.as_ptr());
    // SAFETY: a panel and a tile have `steps` steps of each sum, and a gap after them; all sums are written before they are read; the features
    // are this function's.
    unsafe {
        for sum in &mut sums {
            let mut acc = [[_mm256_setzero_ps(); 2]; R];
            for _ in 0..steps / UNROLLED {
                for u in 0..UNROLLED {
                    step::<R>(w.add(u * PANEL_ROWS), x.add(u * LANES), &mut acc);
                }
                (w, x) = (w.add(UNROLLED * PANEL_ROWS), x.add(UNROLLED * LANES));
            }
            for _ in 0..steps % UNROLLED {
                step::<R>(w, x, &mut acc);
                (w, x) = (w.add(PANEL_ROWS), x.add(LANES));
            }
            (w, x) = (w.add(GAP), x.add(GAP));
            sum.write(acc);
        }
        for r in 0..R {
            let out = &mut out.row_mut(t + r)[column..];
            let mut outputs = [0.0; PANEL_ROWS];
            for h in 0..2 {
                let mut s = [_mm256_setzero_ps(); LANES];
                for l in 0..LANES {
                    s[l] = sums[l].assume_init_ref()[r][h];
                }
                // Halves are added until one is left, as of lanes.
                for half in [LANES / 2, LANES / 4, LANES / 8] {
                    for l in 0..half {
                        s[l] = _mm256_add_ps(s[l], s[l + half]);
                    }
                }
                _mm256_storeu_ps(outputs.as_mut_ptr().add(h * LANES), s[0]);
            }
            match out.first_chunk_mut::<PANEL_ROWS>() {
                Some(out) => *out = outputs,
                None => out.copy_from_slice(&outputs[..out.len()]),
            }
        }
    }
}

/// One step of a sum.
///
/// # Safety
/// - PANEL_ROWS numbers are readable at `w` and LANES at `x`.
/// - The CPU has AVX2.
#[inline(always)]
unsafe fn step<const R: usize>(w: *const f32, x: *const f32, acc: &mut Sum<R>) {
    // SAFETY: the caller's contract.
    unsafe {
        let w = [_mm256_loadu_ps(w), _mm256_loadu_ps(w.add(LANES))];
        for r in 0..R {
            let x = _mm256_broadcast_ss(&*x.add(r));
            for h in 0..2 {
                acc[r][h] = _mm256_fmadd_ps(w[h], x, acc[r][h]);
            }
        }
    }
}
