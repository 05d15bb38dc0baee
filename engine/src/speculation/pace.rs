//! `Pace`: how long passes of one row and of several take in this run, and whether trying more has paid so far.
//!
//! Nothing is assumed of the machine: times are medians of what was measured. What was not measured yet is guessed from the prompt's passes,
//! but risked as if it took several of the passes that were; and more rows are tried only after half of them. Drafts are charged what their
//! passes usually take: on a busy machine some pass takes three times as long, and were that the draft's fault, none would be tried for a
//! hundred tokens. Not here: how likely a drafted token is right (`odds.rs`). Times change how many tokens are tried, never which come out.

use std::time::Duration;

use super::MAX_ROWS;

/// Times that a median is taken of.
const N_SAMPLES: usize = 5;

/// Rows from which on a prompt's pass tells what a row costs.
const MIN_PREFILL: usize = 16;

/// What another row costs, in passes of one row, where no prompt has told.
const GUESSED_ROW: f64 = 0.125;

/// Passes after which a time that was not measured again counts for half: a machine that was busy then may not be now.
const HALF_LIFE: f64 = 64.0;

/// Passes of a single row before anything is compared with them.
const MIN_SAMPLES: usize = 3;

/// Passes after which a single row is measured again, should there be a draft each time.
const MAX_AGE: u64 = 64;

/// What may be lost at any time: this many single passes, and this part of all time so far.
const MAX_LOSS: (f64, f64) = (1.0, 0.015);

/// What was won and may be risked, in single passes: were it all, a text that changes its nature would be noticed late.
const MAX_CREDIT: f64 = 4.0;

/// The last times of one number of rows, in seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Samples {
    times: [f64; N_SAMPLES],
    n: usize,
    /// The pass of the last one.
    at: u64,
}

/// What is known of passes of up to [`MAX_ROWS`] rows.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// By number of rows.
    samples: [Samples; MAX_ROWS + 1],
    /// Seconds of a row of a prompt.
    prefill_row: Option<f64>,
    /// Of a token that a model drafted.
    drafting: Samples,
    /// What one is guessed to take, in passes of one row.
    guessed_draft: f64,
    n_passes: u64,
    /// Seconds of all passes.
    total: f64,
    /// Seconds that drafts won, or lost where negative.
    saved: f64,
    /// The same, of which no more than the credit is kept.
    balance: f64,
}

/// Seconds of a pass of some rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    /// As expected.
    pub time: f64,
    /// What is risked with it: as it was measured, or several passes of the most rows that were.
    pub at_worst: f64,
}

impl Samples {
    fn add(&mut self, time: f64, at: u64) {
        self.times[self.n % N_SAMPLES] = time;
        self.n += 1;
        self.at = at;
    }

    /// The median of the last times and of a guess, if there is one; of two in the middle the lower.
    fn median(&self, guess: Option<f64>) -> Option<f64> {
        let mut times = [0.0; N_SAMPLES + 1];
        let n = self.n.min(N_SAMPLES);
        times[..n].copy_from_slice(&self.times[..n]);
        let n = match guess {
            Some(guess) => {
                times[n] = guess;
                n + 1
            }
            None => n,
        };
        let known = &mut times[..n];
        known.sort_by(f64::total_cmp);
        known.get(n.saturating_sub(1) / 2).copied()
    }
}

impl Pace {
    /// A prompt's pass.
    pub fn prefill(&mut self, n_rows: usize, time: Duration) {
        if n_rows >= MIN_PREFILL {
            self.prefill_row = Some(time.as_secs_f64() / n_rows as f64);
        }
    }

    /// A pass of some rows.
    pub fn pass(&mut self, n_rows: usize, time: Duration) {
        self.n_passes += 1;
        self.total += time.as_secs_f64();
        if let Some(samples) = self.samples.get_mut(n_rows) {
            samples.add(time.as_secs_f64(), self.n_passes);
        }
    }

    /// So many tokens were drafted by a model.
    pub fn drafted(&mut self, n_tokens: usize, time: Duration) {
        self.drafting.add(time.as_secs_f64() / n_tokens.max(1) as f64, self.n_passes);
    }

    /// A token that a model drafts is guessed to take so many passes of one row.
    pub fn expect_drafts(&mut self, n_passes: f64) {
        self.guessed_draft = n_passes;
    }

    /// Seconds of a token that a model drafts.
    pub fn drafting(&self) -> f64 {
        let guess = self.guessed_draft * self.single().unwrap_or(0.0);
        let weight = self.weight(&self.drafting);
        weight * self.drafting.median(Some(guess)).unwrap_or(guess) + (1.0 - weight) * guess
    }

    /// What times count that were not measured lately.
    fn weight(&self, samples: &Samples) -> f64 {
        0.5_f64.powf((self.n_passes - samples.at) as f64 / HALF_LIFE)
    }

    /// The yield of a pass with a draft: its rows, the tokens that it gave, and those that a model drafted for it.
    pub fn settle(&mut self, n_rows: usize, n_tokens: usize, n_drafted: usize) {
        let won = self.won(n_rows, n_tokens, n_drafted).unwrap_or(0.0);
        self.saved += won;
        self.balance = (self.balance + won).min(MAX_CREDIT * self.single().unwrap_or(0.0));
    }

    /// Seconds that such a pass saved, or cost where negative; `None` before there was a pass of one row. By the times that such passes usually
    /// take: what else the machine was busy with during this one is not the draft's doing.
    pub fn won(&self, n_rows: usize, n_tokens: usize, n_drafted: usize) -> Option<f64> {
        let pass = self.samples.get(n_rows)?.median(None)?;
        Some(n_tokens as f64 * self.single()? - pass - n_drafted as f64 * self.drafting())
    }

    /// Seconds that all such passes saved.
    pub fn saved(&self) -> f64 {
        self.saved
    }

    /// Seconds of a pass of one row; `None` before there was one.
    pub fn single(&self) -> Option<f64> {
        self.samples[1].median(None)
    }

    /// Whether the time of a single row is known well enough to compare with: the first pass of a run is often slow, and times age.
    pub fn knows_single(&self) -> bool {
        let samples = &self.samples[1];
        samples.n >= MIN_SAMPLES && self.n_passes - samples.at < MAX_AGE
    }

    /// What is known of passes of 1, 2, ... rows, in turn, up to twice as many as were measured. Nothing before a single row was measured.
    pub fn passes(&self) -> impl Iterator<Item = Pass> {
        let single = self.single();
        let row = single.map_or(0.0, |single| self.prefill_row.unwrap_or(GUESSED_ROW * single));
        let most = (1..=MAX_ROWS).rfind(|&n| self.samples[n].n > 0).map_or(0, |n| (2 * n).min(MAX_ROWS));
        let before = single.map(|single| (Pass { time: single - row, at_worst: 0.0 }, (1, single)));
        self.samples[1..=most].iter().enumerate().scan(before, move |before, (i, samples)| {
            let (Pass { time, .. }, (of, measured)) = (*before)?;
            let (n_rows, guess) = (i + 1, time + row);
            let next = match samples.median((n_rows > 1).then_some(guess)) {
                Some(median) if samples.n > 0 => {
                    let weight = self.weight(samples);
                    // One that was slow is expected to have had another reason, but not staked on that.
                    let at_worst = samples.median(None).unwrap_or(median);
                    (Pass { time: weight * median + (1.0 - weight) * guess, at_worst }, (n_rows, median))
                }
                // At worst as long as several of the passes that were measured.
                _ => (Pass { time: guess, at_worst: n_rows.div_ceil(of) as f64 * measured }, (of, measured)),
            };
            Some(before.insert(next).0)
        })
    }

    /// Whether `loss` more seconds can be risked.
    pub fn can_risk(&self, loss: f64) -> bool {
        let (of_single, of_total) = MAX_LOSS;
        self.balance - loss >= -(of_single * self.single().unwrap_or(0.0) + of_total * self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn micros(pace: &Pace) -> Vec<(i64, i64)> {
        let round = |time: f64| (time * 1e6).round() as i64;
        pace.passes().map(|pass| (round(pass.time), round(pass.at_worst))).collect()
    }

    #[test]
    fn what_was_not_measured_goes_on_from_what_was_and_is_tried_by_and_by() {
        let mut pace = Pace::default();
        pace.prefill(100, 100 * MS);
        assert!(micros(&pace).is_empty());
        pace.pass(1, 10 * MS);
        assert_eq!(micros(&pace), [(10_000, 10_000), (11_000, 20_000)]);
        pace.pass(2, 15 * MS);
        // One alone that took longer than was guessed may have had another reason; two have not.
        assert_eq!(micros(&pace), [(10_000, 10_000), (11_000, 15_000), (12_000, 22_000), (13_000, 22_000)]);
        pace.pass(2, 15 * MS);
        assert_eq!(micros(&pace), [(10_000, 10_000), (15_000, 15_000), (16_000, 30_000), (17_000, 30_000)]);
        [1, 90].into_iter().for_each(|n| pace.pass(2, 15 * n * MS));
        assert_eq!(micros(&pace)[1], (15_000, 15_000));
        pace.pass(9, 30 * MS);
        assert_eq!(micros(&pace).len(), MAX_ROWS);
    }

    #[test]
    fn without_a_prompt_a_row_is_guessed_and_old_times_fade_from_what_is_expected() {
        let mut pace = Pace::default();
        pace.pass(1, 8 * MS);
        (0..2).for_each(|_| pace.pass(2, 30 * MS));
        assert_eq!(micros(&pace)[..3], [(8_000, 8_000), (30_000, 30_000), (31_000, 60_000)]);
        (0..64).for_each(|_| pace.pass(1, 8 * MS));
        assert_eq!(micros(&pace)[1], ((30_000 + 9_000) / 2, 30_000));
        assert!(pace.knows_single());
        (0..64).for_each(|_| pace.pass(2, 9 * MS));
        assert!(!pace.knows_single());
    }

    #[test]
    fn losses_are_bounded_by_what_was_won_and_what_was_spent() {
        let mut pace = Pace::default();
        (0..100).for_each(|_| pace.pass(1, 10 * MS));
        assert!(pace.can_risk(0.024) && !pace.can_risk(0.026));
        pace.pass(2, 25 * MS);
        pace.settle(2, 1, 0);
        assert!(pace.can_risk(0.009) && !pace.can_risk(0.011));
        (0..100).for_each(|_| pace.settle(2, 5, 0));
        assert!(pace.can_risk(0.064) && !pace.can_risk(0.066));
        // What a model drafts is charged as well, at the median of what its tokens took and what was guessed.
        pace.expect_drafts(0.1);
        pace.drafted(1, 90 * MS);
        assert!((pace.drafting() - 0.001).abs() < 1e-9);
        [(4, 8), (4, 8)].into_iter().for_each(|(n, ms)| pace.drafted(n, ms * MS));
        pace.settle(2, 1, 3);
        assert!(pace.can_risk(0.043) && !pace.can_risk(0.045));
    }
}
