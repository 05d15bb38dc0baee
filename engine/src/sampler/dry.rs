//! DRY, "don't repeat yourself": the longer a repetition is, the less likely the token that would go on with it (P. E. Weidmann,
//! text-generation-webui pull request 5677, 2024).
//!
//! The definition: for each earlier place where the text before it ends as the text does now, over n tokens and not across a breaker, the
//! token at that place loses `multiplier * base^(n - allowed_length)`, if n is at least `allowed_length`; n is the longest of all such places.
//! As in the original, n is counted up to 50 only (so much is enough for any base, and bounds the work), and a token that is a breaker by itself
//! loses nothing. Breakers of several tokens are llama.cpp's addition: only what comes after the last of them can be repeated.
//!
//! Not a penalty for single tokens that come again (`penalties.rs`).

use super::sampling::{Breaker, Dry};
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
    let mut found: Vec<(u32, usize)> = Vec::new();
    let longest_match = MAX_MATCH.min(n_unbroken(&dry.breakers, text));
    let Some((&last, before)) = text.split_last().filter(|_| longest_match > 0) else { return found };
    for place in (0..before.len()).filter(|&place| before[place] == last) {
        let next = text[place + 1];
        if dry.breakers.iter().any(|breaker| breaker.tail.is_empty() && is_at_start(breaker, &[next])) {
            continue;
        }
        // `last` is the first token of the match, backwards.
        let pairs = text[..=place].iter().rev().zip(text.iter().rev());
        let length = pairs.take(longest_match).take_while(|(a, b)| a == b).count();
        match found.iter_mut().find(|(token, _)| *token == next) {
            Some((_, longest)) => *longest = length.max(*longest),
            None => found.push((next, length)),
        }
    }
    found
}

/// How many tokens at the end of `text` come after all breakers; no more than `MAX_MATCH` are looked at. What repeats them has no breaker either,
/// for it is equal.
fn n_unbroken(breakers: &[Breaker], text: &[u32]) -> usize {
    let longest = breakers.iter().map(|breaker| 1 + breaker.tail.len()).max().unwrap_or(0);
    let from = text.len().saturating_sub(MAX_MATCH + longest);
    let ends = (from..text.len()).flat_map(|start| {
        breakers
            .iter()
            .filter(move |breaker| is_at_start(breaker, &text[start..]))
            .map(move |breaker| start + 1 + breaker.tail.len())
    });
    text.len() - ends.max().unwrap_or(from)
}

fn is_at_start(breaker: &Breaker, text: &[u32]) -> bool {
    text.split_first().is_some_and(|(head, rest)| breaker.heads.binary_search(head).is_ok() && rest.starts_with(&breaker.tail))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing;
    use super::*;

    fn dry(heads: &[u32], tail: &[u32]) -> Dry {
        let breakers = vec![Breaker { heads: heads.to_vec(), tail: tail.to_vec() }];
        Dry { multiplier: 0.8, base: 1.75, allowed_length: 2, last_n: usize::MAX, breakers }
    }

    #[test]
    fn a_repetition_costs_more_the_longer_it_is() {
        let mut scores = vec![1.0; 8];
        apply(&dry(&[], &[]), &[1, 2, 3, 4, 1, 2, 3], &mut scores[..]);
        assert_eq!(scores, [1.0, 1.0, 1.0, 1.0, (1.0 - 0.8_f32 as f64 * 1.75) as f32, 1.0, 1.0, 1.0]);
        // A breaker shortens the match to what is behind it, whether it is one token or several.
        for (heads, tail) in [(&[2][..], &[][..]), (&[1, 7], &[2]), (&[1], &[2, 3])] {
            let mut scores = [1.0; 8];
            apply(&dry(heads, tail), &[1, 2, 3, 4, 1, 2, 3], &mut scores[..]);
            assert_eq!(scores, [1.0; 8], "{heads:?} {tail:?}");
        }
        // What is none: a tail without its head, a head without its tail.
        for (heads, tail) in [(&[5][..], &[2][..]), (&[2], &[4]), (&[3], &[1])] {
            let mut scores = [1.0; 8];
            apply(&dry(heads, tail), &[1, 2, 3, 4, 1, 2, 3], &mut scores[..]);
            assert!(scores[4] < 0.0, "{heads:?} {tail:?}");
        }
    }

    /// Whether the token of `text` at `place` is the last one of a breaker.
    fn breaks(dry: &Dry, text: &[u32], place: usize) -> bool {
        let mut breakers = dry.breakers.iter().flat_map(|b| b.heads.iter().map(|&head| [&[head], &b.tail[..]].concat()));
        breakers.any(|breaker| text[..=place].ends_with(&breaker))
    }

    /// The original, loop by loop.
    fn naive(dry: &Dry, history: &[u32], scores: &[f32]) -> Vec<f32> {
        let text = &history[history.len().saturating_sub(dry.last_n)..];
        let mut lengths = std::collections::BTreeMap::new();
        let n = text.len();
        for end in 0..n.saturating_sub(1) {
            // text[..=end] against the whole text, both from their ends: the longest match in which no breaker ends, backwards.
            let mut length = 0;
            while length < 50 && length <= end && text[end - length] == text[n - 1 - length] && !breaks(dry, text, n - 1 - length)
            {
                length += 1;
            }
            let next = text[end + 1];
            if length > 0 && !dry.breakers.iter().any(|b| b.tail.is_empty() && b.heads.contains(&next)) {
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

    fn breaker() -> impl Strategy<Value = Breaker> {
        let heads = prop::collection::btree_set(0..7_u32, 0..3);
        let tail = prop_oneof![Just(Vec::new()), prop::collection::vec(0..7_u32, 1..4)];
        (heads, tail).prop_map(|(heads, tail)| Breaker { heads: heads.into_iter().collect(), tail })
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
            breakers in prop::collection::vec(breaker(), 0..3),
        ) {
            let dry = Dry { multiplier, base, allowed_length, last_n, breakers };
            let mut found = scores.clone();
            apply(&dry, &history, &mut found[..]);
            for (f, e) in found.iter().zip(naive(&dry, &history, &scores)) {
                prop_assert!(*f == e || (f - e).abs() <= e.abs() * 1e-6, "{f} {e}");
            }
        }
    }
}
