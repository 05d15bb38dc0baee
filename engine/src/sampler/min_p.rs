//! Min-p: tokens at least a given fraction as likely as the likeliest (Nguyen et al., "Turning up the heat: min-p sampling", 2024).
//!
//! Not a step that needs a sum: weights are already relative to the likeliest.

use super::candidates::Candidates;

/// Removes the candidates whose probability is below `min_p`, in 0..=1, times the highest. They have weights, and the likeliest is
/// among them.
pub(super) fn apply(candidates: &mut Candidates, min_p: f32) {
    // A factor is a power of two, so the product is exact. A whole number is below it if and only if it is below it rounded up.
    candidates.keep_weight((f64::from(min_p) * candidates.one() as f64).ceil() as u64);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing;
    use super::*;

    fn kept(scores: &[f32], temperature: f32, min_p: f32) -> Vec<u32> {
        let mut candidates = testing::weighed(scores, temperature);
        apply(&mut candidates, min_p);
        candidates.tokens().to_vec()
    }

    #[test]
    fn the_edge_belongs_to_the_kept() {
        assert_eq!(kept(&[0.0, 2.0, 2.0, f32::NEG_INFINITY], 1.0, 1.0), [1, 2]);
        assert_eq!(kept(&[0.0, 2.0, 2.0], 1.0, 0.0), [0, 1, 2]);
        assert_eq!(kept(&[1.0], 1.0, 1.0), [0]);
        // A threshold under half a unit of weight still is a threshold.
        assert_eq!(kept(&[0.0, -1000.0], 1.0, 1e-45), [0]);
        assert_eq!(kept(&[0.0, -1000.0], 1.0, 0.0), [0, 1]);
    }

    proptest! {
        #![proptest_config(testing::cases(4_000))]

        #[test]
        fn equals_the_definition(
            scores in testing::scores_with_a_choice(200),
            temperature in testing::temperature(),
            min_p in prop_oneof![Just(0.0_f32), Just(0.05_f32), Just(1.0_f32), 0.0..=1.0_f32],
        ) {
            let probabilities = testing::softmax(&scores, temperature);
            let highest = probabilities.iter().fold(0.0, |a: f64, &b| a.max(b));
            let naive = |slack: f64| -> Vec<u32> {
                let is_kept = |&i: &usize| {
                    scores[i] > f32::NEG_INFINITY && probabilities[i] >= f64::from(min_p) * highest + slack
                };
                (0..scores.len()).filter(is_kept).map(|i| i as u32).collect()
            };
            let found = kept(&scores, temperature, min_p);
            // The two bounds part only where a probability meets the threshold to the last digits.
            let (fewest, most) = (naive(1e-13), naive(-1e-13));
            prop_assert!(fewest.iter().all(|t| found.contains(t)), "{found:?} lacks some of {fewest:?}");
            prop_assert!(found.iter().all(|t| most.contains(t)), "{found:?} has more than {most:?}");
        }
    }
}
