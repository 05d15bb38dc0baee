//! `exp` on vectors, for SiLU, and 2 to a power, for softmax.
//!
//! Not here: infinities. The argument is clamped to where the result is a normal f32, so exp(-inf) is about 1.6e-38 and not 0; the
//! callers' sums cannot tell the difference. NaN stays NaN, so that a broken weight is seen in the logits.
//!
//! exp(x) = 2^n · e^r with n = round(x / ln 2) and r = x - n · ln 2 in [-0.347, 0.347], where e^r is the Taylor polynomial of degree 7
//! (remainder r⁸/8! < 5.2e-9, relative). The subtraction takes ln 2 in two parts (Cody and Waite, 1980), so that r is exact to an ulp.
//! Relative error: at most 3 · 2⁻²⁴, tested over the whole range against the f64 value (`tests/properties.rs`).
//!
//! 2^x for x <= 0 needs no parts: x - round(x) is exact, and on [-0.5, 0.5] a polynomial of degree 5 is off by 1.5 · 2⁻²⁴, its rounding
//! counted by 3 · 2⁻²⁴, or 4 without fused multiply-add (tested below). 2^0 is exactly 1. Arguments below -126 count as -126: beside the
//! 1 of the largest score, nothing.

use crate::vector::Vector;

/// The largest and the smallest argument that are not clamped.
const RANGE: (f32, f32) = (-87.0, 88.0);

/// `ln 2` as a number of few bits, so that its product with n is exact, and what that lacks.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// 1/7!, 1/6!, ... 1/2!
const COEFFICIENTS: [f32; 6] = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5];

/// Coefficients of r⁵, r⁴, ... r, made to keep the largest relative error of 1 + r · p(r) small.
#[allow(clippy::approx_constant, reason = "the last is near ln 2 and not it: Taylor's polynomial is not this one")]
const EXP2_COEFFICIENTS: [f32; 5] = [1.326_472_7e-3, 9.671_513e-3, 5.550_733_6e-2, 2.402_224_2e-1, 6.931_47e-1];

/// 2 to the power of each lane, none of which is above 0.
///
/// # Safety
/// The CPU has the features that `V` needs.
#[inline(always)]
pub(crate) unsafe fn exp2<V: Vector>(x: V) -> V {
    // SAFETY: the features are the caller's; n is an integer in -126..=0 because of the clamp.
    unsafe {
        // In this order the second operand is x, which max returns where it is NaN.
        let x = V::splat(-126.0).max(x);
        let n = x.round();
        let r = x.sub(n);
        let mut p = V::splat(EXP2_COEFFICIENTS[0]);
        for c in &EXP2_COEFFICIENTS[1..] {
            p = p.mul_add(r, V::splat(*c));
        }
        p.mul_add(r, V::splat(1.0)).scale_exp2(n)
    }
}

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
        p.scale_exp2(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::portable::Wide;

    /// The error that the top of this file states, on the rung without fused multiply-adds.
    #[test]
    fn powers_of_two_are_within_four_roundings() {
        let exp2 = |x: f32| {
            // SAFETY: the portable vector needs no CPU feature.
            unsafe { exp2(Wide::splat(x)).reduce_max() }
        };
        let mut x = 0.0f32;
        while x > -126.0 {
            let want = libm::exp2(f64::from(x));
            let error = (f64::from(exp2(x)) / want - 1.0).abs() * f64::from(1u32 << 24);
            assert!(error <= 4.0, "2^{x} is off by {error} · 2⁻²⁴");
            // Steps that hit no pattern of bits, small ones near 0.
            x -= 1.7e-5 + x.abs() * 1.3e-5;
        }
        assert_eq!((exp2(0.0), exp2(-1.0), exp2(-126.0)), (1.0, 0.5, f32::MIN_POSITIVE));
        assert_eq!((exp2(-1e9), exp2(f32::NEG_INFINITY)), (f32::MIN_POSITIVE, f32::MIN_POSITIVE));
        assert!(exp2(f32::NAN).is_nan());
    }
}
