//! Speculation: tokens drafted ahead, which one pass then verifies, several rows at the cost of little more than one.
//!
//! A drafted token joins the output only if the sampler, with the history up to it, chooses it from the row before it, and a row's bits
//! do not depend on the rows beside it. So the output is that of plain decoding, to the bit, whatever is drafted (a stricter rule than
//! the rejection sampling of Leviathan et al., 2023, which keeps only the distribution). What is measured here decides how many tokens
//! are tried, and so the speed, and nothing else. Not here: the passes, and what becomes of rows that were in vain (`generate.rs`).

mod draft_model;
mod lookup;
mod odds;
mod pace;

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::choice::Chooser;
use crate::error::ModelError;
use crate::model::Model;
use crate::session::Session;
use draft_model::DraftModel;
use lookup::{Lookup, Match};
use odds::{Odds, Origin};
use pace::Pace;

/// The most rows of a pass that verifies a draft: one for the token before it, 15 for the draft.
pub(crate) const MAX_ROWS: usize = 16;

/// How much faster than plain decoding a draft must promise to be.
const MIN_GAIN: f64 = 1.05;

/// Whether tokens are drafted. None of it changes the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speculation {
    /// As many as pay, judged by what was right and what passes took so far in this run.
    #[default]
    Auto,
    /// Never.
    Off,
    /// This many, at most 15, whenever there is a guess.
    Always(NonZeroUsize),
}

impl fmt::Display for Speculation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Speculation::Auto => f.write_str("auto"),
            Speculation::Off => f.write_str("off"),
            Speculation::Always(n) => n.fmt(f),
        }
    }
}

impl FromStr for Speculation {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Speculation, &'static str> {
        match s {
            "auto" => Ok(Speculation::Auto),
            "off" => Ok(Speculation::Off),
            n => match n.parse::<NonZeroUsize>() {
                Ok(n) if n.get() < MAX_ROWS => Ok(Speculation::Always(n)),
                _ => Err("expected auto, off or a number of tokens from 1 to 15"),
            },
        }
    }
}

/// Drafts tokens for one generation.
#[derive(Default)]
pub(crate) struct Speculator<'m> {
    mode: Speculation,
    lookup: Lookup,
    model: Option<DraftModel<'m>>,
    /// The model failed, and is asked no more.
    model_is_off: bool,
    odds: Odds,
    pace: Pace,
    /// Of the last draft, which is not settled yet.
    open: Option<Open>,
}

/// Where a draft comes from.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// What followed where the text ended so before.
    Lookup(Match),
    /// The model that drafts.
    Model,
}

impl Source {
    /// How its first token is found.
    fn origin(self) -> Origin {
        match self {
            Source::Lookup(found) => Origin::Match(found.len),
            Source::Model => Origin::Model,
        }
    }
}

/// A draft that is being verified.
#[derive(Debug)]
struct Open {
    origin: Origin,
    /// Of the pass that verifies it.
    n_rows: usize,
    /// Tokens that a model drafted for it.
    n_asked: usize,
}

impl<'m> Speculator<'m> {
    /// Nothing drafted or measured yet.
    pub fn new(mode: Speculation) -> Speculator<'m> {
        Speculator { mode, ..Speculator::default() }
    }

    /// Has the model of `session` draft, too, for `target`, which continues `prompt`.
    pub fn with_model(mut self, session: Session<'m>, prompt: &[u32], target: &Model) -> Speculator<'m> {
        let bytes = |model: &Model| model.cost(0..1, 1).bytes as f64;
        self.pace.expect_drafts(bytes(session.model) / bytes(target).max(1.0));
        self.model = Some(DraftModel::new(session, prompt));
        self
    }

    /// What the model that drafts has read.
    pub fn into_session(self) -> Option<Session<'m>> {
        self.model.map(DraftModel::into_session)
    }

    /// Bytes of the cache of the model that drafts.
    pub fn kv_bytes(&self) -> usize {
        self.model.as_ref().map_or(0, DraftModel::kv_bytes)
    }

    /// Tells of a prompt's pass: the last of `n_rows` rows is `prompt[end - 1]`. The model that drafts reads them, too.
    pub fn prefill(&mut self, prompt: &[u32], end: usize, n_rows: usize, time: Duration) {
        self.pace.prefill(n_rows, time);
        self.ask_model(|model| model.prefill(prompt, end));
    }

    /// Drafts at most `limit` tokens after `text` and then `last`, into `draft`, which is empty; none where that does not pay. `chooser`
    /// has chosen the output so far, and one of `stop_ids` ends it.
    pub fn draft(
        &mut self,
        chooser: &Chooser,
        (text, last): (&[u32], u32),
        limit: usize,
        stop_ids: &[u32],
        draft: &mut Vec<u32>,
    ) {
        let limit = limit.min(MAX_ROWS - 1);
        if self.mode == Speculation::Off || limit == 0 {
            return;
        }
        (self.lookup.len()..text.len()).for_each(|place| self.lookup.push(text[place]));
        self.lookup.push(last);
        let Some((source, n)) = self.plan(limit) else { return };
        match source {
            Source::Lookup(found) => self.lookup.follow(found, n, draft),
            Source::Model => {
                let started = Instant::now();
                self.ask_model(|model| model.draft(chooser, (text, last), n, stop_ids, draft));
                self.pace.drafted(draft.len(), started.elapsed());
            }
        }
        let n_asked = if matches!(source, Source::Model) { draft.len() } else { 0 };
        // Nothing follows the end of a text.
        draft.truncate(draft.iter().position(|id| stop_ids.contains(id)).unwrap_or(n));
        self.open = Some(Open { origin: source.origin(), n_rows: 1, n_asked });
    }

    /// Where to have how many tokens drafted, at least one and at most `limit`; `None` where that does not pay.
    fn plan(&self, limit: usize) -> Option<(Source, usize)> {
        let model = self.model.as_ref().filter(|_| !self.model_is_off).map(|_| Source::Model);
        let lookup = self.lookup.find().map(Source::Lookup);
        match self.mode {
            Speculation::Off => None,
            Speculation::Always(n) => Some((model.or(lookup)?, n.get().min(limit))),
            Speculation::Auto => {
                let plans = [lookup, model].into_iter().flatten().filter_map(|source| {
                    let (n, rate) = self.best_length(source, limit)?;
                    Some((source, n, rate))
                });
                plans.max_by(|(.., a), (.., b)| a.total_cmp(b)).map(|(source, n, _)| (source, n))
            }
        }
    }

    /// Has the model do something. One that fails is asked no more: the text can be had without.
    fn ask_model(&mut self, ask: impl FnOnce(&mut DraftModel<'m>) -> Result<(), ModelError>) {
        if let Some(model) = self.model.as_mut().filter(|_| !self.model_is_off && self.mode != Speculation::Off) {
            self.model_is_off = ask(model).is_err();
        }
    }

    /// Tells of the pass that verifies the draft, or of one without.
    pub fn pass(&mut self, n_rows: usize, time: Duration) {
        self.pace.pass(n_rows, time);
        self.odds.pass();
        if let Some(open) = &mut self.open {
            open.n_rows = n_rows;
        }
    }

    /// Tells how many tokens of the last draft were right, and whether the next one was wrong. Nothing where there was no draft.
    pub fn settle(&mut self, n_right: usize, was_refused: bool) {
        let Some(open) = self.open.take() else { return };
        (0..n_right).for_each(|i| self.odds.count(open.origin.further(i), true));
        if was_refused {
            self.odds.count(open.origin.further(n_right), false);
        }
        self.pace.settle(open.n_rows, n_right + 1, open.n_asked);
    }

    /// Forgets the tokens from `len` on: they were taken back.
    pub fn truncate(&mut self, len: usize) {
        self.lookup.truncate(len);
        self.ask_model(|model| model.truncate(len));
    }

    /// Drafts no more.
    pub fn turn_off(&mut self) {
        self.mode = Speculation::Off;
        self.open = None;
    }

    /// Seconds that drafts saved, less than 0 where they cost, if `n_right` tokens of the last one were right; `None` before there was a
    /// pass of one row to compare with.
    pub fn saved(&self, n_right: usize) -> Option<f64> {
        let open = self.open.as_ref().map_or(Some(0.0), |open| self.pace.won(open.n_rows, n_right + 1, open.n_asked));
        Some(self.pace.saved() + open?).filter(|_| self.pace.single().is_some())
    }

    /// The number of tokens, at most `limit`, with which a draft from `source` gives the most tokens per second, and how many; `None` where
    /// none gives more than a single row, or there is too much to lose.
    fn best_length(&self, source: Source, limit: usize) -> Option<(usize, f64)> {
        let single = self.pace.single().filter(|_| self.pace.knows_single())?;
        let of_token = match source {
            Source::Lookup(_) => 0.0,
            Source::Model => self.pace.drafting(),
        };
        let (mut best, mut best_rate) = (None, MIN_GAIN / single);
        // The odds that all tokens up to one are right, and with them the number of tokens that the pass gives.
        let (mut odds, mut expected) = (1.0, 1.0);
        for (n, pass) in self.pace.passes().enumerate().skip(1).take(limit) {
            odds *= self.odds.of(source.origin().further(n - 1));
            expected += odds;
            let drafting = n as f64 * of_token;
            let rate = expected / (pass.time + drafting);
            if rate > best_rate && self.pace.can_risk(pass.at_worst + drafting - single) {
                (best, best_rate) = (Some((n, rate)), rate);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::{Sampler, Sampling};

    const MS: Duration = Duration::from_millis(1);

    /// Only a model that drafts has a use for it.
    fn chooser() -> Chooser {
        Chooser::new(Sampler::new(&Sampling::default(), &[], 50).unwrap(), &[], None)
    }

    /// Continues a text of `n` tokens, of which a part `right` goes as the lookup says, with passes that take `times` by number of rows.
    /// Returns the time that it takes and the number of passes.
    fn run(mode: Speculation, n: usize, right: f64, times: &dyn Fn(usize) -> Duration) -> (Duration, usize) {
        let mut speculator = Speculator::new(mode);
        let mut seeded = infer_kernels::testing::Seeded(1);
        let mut text: Vec<u32> = (0..50).chain(0..10).collect();
        let (mut time, mut n_passes) = (Duration::ZERO, 0);
        let end = text.len() + n;
        while text.len() < end {
            let last = text.pop().unwrap();
            let mut draft = Vec::new();
            speculator.draft(&chooser(), (&text, last), end - text.len() - 2, &[], &mut draft);
            text.push(last);
            let pass = times(1 + draft.len());
            speculator.pass(1 + draft.len(), pass);
            (time, n_passes) = (time + pass, n_passes + 1);
            let mut n_right = 0;
            loop {
                // What the model says: the text goes on as it did before, or it does not.
                let goes_on = (seeded.below(1000) as f64) < right * 1000.0;
                let token = if goes_on { (text[text.len() - 1] + 1) % 50 } else { seeded.below(50) as u32 };
                text.push(token);
                if draft.get(n_right) != Some(&token) {
                    break;
                }
                n_right += 1;
            }
            speculator.settle(n_right, n_right < draft.len());
        }
        (time, n_passes)
    }

    #[test]
    fn drafts_pay_where_they_are_right_and_rows_are_cheap() {
        let cheap = |n_rows: usize| (20 + n_rows as u32) * MS;
        let (plain, n_plain) = run(Speculation::Off, 500, 0.95, &cheap);
        let (auto, n_auto) = run(Speculation::Auto, 500, 0.95, &cheap);
        assert_eq!(n_plain, 500);
        assert!(auto * 3 < plain && n_auto * 3 < n_plain, "{auto:?} of {plain:?}, {n_auto} passes");
    }

    #[test]
    fn little_is_lost_whatever_passes_cost_and_however_wrong_drafts_are() {
        let costs: [&dyn Fn(usize) -> Duration; 5] = [
            &|n_rows| (20 + n_rows as u32) * MS,
            &|n_rows| 20 * n_rows as u32 * MS,
            &|n_rows| if n_rows == 1 { 20 * MS } else { 25 * n_rows as u32 * MS },
            &|n_rows| if n_rows < 3 { 20 * MS } else { 25 * n_rows as u32 * MS },
            &|n_rows| if n_rows < 9 { 20 * n_rows as u32 * MS } else { (100 + n_rows as u32) * MS },
        ];
        for (i, cost) in costs.iter().enumerate() {
            for right in [0.0, 0.1, 0.5, 0.9, 1.0] {
                for n in [20, 100, 2000] {
                    let (plain, _) = run(Speculation::Off, n, right, cost);
                    let (auto, _) = run(Speculation::Auto, n, right, cost);
                    // Beside the part of all time, two and a half passes: one may always be lost, and that a few rows more take four times as
                    // long comes as a surprise.
                    let allowed = plain.as_secs_f64() * 1.015 + 0.050;
                    assert!(auto.as_secs_f64() <= allowed, "cost {i}, {right} right, {n} tokens: {auto:?} after {plain:?}");
                }
            }
        }
    }

    #[test]
    fn a_forced_draft_has_the_length_asked_for() {
        let always = Speculation::Always(NonZeroUsize::new(4).unwrap());
        let mut speculator = Speculator::new(always);
        let mut draft = Vec::new();
        speculator.draft(&chooser(), (&[1, 2, 3, 4, 5, 6, 1], 2), 100, &[], &mut draft);
        assert_eq!(draft, [3, 4, 5, 6]);
        draft.clear();
        speculator.truncate(4);
        speculator.draft(&chooser(), (&[1, 2, 3, 4, 9, 1, 2], 3), 2, &[], &mut draft);
        assert_eq!(draft, [4, 9]);
        draft.clear();
        speculator.truncate(7);
        speculator.draft(&chooser(), (&[1, 2, 3, 4, 9, 1, 2], 3), 9, &[7, 1], &mut draft);
        assert_eq!(draft, [4, 9]);
    }
}
