//! The matrix product `out = x · wᵀ` in dot order, for one row of activations and for many.
//!
//! Not here: the tile itself (`matmul_tile.rs`), few rows (`matmul_few.rs`), which rows of weights a
//! thread owns (the engine's), epilogues. See `ARCHITECTURE.md` for what was tried and measured.
//!
//! ```text
//! for each panel of weight rows (widened into scratch first, where the lanes are slow at that):
//!     for each tile of up to NR activation rows, packed into scratch in the order of use:
//!         for each tile of MR weight rows:
//!             for each step of STEP elements along k:             MR x NR accumulators in registers
//!                 acc += w[step] * x[step]                        lane by lane
//!             fold(acc)                                           the first steps of each sum, while it is in a register
//!         out = sum_folded                                        LANES outputs at a time
//!
//! one row of activations and a few, the same sums in another nesting:
//!     for each group of weight rows, MR streams of which tiles take a row each:
//!         for each tile of activation rows, all packed at the start:
//!             as above
//! ```
//!
//! **The order of each sum depends on k and the ISA alone**: not on the tile that an output happens to lie in, the number of rows, or
//! the thread. That is what makes prefill, decode and batches bit-identical (kernels.md section 0). Each output has one accumulator that
//! goes over all of k: a single row advances once in the 4 to 6 cycles of a multiply-add, a few side by side faster than memory delivers, and
//! a tile has no accumulators to put away and no second pass over its cache lines.

use core::marker::PhantomData;

use crate::block::Element;
use crate::generic::load_tail;
use crate::generic::matmul_few::{FEW_ROWS, FewRows, each_row, few_rows};
use crate::generic::matmul_tile::{Tile, WeightRows, group_rows, multiply, packed_len, part};
use crate::vector::Vector;
use crate::view::MatMut;

/// The most weight rows in a panel: as many as make packing the activations cheap beside multiplying them.
pub(super) const PANEL_ROWS: usize = 192;

/// Activation rows from which on widening a panel first costs less than widening in each tile.
const MIN_ROWS_TO_WIDEN: usize = 8;

/// f32 of scratch that a product can use: a tile of activation rows up to 87,381 wide, or a few rows of them, and where weights are widened, decoded
/// or unpacked, panels of them. With less, panels are smaller, or activations are not packed; the bits are the same. Best aligned to a cache
/// line.
pub const MATMUL_SCRATCH: usize = 1 << 19;

/// How elements of a weight row and an activation row are multiplied and summed: the one thing that differs between formats.
///
/// # Safety
/// `load_*` read exactly `STEP` elements, `load_*_tail` exactly `n`; all need the features of the implementing ISA.
#[allow(clippy::missing_safety_doc, reason = "the contract is the same for all methods and stands on the trait")]
pub(crate) unsafe trait Dot {
    /// Storage of the weights.
    type W: Element;
    /// Storage of the activations.
    type X: Element;
    /// The accumulator.
    type Acc: Vector;
    /// `STEP` weights in registers.
    type WReg: Copy;
    /// `STEP` activations in registers.
    type XReg: Copy;
    /// Elements along k that one step consumes.
    const STEP: usize;
    /// How many bytes ahead of each stream of weights the second-level cache is asked for more. Measured, see `ARCHITECTURE.md`.
    const AHEAD: usize;
    /// Whether a single row of activations reads the weights as one stream and not as several.
    const ONE_STREAM: bool;
    /// The same sums with weights that were widened to f32 beforehand, where `WIDENS` says that this is worth while.
    type Widened: Dot<X = Self::X, Acc = Self::Acc>;
    /// Whether the product of many rows uses `Widened`, which then takes f32 weights. Where not, each tile widens what it loads.
    const WIDENS: bool;

    unsafe fn load_w(p: *const Self::W) -> Self::WReg;
    unsafe fn load_w_tail(p: *const Self::W, n: usize) -> Self::WReg;
    unsafe fn load_x(p: *const Self::X) -> Self::XReg;
    unsafe fn load_x_tail(p: *const Self::X, n: usize) -> Self::XReg;
    unsafe fn mul_add(acc: Self::Acc, w: Self::WReg, x: Self::XReg) -> Self::Acc;
}

/// Weights widened to f32 lanes, multiplied by f32 activations and added there: every format, on every ISA.
pub(crate) struct Widen<V, W>(PhantomData<(V, W)>);

// SAFETY: `Element::load` reads V::LANES elements, `load_tail` n.
unsafe impl<V: Vector, W: Element> Dot for Widen<V, W> {
    type W = W;
    type X = f32;
    type Acc = V;
    type WReg = V;
    type XReg = V;
    const STEP: usize = V::LANES;
    const AHEAD: usize = V::AHEAD;
    const ONE_STREAM: bool = false;
    type Widened = Widen<V, f32>;
    const WIDENS: bool = V::WIDENS_SLOWLY && size_of::<W>() < size_of::<f32>();

    #[inline(always)]
    unsafe fn load_w(p: *const W) -> V {
        // SAFETY: the trait's contract.
        unsafe { W::load(p) }
    }

    #[inline(always)]
    unsafe fn load_w_tail(p: *const W, n: usize) -> V {
        // SAFETY: the trait's contract.
        unsafe { load_tail(p, n) }
    }

    #[inline(always)]
    unsafe fn load_x(p: *const f32) -> V {
        // SAFETY: the trait's contract.
        unsafe { V::load(p) }
    }

    #[inline(always)]
    unsafe fn load_x_tail(p: *const f32, n: usize) -> V {
        // SAFETY: the trait's contract.
        unsafe { load_tail(p, n) }
    }

    #[inline(always)]
    unsafe fn mul_add(acc: V, w: V, x: V) -> V {
        // SAFETY: the trait's contract.
        unsafe { w.mul_add(x, acc) }
    }
}

/// `out = x · wᵀ` with tiles of `MR` weight rows by up to `NR` activation rows.
///
/// w: (n, k) row-major; x: (m, k) row-major; out: (m, n); scratch: see [`MATMUL_SCRATCH`]
///
/// # Safety
/// - `w.len() == n * k` and `x.len() == m * k` where `out` is (m, n) and k > 0.
/// - The CPU has the features that `D` needs.
#[inline(always)]
pub(crate) unsafe fn matmul<D: Dot, const MR: usize, const NR: usize>(
    w: &[D::W],
    x: &[D::X],
    k: usize,
    mut out: MatMut<'_>,
    scratch: &mut [f32],
) {
    let (m, n) = (out.rows(), out.cols());
    debug_assert!(w.len() == n * k && x.len() == m * k && k > 0);
    let tile_len = packed_len::<D>(NR, k);
    // SAFETY: the rows named exist; the features are the caller's.
    unsafe {
        if m == 1 || scratch.len() < tile_len {
            return each_row::<D>(w.as_ptr(), x, k, 0..n, &mut out);
        }
        let widens = D::WIDENS && m >= MIN_ROWS_TO_WIDEN && scratch.len() - tile_len >= MR * k;
        if m <= FEW_ROWS && !widens && scratch.len() >= packed_len::<D>(m, k) {
            let x = FewRows::pack::<D>(x, k, NR, scratch);
            return few_rows::<D, MR, NR>(w.as_ptr(), x, k, 0..n, &mut out);
        }
        let (packed, widened) = scratch.split_at_mut(tile_len);
        let rows = if widens { PANEL_ROWS.min(widened.len() / k) } else { PANEL_ROWS };
        let mut start = 0;
        while start < n {
            let rows = rows.min(n - start);
            let panel = w.as_ptr().add(start * k);
            if widens {
                widen::<D>(panel, &mut widened[..rows * k]);
                // `Widened` takes f32 weights where WIDENS is set.
                rows_of_panel::<D::Widened, MR, NR>(widened.as_ptr().cast(), start, rows, x, k, &mut out, packed);
            } else {
                rows_of_panel::<D, MR, NR>(panel, start, rows, x, k, &mut out, packed);
            }
            start += rows;
        }
    }
}

/// All activation rows against `n` weight rows, which lie at `w` and whose outputs begin in column `column`. Each tile of activations is packed
/// anew, into a cache close by.
///
/// # Safety
/// - `w` points at `n` rows of `k` elements; out: (m, columns) where x is (m, k) and column + n <= columns.
/// - The CPU has the features that `D` needs.
#[inline(always)]
pub(super) unsafe fn rows_of_panel<D: Dot, const MR: usize, const NR: usize>(
    w: *const D::W,
    column: usize,
    n: usize,
    x: &[D::X],
    k: usize,
    out: &mut MatMut<'_>,
    packed: &mut [f32],
) {
    let m = out.rows();
    let group = group_rows::<D::Acc>(MR) / MR;
    let tiles = n / MR;
    let count = m.div_ceil(NR);
    // The next tile's weights follow this one's.
    let w = WeightRows { w, column, tile: MR, row: 1, ahead: MR * k * size_of::<D::W>(), asked: (0, MR) };
    for j in 0..count {
        let (t, end) = part(m, j, count);
        let x = Tile::pack::<D>(&x[t * k..end * k], t, k, packed);
        // SAFETY: each group takes rows of the panel; the rest is the caller's.
        unsafe {
            for i in (0..tiles).step_by(group) {
                multiply::<D, MR, NR>(w.from(i * MR, k), group.min(tiles - i), x, k, out);
            }
            for r in tiles * MR..n {
                multiply::<D, 1, NR>(w.from(r, k).asking(0, 1, 1), 1, x, k, out);
            }
        }
    }
}

/// Widens weights to f32. w: (out.len(),)
///
/// # Safety
/// - `out.len()` elements are readable at `w`.
/// - The CPU has the features that `D` needs.
#[inline(always)]
unsafe fn widen<D: Dot>(w: *const D::W, out: &mut [f32]) {
    let (n, lanes) = (out.len(), D::Acc::LANES);
    let whole = n - n % lanes;
    // SAFETY: whole vectors end at or before `whole <= n`.
    unsafe {
        let mut i = 0;
        while i < whole {
            D::W::load::<D::Acc>(w.add(i)).store(out.as_mut_ptr().add(i));
            i += lanes;
        }
        for i in whole..n {
            out[i] = w.add(i).read().to_f32();
        }
    }
}
