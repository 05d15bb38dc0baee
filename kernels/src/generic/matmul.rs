//! The matrix product `out = x · wᵀ` in dot order, for one row of activations and for many.
//!
//! Not here: which rows of weights a thread owns (the engine's), epilogues. See `ARCHITECTURE.md` for what was tried and measured.
//!
//! ```text
//! one row of activations: the weights are STREAMS streams, each a part of the rows one after another
//!     for each row of a stream:
//!         for each step of STEP elements along k, the last one padded with zeros:
//!             for each stream:
//!                 acc[stream] += w[stream][step] * x[step]           (lane by lane)
//!         out[stream] = reduce_add(acc[stream])
//!
//! more rows, the same sums in another nesting:
//!     for each panel of weight rows (widened into scratch first, where the lanes are slow at that):
//!         for each tile of NR activation rows, packed into scratch in the order of use:
//!             for each tile of MR weight rows:
//!                 for each step:                                     MR x NR accumulators in registers
//!                     acc += w[step] * x[step]
//!                 fold(acc)                                          the first steps of each sum, while it is in a register
//!             out = sum_folded                                       LANES outputs at a time
//! ```
//!
//! **The order of each sum depends on k and the ISA alone**: not on the tile that an output happens to lie in, the number of rows, or
//! the thread. That is what makes prefill, decode and batches bit-identical (kernels.md section 0). Each output has one accumulator that
//! goes over all of k: a single row advances once in the 4 to 6 cycles of a multiply-add, a few side by side faster than memory delivers, and
//! a tile has no accumulators to put away and no second pass over its cache lines.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ops::Range;

use crate::block::Element;
use crate::generic::load_tail;
use crate::vector::{MAX_FOLD, MAX_LANES, Vector};
use crate::view::MatMut;

/// The most weight rows in a panel: as many as make packing the activations cheap beside multiplying them.
const PANEL_ROWS: usize = 192;

/// Up to this many rows of activations, reading the weights takes longer than multiplying them: panels are small, so that each is in a cache
/// close by when its second tile of activations comes.
const FEW_ROWS: usize = 16;

/// Activation rows from which on widening a panel first costs less than widening in each tile.
const MIN_ROWS_TO_WIDEN: usize = 8;

/// Steps of a single row's sum between two looks at its end. With one the speed hung on where the compiler happened to put the loop.
const UNROLLED: usize = 4;

/// Streams of weights that a single row of activations reads side by side. Measured, see `ARCHITECTURE.md`.
const STREAMS: usize = 4;

/// Bytes of a cache line.
const LINE: usize = 64;

/// f32 of scratch that a product can use: a tile of activation rows up to 87,381 wide, and where weights are widened, decoded or unpacked,
/// panels of them. With less, panels are smaller, or activations are not packed; the bits are the same. Best aligned to a cache line.
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
    /// Whether a single row of activations reads the weights as one stream and not as [`STREAMS`].
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
    const AHEAD: usize = 1024;
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

/// `out = x · wᵀ` with tiles of `MR` weight rows by `NR` activation rows.
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
    let tile_len = packed_len::<D, NR>(k);
    // SAFETY: the rows named exist; the features are the caller's.
    unsafe {
        if m == 1 || scratch.len() < tile_len {
            return each_row::<D>(w.as_ptr(), x, k, 0..n, &mut out);
        }
        let (packed, widened) = scratch.split_at_mut(tile_len);
        let widens = D::WIDENS && m >= MIN_ROWS_TO_WIDEN && widened.len() / k >= MR;
        let rows = panel_rows::<D::Acc>(m, MR);
        let rows = if widens { rows.min(widened.len() / k) } else { rows };
        let mut start = 0;
        while start < n {
            let range = start..n.min(start + rows);
            let panel = w.as_ptr().add(start * k);
            if widens {
                let len = range.len() * k;
                widen::<D>(panel, &mut widened[..len]);
                // `Widened` takes f32 weights where WIDENS is set.
                rows_of_panel::<D::Widened, MR, NR>(widened.as_ptr().cast(), x, k, range, &mut out, packed);
            } else {
                rows_of_panel::<D, MR, NR>(panel, x, k, range, &mut out, packed);
            }
            start += rows;
        }
    }
}

/// Weight rows in a panel for `m` rows of activations and tiles of `mr` weight rows.
pub(super) fn panel_rows<V: Vector>(m: usize, mr: usize) -> usize {
    if m <= FEW_ROWS { group_rows::<V>(mr) } else { PANEL_ROWS }
}

/// Every activation row by itself against the weight rows `range`, which lie at `w`.
///
/// # Safety
/// - `w` points at `range.len()` rows of `k` elements; out: (m, n) where x is (m, k) and range.end <= n.
/// - The CPU has the features that `D` needs.
#[inline(always)]
pub(super) unsafe fn each_row<D: Dot>(w: *const D::W, x: &[D::X], k: usize, range: Range<usize>, out: &mut MatMut<'_>) {
    for (t, x) in x.chunks_exact(k).enumerate() {
        let out = &mut out.row_mut(t)[range.clone()];
        let (x, stream) = (x.as_ptr(), if D::ONE_STREAM { 0 } else { out.len() / STREAMS });
        // SAFETY: the rows named exist, and so does x; the features are the caller's.
        unsafe {
            for r in 0..stream {
                let sums = dots::<D, STREAMS>(w.add(r * k), stream * k, x, k);
                for s in 0..STREAMS {
                    out[s * stream + r] = sums[s];
                }
            }
            for r in STREAMS * stream..out.len() {
                [out[r]] = dots::<D, 1>(w.add(r * k), 0, x, k);
            }
        }
    }
}

/// `S` outputs, whose weight rows lie `apart` elements from each other. w: (k,), `S` times; x: (k,)
///
/// # Safety
/// - `k` elements are readable at `w + s * apart` for each `s < S`, and at `x`.
/// - The CPU has the features that `D` needs.
#[inline(always)]
unsafe fn dots<D: Dot, const S: usize>(w: *const D::W, apart: usize, x: *const D::X, k: usize) -> [f32; S] {
    let mut sums = [0.0; S];
    // SAFETY: whole steps end at or before `k`, and the tail reads the k % STEP elements left.
    unsafe {
        let mut acc = [D::Acc::splat(0.0); S];
        let mut i = 0;
        while i + UNROLLED * D::STEP <= k {
            for s in 0..S {
                for line in 0..(UNROLLED * D::STEP * size_of::<D::W>()).div_ceil(LINE) {
                    D::Acc::prefetch(w.wrapping_add(s * apart + i).cast::<u8>().wrapping_add(D::AHEAD + line * LINE));
                }
            }
            for _ in 0..UNROLLED {
                let x = D::load_x(x.add(i));
                for s in 0..S {
                    acc[s] = D::mul_add(acc[s], D::load_w(w.add(s * apart + i)), x);
                }
                i += D::STEP;
            }
        }
        while i + D::STEP <= k {
            let x = D::load_x(x.add(i));
            for s in 0..S {
                D::Acc::prefetch(w.wrapping_add(s * apart + i).cast::<u8>().wrapping_add(D::AHEAD));
                acc[s] = D::mul_add(acc[s], D::load_w(w.add(s * apart + i)), x);
            }
            i += D::STEP;
        }
        if i < k {
            let x = D::load_x_tail(x.add(i), k - i);
            for s in 0..S {
                acc[s] = D::mul_add(acc[s], D::load_w_tail(w.add(s * apart + i), k - i), x);
            }
        }
        for s in 0..S {
            sums[s] = acc[s].reduce_add();
        }
    }
    sums
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

/// f32 that a packed tile of `NR` activation rows takes.
pub(super) const fn packed_len<D: Dot, const NR: usize>(k: usize) -> usize {
    (k.next_multiple_of(D::STEP) * NR * size_of::<D::X>()).div_ceil(size_of::<f32>())
}

/// Copies `NR` activation rows into the order of a tile's use: for each step the rows' elements side by side, the last step padded with
/// zeros. As they lie, rows whose length is a multiple of 4 KiB would compete for the same few lines of the first-level cache.
///
/// # Safety
/// - `NR` rows of `k` elements are readable at `x`, and [`packed_len`] f32 are writable at `packed`.
#[inline(always)]
unsafe fn pack<D: Dot, const NR: usize>(x: *const D::X, k: usize, packed: *mut D::X) {
    let mut to = packed;
    let mut at = 0;
    // SAFETY: whole steps end at or before k, the last one has k - at elements; the destination is as many steps of NR * STEP elements.
    unsafe {
        while at < k {
            for b in 0..NR {
                let from = x.add(b * k + at);
                if k - at >= D::STEP {
                    core::ptr::copy_nonoverlapping(from, to, D::STEP);
                } else {
                    for i in 0..D::STEP {
                        to.add(i).write(if i < k - at { from.add(i).read() } else { D::X::ZERO });
                    }
                }
                to = to.add(D::STEP);
            }
            at += D::STEP;
        }
    }
}

/// The accumulators of a group of weight rows against one tile of activation rows, folded: for each activation row, the group's.
struct Group<V>([MaybeUninit<V>; MAX_GROUP * MAX_NR]);

/// The most activation rows in a tile.
const MAX_NR: usize = 6;

/// The most weight rows in a group.
const MAX_GROUP: usize = 24;

/// Weight rows whose sums are reduced together: whole tiles, and whole vectors of outputs.
const fn group_rows<V: Vector>(mr: usize) -> usize {
    let mut rows = V::LANES;
    while !rows.is_multiple_of(mr) {
        rows += V::LANES;
    }
    rows
}

/// All activation rows against the weight rows `range`, which lie at `w`.
///
/// # Safety
/// - `w` points at `range.len()` rows of `k` elements; out: (m, n) where x is (m, k) and range.end <= n.
/// - The CPU has the features that `D` needs.
#[inline(always)]
pub(super) unsafe fn rows_of_panel<D: Dot, const MR: usize, const NR: usize>(
    w: *const D::W,
    x: &[D::X],
    k: usize,
    range: Range<usize>,
    out: &mut MatMut<'_>,
    packed: &mut [f32],
) {
    const { assert!(NR <= MAX_NR && group_rows::<D::Acc>(MR) <= MAX_GROUP && align_of::<D::X>() <= align_of::<f32>()) };
    const { assert!(MR.is_multiple_of(D::Acc::FOLD) && D::Acc::FOLD <= MAX_FOLD) };
    assert!(packed.len() >= packed_len::<D, NR>(k), "scratch of a tile");
    let (m, packed) = (out.rows(), packed.as_mut_ptr().cast::<D::X>());
    let mut t = 0;
    // SAFETY: the rows t.. of x that each call takes exist.
    unsafe {
        while m - t >= NR {
            tokens::<D, MR, NR>(w, x.as_ptr().add(t * k), k, range.clone(), t, out, packed);
            t += NR;
        }
        while m - t >= 2 {
            tokens::<D, MR, 2>(w, x.as_ptr().add(t * k), k, range.clone(), t, out, packed);
            t += 2;
        }
        if t < m {
            tokens::<D, MR, 1>(w, x.as_ptr().add(t * k), k, range, t, out, packed);
        }
    }
}

/// The activation rows `t..t + NR`, which lie at `x`, against the weight rows `range`, which lie at `w`.
///
/// # Safety
/// As [`rows_of_panel`]; `x` points at `NR` rows of `k` elements, and [`packed_len`] f32 are writable at `packed`.
#[inline(always)]
unsafe fn tokens<D: Dot, const MR: usize, const NR: usize>(
    w: *const D::W,
    x: *const D::X,
    k: usize,
    range: Range<usize>,
    t: usize,
    out: &mut MatMut<'_>,
    packed: *mut D::X,
) {
    let mut group = Group([MaybeUninit::uninit(); _]);
    let mut start = range.start;
    // SAFETY: tiles take rows of the range; each accumulator of the group's n rows is written before the sum reads it.
    unsafe {
        pack::<D, NR>(x, k, packed);
        while start < range.end {
            let w = w.add((start - range.start) * k);
            let n = group_rows::<D::Acc>(MR).min(range.end - start);
            let mut r = 0;
            while n - r >= MR {
                tile::<D, MR, NR>(w.add(r * k), packed, k, &mut group, r / D::Acc::FOLD);
                r += MR;
            }
            for b in 0..NR {
                sums(&group, b, &mut out.row_mut(t + b)[start..start + r]);
            }
            while r < n {
                tile::<D, 1, NR>(w.add(r * k), packed, k, &mut group, 0);
                for b in 0..NR {
                    sums(&group, b, &mut out.row_mut(t + b)[start + r..start + r + 1]);
                }
                r += 1;
            }
            start += n;
        }
    }
}

/// The accumulators of `MR` weight rows and `NR` activation rows, folded, from `at` on in the group.
///
/// # Safety
/// - `w` points at `MR` rows of `k` elements, `x` at what [`pack`] made of `NR` rows.
/// - The CPU has the features that `D` needs.
#[inline(always)]
unsafe fn tile<D: Dot, const MR: usize, const NR: usize>(
    w: *const D::W,
    x: *const D::X,
    k: usize,
    group: &mut Group<D::Acc>,
    at: usize,
) {
    // SAFETY: each load lies inside a row: whole steps end at or before `k`, and the tail reads the k % STEP elements left.
    unsafe {
        let mut acc = [[D::Acc::splat(0.0); MR]; NR];
        let (mut i, mut x) = (0, x);
        // The next tile's weights follow this one's. Asked for in their order, they are one stream, which this tile's MR rows are not.
        let next = w.wrapping_add(MR * k).cast::<u8>();
        while i + D::STEP <= k {
            for line in 0..(MR * D::STEP * size_of::<D::W>()).div_ceil(LINE) {
                D::Acc::prefetch(next.wrapping_add(i * MR * size_of::<D::W>() + line * LINE));
            }
            let mut wr = [D::load_w(w.add(i)); MR];
            for a in 1..MR {
                wr[a] = D::load_w(w.add(a * k + i));
            }
            for b in 0..NR {
                let xr = D::load_x(x.add(b * D::STEP));
                for a in 0..MR {
                    acc[b][a] = D::mul_add(acc[b][a], wr[a], xr);
                }
            }
            i += D::STEP;
            x = x.add(NR * D::STEP);
        }
        if i < k {
            for a in 0..MR {
                let wr = D::load_w_tail(w.add(a * k + i), k - i);
                for b in 0..NR {
                    acc[b][a] = D::mul_add(acc[b][a], wr, D::load_x(x.add(b * D::STEP)));
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
                group.0[b * MAX_GROUP + at + f].write(D::Acc::fold(rows));
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
unsafe fn sums<V: Vector>(group: &Group<V>, b: usize, out: &mut [f32]) {
    let (n, folded) = (out.len(), &group.0[b * MAX_GROUP..][..MAX_GROUP]);
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
