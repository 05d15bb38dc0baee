//! The matrix product for one row of activations and for a few: reading the weights takes longer than multiplying them.
//!
//! The weight rows are as many streams as a tile has rows, each a part of them one after another, and a tile takes its rows from all streams: while
//! one of them waits behind the end of a page, others go on. All activation rows are packed at the start, so a group of weight rows passes through a
//! cache close by once and meets all of them there.
//!
//! Not here: the tile (`matmul_tile.rs`), more rows (`matmul.rs`). See `ARCHITECTURE.md` for what was tried and measured.

use core::ops::Range;

use crate::block::Element;
use crate::generic::matmul::Dot;
use crate::generic::matmul_tile::{Tile, WeightRows, group_rows, multiply, packed_len, part};
use crate::view::MatMut;

/// Up to this many rows of activations are few: packed, they stay in the second-level cache beside a group of weight rows.
pub(super) const FEW_ROWS: usize = 64;

/// Streams of weights that a single row of activations reads side by side.
const STREAMS: usize = 4;

/// How many times as far ahead of itself a tile of several activation rows asks for weights as a single row does: its steps take longer, and so
/// fewer of them are under way at a time.
const FURTHER: usize = 3;

/// Every activation row by itself against the weight rows `range`, which lie at `w`.
///
/// # Safety
/// - `w` points at `range.len()` rows of `k` elements; out: (m, n) where x is (m, k) and range.end <= n.
/// - The CPU has the features that `D` needs.
#[inline(always)]
pub(super) unsafe fn each_row<D: Dot>(w: *const D::W, x: &[D::X], k: usize, range: Range<usize>, out: &mut MatMut<'_>) {
    for (t, x) in x.chunks_exact(k).enumerate() {
        let x = FewRows { packed: Tile { x: x.as_ptr(), t, rows: 1 }, count: 1 };
        // SAFETY: the rows named exist, and so does x; the features are the caller's.
        unsafe {
            if D::ONE_STREAM {
                few_rows::<D, 1, 1>(w, x, k, range.clone(), out);
            } else {
                few_rows::<D, STREAMS, 1>(w, x, k, range.clone(), out);
            }
        }
    }
}

/// Activation rows, packed as `count` tiles one after another, whose heights differ by one at most.
#[derive(Clone, Copy)]
pub(super) struct FewRows<X> {
    /// The first tile's beginning, and the rows of all.
    packed: Tile<X>,
    count: usize,
}

impl<X: Element> FewRows<X> {
    /// Packs all activation rows into tiles of at most `nr`. x: (m, k); packed: at least [`packed_len`] of them
    #[inline(always)]
    pub fn pack<D: Dot<X = X>>(x: &[X], k: usize, nr: usize, packed: &mut [f32]) -> FewRows<X> {
        let rows = x.len() / k;
        let all = FewRows { packed: Tile { x: packed.as_ptr().cast(), t: 0, rows }, count: rows.div_ceil(nr) };
        for j in 0..all.count {
            let (start, end) = part(rows, j, all.count);
            Tile::pack::<D>(&x[start * k..end * k], start, k, &mut packed[packed_len::<D>(start, k)..]);
        }
        all
    }

    /// Tile `j`. k: the length of a row
    #[inline(always)]
    fn tile<D: Dot<X = X>>(&self, j: usize, k: usize) -> Tile<X> {
        let (start, end) = part(self.packed.rows, j, self.count);
        let x = self.packed.x.wrapping_add(start * k.next_multiple_of(D::STEP));
        Tile { x, t: self.packed.t + start, rows: end - start }
    }
}

/// A few activation rows against the weight rows `range`, which lie at `w`.
///
/// # Safety
/// - `w` points at `range.len()` rows of `k` elements, which is also the length of the rows of `x`.
/// - out: (m, n) where the rows of `x` are some of m and range.end <= n.
/// - The CPU has the features that `D` needs.
#[inline(always)]
pub(super) unsafe fn few_rows<D: Dot, const MR: usize, const NR: usize>(
    w: *const D::W,
    x: FewRows<D::X>,
    k: usize,
    range: Range<usize>,
    out: &mut MatMut<'_>,
) {
    let group = group_rows::<D::Acc>(MR) / MR;
    let tiles = range.len() / MR;
    let (tile, row) = if D::ONE_STREAM { (MR, 1) } else { (1, tiles) };
    let ahead = match (x.packed.rows, x.count) {
        (1, _) => D::AHEAD,
        (_, 1) if D::ONE_STREAM => MR * k * size_of::<D::W>(),
        (_, 1) => FURTHER * D::AHEAD,
        // The next group. Each tile of activations asks for a part of it, so that memory is read all the while.
        _ => group * tile * k * size_of::<D::W>(),
    };
    let w = WeightRows { w, column: range.start, tile, row, ahead, asked: (0, MR) };
    // SAFETY: each group takes rows of the range; the rest is the caller's.
    unsafe {
        for i in (0..tiles).step_by(group) {
            let w = w.from(i * tile, k);
            for j in 0..x.count {
                multiply::<D, MR, NR>(w.asking(j, x.count, MR), group.min(tiles - i), x.tile::<D>(j, k), k, out);
            }
        }
        for r in tiles * MR..range.len() {
            for j in 0..x.count {
                multiply::<D, 1, NR>(w.from(r, k).asking(j, x.count, 1), 1, x.tile::<D>(j, k), k, out);
            }
        }
    }
}
