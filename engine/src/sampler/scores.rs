//! Passes over one row of scores: is every one usable, and which is the highest.
//!
//! Not a place that changes scores or knows probabilities. A score is a logit, or a logit after the penalties, f32, indexed by
//! token id; negative infinity marks a token that must not be chosen.

use std::fmt;

/// Scores that no token can be chosen from.
#[derive(Clone, Copy, Debug)]
pub enum LogitsError {
    /// A logit is NaN or positive infinity: the model or its weights are broken.
    NotFinite {
        /// The lowest such token id.
        token: usize,
        /// Its logit.
        found: f32,
    },
    /// Every token that may be chosen has the logit negative infinity, or there is none.
    NothingAllowed {
        /// How many tokens were looked at.
        n_tokens: usize,
    },
}

/// The highest score of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Highest {
    /// The lowest token id that has it.
    pub token: u32,
    /// The score, finite.
    pub score: f32,
}

/// Scores that a step may change, by token.
pub(super) trait Scores {
    /// The score of `token`, if it is among them.
    fn score_mut(&mut self, token: u32) -> Option<&mut f32>;
}

impl Scores for [f32] {
    fn score_mut(&mut self, token: u32) -> Option<&mut f32> {
        self.get_mut(token as usize)
    }
}

/// Scores looked at together; wide enough for any vector unit, and a miss costs little.
pub(super) const CHUNK: usize = 32;

/// Checks that each of `logits`, (n_vocab,), is finite or negative infinity.
///
/// # Errors
/// [`LogitsError::NotFinite`] with the lowest token id that is neither.
pub(crate) fn check(logits: &[f32]) -> Result<(), LogitsError> {
    // `x <= MAX` is false for NaN and +inf alone. Without an early exit the pass is vectorised; the culprit is looked for after.
    let is_usable = |x: f32| x <= f32::MAX;
    if logits.iter().fold(true, |all, &x| all & is_usable(x)) {
        return Ok(());
    }
    match logits.iter().position(|&x| !is_usable(x)) {
        Some(token) => Err(LogitsError::NotFinite { token, found: logits[token] }),
        None => Ok(()),
    }
}

/// The highest of `scores`, (n_tokens,), checked before; ties go to the lowest id.
///
/// # Errors
/// [`LogitsError::NothingAllowed`] where all are negative infinity, or there are none.
pub(super) fn highest(scores: &[f32]) -> Result<Highest, LogitsError> {
    // One running maximum per lane: a single one would wait for itself at every step.
    let mut lanes = [f32::NEG_INFINITY; CHUNK];
    let chunks = scores.chunks_exact(CHUNK);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    let max = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max });
    match scores.iter().position(|&x| x == max) {
        Some(token) if max > f32::NEG_INFINITY => Ok(Highest { token: token as u32, score: max }),
        _ => Err(LogitsError::NothingAllowed { n_tokens: scores.len() }),
    }
}

impl fmt::Display for LogitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogitsError::NotFinite { token, found } => {
                write!(f, "logits: token {token}: expected a finite number or -inf, found {found}")
            }
            LogitsError::NothingAllowed { n_tokens } => {
                write!(f, "logits: expected a token above -inf, found none among {n_tokens}")
            }
        }
    }
}

impl std::error::Error for LogitsError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing;
    use super::*;

    #[test]
    fn names_the_first_token_that_is_not_finite() {
        let mut logits = vec![0.0; 100];
        logits[70] = f32::INFINITY;
        logits[41] = f32::NAN;
        assert_eq!(check(&logits).unwrap_err().to_string(), "logits: token 41: expected a finite number or -inf, found NaN");
        logits[41] = f32::NEG_INFINITY;
        assert_eq!(check(&logits).unwrap_err().to_string(), "logits: token 70: expected a finite number or -inf, found inf");
        logits[70] = f32::MAX;
        assert!(check(&logits).is_ok());
    }

    #[test]
    fn refuses_a_row_without_a_choice() {
        for n in [0, 1, 31, 32, 100] {
            let error = highest(&vec![f32::NEG_INFINITY; n]).unwrap_err();
            assert_eq!(error.to_string(), format!("logits: expected a token above -inf, found none among {n}"));
        }
    }

    proptest! {
        #![proptest_config(testing::cases(2_000))]

        #[test]
        fn the_highest_is_the_first_maximum(scores in testing::scores(200)) {
            let mut naive = 0;
            for (token, &score) in scores.iter().enumerate() {
                if score > scores[naive] {
                    naive = token;
                }
            }
            match highest(&scores) {
                Ok(found) => prop_assert_eq!(found, Highest { token: naive as u32, score: scores[naive] }),
                Err(_) => prop_assert!(scores.iter().all(|&x| x == f32::NEG_INFINITY)),
            }
        }

        #[test]
        fn any_bits_are_checked(bits in prop::collection::vec(any::<u32>(), 0..100)) {
            let logits: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
            let naive = logits.iter().position(|x| x.is_nan() || *x == f32::INFINITY);
            match check(&logits) {
                Ok(()) => prop_assert_eq!(naive, None),
                Err(LogitsError::NotFinite { token, .. }) => prop_assert_eq!(naive, Some(token)),
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}
