//! Rotary position embedding (Su et al., 2021, section 3.2) of one head, in the half-split layout of Hugging Face checkpoints: element i
//! is rotated with element i + d/2.
//!
//! Not here: frequencies and their scaling (the engine's `rope.rs`), or the interleaved layout of other files, which is undone at load.

use crate::generic::{load_tail, store_tail};
use crate::vector::Vector;

/// Rotates `x` in place. x: (2·h,); cos, sin: (h,)
///
/// # Safety
/// - `x.len() == 2 * cos.len()` and `cos.len() == sin.len()`.
/// - The CPU has the features that `V` needs.
#[inline(always)]
pub(crate) unsafe fn rope<V: Vector>(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let h = cos.len();
    let whole = h - h % V::LANES;
    // SAFETY: both halves have h elements; whole vectors end at or before `whole <= h`, the tail takes the rest.
    unsafe {
        let (first, second) = (x.as_mut_ptr(), x.as_mut_ptr().add(h));
        let (pc, ps) = (cos.as_ptr(), sin.as_ptr());
        let mut i = 0;
        while i < whole {
            let (a, b, c, s) = (V::load(first.add(i)), V::load(second.add(i)), V::load(pc.add(i)), V::load(ps.add(i)));
            a.mul(c).sub(b.mul(s)).store(first.add(i));
            b.mul(c).add(a.mul(s)).store(second.add(i));
            i += V::LANES;
        }
        if whole < h {
            let n = h - whole;
            let (a, b): (V, V) = (load_tail(first.add(i).cast_const(), n), load_tail(second.add(i).cast_const(), n));
            let (c, s): (V, V) = (load_tail(pc.add(i), n), load_tail(ps.add(i), n));
            store_tail(a.mul(c).sub(b.mul(s)), first.add(i), n);
            store_tail(b.mul(c).add(a.mul(s)), second.add(i), n);
        }
    }
}
