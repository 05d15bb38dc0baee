//! DRY, "don't repeat yourself": the longer a repetition is, the less likely the token that would go on with it (P. E. Weidmann,
//! text-generation-webui pull request 5677, 2024).
//!
//! The definition: for each earlier place where the text before it ends as the text does now, over n tokens and not across a breaker, the
//! token at that place loses `multiplier * base^(n - allowed_length)`, if n is at least `allowed_length`; n is the longest of all such places.
//! As in the original, n is counted up to 50 only: so much is enough for any base, and bounds the work.
//!
//! Not a penalty for single tokens that come again (`penalties.rs`).

use super::sampling::Dry;
use super::scores::Scores;

/// The longest repetition that is counted.
const MAX_MATCH: usize = 50;

/// Lowers `scores` after `history`, the prompt and the output.
pub(super) fn apply(dry: &Dry, history: &[u32], scores: &mut (impl Scores + ?Sized)) {
    let text = &history[history.len().saturating_sub(dry.last_n)..];
    for (token, length) in matches(dry, text) {
        if length >= dry.allowed_length
            && let Some(score) = scores.score_mut(token).filter(|score| **score > f32::NEG_INFINITY)
        {
            let exponent = (length - dry.allowed_length) as f64;
            let penalty = f64::from(dry.multiplier) * libm::pow(f64::from(dry.base), exponent);
            // It makes a token unlikely; it does not mask it.
            *score = (f64::from(*score) - penalty).max(f64::from(f32::MIN)) as f32;
        }
    }
}

/// The tokens that would go on with a repetition, each once, with its length.
fn matches(dry: &Dry, text: &[u32]) -> Vec<(u32, usize)> {
    let is_breaker = |token: &u32| dry.breakers.binary_search(token).is_ok();
    let mut found: Vec<(u32, usize)> = Vec::new();
    let Some((&last, before)) = text.split_last().filter(|(last, _)| !is_breaker(last)) else { return found };
    for place in (0..before.len()).filter(|&place| before[place] == last) {
        let next = text[place + 1];
        if is_breaker(&next) {
            continue;
        }
        // `last` is the first token of the match, backwards.
        let pairs = text[..=place].iter().rev().zip(text.iter().rev());
        let length = pairs.take(MAX_MATCH).take_while(|(a, b)| a == b && !is_breaker(a)).count();
        match found.iter_mut().find(|(token, _)| *token == next) {
            Some((_, longest)) => *longest = length.max(*longest),
            None => found.push((next, length)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing;
    use super::*;

    fn dry(breakers: &[u32]) -> Dry {
        Dry { multiplier: 0.8, base: 1.75, allowed_length: 2, last_n: usize::MAX, breakers: breakers.to_vec() }
    }

    #[test]
    fn a_repetition_costs_more_the_longer_it_is() {
        let mut scores = vec![1.0; 8];
        apply(&dry(&[]), &[1, 2, 3, 4, 1, 2, 3], &mut scores[..]);
        assert_eq!(scores, [1.0, 1.0, 1.0, 1.0, (1.0 - 0.8_f32 as f64 * 1.75) as f32, 1.0, 1.0, 1.0]);
        // A breaker shortens the match to what is behind it.
        let mut scores = vec![1.0; 8];
        apply(&dry(&[2]), &[1, 2, 3, 4, 1, 2, 3], &mut scores[..]);
        assert_eq!(scores, [1.0; 8]);
    }

    /// The original, loop by loop.
    fn naive(dry: &Dry, history: &[u32], scores: &[f32]) -> Vec<f32> {
        let text = &history[history.len().saturating_sub(dry.last_n)..];
        let mut lengths = std::collections::BTreeMap::new();
        let n = text.len();
        for end in 0..n.saturating_sub(1) {
            // text[..=end] against the whole text, both from their ends.
            let mut length = 0;
            while length < 50 && length <= end && text[end - length] == text[n - 1 - length] {
                if dry.breakers.contains(&text[end - length]) {
                    break;
                }
                length += 1;
            }
            let next = text[end + 1];
            if length > 0 && !dry.breakers.contains(&next) {
                let longest = lengths.entry(next).or_insert(0);
                *longest = length.max(*longest);
            }
        }
        let mut scores = scores.to_vec();
        for (token, length) in lengths {
            if length >= dry.allowed_length && (token as usize) < scores.len() && scores[token as usize] > f32::NEG_INFINITY {
                let penalty = f64::from(dry.multiplier) * f64::from(dry.base).powi((length - dry.allowed_length) as i32);
                let score = f64::from(scores[token as usize]) - penalty;
                scores[token as usize] = score.max(f64::from(f32::MIN)) as f32;
            }
        }
        scores
    }

    proptest! {
        #![proptest_config(testing::cases(2_000))]

        #[test]
        fn equals_the_original(
            scores in testing::scores(6),
            history in prop::collection::vec(0..7_u32, 0..150),
            allowed_length in 0..5_usize,
            last_n in prop_oneof![Just(usize::MAX), 0..40_usize],
            base in 1.0..3.0_f32,
            multiplier in 0.0..2.0_f32,
            breakers in prop::collection::btree_set(0..7_u32, 0..3),
        ) {
            let dry = Dry { multiplier, base, allowed_length, last_n, breakers: breakers.into_iter().collect() };
            let mut found = scores.clone();
            apply(&dry, &history, &mut found[..]);
            for (f, e) in found.iter().zip(naive(&dry, &history, &scores)) {
                prop_assert!(*f == e || (f - e).abs() <= e.abs() * 1e-6, "{f} {e}");
            }
        }
    }
}
