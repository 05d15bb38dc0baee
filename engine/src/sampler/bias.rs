//! Logit bias: a number added to the logits of chosen tokens (OpenAI's `logit_bias`, llama.cpp's `--logit-bias`).
//!
//! Not a step with a place in the chain: it comes before all of them, as transformers' sequence bias does.

use super::scores::Scores;

/// Adds each bias to its token's score; negative infinity forbids the token. Tokens beyond the scores are passed over.
pub(super) fn apply(bias: &[(u32, f32)], scores: &mut [f32]) {
    for &(token, bias) in bias {
        if let Some(score) = scores.score_mut(token).filter(|score| **score > f32::NEG_INFINITY) {
            // A finite bias makes a token unlikely or likely; it does not mask it, nor make it infinitely likely.
            *score = if bias == f32::NEG_INFINITY { bias } else { (*score + bias).clamp(f32::MIN, f32::MAX) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn biases_add_up_and_stay_within_the_finite_numbers() {
        let none = f32::NEG_INFINITY;
        let mut scores = [1.0, 2.0, 3.0, none, f32::MAX, 0.5];
        apply(&[(0, 0.5), (2, none), (3, 100.0), (4, f32::MAX), (0, 0.25), (99, 1.0), (5, f32::MIN)], &mut scores);
        assert_eq!(scores, [1.75, 2.0, none, none, f32::MAX, f32::MIN]);
    }
}
