//! A test of a benchmark, and the runs of the model that it is made of: prompts read and tokens generated, at a depth.
//!
//! Not here: statistics and the machine's limits. Tokens are random, from a fixed seed: which they are makes no difference to the time,
//! and no tokenizer is needed. Nothing is sampled.

use std::ops::Range;
use std::time::{Duration, Instant};

use infer_engine::{Batch, Cost, KvCache, Model, ModelError, Row, SequenceId, State};
use infer_kernels::testing::Seeded;

/// Any constant does.
const SEED: u64 = 1;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Reading a prompt of so many tokens.
    Prompt(usize),
    /// Generating so many tokens, one after another.
    Generation(usize),
}

/// Work that is done after so many positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Test {
    /// The work.
    pub work: Work,
    /// Positions that are in the cache beforehand.
    pub depth: usize,
}

impl Test {
    /// The tests of each depth: prompts, then generations. Work of no tokens is no test.
    pub fn combine(n_prompt: &[usize], n_gen: &[usize], n_depth: &[usize]) -> Vec<Test> {
        let works = || n_prompt.iter().map(|&n| Work::Prompt(n)).chain(n_gen.iter().map(|&n| Work::Generation(n)));
        let tests = n_depth.iter().flat_map(|&depth| works().map(move |work| Test { work, depth }));
        tests.filter(|test| test.n_tokens() > 0).collect()
    }

    /// Tokens of one repetition.
    pub fn n_tokens(&self) -> usize {
        let (Work::Prompt(n) | Work::Generation(n)) = self.work;
        n
    }

    /// Positions that are taken at the end; saturates.
    pub fn end(&self) -> usize {
        self.depth.saturating_add(self.n_tokens())
    }

    /// Its name, as llama-bench has it: `pp512`, `tg128 @ d4096`.
    pub fn name(&self) -> String {
        let depth = if self.depth > 0 { format!(" @ d{}", self.depth) } else { String::new() };
        match self.work {
            Work::Prompt(n) => format!("pp{n}{depth}"),
            Work::Generation(n) => format!("tg{n}{depth}"),
        }
    }

    /// What one repetition costs.
    pub fn cost(&self, model: &Model) -> Cost {
        let mut cost = Cost::default();
        for (positions, n_logits) in self.passes(model) {
            cost += model.cost(positions, n_logits);
        }
        cost
    }

    /// The passes of one repetition: their positions, and how many of them want logits.
    fn passes(&self, model: &Model) -> impl Iterator<Item = (Range<usize>, usize)> + use<> {
        let (start, end) = (self.depth, self.end());
        let (chunk, is_prompt) = match self.work {
            Work::Prompt(_) => (model.prefill_chunk().get(), true),
            Work::Generation(_) => (1, false),
        };
        (start..end).step_by(chunk).map(move |at| {
            let stop = at.saturating_add(chunk).min(end);
            (at..stop, usize::from(!is_prompt || stop == end))
        })
    }
}

/// A model with a sequence of random tokens.
pub struct Runner<'m> {
    model: &'m Model,
    cache: KvCache,
    sequence: SequenceId,
    state: State,
    batch: Batch,
    tokens: Seeded,
}

impl<'m> Runner<'m> {
    /// An empty sequence.
    pub fn new(model: &'m Model) -> Runner<'m> {
        let mut cache = model.new_cache();
        let sequence = cache.create();
        Runner { model, cache, sequence, state: model.new_state(), batch: Batch::new(), tokens: Seeded(SEED) }
    }

    /// Warms up, then measures `n_repetitions` runs. `progress` is told the tokens done and their total, now and then.
    pub fn measure(
        &mut self,
        test: &Test,
        n_repetitions: usize,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Duration>, ModelError> {
        // As in llama-bench: a whole prompt, or one token.
        let warm_up = match test.work {
            Work::Prompt(_) => *test,
            Work::Generation(_) => Test { work: Work::Generation(1), ..*test },
        };
        let fill = test.depth.saturating_sub(self.cache.len(self.sequence));
        let total = test.n_tokens().saturating_mul(n_repetitions).saturating_add(warm_up.n_tokens()).saturating_add(fill);
        let mut done = 0;
        let mut tell = |n| {
            done += n;
            progress(done, total);
        };
        tell(0);
        if fill > 0 {
            let held = self.cache.len(self.sequence);
            self.run(&Test { work: Work::Prompt(fill), depth: held }, &mut tell)?;
        }
        self.run(&warm_up, &mut tell)?;
        let mut times = Vec::new();
        for _ in 0..n_repetitions {
            times.push(self.run(test, &mut tell)?);
        }
        Ok(times)
    }

    /// Cuts the sequence back to the test's depth, which it must have reached, and runs the test once. Returns the time of its passes.
    fn run(&mut self, test: &Test, tell: &mut dyn FnMut(usize)) -> Result<Duration, ModelError> {
        self.cache.truncate(self.sequence, test.depth);
        let mut time = Duration::ZERO;
        for (positions, n_logits) in test.passes(self.model) {
            let n = positions.len();
            let first_wanted = positions.end - n_logits;
            self.batch.clear();
            for position in positions {
                let token = self.tokens.below(self.model.config().vocab_size) as u32;
                let row = Row {
                    sequence: self.sequence,
                    position,
                    token,
                    rope_len: test.end(),
                    wants_logits: position >= first_wanted,
                };
                self.batch.push(row);
            }
            let started = Instant::now();
            self.model.forward(&self.batch, &mut self.cache, &mut self.state)?;
            time += started.elapsed();
            tell(n);
        }
        Ok(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_is_a_test_but_those_of_no_tokens() {
        let tests = Test::combine(&[0, 128, 512], &[16, 0], &[0, 4096]);
        let names: Vec<String> = tests.iter().map(Test::name).collect();
        assert_eq!(names, ["pp128", "pp512", "tg16", "pp128 @ d4096", "pp512 @ d4096", "tg16 @ d4096"]);
        assert_eq!(tests[4].end(), 4608);
        assert_eq!(Test::combine(&[0], &[0], &[0, 1]), []);
    }
}
