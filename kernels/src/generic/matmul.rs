//! The matrix product `out = x · wᵀ` in dot order, for one row of activations and for many.
//!
//! Not here: which rows of weights a thread owns (the engine's), epilogues. See `ARCHITECTURE.md` for what was tried and measured.
//!
//! ```text
//! one row of activations:
//!     for each weight row:
//!         for s, step in enumerate(steps of STEP elements along k, the last one padded with zeros):
//!             acc[s % CHAINS] += w[step] * x[step]                                           (lane by lane)
//!         out = reduce_add(acc[0] + acc[1])
//!
//! many rows, the same sums in another nesting:
//!     for each panel of weight rows (widened into scratch first, where the format needs that):
//!         for each tile of NR activation rows:
//!             for each block of k:                               the activations' part stays in the L1 cache
//!                 for each tile of MR weight rows:
//!                     for each chain:                            MR x NR accumulators in registers
//!                         acc[chain] += w[step] * x[step] for the chain's steps of the block
//!             out = reduce_add(acc[0] + acc[1])                  LANES outputs at a time
//! ```
//!
//! **The order of each sum depends on k and the ISA alone**: not on the tile that an output happens to lie in, the number of rows, or
//! the thread. That is what makes prefill, decode and batches bit-identical (kernels.md section 0). Two chains per output let a single
//! row run at the speed of memory: a chain advances once in the 4 cycles of a fused multiply-add, which for 16 bf16 weights would be 8
//! bytes a cycle. For many rows the chains are passes of their own, so that all registers go into the tile.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ops::Range;

use crate::block::Element;
use crate::generic::load_tail;
use crate::vector::{MAX_LANES, Vector};
use crate::view::MatMut;

/// Independent partial sums per output, taken in turn along k.
const CHAINS: usize = 2;

/// The most weight rows in a panel: what the accumulators kept on the stack are for.
pub(super) const PANEL_ROWS: usize = 32;

/// Bytes of an activation row that a block of k spans: NR of them fill half of a 48 KiB L1 cache.
const BLOCK_BYTES: usize = 4096;

/// Activation rows from which on widening a panel first costs less than widening in each tile.
const MIN_ROWS_TO_WIDEN: usize = 8;

/// How far ahead of a stream of weights the second-level cache is asked for more. A core's first-level cache waits for too few lines at a
/// time to keep memory busy: with this a single row runs 1.5 times as fast (see `ARCHITECTURE.md`).
const PREFETCH_BYTES: usize = 4096;

/// f32 of scratch that a product can use: a panel of rows 8,192 wide. With less, panels are smaller, or not widened; the bits are the same.
/// Best aligned to a cache line.
pub const MATMUL_SCRATCH: usize = PANEL_ROWS * 8192;

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
    /// The same sums with weights that were widened to f32 beforehand, where `WIDENS` says that this is worth while.
    type Widened: Dot<X = Self::X, Acc = Self::Acc>;
    /// Whether the product of many rows uses `Widened`, which then takes f32 weights.
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
    type Widened = Widen<V, f32>;
    // For f32 this is a copy, from where the file has it to whole cache lines.
    const WIDENS: bool = true;

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
    // SAFETY: the rows named exist; the features are the caller's.
    unsafe {
        if m == 1 {
            let out = out.row_mut(0);
            for r in 0..n {
                out[r] = dot::<D>(w.as_ptr().add(r * k), x.as_ptr(), k);
            }
            return;
        }
        let widened_rows = scratch.len() / k;
        let widens = D::WIDENS && m >= MIN_ROWS_TO_WIDEN && widened_rows >= MR;
        let rows = if widens { PANEL_ROWS.min(widened_rows) } else { PANEL_ROWS };
        let mut start = 0;
        while start < n {
            let range = start..n.min(start + rows);
            let panel = w.as_ptr().add(start * k);
            if widens {
                let len = range.len() * k;
                widen::<D>(panel, &mut scratch[..len]);
                // `Widened` takes f32 weights where WIDENS is set.
                rows_of_panel::<D::Widened, MR, NR>(scratch.as_ptr().cast(), x, k, range, &mut out);
            } else {
                rows_of_panel::<D, MR, NR>(panel, x, k, range, &mut out);
            }
            start += rows;
        }
    }
}

/// One output. w, x: (k,)
///
/// # Safety
/// - `k` elements are readable at both pointers.
/// - The CPU has the features that `D` needs.
#[inline(always)]
pub(super) unsafe fn dot<D: Dot>(w: *const D::W, x: *const D::X, k: usize) -> f32 {
    // SAFETY: whole steps end at or before `k`, and the tail reads the k % STEP elements left.
    unsafe {
        let mut acc = [D::Acc::splat(0.0); CHAINS];
        let paired = k - k % (CHAINS * D::STEP);
        let mut i = 0;
        while i < paired {
            prefetch::<D::Acc, D::W>(w.add(i), CHAINS * D::STEP);
            for c in 0..CHAINS {
                let at = i + c * D::STEP;
                acc[c] = D::mul_add(acc[c], D::load_w(w.add(at)), D::load_x(x.add(at)));
            }
            i += CHAINS * D::STEP;
        }
        // At most CHAINS - 1 whole steps and a padded one are left; they go on in turn.
        let mut c = 0;
        while i < k {
            let n = k - i;
            let (wr, xr) = if n >= D::STEP {
                (D::load_w(w.add(i)), D::load_x(x.add(i)))
            } else {
                (D::load_w_tail(w.add(i), n), D::load_x_tail(x.add(i), n))
            };
            acc[c] = D::mul_add(acc[c], wr, xr);
            c += 1;
            i += D::STEP;
        }
        acc[0].add(acc[1]).reduce_add()
    }
}

/// Asks for the lines that lie [`PREFETCH_BYTES`] ahead of the `n` elements at `p`, which are about to be read. They may lie beyond the end.
///
/// # Safety
/// The CPU has the features that `V` needs.
#[inline(always)]
unsafe fn prefetch<V: Vector, E>(p: *const E, n: usize) {
    const LINE: usize = 64;
    let mut at = 0;
    while at < n * size_of::<E>() {
        // SAFETY: the features are the caller's.
        unsafe { V::prefetch(p.cast::<u8>().wrapping_add(PREFETCH_BYTES + at)) };
        at += LINE;
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
            prefetch::<D::Acc, D::W>(w.add(i), lanes);
            D::W::load::<D::Acc>(w.add(i)).store(out.as_mut_ptr().add(i));
            i += lanes;
        }
        for i in whole..n {
            out[i] = w.add(i).read().to_f32();
        }
    }
}

/// The accumulators of a panel against one tile of activation rows: for each weight row, activation row and chain.
struct Partial<V>([MaybeUninit<V>; PANEL_ROWS * MAX_NR * CHAINS]);

/// The most activation rows in a tile.
const MAX_NR: usize = 6;

/// All activation rows against the weight rows `range`, which lie at `w`.
///
/// # Safety
/// - `w` points at `range.len() <= PANEL_ROWS` rows of `k` elements; out: (m, n) where x is (m, k) and range.end <= n.
/// - The CPU has the features that `D` needs.
#[inline(always)]
pub(super) unsafe fn rows_of_panel<D: Dot, const MR: usize, const NR: usize>(
    w: *const D::W,
    x: &[D::X],
    k: usize,
    range: Range<usize>,
    out: &mut MatMut<'_>,
) {
    const { assert!(NR <= MAX_NR && PANEL_ROWS.is_multiple_of(MAX_LANES)) };
    let m = out.rows();
    let mut t = 0;
    // SAFETY: the rows t.. of x that each call takes exist.
    unsafe {
        while m - t >= NR {
            tokens::<D, MR, NR>(w, x.as_ptr().add(t * k), k, range.clone(), t, out);
            t += NR;
        }
        while m - t >= 2 {
            tokens::<D, MR, 2>(w, x.as_ptr().add(t * k), k, range.clone(), t, out);
            t += 2;
        }
        if t < m {
            tokens::<D, MR, 1>(w, x.as_ptr().add(t * k), k, range, t, out);
        }
    }
}

/// The activation rows `t..t + NR`, which lie at `x`, against the weight rows `range`, which lie at `w`.
///
/// # Safety
/// As [`rows_of_panel`]; `x` points at `NR` rows of `k` elements.
#[inline(always)]
unsafe fn tokens<D: Dot, const MR: usize, const NR: usize>(
    w: *const D::W,
    x: *const D::X,
    k: usize,
    range: Range<usize>,
    t: usize,
    out: &mut MatMut<'_>,
) {
    let n = range.len();
    let mut partial = Partial([MaybeUninit::uninit(); _]);
    let block = (BLOCK_BYTES / size_of::<D::X>()).next_multiple_of(CHAINS * D::STEP);
    let mut start = 0;
    // SAFETY: tiles take rows below n; each accumulator is written by the first block before another block or the sum reads it.
    unsafe {
        while start < k {
            let steps = start..k.min(start + block);
            let mut r = 0;
            while n - r >= MR {
                for chain in 0..CHAINS {
                    tile::<D, MR, NR>(w.add(r * k), x, k, steps.clone(), chain, &mut partial, r);
                }
                r += MR;
            }
            while r < n {
                for chain in 0..CHAINS {
                    tile::<D, 1, NR>(w.add(r * k), x, k, steps.clone(), chain, &mut partial, r);
                }
                r += 1;
            }
            start += block;
        }
        for b in 0..NR {
            sums::<D::Acc, NR>(&partial, b, &mut out.row_mut(t + b)[range.clone()]);
        }
    }
}

/// Adds one chain's steps of a block of k to the accumulators of `MR` weight rows from `r` on and `NR` activation rows.
///
/// # Safety
/// - `w` points at `MR` rows and `x` at `NR` rows of `k` elements; `steps` lies in 0..k and starts at a multiple of CHAINS * STEP.
/// - Where `steps` does not start at 0, the accumulators were written.
/// - The CPU has the features that `D` needs.
#[inline(always)]
unsafe fn tile<D: Dot, const MR: usize, const NR: usize>(
    w: *const D::W,
    x: *const D::X,
    k: usize,
    steps: Range<usize>,
    chain: usize,
    partial: &mut Partial<D::Acc>,
    r: usize,
) {
    let at = |a: usize, b: usize| ((r + a) * NR + b) * CHAINS + chain;
    // SAFETY: each load lies inside a row: whole steps end at or before `k`, and the tail reads the k % STEP elements left.
    unsafe {
        let mut acc = [[D::Acc::splat(0.0); MR]; NR];
        if steps.start > 0 {
            for b in 0..NR {
                for a in 0..MR {
                    acc[b][a] = partial.0[at(a, b)].assume_init();
                }
            }
        }
        let mut i = steps.start + chain * D::STEP;
        while i + D::STEP <= steps.end {
            let mut wr = [D::load_w(w.add(i)); MR];
            for a in 1..MR {
                wr[a] = D::load_w(w.add(a * k + i));
            }
            for b in 0..NR {
                let xr = D::load_x(x.add(b * k + i));
                for a in 0..MR {
                    acc[b][a] = D::mul_add(acc[b][a], wr[a], xr);
                }
            }
            i += CHAINS * D::STEP;
        }
        if i < steps.end {
            let n = steps.end - i;
            for b in 0..NR {
                let xr = D::load_x_tail(x.add(b * k + i), n);
                for a in 0..MR {
                    acc[b][a] = D::mul_add(acc[b][a], D::load_w_tail(w.add(a * k + i), n), xr);
                }
            }
        }
        for b in 0..NR {
            for a in 0..MR {
                partial.0[at(a, b)].write(acc[b][a]);
            }
        }
    }
}

/// The sums of activation row `b` of a tile. out: one element for each weight row of the panel
///
/// # Safety
/// - The accumulators of out.len() rows were written.
/// - The CPU has the features that `V` needs.
#[inline(always)]
unsafe fn sums<V: Vector, const NR: usize>(partial: &Partial<V>, b: usize, out: &mut [f32]) {
    let n = out.len();
    let mut r = 0;
    // SAFETY: the accumulators of the rows below n were written; LANES outputs from `r` on exist; the features are the caller's.
    unsafe {
        while n - r >= V::LANES {
            let mut rows = [partial.chains::<NR>(r, b); MAX_LANES];
            for lane in 1..V::LANES {
                rows[lane] = partial.chains::<NR>(r + lane, b);
            }
            V::reduce_add_each(&rows).store(out.as_mut_ptr().add(r));
            r += V::LANES;
        }
        while r < n {
            out[r] = partial.chains::<NR>(r, b).reduce_add();
            r += 1;
        }
    }
}

impl<V: Vector> Partial<V> {
    /// The sum of the chains of weight row `r` and activation row `b`.
    ///
    /// # Safety
    /// - Both accumulators were written.
    /// - The CPU has the features that `V` needs.
    #[inline(always)]
    unsafe fn chains<const NR: usize>(&self, r: usize, b: usize) -> V {
        let at = (r * NR + b) * CHAINS;
        // SAFETY: the caller's contract.
        unsafe { self.0[at].assume_init().add(self.0[at + 1].assume_init()) }
    }
}
