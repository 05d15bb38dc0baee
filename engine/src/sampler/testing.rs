//! What the samplers' tests share: generated rows of scores, and the naive softmax in f64 that the steps are compared with.
//!
//! Not compiled into the crate.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::candidates::Candidates;
use super::scores::highest;
use super::temperature;

/// `n` cases, the same in every run, and no file written where one fails.
pub(super) fn cases(n: u32) -> ProptestConfig {
    ProptestConfig { cases: n, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() }
}

/// Rows of 1 to `longest` scores: logits as models make them, many exact ties, masked tokens, extremes.
pub(super) fn scores(longest: usize) -> impl Strategy<Value = Vec<f32>> {
    let score = prop_oneof![
        6 => -20.0..20.0_f32,
        4 => (-8..8_i32).prop_map(|x| x as f32 * 0.5),
        2 => Just(f32::NEG_INFINITY),
        1 => prop_oneof![Just(0.0_f32), Just(-0.0_f32), Just(f32::MIN), Just(1e-45_f32), Just(-1e30_f32)],
    ];
    let ties = (-3..3_i32).prop_map(|x| x as f32);
    prop_oneof![
        4 => prop::collection::vec(score, 1..=longest),
        1 => prop::collection::vec(ties, 1..=longest),
        1 => (-20.0..20.0_f32, 1..=longest).prop_map(|(x, n)| vec![x; n]),
    ]
}

/// The same, with at least one score that is not negative infinity.
pub(super) fn scores_with_a_choice(longest: usize) -> impl Strategy<Value = Vec<f32>> {
    scores(longest).prop_map(|mut scores| {
        if scores.iter().all(|&x| x == f32::NEG_INFINITY) {
            scores[0] = 1.5;
        }
        scores
    })
}

/// Temperatures above 0, mostly usual ones.
pub(super) fn temperature() -> impl Strategy<Value = f32> {
    prop_oneof![4 => 0.05..3.0_f32, 2 => Just(1.0_f32), 1 => prop_oneof![Just(1e-45_f32), Just(1e6_f32), Just(f32::MAX)]]
}

/// The definition: `exp(score / temperature)` over its sum, with the platform's `exp`.
pub(super) fn softmax(scores: &[f32], temperature: f32) -> Vec<f64> {
    let scaled: Vec<f64> = scores.iter().map(|&x| f64::from(x) / f64::from(temperature)).collect();
    let max = scaled.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
    let exponentials: Vec<f64> = scaled.iter().map(|x| (x - max).exp()).collect();
    let total: f64 = exponentials.iter().sum();
    exponentials.iter().map(|x| x / total).collect()
}

/// Candidates with weights, before any filter.
pub(super) fn weighed(scores: &[f32], temperature: f32) -> Candidates {
    let mut candidates = Candidates::default();
    candidates.gather(scores, f32::NEG_INFINITY);
    let highest = highest(scores).expect("a test's row has a choice");
    temperature::apply(&mut candidates, highest.score, temperature);
    candidates
}

/// (n_tokens,): the probability of every token, 0 for those removed.
pub(super) fn probabilities(candidates: &Candidates, n_tokens: usize) -> Vec<f64> {
    let mut all = vec![0.0; n_tokens];
    for (token, probability) in candidates.probabilities() {
        all[token as usize] = probability;
    }
    all
}
