//! Temperature and softmax: scores become weights, `exp((score - highest) / temperature)`.
//!
//! Not applied to the scores themselves: the quotient would overflow f32 at a small temperature. Dividing by a positive number keeps
//! the order of the scores, so top-k, which only compares them, gives the same set before this step as after it, and the chain
//! runs it before: `exp` is then computed for k tokens and not for the vocabulary.

use super::candidates::Candidates;
use super::exp::exp;

/// Sets the weights of `candidates` at a `temperature` above 0. `highest` is the highest of their scores.
///
/// All in f64, where neither the difference of two f32 nor its product with the reciprocal of an f32 overflows: the smallest
/// temperature, 1.4e-45, gives a quotient of at most 4.9e83.
pub(super) fn apply(candidates: &mut Candidates, highest: f32, temperature: f32) {
    let highest = f64::from(highest);
    let inverse = 1.0 / f64::from(temperature);
    candidates.set_scale(highest, inverse);
    candidates.weigh(|score| exp((f64::from(score) - highest) * inverse));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::scores::highest;
    use super::super::testing;
    use super::*;

    #[test]
    fn many_equal_tokens_do_not_overflow_the_sum() {
        for n in [1, 2, 4096, 4097, 8192, 8193, 1 << 17, (1 << 17) + 1] {
            let candidates = testing::weighed(&vec![0.25; n], 1.0);
            assert_eq!(candidates.total(), candidates.one() * n as u64);
            assert!(candidates.total() <= 1 << 63);
            assert!(candidates.one() == 1 << 51 || candidates.total() > 1 << 62, "bits are wasted");
        }
    }

    proptest! {
        #![proptest_config(testing::cases(2_000))]

        #[test]
        fn gives_the_softmax(scores in testing::scores_with_a_choice(200), temperature in testing::temperature()) {
            let mut candidates = Candidates::default();
            candidates.gather(&scores, f32::NEG_INFINITY);
            apply(&mut candidates, highest(&scores).unwrap().score, temperature);
            let found = testing::probabilities(&candidates, scores.len());
            let expected = testing::softmax(&scores, temperature);
            for (f, e) in found.iter().zip(&expected) {
                prop_assert!((f - e).abs() <= 1e-13, "{found:?} {expected:?}");
            }
            // The likeliest has exactly one whole unit.
            prop_assert_eq!(candidates.weights().iter().max(), Some(&candidates.one()));
        }
    }
}
