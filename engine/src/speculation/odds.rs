//! `Odds`: how often drafted tokens were right, by how they were found.
//!
//! Not here: what a try costs (`pace.rs`). Odds change how many tokens are tried, never which tokens come out.

/// How a drafted token was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It followed a match of so many tokens.
    Match(usize),
    /// A model said so.
    Model,
}

/// Kinds of origins that are counted apart.
const N_KINDS: usize = 8;

/// That of a model.
const MODEL: usize = 7;

/// What is expected of each kind before anything is known: the longer a match, the better.
const PRIOR: [f64; N_KINDS] = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.8];

/// How many tokens' worth of evidence that is.
const PRIOR_WEIGHT: f64 = 4.0;

/// What evidence keeps of its weight with each new token of its kind: texts change.
const FADE: f64 = 0.97;

/// What evidence of a model keeps with each pass, so that one that was of no use is tried again. Matches differ in length, and are.
const MODEL_FADE: f64 = 0.99;

impl Origin {
    /// The origin of the token `n` places further in the same draft.
    pub fn further(self, n: usize) -> Origin {
        match self {
            Origin::Match(len) => Origin::Match(len + n),
            Origin::Model => Origin::Model,
        }
    }

    fn kind(self) -> usize {
        match self {
            Origin::Match(0..=2) => 0,
            Origin::Match(3) => 1,
            Origin::Match(4) => 2,
            Origin::Match(5..=6) => 3,
            Origin::Match(7..=9) => 4,
            Origin::Match(10..=15) => 5,
            Origin::Match(_) => 6,
            Origin::Model => MODEL,
        }
    }
}

/// Fading counts of each kind: tokens that were right, and all.
#[derive(Debug, Default)]
pub(super) struct Odds {
    counts: [(f64, f64); N_KINDS],
}

impl Odds {
    /// How likely a token of this origin is right.
    pub fn of(&self, origin: Origin) -> f64 {
        let (right, all) = self.counts[origin.kind()];
        (right + PRIOR[origin.kind()] * PRIOR_WEIGHT) / (all + PRIOR_WEIGHT)
    }

    /// Tells of a pass.
    pub fn pass(&mut self) {
        let (right, all) = &mut self.counts[MODEL];
        (*right, *all) = (*right * MODEL_FADE, *all * MODEL_FADE);
    }

    /// Counts a token.
    pub fn count(&mut self, origin: Origin, was_right: bool) {
        let (right, all) = &mut self.counts[origin.kind()];
        *right = *right * FADE + f64::from(u8::from(was_right));
        *all = *all * FADE + 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odds_follow_what_happens_and_forget() {
        let mut odds = Odds::default();
        let (short, long) = (Origin::Match(2), Origin::Match(2).further(20));
        assert!(odds.of(short) < odds.of(long));
        for _ in 0..200 {
            odds.count(short, true);
            odds.count(long, false);
        }
        assert!(odds.of(short) > 0.9 && odds.of(long) < 0.12, "{odds:?}");
        (0..200).for_each(|_| odds.count(short, false));
        assert!(odds.of(short) < 0.05, "{odds:?}");
    }

    #[test]
    fn a_model_that_was_of_no_use_is_tried_again() {
        let mut odds = Odds::default();
        (0..40).for_each(|_| odds.count(Origin::Model.further(3), false));
        assert!(odds.of(Origin::Model) < 0.12, "{odds:?}");
        (0..500).for_each(|_| odds.pass());
        assert!(odds.of(Origin::Model) > 0.6, "{odds:?}");
    }
}
