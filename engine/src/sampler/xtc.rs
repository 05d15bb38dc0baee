//! XTC, "exclude top choices": now and then all of the likely tokens but the least likely of them are removed (P. E. Weidmann,
//! text-generation-webui pull request 6335, 2024; end-of-text tokens are tokens like others, as in llama.cpp).
//!
//! Not a source of randomness: whether it is now is drawn from the same counter-based stream as the token (`philox.rs`), so it belongs to
//! the place in the output.

use super::candidates::{Candidate, Candidates};

/// Whether `uniform`, any 64-bit number, falls within `probability`.
pub(super) fn is_now(probability: f32, uniform: u64) -> bool {
    // 53 bits, all that a f64 holds.
    ((uniform >> 11) as f64) < f64::from(probability) * (1_u64 << 53) as f64
}

/// Of the candidates with a probability of at least `threshold`, above 0, removes all but the least likely, of equal ones the highest id.
/// `candidates` have weights.
pub(super) fn apply(candidates: &mut Candidates, threshold: f32) {
    let lowest_weight = (f64::from(threshold) * candidates.total() as f64).ceil() as u64;
    let all = (0..candidates.len()).map(|position| candidates.get(position));
    let Some(last) = all.filter(|c| c.weight >= lowest_weight).min_by(Candidate::order) else { return };
    let is_kept = |c: Candidate| c.weight < lowest_weight || c == last;
    let kept: Vec<bool> = (0..candidates.len()).map(|position| is_kept(candidates.get(position))).collect();
    candidates.keep_positions(&kept);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{philox, testing};
    use super::*;

    fn kept(scores: &[f32], temperature: f32, threshold: f32) -> Vec<u32> {
        let mut candidates = testing::weighed(scores, temperature);
        apply(&mut candidates, threshold);
        candidates.tokens().to_vec()
    }

    #[test]
    fn the_least_likely_of_the_likely_stays() {
        let scores: Vec<f32> = [0.4_f32, 0.1, 0.3, 0.2].iter().map(|p| p.ln()).collect();
        assert_eq!(kept(&scores, 1.0, 0.15), [1, 3]);
        assert_eq!(kept(&scores, 1.0, 0.25), [1, 2, 3]);
        // One alone, or none, is no choice to exclude from.
        assert_eq!(kept(&scores, 1.0, 0.35), [0, 1, 2, 3]);
        assert_eq!(kept(&scores, 1.0, 0.45), [0, 1, 2, 3]);
        assert_eq!(kept(&[1.0; 4], 1.0, 0.25), [3]);
    }

    #[test]
    fn it_is_now_as_often_as_was_asked() {
        for probability in [0.0_f32, 0.1, 0.5, 1.0] {
            let n = (0..20_000).filter(|&i| is_now(probability, philox::second(9, i))).count();
            assert!((n as f64 / 20_000.0 - f64::from(probability)).abs() < 0.01, "{probability}: {n}");
        }
        assert!(is_now(1.0, u64::MAX) && !is_now(0.0, 0));
    }

    proptest! {
        #![proptest_config(testing::cases(2_000))]

        #[test]
        fn equals_the_definition(
            scores in prop::collection::vec(-4.0..4.0_f32, 1..40),
            temperature in 0.2..3.0_f32,
            threshold in 0.001..0.5_f32,
        ) {
            let probabilities = testing::softmax(&scores, temperature);
            let mut likely: Vec<usize> = (0..scores.len()).filter(|&i| probabilities[i] >= f64::from(threshold)).collect();
            prop_assume!(probabilities.iter().all(|p| (p - f64::from(threshold)).abs() > 1e-9));
            likely.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]).then(a.cmp(&b)));
            let removed = likely.len().saturating_sub(1);
            let expected: Vec<u32> = (0..scores.len()).filter(|i| !likely[..removed].contains(i)).map(|i| i as u32).collect();
            prop_assert_eq!(kept(&scores, temperature, threshold), expected);
        }
    }
}
