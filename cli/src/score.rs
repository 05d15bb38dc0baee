//! Scores of texts: log-probabilities of tokens, perplexity over a sliding window, and the likelier of several endings.
//!
//! Not here: the probabilities (the engine), and how they are shown (the binary).

use infer_engine::{Logprobs, Scorer};

use crate::error::Error;
use crate::text_model::TextModel;

/// A token of a scored text; the first has nothing before it, hence no probability.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredToken {
    /// Its id.
    pub id: u32,
    /// How likely the model held it after what is before it.
    pub logprobs: Option<Logprobs>,
}

/// The sum of many log-probabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Likelihood {
    /// How many.
    pub n: usize,
    /// Their sum, natural logarithms.
    pub logprob: f64,
}

/// The scores of the endings of one context.
#[derive(Clone, Debug, PartialEq)]
pub struct Endings {
    /// The sum of the log-probabilities of each ending's tokens.
    pub logprobs: Vec<f64>,
    /// The index of the highest of these.
    pub best: usize,
    /// The index of the highest of these divided by the ending's length in characters.
    pub best_by_length: usize,
}

impl Likelihood {
    /// Adds one.
    pub fn push(&mut self, logprob: f64) {
        self.n += 1;
        self.logprob += logprob;
    }

    /// The mean negative log-probability; 0 of none.
    pub fn mean_nll(&self) -> f64 {
        if self.n == 0 { 0.0 } else { -self.logprob / self.n as f64 }
    }

    /// The exponential of that.
    pub fn perplexity(&self) -> f64 {
        self.mean_nll().exp()
    }
}

impl TextModel {
    /// Scores each of `ids` after all before it, with `n_top` alternatives.
    pub fn score_ids(&self, ids: &[u32], n_top: usize) -> Result<Vec<ScoredToken>, Error> {
        let mut scored: Vec<ScoredToken> = ids.iter().map(|&id| ScoredToken { id, logprobs: None }).collect();
        let take = &mut |index: usize, logprobs| scored[index].logprobs = Some(logprobs);
        Scorer::new(self.model()).score(ids, 1, n_top, take).map_err(|error| Error::run(self.checkpoint().path(), error))?;
        Ok(scored)
    }

    /// The likelihood of a text that may be longer than the context, as in transformers' guide to perplexity: a window of `window` tokens
    /// moves on by `stride` tokens, and each token is scored once, in the first window that has it. A smaller stride gives each token more
    /// before it, and takes longer. With a stride as long as the window, the first token of each window is not scored. Both are at
    /// least 1; `progress` is told how many tokens are done after each window.
    pub fn likelihood(
        &self,
        ids: &[u32],
        window: usize,
        stride: usize,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Likelihood, Error> {
        let mut total = Likelihood::default();
        let mut scorer = Scorer::new(self.model());
        let (mut begin, mut done) = (0, 0);
        while done < ids.len() {
            let end = ids.len().min(begin + window);
            let take = &mut |_, logprobs: Logprobs| total.push(logprobs.logprob);
            let from = done.saturating_sub(begin);
            let run = scorer.score(&ids[begin..end], from, 0, take);
            run.map_err(|error| Error::run(self.checkpoint().path(), error))?;
            done = end;
            // A stride beyond the window would leave tokens out.
            begin += stride.clamp(1, window.max(1));
            progress(done);
        }
        Ok(total)
    }

    /// How likely each of `endings` is after `context`. As in lm-evaluation-harness, a context and an ending are tokenised together, and
    /// spaces at the end of the context belong to the ending's tokens.
    pub fn score_endings(&self, context: &str, endings: &[String], ctx_size: usize) -> Result<Endings, Error> {
        let mut scorer = Scorer::new(self.model());
        let mut logprobs = Vec::new();
        let stem = self.tokenize(context.trim_end_matches(' '))?;
        for ending in endings {
            let ids = self.tokenize(&format!("{context}{ending}"))?;
            if ids.len() > ctx_size {
                let expected = format_args!("at most the context's {ctx_size} tokens").to_string();
                return Err(Error::invalid("context and ending", expected, ids.len()));
            }
            let mut sum = Likelihood::default();
            let take = &mut |_, logprobs: Logprobs| sum.push(logprobs.logprob);
            let run = scorer.score(&ids, stem.len().min(ids.len() - 1), 0, take);
            run.map_err(|error| Error::run(self.checkpoint().path(), error))?;
            logprobs.push(sum.logprob);
        }
        let per_char: Vec<f64> =
            logprobs.iter().zip(endings).map(|(logprob, ending)| logprob / ending.chars().count().max(1) as f64).collect();
        Ok(Endings { best: highest(&logprobs), best_by_length: highest(&per_char), logprobs })
    }
}

/// The index of the highest, the first of equal ones.
fn highest(values: &[f64]) -> usize {
    let by_value = |(i, a): &(usize, &f64), (j, b): &(usize, &f64)| a.total_cmp(b).then(j.cmp(i));
    values.iter().enumerate().max_by(by_value).map_or(0, |(index, _)| index)
}
