//! How the sums of chunks are added up, in the order of their positions.
//!
//! Not here: the sums of one chunk (`mod.rs`).

use super::Sums;
use crate::generic::exp::exp2;
use crate::vector::Vector;

/// Adds the sums of a later chunk, a buffer of [`Sums::new`], to those of the chunks before it.
///
/// # Safety
/// - The buffer is of as many rows and columns, a multiple of [`GROUP`](crate::kv::GROUP).
/// - The CPU has the features that `V` needs.
#[inline(always)]
pub(crate) unsafe fn merge<V: Vector>(chunk: &[f32], running: &mut Sums<'_>) {
    let n_rows = running.max.len();
    let width = running.acc.len() / n_rows.max(1);
    let (acc, max, sum) = Sums::parts(chunk, width, n_rows);
    for row in 0..n_rows {
        // The largest weight of a row that saw something is 1, and a NaN is not 0.
        if sum[row] == 0.0 {
            continue;
        }
        let (old, max) = (running.max[row], max[row]);
        let new = if old > max { old } else { max };
        // SAFETY: rows of `width` elements exist in both; the features are the caller's.
        unsafe {
            // The first chunk has nothing to keep, and the difference of two infinities is NaN.
            let keep = if old == f32::NEG_INFINITY { 0.0 } else { exp2(V::splat(old - new)).reduce_max() };
            let take = exp2(V::splat(max - new)).reduce_max();
            running.max[row] = new;
            running.sum[row] = running.sum[row] * keep + sum[row] * take;
            let (keep, take) = (V::splat(keep), V::splat(take));
            let from = acc.as_ptr().add(row * width);
            let to = running.acc.as_mut_ptr().add(row * width);
            let mut c = 0;
            while c < width {
                let kept = V::load(to.add(c)).mul(keep);
                V::load(from.add(c)).mul_add(take, kept).store(to.add(c));
                c += V::LANES;
            }
        }
    }
}
