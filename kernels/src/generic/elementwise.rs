//! Operations that take each element by itself: SwiGLU's gate, and the sum of two rows.
//!
//! Not here: anything that reduces (`rmsnorm.rs`, `attention/`, `matmul.rs`).

use crate::generic::exp::exp;
use crate::generic::{load_tail, store_tail};
use crate::vector::Vector;

/// The gated activation of a SwiGLU block (Shazeer, 2020, equation 5): `gate = silu(gate) · up`, silu(x) = x / (1 + e⁻ˣ).
///
/// gate, up: (n,)
///
/// # Safety
/// - The slices have the same length.
/// - The CPU has the features that `V` needs.
#[inline(always)]
pub(crate) unsafe fn swiglu<V: Vector>(gate: &mut [f32], up: &[f32]) {
    // SAFETY: the caller's contract is zip's; the closure's features are the caller's.
    unsafe { zip::<V, Swiglu>(gate, up) }
}

/// `x += y`. x, y: (n,)
///
/// # Safety
/// - The slices have the same length.
/// - The CPU has the features that `V` needs.
#[inline(always)]
pub(crate) unsafe fn add<V: Vector>(x: &mut [f32], y: &[f32]) {
    // SAFETY: the caller's contract is zip's.
    unsafe { zip::<V, Add>(x, y) }
}

/// A function of two lanes. A trait and not a closure, since a closure would not be inlined into the features of its caller.
trait Pair {
    /// # Safety
    /// The CPU has the features that `V` needs.
    unsafe fn apply<V: Vector>(x: V, y: V) -> V;
}

struct Swiglu;

impl Pair for Swiglu {
    #[inline(always)]
    unsafe fn apply<V: Vector>(gate: V, up: V) -> V {
        // SAFETY: the features are the caller's.
        unsafe {
            let e = exp(V::splat(0.0).sub(gate));
            gate.div(V::splat(1.0).add(e)).mul(up)
        }
    }
}

struct Add;

impl Pair for Add {
    #[inline(always)]
    unsafe fn apply<V: Vector>(x: V, y: V) -> V {
        // SAFETY: the features are the caller's.
        unsafe { x.add(y) }
    }
}

/// `x[i] = P(x[i], y[i])` for every i.
///
/// # Safety
/// - The slices have the same length.
/// - The CPU has the features that `V` needs.
#[inline(always)]
unsafe fn zip<V: Vector, P: Pair>(x: &mut [f32], y: &[f32]) {
    let n = x.len();
    let whole = n - n % V::LANES;
    // SAFETY: whole vectors end at or before `whole <= n`, the tail reads and writes the rest.
    unsafe {
        let (px, py) = (x.as_mut_ptr(), y.as_ptr());
        let mut i = 0;
        while i < whole {
            P::apply(V::load(px.add(i)), V::load(py.add(i))).store(px.add(i));
            i += V::LANES;
        }
        if whole < n {
            let tail = n - whole;
            let (a, b): (V, V) = (load_tail(px.add(i).cast_const(), tail), load_tail(py.add(i), tail));
            store_tail(P::apply(a, b), px.add(i), tail);
        }
    }
}
