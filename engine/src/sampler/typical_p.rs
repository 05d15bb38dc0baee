//! Typical-p: the tokens whose information is closest to what is expected, as many as together reach a probability (Meister et al.,
//! "Locally typical sampling", 2023; the edge and the ties as in transformers).
//!
//! The definition: with H the entropy, the candidates in ascending order of `|-ln p - H|`; those are kept that come no later than the
//! first at which the running sum of p reaches the mass, and all that are as far from H as that one.
//!
//! Not a sort: the place is found by halving, each time summing the weights of one half. Weights are whole numbers, so the sums are
//! exact; H and the distances are f64 in the order of the ids.

use super::candidates::Candidates;

/// The step, with its scratch memory.
#[derive(Clone, Debug)]
pub(super) struct TypicalP {
    mass: f32,
    /// Distance from the entropy, as bits that sort as the number does, and weight.
    distances: Vec<(u64, u64)>,
}

impl TypicalP {
    /// Keeps the probability `mass`, in 0..=1; `None` where that keeps everything.
    pub(super) fn new(mass: f32) -> Option<TypicalP> {
        (mass < 1.0).then(|| TypicalP { mass, distances: Vec::new() })
    }

    /// Removes what is not typical from `candidates`, which have weights and are at least one.
    pub(super) fn apply(&mut self, candidates: &mut Candidates) {
        let total = candidates.total();
        let log_total = libm::log(total as f64 / candidates.one() as f64);
        // -ln p of each, from its score: a weight of 0 has no logarithm.
        let surprise = |position: usize| log_total - candidates.log_weight(position);
        let entropy: f64 = candidates
            .probabilities()
            .enumerate()
            .map(|(position, (_, p))| if p > 0.0 { p * surprise(position) } else { 0.0 })
            .sum();
        let distance = |position: usize| (surprise(position) - entropy).abs().to_bits();
        self.distances.clear();
        self.distances.extend(candidates.weights().iter().enumerate().map(|(position, &weight)| (distance(position), weight)));
        let needed = ((f64::from(self.mass) * total as f64).ceil() as u64).clamp(1, total);
        let farthest = farthest(&mut self.distances, needed);
        let kept: Vec<bool> = (0..candidates.len()).map(|position| distance(position) <= farthest).collect();
        candidates.keep_positions(&kept);
    }
}

/// The lowest distance such that the weights up to it sum to `needed`, which is more than 0 and at most their total.
fn farthest(mut distances: &mut [(u64, u64)], mut needed: u64) -> u64 {
    while distances.len() > 1 {
        let middle = distances.len() / 2;
        distances.select_nth_unstable(middle);
        let (near, far) = distances.split_at_mut(middle);
        let sum: u64 = near.iter().map(|(_, weight)| weight).sum();
        if sum >= needed {
            distances = near;
        } else {
            needed -= sum;
            distances = far;
        }
    }
    distances.first().map_or(u64::MAX, |&(distance, _)| distance)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing;
    use super::*;

    fn kept(scores: &[f32], temperature: f32, mass: f32) -> Vec<u32> {
        let mut candidates = testing::weighed(scores, temperature);
        if let Some(mut typical) = TypicalP::new(mass) {
            typical.apply(&mut candidates);
        }
        candidates.tokens().to_vec()
    }

    #[test]
    fn the_likeliest_may_go_and_one_always_stays() {
        // Probabilities 0.55, 3 x 0.15: entropy 1.18; the middling are closer to it than the likeliest.
        let scores: Vec<f32> = [0.55_f32, 0.15, 0.15, 0.15].iter().map(|p| p.ln()).collect();
        assert_eq!(kept(&scores, 1.0, 0.2), [0]);
        let scores: Vec<f32> = [0.85_f32, 0.05, 0.05, 0.05].iter().map(|p| p.ln()).collect();
        assert_eq!(kept(&scores, 1.0, 0.9), [0, 1, 2, 3]);
        let scores: Vec<f32> = [0.4_f32, 0.3, 0.3].iter().map(|p| p.ln()).collect();
        assert_eq!(kept(&scores, 1.0, 0.2), [1, 2]);
        assert_eq!(kept(&[1.0; 5], 1.0, 0.0), [0, 1, 2, 3, 4]);
        assert_eq!(kept(&[1.0, f32::NEG_INFINITY], 1.0, 0.0), [0]);
    }

    proptest! {
        #![proptest_config(testing::cases(3_000))]

        #[test]
        fn equals_the_definition(
            scores in testing::scores_with_a_choice(120),
            temperature in 0.05..3.0_f32,
            mass in prop_oneof![Just(0.2_f32), Just(0.95_f32), 0.0..1.0_f32],
        ) {
            let probabilities = testing::softmax(&scores, temperature);
            let entropy: f64 = probabilities.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
            let mut order: Vec<(f64, f64, u32)> = (0..scores.len())
                .filter(|&i| probabilities[i] > 1e-13)
                .map(|i| ((-probabilities[i].ln() - entropy).abs(), probabilities[i], i as u32))
                .collect();
            order.sort_by(|a, b| a.partial_cmp(b).unwrap());
            // The last distance that is kept, if the sum were a little more or less.
            let edge = |slack: f64| {
                let mut sum = 0.0;
                let at = order.iter().position(|(_, p, _)| { sum += p; sum >= f64::from(mass) + slack });
                order[at.unwrap_or(order.len() - 1)].0
            };
            let (near, far) = (edge(-1e-9) - 1e-9, edge(1e-9) + 1e-9);
            let found = kept(&scores, temperature, mass);
            for &(distance, _, token) in &order {
                prop_assert!(distance > near || found.contains(&token), "lacks {token}");
                prop_assert!(distance <= far || !found.contains(&token), "has {token}");
            }
            prop_assert!(!found.is_empty());
        }
    }
}
