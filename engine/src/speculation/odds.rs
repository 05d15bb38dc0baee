//! `Odds`: how often drafted tokens were right, by how they were found.
//!
//! Not here: what a try costs (`pace.rs`). Odds change how many tokens are tried, never which tokens come out.

/// How a drafted token was found: it followed a match of so many tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin(pub usize);

/// Kinds of origins that are counted apart.
const N_KINDS: usize = 7;

/// What is expected of each kind before anything is known: the longer a match, the better.
const PRIOR: [f64; N_KINDS] = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

/// How many tokens' worth of evidence that is.
const PRIOR_WEIGHT: f64 = 4.0;

/// What evidence keeps of its weight with each new token of its kind: texts change.
const FADE: f64 = 0.97;

impl Origin {
    /// The origin of the token `n` places further in the same draft.
    pub fn further(self, n: usize) -> Origin {
        Origin(self.0 + n)
    }

    fn kind(self) -> usize {
        match self.0 {
            0..=2 => 0,
            3 => 1,
            4 => 2,
            5..=6 => 3,
            7..=9 => 4,
            10..=15 => 5,
            _ => 6,
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
        let (short, long) = (Origin(2), Origin(2).further(20));
        assert!(odds.of(short) < odds.of(long));
        for _ in 0..200 {
            odds.count(short, true);
            odds.count(long, false);
        }
        assert!(odds.of(short) > 0.9 && odds.of(long) < 0.12, "{odds:?}");
        (0..200).for_each(|_| odds.count(short, false));
        assert!(odds.of(short) < 0.05, "{odds:?}");
    }
}
