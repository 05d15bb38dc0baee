//! `Chooser`: from a row of logits, and what came before it, to the token that joins the output.
//!
//! One call a row, in the order of the output, whoever computed the rows and however many at once: a pass that verifies drafted tokens calls
//! it row by row and stops at the first token that is not the drafted one. Not here: the distribution and the draw (`sampler/`), what a
//! grammar is ([`Constraint`] is all that is known of one), and text.

use crate::error::ModelError;
use crate::logprobs::Logprobs;
use crate::sampler::{self, Sampler};

/// Something that reads the output and says which tokens may come next: a grammar, say.
pub trait Constraint: Send {
    /// Sets the logits, (vocab_size,), of the tokens that must not come next to negative infinity; the others stay as they are.
    ///
    /// # Errors
    /// Why this cannot be said; in words for a person.
    fn mask(&mut self, logits: &mut [f32]) -> Result<(), String>;

    /// Takes the next token of the output, one that the mask let through.
    ///
    /// # Errors
    /// Why the token cannot come next.
    fn accept(&mut self, token: u32) -> Result<(), String>;

    /// Takes back the last `n_tokens` tokens.
    ///
    /// # Errors
    /// Why that is not possible.
    fn rewind(&mut self, n_tokens: usize) -> Result<(), String>;

    /// Whether the output is whole and nothing but an end-of-text token may follow.
    fn is_complete(&self) -> bool;

    /// Whether the output is whole as it stands, though more may follow.
    fn may_end(&mut self) -> bool;

    /// A copy that goes its own way from here, for a model that drafts; `None` where there can be none, and drafts know nothing of it.
    fn fork(&self) -> Option<Box<dyn Constraint>> {
        None
    }
}

/// A token that joined the output.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// Its id.
    pub token: u32,
    /// How likely the model held it, and others; where that was asked for.
    pub logprobs: Option<Logprobs>,
}

/// Chooses the tokens of one output.
pub(crate) struct Chooser {
    sampler: Sampler,
    constraint: Option<Box<dyn Constraint>>,
    /// Ids that are never chosen.
    banned: Vec<u32>,
    /// Ids that are not chosen at the next place.
    rejected: Vec<u32>,
    /// How many alternatives a choice tells; `None`: no probabilities at all.
    n_logprobs: Option<usize>,
}

impl Chooser {
    /// Chooses as `sampler` does, which knows the prompt, but never one of `banned`.
    pub(crate) fn new(sampler: Sampler, banned: &[u32], n_logprobs: Option<usize>) -> Chooser {
        Chooser { sampler, constraint: None, banned: banned.to_vec(), rejected: Vec::new(), n_logprobs }
    }

    /// From here on the output must be what `constraint` allows; it has read none of it.
    pub(crate) fn constrain(&mut self, constraint: Box<dyn Constraint>) {
        self.constraint = Some(constraint);
    }

    /// A chooser of the same choices that goes its own way from here. It tells no log-probabilities, and nothing is rejected.
    pub(crate) fn fork(&self) -> Chooser {
        let constraint = self.constraint.as_ref().and_then(|constraint| constraint.fork());
        Chooser { sampler: self.sampler.clone(), constraint, banned: self.banned.clone(), rejected: Vec::new(), n_logprobs: None }
    }

    /// Takes `token`, which was chosen elsewhere, into the output.
    pub(crate) fn accept(&mut self, token: u32) -> Result<(), ModelError> {
        self.sampler.accept(token);
        self.rejected.clear();
        match &mut self.constraint {
            Some(constraint) => constraint.accept(token).map_err(ModelError::constraint),
            None => Ok(()),
        }
    }

    /// The token of the next place, from the logits of the place before it, (vocab_size,), which are changed. It joins the output.
    pub(crate) fn choose(&mut self, logits: &mut [f32]) -> Result<Choice, ModelError> {
        // Before anything is masked: a mask would hide what is no number.
        sampler::check(logits)?;
        let raw = self.n_logprobs.map(|_| logits.to_vec());
        for &id in self.banned.iter().chain(&self.rejected) {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
        if let Some(constraint) = &mut self.constraint {
            constraint.mask(logits).map_err(ModelError::constraint)?;
        }
        let token = self.sampler.sample_checked(logits)?;
        self.accept(token)?;
        let logprobs = raw.zip(self.n_logprobs).map(|(raw, n)| Logprobs::new(&raw, token, n));
        Ok(Choice { token, logprobs })
    }

    /// Takes the last `n_tokens` tokens back, as if they had not been chosen. The next choice is none of `rejected`.
    pub(crate) fn rewind(&mut self, n_tokens: usize, rejected: &[u32]) -> Result<(), ModelError> {
        self.sampler.rewind(n_tokens);
        self.rejected = rejected.to_vec();
        match &mut self.constraint {
            Some(constraint) => constraint.rewind(n_tokens).map_err(ModelError::constraint),
            None => Ok(()),
        }
    }

    /// Whether the output is whole as it stands.
    pub(crate) fn may_end(&mut self) -> bool {
        self.constraint.as_mut().is_none_or(|constraint| constraint.may_end())
    }

    /// Whether nothing may follow.
    pub(crate) fn is_complete(&self) -> bool {
        self.constraint.as_ref().is_some_and(|constraint| constraint.is_complete())
    }
}
