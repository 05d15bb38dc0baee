//! From one row of logits to one token: penalties, temperature, top-k, top-p and other steps, then the draw.
//!
//! Not a reader of `generation_config.json`, and not a judge of when to stop: those are the caller's. One file is one step;
//! [`Sampler`] runs them in order.
//!
//! **The promise.** The token is a function of the logits' bits, the parameters, the seed, the prompt and the tokens accepted so far, and
//! it is the same on every machine: scores change by IEEE f32 operations, `exp` is our own, sums are sums of whole numbers, and
//! the random numbers are counter-based ([`RANDOM_STREAM`]). A change that draws other tokens from the same logits renames the stream.
//!
//! **The cost.** No sort of the vocabulary, and scratch memory that is kept. A row of 128,256 logits like a model's took, on one core of a
//! server Xeon: greedy 0.04 ms; temperature, top-k 40, top-p and min-p 0.07 ms; temperature alone 0.5 ms; with top-p 0.75 ms.

mod bias;
mod candidates;
mod draw;
mod dry;
mod exp;
mod min_p;
mod penalties;
mod philox;
mod sampling;
mod scores;
mod steps;
mod temperature;
mod top_k;
mod top_n_sigma;
mod top_p;
mod typical_p;
mod xtc;

#[cfg(test)]
mod recorded;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use sampling::{Breaker, Dry, Sampling, SamplingError};
pub use scores::LogitsError;
pub(crate) use scores::check;
pub use steps::{Step, Steps};

use candidates::Candidates;
use penalties::Penalties;
use top_k::TopK;
use top_p::TopP;
use typical_p::TypicalP;

/// Name and version of the random stream and of the walk that turns its numbers into tokens.
pub const RANDOM_STREAM: &str = "philox4x32-10/1";

/// The sampler of one sequence: the chain, the tokens it remembers, and its scratch memory.
///
/// Call [`Sampler::sample`] for each row of logits and [`Sampler::accept`] for each token that joins the output.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    n_tokens: usize,
    /// The tokens of the prompt, then those accepted.
    history: Vec<u32>,
    n_prompt: usize,
    penalties: Option<Penalties>,
    top_k: Option<TopK>,
    top_p: Option<TopP>,
    typical_p: Option<TypicalP>,
    /// The row after bias and penalties; unused where there are none.
    scores: Vec<f32>,
    candidates: Candidates,
}

impl Sampler {
    /// A sampler for the continuation of `prompt`. `n_tokens` is the size of the tokenizer's vocabulary: ids from there on are
    /// padding of the model's output matrix and are never chosen.
    ///
    /// # Errors
    /// A parameter of `sampling` is out of its range.
    pub fn new(sampling: &Sampling, prompt: &[u32], n_tokens: usize) -> Result<Sampler, SamplingError> {
        sampling.validate()?;
        Ok(Sampler {
            sampling: sampling.clone(),
            n_tokens,
            history: prompt.to_vec(),
            n_prompt: prompt.len(),
            penalties: Penalties::new(sampling, prompt),
            top_k: TopK::new(sampling.top_k, n_tokens),
            top_p: TopP::new(sampling.top_p),
            typical_p: TypicalP::new(sampling.typical_p),
            scores: Vec::new(),
            candidates: Candidates::default(),
        })
    }

    /// Chooses a token from `logits`, (n_vocab,).
    ///
    /// The draw belongs to the place in the output, that is to the number of tokens accepted, and not to the call: asked again
    /// before [`Sampler::accept`], the same logits give the same token.
    ///
    /// # Errors
    /// A logit is NaN or positive infinity, anywhere in the row, or no token may be chosen.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32, LogitsError> {
        scores::check(logits)?;
        self.sample_checked(logits)
    }

    /// The same for logits that [`check`] found good.
    pub(crate) fn sample_checked(&mut self, logits: &[f32]) -> Result<u32, LogitsError> {
        self.narrow(logits)?;
        match self.candidates.tokens() {
            &[only] => Ok(only),
            _ => Ok(draw::draw(&self.candidates, philox::draw(self.sampling.seed, self.place()))),
        }
    }

    /// The distribution that [`Sampler::sample`] draws from: token ids, ascending, and their probabilities, which sum to 1. Greedy
    /// choice gives one token.
    ///
    /// # Errors
    /// Those of [`Sampler::sample`].
    pub fn distribution(&mut self, logits: &[f32]) -> Result<impl Iterator<Item = (u32, f64)>, LogitsError> {
        scores::check(logits)?;
        self.narrow(logits)?;
        Ok(self.candidates.probabilities())
    }

    /// Appends `token` to the output: the penalties count it, and the next draw is that of the next place.
    pub fn accept(&mut self, token: u32) {
        self.history.push(token);
        if let Some(penalties) = &mut self.penalties {
            penalties.accept(token);
        }
    }

    /// Takes the last `n_tokens` accepted tokens back, all of them where there are fewer: what comes next is as if they had never been.
    pub fn rewind(&mut self, n_tokens: usize) {
        let kept = self.history.len().saturating_sub(n_tokens).max(self.n_prompt);
        for token in self.history.split_off(kept) {
            if let Some(penalties) = &mut self.penalties {
                penalties.retract(token);
            }
        }
    }

    /// The number of tokens accepted, which is the index of the next draw.
    fn place(&self) -> u64 {
        (self.history.len() - self.n_prompt) as u64
    }

    /// Runs the chain up to the draw: `self.candidates` are what may be drawn, with weights. `logits` were checked.
    fn narrow(&mut self, logits: &[f32]) -> Result<(), LogitsError> {
        let allowed = &logits[..self.n_tokens.min(logits.len())];
        let mut steps: Vec<Step> = self.sampling.steps.iter().filter(|&step| self.is_on(step)).collect();
        // No filter changes what is likeliest, where that alone is asked for; whatever their order, the penalties do.
        if self.sampling.is_greedy() {
            steps.retain(|step| matches!(step, Step::Penalties | Step::Dry));
        }

        // What changes the whole row comes first by default, and works on a copy of it.
        let n_on_row = steps.iter().take_while(|step| matches!(step, Step::Penalties | Step::Dry)).count();
        let scores = match n_on_row == 0 && self.sampling.logit_bias.is_empty() {
            true => allowed,
            false => {
                self.scores.clear();
                self.scores.extend_from_slice(allowed);
                bias::apply(&self.sampling.logit_bias, &mut self.scores);
                for step in steps.drain(..n_on_row) {
                    match (step, &self.penalties) {
                        (Step::Penalties, Some(penalties)) => penalties.apply(&mut self.scores[..]),
                        _ => dry::apply(&self.sampling.dry, &self.history, &mut self.scores[..]),
                    }
                }
                &self.scores
            }
        };
        let highest = scores::highest(scores)?;
        if self.sampling.is_greedy() {
            self.candidates.gather_one(highest);
            return Ok(());
        }

        // Top-k and top-n-sigma only compare scores, and dividing by the temperature keeps their order: done first, they spare most of
        // the softmax.
        let mut temperature = 1.0;
        let mut floor = f32::NEG_INFINITY;
        let mut n_done = 0;
        for step in &steps {
            match (step, &mut self.top_k) {
                (Step::Temperature, _) => temperature = self.sampling.temperature,
                (Step::TopK, Some(top_k)) => floor = floor.max(top_k.floor(scores)),
                (Step::TopNSigma, _) if n_done == 0 => floor = top_n_sigma::floor(scores, self.sampling.top_n_sigma),
                _ => break,
            }
            n_done += 1;
        }
        self.candidates.gather(scores, floor);
        self.filter(&steps[n_done..], temperature)
    }

    /// Runs `steps` on the candidates, the first at `temperature`, and leaves them with weights.
    fn filter(&mut self, steps: &[Step], mut temperature: f32) -> Result<(), LogitsError> {
        let (place, sampling, candidates) = (self.place(), &self.sampling, &mut self.candidates);
        let mut has_weights = false;
        for &step in steps {
            let needs_weights = matches!(step, Step::TopP | Step::MinP | Step::TypicalP | Step::Xtc);
            if needs_weights && !has_weights {
                weigh(candidates, temperature)?;
            }
            has_weights |= needs_weights;
            match (step, &self.penalties, &mut self.top_k, &mut self.top_p, &mut self.typical_p) {
                (Step::Penalties, Some(penalties), ..) => penalties.apply(candidates),
                (Step::Dry, ..) => dry::apply(&sampling.dry, &self.history, candidates),
                (Step::Temperature, ..) => temperature = sampling.temperature,
                (Step::TopNSigma, ..) => candidates.keep_score(top_n_sigma::floor(candidates.scores(), sampling.top_n_sigma)),
                (Step::TopK, _, Some(top_k), ..) => candidates.keep_score(top_k.floor(candidates.scores())),
                (Step::TopP, .., Some(top_p), _) => top_p.apply(candidates),
                (Step::MinP, ..) => min_p::apply(candidates, sampling.min_p),
                (Step::TypicalP, .., Some(typical_p)) => typical_p.apply(candidates),
                (Step::Xtc, ..) if xtc::is_now(sampling.xtc_probability, philox::second(sampling.seed, place)) => {
                    xtc::apply(candidates, sampling.xtc_threshold);
                }
                _ => {}
            }
            // These change scores, or may remove the likeliest, which the weights are relative to.
            has_weights &= matches!(step, Step::TopP | Step::MinP | Step::TopK | Step::TopNSigma);
        }
        if has_weights { Ok(()) } else { weigh(candidates, temperature) }
    }

    /// Whether a step does anything with these parameters.
    fn is_on(&self, step: Step) -> bool {
        let sampling = &self.sampling;
        match step {
            Step::Penalties => self.penalties.is_some(),
            Step::Dry => sampling.dry.multiplier > 0.0,
            Step::TopNSigma => sampling.top_n_sigma > 0.0,
            Step::TopK => self.top_k.is_some(),
            Step::TypicalP => self.typical_p.is_some(),
            Step::TopP => self.top_p.is_some(),
            Step::MinP => sampling.min_p > 0.0,
            Step::Xtc => sampling.xtc_probability > 0.0,
            Step::Temperature => true,
        }
    }
}

/// Computes the weights of `candidates`, which are at least one, at `temperature`.
fn weigh(candidates: &mut Candidates, temperature: f32) -> Result<(), LogitsError> {
    let highest = scores::highest(candidates.scores())?;
    temperature::apply(candidates, highest.score, temperature);
    Ok(())
}
