//! The tile of the matrix product: `MR` weight rows by `NR` activation rows, whose `MR * NR` sums stay in registers over all of k.
//!
//! Not here: the order in which tiles are visited (`matmul.rs`, `matmul_few.rs`), how elements are multiplied (`Dot`).

use core::mem::MaybeUninit;

use crate::block::Element;
use crate::generic::matmul::Dot;
use crate::vector::{MAX_FOLD, MAX_LANES, Vector};
use crate::view::MatMut;

/// Steps of a single row's sum between two looks at its end. With one the speed hung on where the compiler happened to put the loop.
const UNROLLED: usize = 4;

/// Bytes of a cache line.
const LINE: usize = 64;

/// The most activation rows in a tile.
const MAX_NR: usize = 6;

/// The most weight rows in a group.
const MAX_GROUP: usize = 24;

/// Weight rows whose sums are reduced together: whole tiles, and whole vectors of outputs. Tiles that do not fill a fold go one by one.
pub(super) const fn group_rows<V: Vector>(mr: usize) -> usize {
    if !mr.is_multiple_of(V::FOLD) {
        return mr;
    }
    let mut rows = V::LANES;
    while !rows.is_multiple_of(mr) {
        rows += V::LANES;
    }
    rows
}

/// Part `j` of `len` things cut into `count` parts whose sizes differ by one at most: from, to.
#[inline(always)]
pub(crate) const fn part(len: usize, j: usize, count: usize) -> (usize, usize) {
    (j * len / count, (j + 1) * len / count)
}

/// Where weight rows lie that are taken in tiles, all distances in rows.
#[derive(Clone, Copy)]
pub(super) struct WeightRows<W> {
    /// The first row of the first tile.
    pub w: *const W,
    /// The column of that row's outputs.
    pub column: usize,
    /// From a tile to the next.
    pub tile: usize,
    /// From a row of a tile to the next.
    pub row: usize,
    /// Bytes ahead of a row of a tile that the second-level cache is asked for meanwhile.
    pub ahead: usize,
    /// The rows of a tile for which it is asked: from, to.
    pub asked: (usize, usize),
}

impl<W> WeightRows<W> {
    /// The same with row `r` as the first. k: the length of a row
    #[inline(always)]
    pub fn from(self, r: usize, k: usize) -> Self {
        WeightRows { w: self.w.wrapping_add(r * k), column: self.column + r, ..self }
    }

    /// The same, asking for part `j` of `count` of a tile of `mr` rows.
    #[inline(always)]
    pub fn asking(self, j: usize, count: usize, mr: usize) -> Self {
        WeightRows { asked: part(mr, j, count), ..self }
    }
}

/// Activation rows `t..t + rows` in the order of a tile's use: for each step the rows' elements side by side. As they lie, rows whose length
/// is a multiple of 4 KiB would compete for the same few lines of the first-level cache.
#[derive(Clone, Copy)]
pub(super) struct Tile<X> {
    /// For each step of [`Dot::STEP`] elements, those of each row. A single row is packed as it lies.
    pub x: *const X,
    /// The first row's number among all activation rows.
    pub t: usize,
    /// One at least.
    pub rows: usize,
}

impl<X: Element> Tile<X> {
    /// Packs all rows of `x` as the activation rows from `t` on. x: (rows, k); packed: at least [`packed_len`] of them
    #[inline(always)]
    pub fn pack<D: Dot<X = X>>(x: &[X], t: usize, k: usize, packed: &mut [f32]) -> Tile<X> {
        const { assert!(align_of::<X>() <= align_of::<f32>()) };
        let rows = x.len() / k;
        assert!(packed.len() >= packed_len::<D>(rows, k), "scratch of a tile");
        let (first, mut to) = (packed.as_ptr().cast(), packed.as_mut_ptr().cast::<X>());
        let mut at = 0;
        while at < k {
            let len = D::STEP.min(k - at);
            for row in x.chunks_exact(k) {
                let from = &row[at..at + len];
                // SAFETY: the destination holds as many steps of rows * STEP elements as k has, of which each row's part takes `len`.
                unsafe {
                    // The usual length is a constant, so that no call is made.
                    if len == D::STEP {
                        core::ptr::copy_nonoverlapping(from.as_ptr(), to, D::STEP);
                    } else {
                        core::ptr::copy_nonoverlapping(from.as_ptr(), to, len);
                    }
                    to = to.add(D::STEP);
                }
            }
            at += len;
        }
        Tile { x: first, t, rows }
    }
}

/// f32 that `rows` packed activation rows take.
pub(super) const fn packed_len<D: Dot>(rows: usize, k: usize) -> usize {
    (k.next_multiple_of(D::STEP) * rows * size_of::<D::X>()).div_ceil(size_of::<f32>())
}

/// `tiles` tiles of `MR` weight rows, no more than [`group_rows`] are, against a tile of at most `NR` activation rows.
///
/// # Safety
/// - The weight rows exist, each of `k` elements, and are at most [`group_rows`]; `x` holds at most `NR` packed rows of `k`.
/// - out: (m, n), which has the rows of `x` and the columns of the weight rows.
/// - The CPU has the features that `D` needs.
#[inline(always)]
pub(super) unsafe fn multiply<D: Dot, const MR: usize, const NR: usize>(
    w: WeightRows<D::W>,
    tiles: usize,
    x: Tile<D::X>,
    k: usize,
    out: &mut MatMut<'_>,
) {
    const { assert!(NR <= MAX_NR) };
    // SAFETY: the caller's contract.
    unsafe {
        match x.rows {
            6 if NR >= 6 => group::<D, MR, 6>(w, tiles, x, k, out),
            5 if NR >= 5 => group::<D, MR, 5>(w, tiles, x, k, out),
            4 if NR >= 4 => group::<D, MR, 4>(w, tiles, x, k, out),
            3 if NR >= 3 => group::<D, MR, 3>(w, tiles, x, k, out),
            2 if NR >= 2 => group::<D, MR, 2>(w, tiles, x, k, out),
            _ => group::<D, MR, 1>(w, tiles, x, k, out),
        }
    }
}

/// The accumulators of a group of weight rows against one tile of activation rows, folded: for each activation row, the group's.
struct Folded<V>([MaybeUninit<V>; MAX_GROUP * MAX_NR]);

/// [`multiply`] by exactly `NR` activation rows.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn group<D: Dot, const MR: usize, const NR: usize>(
    w: WeightRows<D::W>,
    tiles: usize,
    x: Tile<D::X>,
    k: usize,
    out: &mut MatMut<'_>,
) {
    const { assert!(group_rows::<D::Acc>(MR) <= MAX_GROUP) };
    const { assert!(D::Acc::FOLD <= MAX_FOLD) };
    debug_assert!(tiles * MR <= group_rows::<D::Acc>(MR), "more rows than are reduced together");
    let mut folded = Folded([MaybeUninit::uninit(); _]);
    // SAFETY: the rows exist (the caller's); each accumulator of the tiles is written before its sum is read.
    unsafe {
        for i in 0..tiles {
            tile::<D, MR, NR>(w.from(i * w.tile, k), x.x, k, &mut folded, i * MR.div_ceil(D::Acc::FOLD));
        }
        for b in 0..NR {
            let out = &mut out.row_mut(x.t + b)[w.column..];
            if w.row == 1 {
                sums(&folded, b, &mut out[..tiles * MR]);
            } else {
                let mut all = [0.0; MAX_GROUP];
                sums(&folded, b, &mut all[..tiles * MR]);
                spread::<MR>(&all, tiles, out, w.row);
            }
        }
    }
}

/// Outputs of `n` tiles to where they belong: those of a row of the tiles side by side. all: (n, MR); out: MR runs of n, `apart` from each other
#[inline(always)]
fn spread<const MR: usize>(all: &[f32; MAX_GROUP], n: usize, out: &mut [f32], apart: usize) {
    for a in 0..MR {
        let run = &mut out[a * apart..][..n];
        for i in 0..n {
            run[i] = all[i * MR + a];
        }
    }
}

/// The accumulators of the first tile of `w` and `NR` activation rows, folded, from `at` on in the group.
///
/// # Safety
/// - `w` names `MR` rows of `k` elements, and `x` lies as [`Tile`] says.
/// - The CPU has the features that `D` needs.
#[inline(always)]
unsafe fn tile<D: Dot, const MR: usize, const NR: usize>(
    w: WeightRows<D::W>,
    x: *const D::X,
    k: usize,
    folded: &mut Folded<D::Acc>,
    at: usize,
) {
    // SAFETY: each load lies inside a row: whole steps end at or before `k`, and the tail reads the k % STEP elements left.
    unsafe {
        let mut acc = [[D::Acc::splat(0.0); MR]; NR];
        let (mut i, mut x, apart) = (0, x, w.row * k);
        let unrolled = if NR == 1 { UNROLLED } else { 1 };
        while i + unrolled * D::STEP <= k {
            for a in w.asked.0..w.asked.1 {
                for line in 0..(unrolled * D::STEP * size_of::<D::W>()).div_ceil(LINE) {
                    D::Acc::prefetch(w.w.wrapping_add(a * apart + i).cast::<u8>().wrapping_add(w.ahead + line * LINE));
                }
            }
            for _ in 0..unrolled {
                step::<D, MR, NR>(w.w.add(i), apart, x, &mut acc);
                i += D::STEP;
                x = x.add(NR * D::STEP);
            }
        }
        while i + D::STEP <= k {
            step::<D, MR, NR>(w.w.add(i), apart, x, &mut acc);
            i += D::STEP;
            x = x.add(NR * D::STEP);
        }
        if i < k {
            for a in 0..MR {
                let wr = D::load_w_tail(w.w.add(a * apart + i), k - i);
                for b in 0..NR {
                    acc[b][a] = D::mul_add(acc[b][a], wr, D::load_x_tail(x.add(b * D::STEP), k - i));
                }
            }
        }
        // The rows that the last fold may lack are zeros.
        for b in 0..NR {
            for f in 0..MR.div_ceil(D::Acc::FOLD) {
                let mut rows = [D::Acc::splat(0.0); MAX_FOLD];
                for i in 0..D::Acc::FOLD {
                    if f * D::Acc::FOLD + i < MR {
                        rows[i] = acc[b][f * D::Acc::FOLD + i];
                    }
                }
                folded.0[b * MAX_GROUP + at + f].write(D::Acc::fold(rows));
            }
        }
    }
}

/// One step of a tile.
///
/// # Safety
/// - `STEP` elements are readable at `w`, `apart` elements further for each of the `MR` rows, and at `x` for each of the `NR` rows.
/// - The CPU has the features that `D` needs.
#[inline(always)]
unsafe fn step<D: Dot, const MR: usize, const NR: usize>(
    w: *const D::W,
    apart: usize,
    x: *const D::X,
    acc: &mut [[D::Acc; MR]; NR],
) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut wr = [D::load_w(w); MR];
        for a in 1..MR {
            wr[a] = D::load_w(w.add(a * apart));
        }
        for b in 0..NR {
            let xr = D::load_x(x.add(b * D::STEP));
            for a in 0..MR {
                acc[b][a] = D::mul_add(acc[b][a], wr[a], xr);
            }
        }
    }
}

/// The sums of activation row `b` of a tile. out: one element for each weight row of the group
///
/// # Safety
/// - The accumulators of out.len() rows were written.
/// - The CPU has the features that `V` needs.
#[inline(always)]
unsafe fn sums<V: Vector>(folded: &Folded<V>, b: usize, out: &mut [f32]) {
    let (n, folded) = (out.len(), &folded.0[b * MAX_GROUP..][..MAX_GROUP]);
    // SAFETY: the folded accumulators of the rows below n were written; LANES outputs from `r` on exist; the features are the caller's.
    unsafe {
        for r in (0..n).step_by(V::LANES) {
            let n_rows = V::LANES.min(n - r);
            let mut rows = [V::splat(0.0); MAX_LANES];
            for i in 0..n_rows.div_ceil(V::FOLD) {
                rows[i] = folded[r / V::FOLD + i].assume_init();
            }
            let sums = V::sum_folded(&rows);
            if n_rows == V::LANES {
                sums.store(out.as_mut_ptr().add(r));
            } else {
                let mut all = [0.0; MAX_LANES];
                sums.store(all.as_mut_ptr());
                out[r..].copy_from_slice(&all[..n_rows]);
            }
        }
    }
}
