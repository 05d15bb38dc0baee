//! `Scorer`: how likely a model holds a given text, token by token.
//!
//! Not here: what is made of the numbers (perplexity, the better of two answers), and text. Nothing is generated.

use crate::batch::{Batch, Row};
use crate::error::ModelError;
use crate::kv_cache::{KvCache, SequenceId};
use crate::logprobs::Logprobs;
use crate::model::Model;
use crate::rope::RopeScaling;
use crate::sampler;
use crate::state::State;

/// Bytes that the logits of one pass may take.
const MAX_LOGITS: usize = 32 << 20;

/// Scores texts one after another; what a text has in common with the one before is not read again.
pub struct Scorer<'m> {
    model: &'m Model,
    cache: KvCache,
    sequence: SequenceId,
    state: State,
    batch: Batch,
    read: Vec<u32>,
}

impl<'m> Scorer<'m> {
    /// Nothing read yet.
    pub fn new(model: &'m Model) -> Scorer<'m> {
        let mut cache = model.new_cache();
        let sequence = cache.create();
        Scorer { model, cache, sequence, state: model.new_state(), batch: Batch::new(), read: Vec::new() }
    }

    /// Rows of one pass that want logits, at most.
    pub fn rows(model: &Model) -> usize {
        model.prefill_chunk().get().min((MAX_LOGITS / size_of::<f32>() / model.config().vocab_size.max(1)).max(1))
    }

    /// The log-probability of each of `tokens[from..]` after all before it, with `n_top` alternatives, to `take` in their order. `from` is
    /// at least 1: the first token comes after nothing. `take` is given the index of the token.
    pub fn score(
        &mut self,
        tokens: &[u32],
        from: usize,
        n_top: usize,
        take: &mut dyn FnMut(usize, Logprobs),
    ) -> Result<(), ModelError> {
        let vocab_size = self.model.config().vocab_size;
        if let Some(id) = tokens.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(ModelError::prompt(format_args!("token ids below {vocab_size}"), id));
        }
        let from = from.max(1);
        if from >= tokens.len() {
            return Ok(());
        }
        let same = self.read.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        // Keys that were read for a text of another length are not the same under this scaling.
        let is_dynamic = matches!(self.model.config().rope.scaling, RopeScaling::Dynamic { .. });
        let kept = if is_dynamic { 0 } else { same.min(from - 1) };
        self.cache.truncate(self.sequence, kept);
        self.read.truncate(kept);

        // The last token predicts nothing that is asked for.
        let end = tokens.len() - 1;
        while self.read.len() < end {
            let begin = self.read.len();
            let is_scored = begin + 1 >= from;
            let n_rows = if is_scored { Scorer::rows(self.model) } else { self.model.prefill_chunk().get() };
            let stop = end.min(begin + n_rows).min(if is_scored { end } else { from - 1 });
            self.batch.clear();
            for (position, &token) in tokens.iter().enumerate().take(stop).skip(begin) {
                let sequence = self.sequence;
                self.batch.push(Row { sequence, position, token, rope_len: tokens.len(), wants_logits: is_scored });
            }
            self.model.forward(&self.batch, &mut self.cache, &mut self.state)?;
            self.read.extend_from_slice(&tokens[begin..stop]);
            for position in (begin..stop).filter(|_| is_scored) {
                let logits = self.state.logits(position - begin);
                sampler::check(logits)?;
                take(position + 1, Logprobs::new(logits, tokens[position + 1], n_top));
            }
        }
        Ok(())
    }
}
