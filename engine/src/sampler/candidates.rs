//! The tokens still in the running, with their scores and their probabilities as whole numbers.
//!
//! Not a step of the chain: the steps narrow this set. Always in ascending order of token id, which is the fixed order in which
//! the draw walks.

use super::scores::{CHUNK, Highest, Scores};

/// Candidates as three columns of equal length; at least one from the moment [`Candidates::gather`] has run on a row that has a
/// highest score.
///
/// **Weights.** A candidate's weight is its probability relative to the likeliest, `exp((score - highest) / temperature)`, as a
/// fixed-point number: the likeliest has the weight `one`, a power of two, and a weight is rounded to the nearest whole number.
/// Sums of whole numbers are the same in whatever order they are added, so each step may choose the fastest order and still give
/// the one answer. `one` is 2^51, or less where more than 4,096 candidates could sum beyond 2^63: 2^46 for 128,256 of them. A token
/// that is less than half a unit likely weighs 0 and is never drawn; all roundings together move a probability by under 2^-29.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidates {
    tokens: Vec<u32>,
    scores: Vec<f32>,
    weights: Vec<u64>,
    one: u64,
    /// The score and the reciprocal temperature that the weights were computed with.
    highest: f64,
    inverse_temperature: f64,
}

/// 2^52: a number of 0..=2^51 added to it is rounded to an integer (ties to even), which stands in the low bits of the sum.
const ROUND: f64 = 4_503_599_627_370_496.0;

/// One candidate, ordered from the first that a filter drops to the last: by weight, then score, then the higher id first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    /// Relative probability, fixed point.
    pub weight: u64,
    /// Finite.
    pub score: f32,
    /// Token id.
    pub token: u32,
}

impl Candidates {
    /// Number of candidates.
    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Token ids, ascending.
    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Weights, in the order of the tokens.
    pub(super) fn weights(&self) -> &[u64] {
        &self.weights
    }

    /// Sum of all weights: more than 0, at most 2^63.
    pub(super) fn total(&self) -> u64 {
        self.weights.iter().sum()
    }

    /// Tokens, ascending, and their probabilities.
    pub(super) fn probabilities(&self) -> impl Iterator<Item = (u32, f64)> {
        let total = self.total() as f64;
        self.tokens.iter().zip(&self.weights).map(move |(&token, &weight)| (token, weight as f64 / total))
    }

    /// The candidate at a position below [`Candidates::len`].
    pub(super) fn get(&self, position: usize) -> Candidate {
        Candidate { weight: self.weights[position], score: self.scores[position], token: self.tokens[position] }
    }

    /// Scores, in the order of the tokens.
    pub(super) fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// The logarithm of a candidate's probability relative to the likeliest, not rounded as its weight is.
    pub(super) fn log_weight(&self, position: usize) -> f64 {
        (f64::from(self.scores[position]) - self.highest) * self.inverse_temperature
    }

    /// The weight of the likeliest candidate, a power of two.
    pub(super) fn one(&self) -> u64 {
        self.one
    }

    /// Starts anew with every token of `scores`, (n_tokens,), that is at least `floor` and not negative infinity. No weights yet.
    pub(super) fn gather(&mut self, scores: &[f32], floor: f32) {
        self.tokens.clear();
        self.scores.clear();
        self.weights.clear();
        // The smallest number above negative infinity: one comparison does for both conditions.
        let floor = floor.max(f32::MIN);
        for (chunk, first) in scores.chunks(CHUNK).zip((0..).step_by(CHUNK)) {
            // Of most chunks none pass, where a floor is set, or all; counting is vectorised.
            let n_passing = chunk.iter().map(|&x| u32::from(x >= floor)).sum::<u32>() as usize;
            if n_passing == chunk.len() {
                self.tokens.extend((first..).take(chunk.len()));
                self.scores.extend_from_slice(chunk);
            } else if n_passing > 0 {
                for (token, &score) in (first..).zip(chunk) {
                    if score >= floor {
                        self.tokens.push(token);
                        self.scores.push(score);
                    }
                }
            }
        }
    }

    /// Starts anew with the one candidate `highest`, which has the whole weight.
    pub(super) fn gather_one(&mut self, highest: Highest) {
        self.tokens.clear();
        self.scores.clear();
        self.tokens.push(highest.token);
        self.scores.push(highest.score);
        self.weigh(|_| 1.0);
    }

    /// Remembers what [`Candidates::weigh`] is about to compute with.
    pub(super) fn set_scale(&mut self, highest: f64, inverse_temperature: f64) {
        self.highest = highest;
        self.inverse_temperature = inverse_temperature;
    }

    /// Sets every weight from its score; `probability` gives 0..=1 relative to the likeliest, which has 1.
    pub(super) fn weigh(&mut self, probability: impl Fn(f32) -> f64) {
        let log2_len = usize::BITS - self.len().saturating_sub(1).leading_zeros(); // Rounded up.
        self.one = 1 << 63_u32.saturating_sub(log2_len).min(51);
        let one = self.one as f64;
        self.weights.resize(self.scores.len(), 0);
        for (weight, &score) in self.weights.iter_mut().zip(&self.scores) {
            *weight = (probability(score) * one + ROUND).to_bits() - ROUND.to_bits();
        }
    }

    /// Keeps the candidates that are `lowest` or come after it in their order.
    pub(super) fn keep_from(&mut self, lowest: Candidate) {
        self.keep(lowest.weight, |candidate| !candidate.comes_before(&lowest));
    }

    /// Keeps the candidates of at least this weight.
    pub(super) fn keep_weight(&mut self, lowest: u64) {
        self.keep(lowest, |_| true);
    }

    /// Keeps the candidates of at least this score.
    pub(super) fn keep_score(&mut self, lowest: f32) {
        let kept: Vec<bool> = self.scores.iter().map(|&score| score >= lowest).collect();
        self.keep_positions(&kept);
    }

    /// Keeps the candidates at the positions that are true; their order stays.
    pub(super) fn keep_positions(&mut self, kept: &[bool]) {
        let flags = || kept.iter().copied();
        retain(&mut self.tokens, flags());
        retain(&mut self.scores, flags());
        retain(&mut self.weights, flags());
    }

    /// Keeps the candidates of at least the weight `lowest` for which `also` holds; their order stays.
    fn keep(&mut self, lowest: u64, also: impl Fn(&Candidate) -> bool) {
        let mut n_kept = 0;
        let mut start = 0;
        while start < self.len() {
            let end = self.len().min(start + CHUNK);
            if self.weights[start..end].iter().fold(false, |any, &w| any | (w >= lowest)) {
                for position in start..end {
                    let candidate = self.get(position);
                    if candidate.weight >= lowest && also(&candidate) {
                        self.tokens[n_kept] = candidate.token;
                        self.scores[n_kept] = candidate.score;
                        self.weights[n_kept] = candidate.weight;
                        n_kept += 1;
                    }
                }
            }
            start = end;
        }
        self.tokens.truncate(n_kept);
        self.scores.truncate(n_kept);
        self.weights.truncate(n_kept);
    }
}

impl Scores for Candidates {
    fn score_mut(&mut self, token: u32) -> Option<&mut f32> {
        self.tokens.binary_search(&token).ok().map(|position| &mut self.scores[position])
    }
}

/// Keeps the items whose flag is true; all that has no flag.
fn retain<T>(items: &mut Vec<T>, mut kept: impl Iterator<Item = bool>) {
    items.retain(|_| kept.next().unwrap_or(true));
}

impl Candidate {
    /// Whether a filter drops `self` before `other`: less likely, or as likely with the higher id.
    pub(super) fn comes_before(&self, other: &Candidate) -> bool {
        self.order(other).is_lt()
    }

    /// The order in which a filter drops candidates.
    pub(super) fn order(&self, other: &Candidate) -> std::cmp::Ordering {
        // No score is NaN; -0 and 0 are equal, as they are to the definition.
        let by_score = self.score.partial_cmp(&other.score).unwrap_or(std::cmp::Ordering::Equal);
        self.weight.cmp(&other.weight).then(by_score).then(other.token.cmp(&self.token))
    }
}
