//! Trying many scales on the same weights: what takes the time when weights are encoded.
//!
//! Lanes are candidates, so that no sum goes across lanes and the outcome has the same bits with vectors of any width. Products and sums are
//! rounded each by itself, never fused, for the same reason. Not here: which candidates there are, and what is made of the sums (`block/search.rs`).

use crate::vector::Vector;

/// Candidates that are tried side by side: the lanes of AVX2's vectors. More at a time were no faster (Zen 4), and tried what need not be.
pub(crate) const TRIED: usize = 8;
/// A number for each candidate.
pub(crate) type Tried = [f32; TRIED];

/// Candidates for w = d · q - m.
#[derive(Clone, Copy)]
pub(crate) struct Candidates<'a> {
    /// The scales d; they count for the error alone.
    pub(crate) d: &'a Tried,
    /// Their reciprocals; zero for zero.
    pub(crate) inverse: &'a Tried,
    pub(crate) m: &'a Tried,
    /// The least and the largest code, of magnitudes below 2^22.
    pub(crate) codes: (f32, f32),
}

/// What came of them, with q the nearest code of x + m, each weight counted as often as its importance says: Σq, Σq², Σx·q, and where it was asked
/// for Σ(x + m - d·q)².
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) q1: Tried,
    pub(crate) q2: Tried,
    pub(crate) xq: Tried,
    pub(crate) error: Tried,
}

/// Tries candidates on weights. x, importance: (n,)
///
/// # Safety
/// The CPU has the features that `V` needs.
#[inline(always)]
pub(crate) unsafe fn attempt<V: Vector, const WITH_ERROR: bool>(x: &[f32], importance: &[f32], tried: Candidates<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    // SAFETY: the features are the caller's; TRIED is a multiple of LANES, so that each load and store is within its array.
    unsafe {
        let (low, high) = (V::splat(tried.codes.0), V::splat(tried.codes.1));
        for c in (0..TRIED).step_by(V::LANES) {
            let (d, inverse, m) =
                (V::load(tried.d[c..].as_ptr()), V::load(tried.inverse[c..].as_ptr()), V::load(tried.m[c..].as_ptr()));
            let (mut q1, mut q2, mut xq, mut error) = (V::splat(0.0), V::splat(0.0), V::splat(0.0), V::splat(0.0));
            for i in 0..x.len() {
                let (x, importance) = (V::splat(x[i]), V::splat(importance[i]));
                let shifted = x.add(m);
                let q = shifted.mul(inverse).max(low).min(high).round();
                let counted = importance.mul(q);
                q1 = q1.add(counted);
                q2 = q2.add(counted.mul(q));
                xq = xq.add(x.mul(counted));
                if WITH_ERROR {
                    let rest = shifted.sub(d.mul(q));
                    error = error.add(importance.mul(rest).mul(rest));
                }
            }
            q1.store(outcome.q1[c..].as_mut_ptr());
            q2.store(outcome.q2[c..].as_mut_ptr());
            xq.store(outcome.xq[c..].as_mut_ptr());
            error.store(outcome.error[c..].as_mut_ptr());
        }
    }
    outcome
}

/// The first candidate of the least number; none of them is negative, and those that differ in the last three bits of f32 count as equal.
#[inline(always)]
pub(crate) fn least_of(x: &Tried) -> usize {
    let mut keys = [0; TRIED];
    for c in 0..TRIED {
        // Patterns of such numbers are in the order of the numbers.
        keys[c] = ((x[c].to_bits() & 0x7fff_fff8) | c as u32) as i32;
    }
    let mut n = TRIED;
    while n > 1 {
        n /= 2;
        for c in 0..n {
            keys[c] = keys[c].min(keys[c + n]);
        }
    }
    (keys[0] & 7) as usize
}
