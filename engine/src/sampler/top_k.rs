//! Top-k: the k highest scores and every score that equals the k-th (Fan et al., "Hierarchical neural story generation", 2018; ties as
//! in transformers, which removes what is *below* the k-th).
//!
//! Not a sort: one pass with a pool of at most 2k scores. A score enters only if it beats the k-th best so far, which after the
//! first few hundred of a vocabulary is rare.

use super::scores::CHUNK;

/// The step, with its scratch memory.
#[derive(Clone, Debug)]
pub(super) struct TopK {
    k: usize,
    pool: Vec<f32>,
}

impl TopK {
    /// Keeps `k`; `None` where that keeps everything: 0, or at least the `n_tokens` there are.
    pub(super) fn new(k: usize, n_tokens: usize) -> Option<TopK> {
        (1..n_tokens).contains(&k).then(|| TopK { k, pool: Vec::with_capacity(2 * k) })
    }

    /// The k-th highest of `scores`, (n_tokens,); negative infinity where fewer than k are above it.
    pub(super) fn floor(&mut self, scores: &[f32]) -> f32 {
        let k = self.k;
        self.pool.clear();
        // Every score above `floor` matters; once the pool has held k, a further one equal to `floor` changes nothing.
        let mut floor = f32::NEG_INFINITY;
        for chunk in scores.chunks(CHUNK) {
            if !chunk.iter().fold(false, |any, &x| any | (x > floor)) {
                continue;
            }
            for &score in chunk {
                if score > floor {
                    self.pool.push(score);
                    if self.pool.len() == 2 * k {
                        floor = self.shrink();
                    }
                }
            }
        }
        if self.pool.len() < k { f32::NEG_INFINITY } else { self.shrink() }
    }

    /// Leaves the k highest of the pool, which holds at least k, and returns the lowest of them.
    fn shrink(&mut self) -> f32 {
        let (_, &mut kth, _) = self.pool.select_nth_unstable_by(self.k - 1, |a, b| b.total_cmp(a));
        self.pool.truncate(self.k);
        kth
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing;
    use super::*;

    #[test]
    fn is_off_where_it_would_keep_everything() {
        assert!(TopK::new(0, 10).is_none());
        assert!(TopK::new(10, 10).is_none());
        assert!(TopK::new(usize::MAX, 10).is_none());
        assert!(TopK::new(1, 1).is_none());
        assert!(TopK::new(9, 10).is_some());
    }

    proptest! {
        #![proptest_config(testing::cases(4_000))]

        #[test]
        fn finds_the_kth_highest(scores in testing::scores(300), k in 1..300_usize) {
            let mut sorted = scores.clone();
            sorted.sort_by(|a, b| b.partial_cmp(a).unwrap());
            if let Some(mut top_k) = TopK::new(k, scores.len()) {
                prop_assert_eq!(top_k.floor(&scores), sorted[k - 1]);
                // The scratch memory of one row does not leak into the next.
                prop_assert_eq!(top_k.floor(&scores), sorted[k - 1]);
            } else {
                prop_assert!(k >= scores.len());
            }
        }
    }
}
