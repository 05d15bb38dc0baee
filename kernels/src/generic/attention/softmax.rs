//! The softmax of a row's scores over one chunk: weights, their sum, and the largest score.
//!
//! Not here: how chunks are added up (`merge.rs`), the exponential (`../exp.rs`).

use super::{Multiply, Work};
use crate::generic::exp::exp2;
use crate::kv::KV_PAGE_LEN;
use crate::vector::Vector;

impl<M: Multiply> Work<'_, M> {
    /// Turns a row's scores into weights, in place: zero where it sees nothing, in all vectors that hold something that it sees. Returns
    /// the maximum and the sum.
    ///
    /// # Safety
    /// As [`attend`](super::attend); the row's scores were written.
    #[inline(always)]
    pub(super) unsafe fn softmax(&self, row: usize) -> (f32, f32) {
        let (start, end) = self.visible(row);
        if start >= end {
            return (f32::NEG_INFINITY, 0.0);
        }
        let lanes = M::V::LANES;
        let (first, last) = (start / lanes * lanes, (end - 1) / lanes * lanes);
        // SAFETY: vectors `first..=last` lie in the row; an operand is no larger than an f32, so that none is written before the scores
        // in its place are read.
        unsafe {
            let scores = self.scores.add(row * KV_PAGE_LEN);
            let lowest = M::V::splat(f32::NEG_INFINITY);
            let mut max = [lowest; 4];
            let mut i = first;
            // A NaN is passed over here, and comes back with the weights.
            while i + 4 * lanes <= last {
                for c in 0..4 {
                    let x = M::V::load(scores.add(i + c * lanes));
                    max[c] = (if i + c * lanes < start { x.keep(start - i, lanes, lowest) } else { x }).max(max[c]);
                }
                i += 4 * lanes;
            }
            while i <= last {
                let x = M::V::load(scores.add(i));
                max[0] = x.keep(start.saturating_sub(i), (end - i).min(lanes), lowest).max(max[0]);
                i += lanes;
            }
            let max = max[0].max(max[1]).max(max[2].max(max[3])).reduce_max();
            let (highest, none) = (M::V::splat(max), M::V::splat(0.0));
            let weights = scores.cast::<M::Operand>();
            let mut sum = none;
            i = first;
            while i <= last {
                let mut p = exp2(M::V::load(scores.add(i)).sub(highest));
                if i < start || end < i + lanes {
                    p = p.keep(start.saturating_sub(i), (end - i).min(lanes), none);
                }
                if M::SCALED {
                    let scale = M::V::load(self.scales(true).add(i));
                    sum = sum.add(p);
                    M::store(p.mul(scale), weights.add(i));
                } else {
                    sum = sum.add(M::store(p, weights.add(i)));
                }
                i += lanes;
            }
            (max, sum.reduce_add())
        }
    }
}
