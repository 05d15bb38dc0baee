//! Root mean square normalisation (Zhang and Sennrich, 2019, equation 4): `out = w · x / √(mean(x²) + eps)`, all in f32.
//!
//! Not here: Gemma's `1 + w`, or layer norm with a mean.

use crate::generic::{load_tail, store_tail};
use crate::vector::Vector;

/// x, w, out: (n,)
///
/// # Safety
/// - The three slices have the same length, not 0.
/// - The CPU has the features that `V` needs.
#[inline(always)]
pub(crate) unsafe fn rmsnorm<V: Vector>(x: &[f32], w: &[f32], eps: f32, out: &mut [f32]) {
    let n = x.len();
    let (whole, tail) = (n - n % V::LANES, n % V::LANES);
    // SAFETY: whole vectors end at or before `whole <= n`, tails read and write the `tail` elements left.
    unsafe {
        let (px, pw, po) = (x.as_ptr(), w.as_ptr(), out.as_mut_ptr());
        let mut squares = V::splat(0.0);
        let mut i = 0;
        while i < whole {
            let v = V::load(px.add(i));
            squares = v.mul_add(v, squares);
            i += V::LANES;
        }
        if tail > 0 {
            let v = load_tail::<V, f32>(px.add(whole), tail);
            squares = v.mul_add(v, squares);
        }
        let scale = 1.0 / (squares.reduce_add() / n as f32 + eps).sqrt();
        let s = V::splat(scale);
        i = 0;
        while i < whole {
            V::load(px.add(i)).mul(s).mul(V::load(pw.add(i))).store(po.add(i));
            i += V::LANES;
        }
        if tail > 0 {
            let y = load_tail::<V, f32>(px.add(whole), tail).mul(s).mul(load_tail(pw.add(whole), tail));
            store_tail(y, po.add(whole), tail);
        }
    }
}
