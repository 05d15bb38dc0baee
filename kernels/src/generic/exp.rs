//! `exp` on vectors, for softmax and SiLU.
//!
//! Not here: infinities. The argument is clamped to where the result is a normal f32, so exp(-inf) is about 1.6e-38 and not 0; the
//! callers' sums cannot tell the difference. NaN stays NaN, so that a broken weight is seen in the logits.
//!
//! exp(x) = 2^n · e^r with n = round(x / ln 2) and r = x - n · ln 2 in [-0.347, 0.347], where e^r is the Taylor polynomial of degree 7
//! (remainder r⁸/8! < 5.2e-9, relative). The subtraction takes ln 2 in two parts (Cody and Waite, 1980), so that r is exact to an ulp.
//! Relative error: at most 3 · 2⁻²⁴, tested over the whole range against the f64 value (`tests/properties.rs`).

use crate::vector::Vector;

/// The largest and the smallest argument that are not clamped.
const RANGE: (f32, f32) = (-87.0, 88.0);

/// `ln 2` as a number of few bits, so that its product with n is exact, and what that lacks.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// 1/7!, 1/6!, ... 1/2!
const COEFFICIENTS: [f32; 6] = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5];

/// e to the power of each lane.
///
/// # Safety
/// The CPU has the features that `V` needs.
#[inline(always)]
pub(crate) unsafe fn exp<V: Vector>(x: V) -> V {
    // SAFETY: the features are the caller's; n is an integer in -126..=127 because of the clamp.
    unsafe {
        // In this order the second operand is x, which min and max return where it is NaN.
        let x = V::splat(RANGE.1).min(V::splat(RANGE.0).max(x));
        let n = x.mul(V::splat(core::f32::consts::LOG2_E)).round();
        let r = n.mul_add(V::splat(-LN_2_HIGH), x);
        let r = n.mul_add(V::splat(-LN_2_LOW), r);
        let mut p = V::splat(COEFFICIENTS[0]);
        for c in &COEFFICIENTS[1..] {
            p = p.mul_add(r, V::splat(*c));
        }
        // 1 + (r + r² p): the small terms are added first.
        let p = p.mul(r).mul_add(r, r).add(V::splat(1.0));
        p.mul(n.exp2_integer())
    }
}
