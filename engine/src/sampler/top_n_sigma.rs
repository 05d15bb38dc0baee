//! Top-n-sigma: the scores within n standard deviations of the highest (Tang et al., "Top-nσ: not all logits are you need", 2024).
//!
//! Not a step that needs probabilities: a temperature divides the deviation as it divides the distance, so the set does not depend on it.

use super::scores::CHUNK;

/// The lowest score that is kept of `scores`, which are at least one: their highest less `n` standard deviations of those that are not
/// negative infinity.
pub(super) fn floor(scores: &[f32], n: f32) -> f32 {
    let max = scores.iter().fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max });
    let origin = f64::from(max);
    let (count, sum) = sums(scores, |x| x - origin);
    let mean = sum / count;
    let (_, squares) = sums(scores, |x| (x - origin - mean) * (x - origin - mean));
    let floor = origin - f64::from(n) * (squares / count).sqrt();
    // Rounded up where f32 lies below: a score is kept if it is at least the exact floor.
    let rounded = floor as f32;
    if f64::from(rounded) < floor { rounded.next_up().min(max) } else { rounded }
}

/// How many scores are above negative infinity, and the sum of `value` over them: by lanes, in an order that is the same everywhere.
fn sums(scores: &[f32], value: impl Fn(f64) -> f64) -> (f64, f64) {
    let (mut counts, mut lanes) = ([0.0; CHUNK], [0.0; CHUNK]);
    for chunk in scores.chunks(CHUNK) {
        for ((&x, count), lane) in chunk.iter().zip(&mut counts).zip(&mut lanes) {
            let is_in = x > f32::NEG_INFINITY;
            *count += if is_in { 1.0 } else { 0.0 };
            *lane += if is_in { value(f64::from(x)) } else { 0.0 };
        }
    }
    (counts.iter().sum(), lanes.iter().sum())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing;
    use super::*;

    #[test]
    fn equal_scores_are_all_kept() {
        assert_eq!(floor(&[2.5; 40], 1.0), 2.5);
        assert_eq!(floor(&[-7.0], 3.0), -7.0);
        // 0 and 4: mean 2, deviation 2.
        assert_eq!(floor(&[0.0, 4.0, f32::NEG_INFINITY], 1.0), 2.0);
        assert_eq!(floor(&[0.0, 4.0], 2.0), 0.0);
    }

    proptest! {
        #![proptest_config(testing::cases(2_000))]

        #[test]
        fn equals_the_definition(
            scores in prop::collection::vec(prop_oneof![9 => -20.0..20.0_f32, 1 => Just(f32::NEG_INFINITY)], 1..200),
            n in 0.01..5.0_f32,
        ) {
            let valid: Vec<f64> = scores.iter().filter(|x| x.is_finite()).map(|&x| f64::from(x)).collect();
            prop_assume!(!valid.is_empty());
            let count = valid.len() as f64;
            let mean = valid.iter().sum::<f64>() / count;
            let deviation = (valid.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt();
            let max = valid.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
            let expected = max - f64::from(n) * deviation;
            let found = f64::from(floor(&scores, n));
            prop_assert!((found - expected).abs() <= 1e-5 && found <= max, "{found} {expected}");
        }
    }
}
