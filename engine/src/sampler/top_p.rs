//! Top-p, or nucleus: the likeliest tokens that together reach the probability p (Holtzman et al., "The curious case of neural text
//! degeneration", 2020; the edge as in transformers).
//!
//! The definition: with the candidates in ascending order, those are removed whose running sum, themselves included, is at most
//! `1 - p`; the last is always kept. Among candidates of equal score the higher id comes first, so that the lower id stays,
//! as it does in greedy choice (transformers leaves the order of ties open).
//!
//! Not a sort of all candidates: weights are summed into buckets of nearly equal weight, the running sum goes over the buckets,
//! and only the one bucket in which it passes `1 - p` is sorted. Weights are whole numbers, so the sums are exact and
//! the result is that of the definition.

use super::candidates::{Candidate, Candidates};

/// Buckets per doubling of the weight, as a power of two: a bucket spans 1/64 of it.
const BUCKET_BITS: u32 = 6;

/// One bucket for the weight 0, and 64 for each of the doublings from 2^0 to 2^51, which is the highest weight.
const N_BUCKETS: usize = 1 + (51 << BUCKET_BITS) + 1;

/// 2^52: `2^52 + w`, with `w` in its low bits, less 2^52 is `w` as a floating-point number.
const TWO_52: f64 = 4_503_599_627_370_496.0;

/// The step, with its scratch memory.
#[derive(Clone, Debug)]
pub(super) struct TopP {
    p: f32,
    /// (N_BUCKETS,): sum of the weights in each bucket.
    sums: Vec<u64>,
    /// The candidates of the bucket that is cut.
    cut: Vec<Candidate>,
}

impl TopP {
    /// Keeps the probability `p`, in 0..=1; `None` where that keeps everything.
    pub(super) fn new(p: f32) -> Option<TopP> {
        (p < 1.0).then(|| TopP { p, sums: vec![0; N_BUCKETS], cut: Vec::new() })
    }

    /// Removes what lies outside the nucleus from `candidates`, which have weights and are at least one.
    pub(super) fn apply(&mut self, candidates: &mut Candidates) {
        self.sums.fill(0);
        for &weight in candidates.weights() {
            self.sums[bucket(weight)] += weight;
        }
        let total: u64 = self.sums.iter().sum();
        // Below the total, so that the running sum passes it at the latest with the likeliest.
        let budget = (((1.0 - f64::from(self.p)) * total as f64) as u64).min(total - 1);

        let mut sum = 0;
        let mut cut = 0;
        for (i, &bucket_sum) in self.sums.iter().enumerate() {
            cut = i;
            if sum + bucket_sum > budget {
                break;
            }
            sum += bucket_sum;
        }

        self.cut.clear();
        for (position, &weight) in candidates.weights().iter().enumerate() {
            if bucket(weight) == cut {
                self.cut.push(candidates.get(position));
            }
        }
        self.cut.sort_unstable_by(Candidate::order);
        for &candidate in &self.cut {
            sum += candidate.weight;
            if sum > budget {
                candidates.keep_from(candidate);
                return;
            }
        }
    }
}

/// The bucket of a weight: not descending in the weight, below [`N_BUCKETS`].
#[inline(always)]
fn bucket(weight: u64) -> usize {
    // A float's upper bits are its exponent and the head of its fraction: the number of the bucket, from that of 1.0 on.
    const FIRST: u64 = 1.0_f64.to_bits() >> (52 - BUCKET_BITS);
    let float = f64::from_bits(TWO_52.to_bits() | weight) - TWO_52;
    let upper = float.to_bits() >> (52 - BUCKET_BITS);
    (upper + 1).saturating_sub(FIRST) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing;
    use super::*;

    fn kept(scores: &[f32], temperature: f32, p: f32) -> Vec<u32> {
        let mut candidates = testing::weighed(scores, temperature);
        if let Some(mut top_p) = TopP::new(p) {
            top_p.apply(&mut candidates);
        }
        candidates.tokens().to_vec()
    }

    /// The definition in f64, with `1 - p` moved by `slack`.
    fn naive(scores: &[f32], temperature: f32, p: f32, slack: f64) -> Vec<u32> {
        let probabilities = testing::softmax(scores, temperature);
        let mut order: Vec<usize> = (0..scores.len()).filter(|&i| scores[i] > f32::NEG_INFINITY).collect();
        order.sort_by(|&a, &b| scores[a].partial_cmp(&scores[b]).unwrap().then(b.cmp(&a)));
        let last = order[order.len() - 1];
        let mut sum = 0.0;
        order.retain(|&i| {
            sum += probabilities[i];
            sum > 1.0 - f64::from(p) + slack || i == last
        });
        order.sort_unstable();
        order.into_iter().map(|i| i as u32).collect()
    }

    #[test]
    fn the_edge_belongs_to_the_removed() {
        // Four equal tokens, p = 1/2: the running sums 1/4 and 2/4 are at most 1/2, so two go, and the lower ids stay.
        assert_eq!(kept(&[3.0; 4], 1.0, 0.5), [0, 1]);
        assert_eq!(kept(&[3.0; 4], 1.0, 0.500_001), [0, 1, 2]);
        assert_eq!(kept(&[3.0; 4], 1.0, 0.499_999), [0, 1]);
        assert_eq!(kept(&[3.0; 4], 1.0, 0.25), [0]);
        assert_eq!(kept(&[3.0; 4], 1.0, 1.0), [0, 1, 2, 3]);
    }

    #[test]
    fn the_edge_may_fall_between_two_buckets() {
        // Probabilities 1/4, 1/2, 1/4: the two quarters sum to exactly 1 - p.
        let mut candidates = Candidates::default();
        candidates.gather(&[0.5, 1.0, 0.5], f32::NEG_INFINITY);
        candidates.weigh(f64::from);
        TopP::new(0.5).unwrap().apply(&mut candidates);
        assert_eq!(candidates.tokens(), [1]);
    }

    #[test]
    fn one_is_always_kept() {
        for p in [0.0, 1e-45, 1e-9] {
            assert_eq!(kept(&[1.0, 5.0, 5.0, f32::NEG_INFINITY], 1.0, p), [1]);
            assert_eq!(kept(&[-7.0], 1.0, p), [0]);
            // So hot that every weight is the same: the highest score still is the likeliest.
            assert_eq!(kept(&[1.0, 2.0, 5.0, 2.0], f32::MAX, p), [2]);
        }
    }

    #[test]
    fn buckets_ascend() {
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(1), 1);
        assert_eq!(bucket(1 << 51), N_BUCKETS - 1);
        let mut last = 0;
        for shift in 0..51 {
            for head in 64_u64..128 {
                let found = bucket((head << shift) >> 6);
                assert!(found >= last);
                last = found;
            }
        }
    }

    proptest! {
        #![proptest_config(testing::cases(4_000))]

        #[test]
        fn equals_the_definition(
            scores in testing::scores_with_a_choice(300),
            temperature in testing::temperature(),
            p in prop_oneof![Just(0.0_f32), Just(0.5_f32), Just(0.9_f32), Just(0.95_f32), 0.0..1.0_f32],
        ) {
            let found = kept(&scores, temperature, p);
            // Where a running sum meets 1 - p to the last digits, either answer is right to f64; elsewhere the two bounds are one.
            let fewest = naive(&scores, temperature, p, 1e-12);
            let most = naive(&scores, temperature, p, -1e-12);
            prop_assert!(fewest.iter().all(|t| found.contains(t)), "{found:?} lacks some of {fewest:?}");
            // A weight rounded to 0 is removed where the definition in f64 may still see a trace of it.
            let unexpected: Vec<_> = found.iter().filter(|t| !most.contains(t)).collect();
            prop_assert!(unexpected.is_empty(), "{unexpected:?} not in {most:?}");
        }
    }
}
