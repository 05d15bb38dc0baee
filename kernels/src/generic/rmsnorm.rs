//! Root mean square normalisation (Zhang and Sennrich, 2019, equation 4): `x = w · x / √(mean(x²) + eps)`, all in f32, in place.
//!
//! Not here: Gemma's `1 + w`, or layer norm with a mean.

use crate::generic::{load_tail, store_tail};
use crate::vector::Vector;

/// x, w: (n,)
///
/// # Safety
/// - Both slices have the same length, not 0.
/// - The CPU has the features that `V` needs.
#[inline(always)]
pub(crate) unsafe fn rmsnorm<V: Vector>(x: &mut [f32], w: &[f32], eps: f32) {
    let n = x.len();
    let (whole, tail) = (n - n % V::LANES, n % V::LANES);
    // SAFETY: whole vectors end at or before `whole <= n`, tails read and write the `tail` elements left.
    unsafe {
        let (px, pw) = (x.as_mut_ptr(), w.as_ptr());
        let mut squares = V::splat(0.0);
        let mut i = 0;
        while i < whole {
            let v = V::load(px.add(i));
            squares = v.mul_add(v, squares);
            i += V::LANES;
        }
        if tail > 0 {
            let v = load_tail::<V, f32>(px.add(whole).cast_const(), tail);
            squares = v.mul_add(v, squares);
        }
        let scale = 1.0 / (squares.reduce_add() / n as f32 + eps).sqrt();
        let s = V::splat(scale);
        i = 0;
        while i < whole {
            V::load(px.add(i)).mul(s).mul(V::load(pw.add(i))).store(px.add(i));
            i += V::LANES;
        }
        if tail > 0 {
            let y = load_tail::<V, f32>(px.add(whole).cast_const(), tail).mul(s).mul(load_tail(pw.add(whole), tail));
            store_tail(y, px.add(whole), tail);
        }
    }
}
