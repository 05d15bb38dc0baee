//! Attention of some queries over one chunk of a KV head's positions, with the online softmax (Milakov and Gimelshein, 2018; Dao et al.,
//! 2022, algorithm 1).
//!
//! Not here: pages, heads and threads (the engine's). The queries of all heads that share a KV head come together, so that its keys and
//! values are read once.
//!
//! ```text
//! scores = q · kᵀ                                         (the matrix product, so in its order)
//! for each query row, over the positions that it sees:
//!     m = max(scores · scale);  p = exp(scores · scale - m);  l = Σ p;  o = Σ p · v      (positions in ascending order)
//!     merge (m, l, o) into the row's running (max, sum, acc)
//! ```
//!
//! A chunk's (m, l, o) depend on nothing outside the chunk, and chunks are merged in the order of their positions. So the result does not
//! depend on how many queries are worked on together, and chunks may be computed on different threads one day.

use crate::generic::exp::exp;
use crate::generic::load_tail;
use crate::generic::matmul::{Widen, matmul};
use crate::generic::store_tail;
use crate::vector::Vector;
use crate::view::MatMut;

/// Queries, keys and values of one call, and what each query row sees.
pub struct Chunk<'a> {
    /// Queries, not scaled. (rows, head_dim)
    pub q: &'a [f32],
    /// Keys. (n, head_dim)
    pub k: &'a [f32],
    /// Values. (n, head_dim)
    pub v: &'a [f32],
    /// The half-open range of positions of the chunk that each row sees; empty where it sees none. (rows,)
    pub visible: &'a [(usize, usize)],
    /// Factor of the scores, head_dim^-0.5.
    pub scale: f32,
    /// Elements of a query, a key and a value.
    pub head_dim: usize,
}

/// The running result of each query row; before the first chunk `max` is -inf and the rest zero.
pub struct Running<'a> {
    /// The largest scaled score so far. (rows,)
    pub max: &'a mut [f32],
    /// Σ exp(score - max) so far. (rows,)
    pub sum: &'a mut [f32],
    /// Σ exp(score - max) · v so far; divided by `sum` it is the attention's output. (rows, head_dim)
    pub acc: &'a mut [f32],
}

/// Merges one chunk into the running results. scores: (rows, n), scratch
///
/// # Safety
/// - The shapes are as documented on the fields; every `visible` range ends at or before n.
/// - The CPU has the features that `V` needs.
#[inline(always)]
pub(crate) unsafe fn attend<V: Vector, const MR: usize, const NR: usize>(
    chunk: &Chunk<'_>,
    scores: &mut [f32],
    running: &mut Running<'_>,
) {
    let d = chunk.head_dim;
    let n = chunk.k.len() / d;
    // Room to pack a tile of queries up to 256 wide.
    let mut packed = [0.0; 6 * 256];
    // SAFETY: k is (n, d), q (rows, d) and scores (rows, n); the features are the caller's.
    unsafe { matmul::<Widen<V, f32>, MR, NR>(chunk.k, chunk.q, d, MatMut::new(scores, n), &mut packed) };
    for (row, &(start, end)) in chunk.visible.iter().enumerate() {
        if start >= end {
            continue;
        }
        let p = &mut scores[row * n + start..row * n + end];
        // SAFETY: `v` holds n >= end rows of d elements, `acc` row `row`; the features are the caller's.
        unsafe {
            let max = scale_and_max::<V>(p, chunk.scale);
            let sum = exp_and_sum::<V>(p, max);
            let old = running.max[row];
            let new = if old > max { old } else { max };
            // exp does not reach 0 at -inf, and the first chunk has nothing to keep.
            let keep = if old == f32::NEG_INFINITY { 0.0 } else { exp(V::splat(old - new)).reduce_max() };
            let take = exp(V::splat(max - new)).reduce_max();
            running.max[row] = new;
            running.sum[row] = running.sum[row] * keep + sum * take;
            merge_values::<V>(p, &chunk.v[start * d..end * d], d, keep, take, &mut running.acc[row * d..][..d]);
        }
    }
}

/// `x *= scale`; returns the largest. x: (n,), n > 0
///
/// # Safety
/// The CPU has the features that `V` needs.
#[inline(always)]
unsafe fn scale_and_max<V: Vector>(x: &mut [f32], scale: f32) -> f32 {
    let n = x.len();
    let whole = n - n % V::LANES;
    let mut max = f32::NEG_INFINITY;
    // SAFETY: whole vectors end at or before `whole <= n`.
    unsafe {
        let p = x.as_mut_ptr();
        let mut lanes = V::splat(max);
        let mut i = 0;
        while i < whole {
            let v = V::load(p.add(i)).mul(V::splat(scale));
            v.store(p.add(i));
            lanes = v.max(lanes);
            i += V::LANES;
        }
        if whole > 0 {
            max = lanes.reduce_max();
        }
    }
    for v in &mut x[whole..] {
        *v *= scale;
        max = if *v > max { *v } else { max };
    }
    max
}

/// `x = exp(x - max)`; returns the sum. x: (n,)
///
/// # Safety
/// The CPU has the features that `V` needs.
#[inline(always)]
unsafe fn exp_and_sum<V: Vector>(x: &mut [f32], max: f32) -> f32 {
    let n = x.len();
    let whole = n - n % V::LANES;
    // SAFETY: whole vectors end at or before `whole <= n`, the tail reads and writes the rest.
    unsafe {
        let p = x.as_mut_ptr();
        let max = V::splat(max);
        let mut sum = V::splat(0.0);
        let mut i = 0;
        while i < whole {
            let e = exp(V::load(p.add(i)).sub(max));
            e.store(p.add(i));
            sum = sum.add(e);
            i += V::LANES;
        }
        if whole < n {
            let tail = n - whole;
            store_tail(exp(load_tail::<V, f32>(p.add(i).cast_const(), tail).sub(max)), p.add(i), tail);
            // Read back with zeros in the lanes that are not there.
            sum = sum.add(load_tail::<V, f32>(p.add(i).cast_const(), tail));
        }
        sum.reduce_add()
    }
}

/// `acc = acc · keep + take · Σ p[j] · v[j]`, positions in ascending order. p: (n,); v: (n, d); acc: (d,)
///
/// # Safety
/// - The shapes are as stated.
/// - The CPU has the features that `V` needs.
#[inline(always)]
unsafe fn merge_values<V: Vector>(p: &[f32], v: &[f32], d: usize, keep: f32, take: f32, acc: &mut [f32]) {
    let mut i = 0;
    // SAFETY: every block of columns ends at or before d, and rows 0..n of v and p exist.
    unsafe {
        while i + 4 * V::LANES <= d {
            merge_columns::<V, 4>(p, v.as_ptr().add(i), d, keep, take, acc.as_mut_ptr().add(i));
            i += 4 * V::LANES;
        }
        while i + V::LANES <= d {
            merge_columns::<V, 1>(p, v.as_ptr().add(i), d, keep, take, acc.as_mut_ptr().add(i));
            i += V::LANES;
        }
        if i < d {
            let tail = d - i;
            let mut sum = V::splat(0.0);
            for (j, &pj) in p.iter().enumerate() {
                sum = V::splat(pj).mul_add(load_tail(v.as_ptr().add(j * d + i), tail), sum);
            }
            let at = acc.as_mut_ptr().add(i);
            let old = load_tail::<V, f32>(at.cast_const(), tail);
            store_tail(sum.mul_add(V::splat(take), old.mul(V::splat(keep))), at, tail);
        }
    }
}

/// [`merge_values`] for `C` vectors of columns, held in registers over all positions.
///
/// # Safety
/// - `v` points at p.len() rows `d` apart and `acc` at one row, each with `C · LANES` elements.
/// - The CPU has the features that `V` needs.
#[inline(always)]
unsafe fn merge_columns<V: Vector, const C: usize>(p: &[f32], v: *const f32, d: usize, keep: f32, take: f32, acc: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut sum = [V::splat(0.0); C];
        for (j, &pj) in p.iter().enumerate() {
            let pj = V::splat(pj);
            for (c, s) in sum.iter_mut().enumerate() {
                *s = pj.mul_add(V::load(v.add(j * d + c * V::LANES)), *s);
            }
        }
        for (c, s) in sum.iter().enumerate() {
            let at = acc.add(c * V::LANES);
            s.mul_add(V::splat(take), V::load(at).mul(V::splat(keep))).store(at);
        }
    }
}
