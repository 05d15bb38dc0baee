//! The matrix product `out = x · wᵀ` in dot order, for one row of activations and for many.
//!
//! Not here: which rows a thread owns (the engine's), epilogues, packing. The weights are read in place, at any alignment.
//!
//! ```text
//! for each panel of weight rows that fits half of the L2 cache:
//!     for each tile of NR activation rows:
//!         for each tile of MR weight rows:
//!             for s, step in enumerate(steps of STEP elements along k, the last one padded with zeros):
//!                 for each of the MR x NR outputs: acc[s % CHAINS] += w[step] * x[step]        (lane by lane)
//!             out = reduce_add(acc[0] + acc[1])
//! ```
//!
//! **The order of each sum depends on k and the ISA alone**: not on the tile that an output happens to lie in, the number of rows, or
//! the thread. That is what makes prefill, decode and batches bit-identical (kernels.md section 0). Two chains per output rather than
//! one let a single row run at the speed of memory: a chain advances once in the 4 cycles of a fused multiply-add, which for 16 bf16
//! weights would be 8 bytes a cycle.

use core::marker::PhantomData;

use crate::block::Element;
use crate::generic::load_tail;
use crate::vector::Vector;
use crate::view::MatMut;

/// Independent partial sums per output, taken in turn along k.
const CHAINS: usize = 2;

/// Bytes of weights that a panel may hold, so that it stays in the L2 cache while tiles of activations pass over it.
const PANEL_BYTES: usize = 256 << 10;

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

    unsafe fn load_w(p: *const Self::W) -> Self::WReg;
    unsafe fn load_w_tail(p: *const Self::W, n: usize) -> Self::WReg;
    unsafe fn load_x(p: *const Self::X) -> Self::XReg;
    unsafe fn load_x_tail(p: *const Self::X, n: usize) -> Self::XReg;
    unsafe fn mul_add(acc: Self::Acc, w: Self::WReg, x: Self::XReg) -> Self::Acc;
}

/// Both sides widened to f32 lanes, multiplied and added there: every pair of formats, on every ISA.
pub(crate) struct Widen<V, W, X>(PhantomData<(V, W, X)>);

// SAFETY: `Element::load` reads V::LANES elements, `load_tail` n.
unsafe impl<V: Vector, W: Element, X: Element> Dot for Widen<V, W, X> {
    type W = W;
    type X = X;
    type Acc = V;
    type WReg = V;
    type XReg = V;
    const STEP: usize = V::LANES;

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
    unsafe fn load_x(p: *const X) -> V {
        // SAFETY: the trait's contract.
        unsafe { X::load(p) }
    }

    #[inline(always)]
    unsafe fn load_x_tail(p: *const X, n: usize) -> V {
        // SAFETY: the trait's contract.
        unsafe { load_tail(p, n) }
    }

    #[inline(always)]
    unsafe fn mul_add(acc: V, w: V, x: V) -> V {
        // SAFETY: the trait's contract.
        unsafe { w.mul_add(x, acc) }
    }
}

/// `out = x · wᵀ` with tiles of `MR` weight rows by `NR` activation rows.
///
/// w: (n, k) row-major; x: (m, k) row-major; out: (m, n)
///
/// # Safety
/// - `w.len() == n * k` and `x.len() == m * k` where `out` is (m, n) and k > 0.
/// - The CPU has the features that `D` needs.
#[inline(always)]
pub(crate) unsafe fn matmul<D: Dot, const MR: usize, const NR: usize>(w: &[D::W], x: &[D::X], k: usize, mut out: MatMut<'_>) {
    let (m, n) = (out.rows(), out.cols());
    debug_assert!(w.len() == n * k && x.len() == m * k && k > 0);
    // A whole number of tiles, so that only the last panel has rows left over.
    let panel = (PANEL_BYTES / (k * size_of::<D::W>())).max(1).next_multiple_of(MR);
    let mut start = 0;
    while start < n {
        let end = n.min(start + panel);
        let mut t = 0;
        while t < m {
            // SAFETY: rows start..end of w and the rows of x that a tile takes exist; the features are the caller's.
            unsafe {
                // A single activation row takes one weight row at a time: one sequential stream is what memory likes best.
                if m == 1 {
                    rows::<D, 1, 1>(w, x, k, start..end, t, &mut out);
                    t += 1;
                } else if m - t >= NR {
                    rows::<D, MR, NR>(w, x, k, start..end, t, &mut out);
                    t += NR;
                } else {
                    rows::<D, MR, 1>(w, x, k, start..end, t, &mut out);
                    t += 1;
                }
            }
        }
        start = end;
    }
}

/// Activation rows `t..t + NR` against the weight rows `range`.
///
/// # Safety
/// As [`matmul`]; the rows named exist.
#[inline(always)]
unsafe fn rows<D: Dot, const MR: usize, const NR: usize>(
    w: &[D::W],
    x: &[D::X],
    k: usize,
    range: core::ops::Range<usize>,
    t: usize,
    out: &mut MatMut<'_>,
) {
    let mut r = range.start;
    // SAFETY: the pointers stay inside w and x, since the rows exist.
    unsafe {
        let x = x.as_ptr().add(t * k);
        while range.end - r >= MR {
            tile::<D, MR, NR>(w.as_ptr().add(r * k), x, k, r, t, out);
            r += MR;
        }
        while r < range.end {
            tile::<D, 1, NR>(w.as_ptr().add(r * k), x, k, r, t, out);
            r += 1;
        }
    }
}

/// The `MR` x `NR` outputs of weight rows `r..` and activation rows `t..`.
///
/// # Safety
/// - `w` points at `MR` rows and `x` at `NR` rows of `k` elements.
/// - The CPU has the features that `D` needs.
#[inline(always)]
unsafe fn tile<D: Dot, const MR: usize, const NR: usize>(
    w: *const D::W,
    x: *const D::X,
    k: usize,
    r: usize,
    t: usize,
    out: &mut MatMut<'_>,
) {
    // SAFETY: each load lies inside a row of k elements: whole steps end at or before `k`, and the tail reads the k % STEP left.
    unsafe {
        let mut acc = [[[D::Acc::splat(0.0); CHAINS]; MR]; NR];
        let paired = k - k % (CHAINS * D::STEP);
        let mut i = 0;
        while i < paired {
            for c in 0..CHAINS {
                let at = i + c * D::STEP;
                let mut wr = [D::load_w(w.add(at)); MR];
                for a in 1..MR {
                    wr[a] = D::load_w(w.add(a * k + at));
                }
                for b in 0..NR {
                    let xr = D::load_x(x.add(b * k + at));
                    for a in 0..MR {
                        acc[b][a][c] = D::mul_add(acc[b][a][c], wr[a], xr);
                    }
                }
            }
            i += CHAINS * D::STEP;
        }
        // At most CHAINS - 1 whole steps and a padded one are left; they go on in turn.
        let mut c = 0;
        while i < k {
            let n = k - i;
            for b in 0..NR {
                let xr = if n >= D::STEP { D::load_x(x.add(b * k + i)) } else { D::load_x_tail(x.add(b * k + i), n) };
                for a in 0..MR {
                    let wr = if n >= D::STEP { D::load_w(w.add(a * k + i)) } else { D::load_w_tail(w.add(a * k + i), n) };
                    acc[b][a][c] = D::mul_add(acc[b][a][c], wr, xr);
                }
            }
            c += 1;
            i += D::STEP;
        }
        for b in 0..NR {
            let row = &mut out.row_mut(t + b)[r..r + MR];
            for a in 0..MR {
                row[a] = acc[b][a][0].add(acc[b][a][1]).reduce_add();
            }
        }
    }
}
