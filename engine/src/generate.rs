//! `Generation`: a prompt read in chunks, then one token after another.
//!
//! Not here: text, stop strings and flags. A generation knows token ids alone.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::batch::{Batch, Row};
use crate::choice::{Choice, Chooser, Constraint};
use crate::error::ModelError;
use crate::model::Model;
use crate::sampler::{Sampler, Sampling};
use crate::session::Session;
use crate::speculation::{Speculation, Speculator};
use crate::state::State;

/// What to generate.
#[derive(Clone, Debug)]
pub struct GenerationOptions {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Ids from here on are never chosen: the size of the tokenizer's vocabulary, where that is below the model's.
    pub n_tokens: usize,
    /// Ids that end the text.
    pub stop_ids: Vec<u32>,
    /// Ids that are never chosen.
    pub banned_ids: Vec<u32>,
    /// With each choice tell its log-probability and this many of the likeliest tokens; `None` tells nothing.
    pub n_logprobs: Option<usize>,
    /// The most tokens to generate; `None` is as many as the context holds.
    pub max_tokens: Option<usize>,
    /// Positions that prompt and output may take together.
    pub ctx_size: usize,
    /// Whether tokens are drafted ahead. Changes speed, never the output.
    pub speculation: Speculation,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// A stop id was chosen.
    Eos(u32),
    /// The output is all that the constraint allows.
    Complete,
    /// As many tokens were generated as were asked for.
    MaxTokens,
    /// The context is full.
    Context,
}

/// How long things took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Tokens of the prompt that were read.
    pub prompt_tokens: usize,
    /// Time to read them.
    pub prompt_time: Duration,
    /// Tokens generated, a stop id among them.
    pub generated_tokens: usize,
    /// Time to generate all but the first, which the prompt's pass gives.
    pub decode_time: Duration,
    /// Tokens generated in that time.
    pub decode_tokens: usize,
    /// Forward passes in that time.
    pub decode_passes: usize,
    /// Tokens that were drafted ahead.
    pub drafted_tokens: usize,
    /// Those of them that joined the output.
    pub accepted_tokens: usize,
    /// What `decode_time` would have been without drafts, by the time that passes of one row took; `None` where there was none.
    pub plain_time: Option<Duration>,
}

/// One prompt being continued.
pub struct Generation<'m> {
    model: &'m Model,
    options: GenerationOptions,
    chooser: Chooser,
    session: Session<'m>,
    state: State,
    batch: Batch,
    prompt: Vec<u32>,
    /// The last token returned, whose pass is yet to be run, unless a draft held it.
    pending: Option<u32>,
    speculator: Speculator<'m>,
    ahead: Ahead,
    finish: Option<Finish>,
    timings: Timings,
}

/// What the last pass read beyond the tokens of the session: the cache holds it, too.
#[derive(Default)]
struct Ahead {
    draft: Vec<u32>,
    /// How many of them joined the output. That is also the row of the logits from which the next token is chosen.
    n_right: usize,
}

impl Ahead {
    /// Whether the draft goes on with `token`, whose row is then the current one.
    fn takes(&mut self, token: u32) -> bool {
        let is_right = self.draft.get(self.n_right) == Some(&token);
        self.n_right += usize::from(is_right);
        is_right
    }

    fn clear(&mut self) {
        self.draft.clear();
        self.n_right = 0;
    }
}

impl<'m> Generation<'m> {
    /// Prepares to continue `prompt`. It must hold at least one token, all in the vocabulary, and leave room for one more in the context.
    pub fn new(model: &'m Model, prompt: &[u32], options: GenerationOptions) -> Result<Generation<'m>, ModelError> {
        Generation::resume(Session::new(model), prompt, options)
    }

    /// The same, reading only what `session` does not hold yet. The tokens and their logits are those of [`Generation::new`], bit for
    /// bit.
    pub fn resume(mut session: Session<'m>, prompt: &[u32], options: GenerationOptions) -> Result<Generation<'m>, ModelError> {
        let model = session.model;
        let (vocab_size, ctx_size) = (model.config().vocab_size, options.ctx_size);
        if prompt.is_empty() {
            return Err(ModelError::prompt("at least one token", "none"));
        }
        if prompt.len() >= ctx_size {
            let expected = format_args!("fewer tokens than the context's {ctx_size}").to_string();
            return Err(ModelError::prompt(expected, prompt.len()));
        }
        if let Some(id) = prompt.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(ModelError::prompt(format_args!("token ids below {vocab_size}"), id));
        }
        let sampler = Sampler::new(&options.sampling, prompt, options.n_tokens.min(vocab_size))?;
        let chooser = Chooser::new(sampler, &options.banned_ids, options.n_logprobs);
        session.keep_common(prompt);
        let mut speculator = Speculator::new(options.speculation);
        if let Some(draft) = session.draft.take() {
            speculator = speculator.with_model(*draft, prompt, model);
        }
        Ok(Generation {
            model,
            options,
            chooser,
            session,
            state: model.new_state(),
            batch: Batch::new(),
            prompt: prompt.to_vec(),
            pending: None,
            speculator,
            ahead: Ahead::default(),
            finish: None,
            timings: Timings::default(),
        })
    }

    /// From here on the output must be what `constraint` allows. To be called before the first token.
    pub fn constrain(&mut self, constraint: Box<dyn Constraint>) {
        self.chooser.constrain(constraint);
    }

    /// Reads what is left of the prompt, calling `progress` with the tokens read and their total before each chunk and at the end. Where that
    /// says break, reading stops, and may be taken up by another call.
    pub fn prefill(&mut self, progress: &mut dyn FnMut(usize, usize) -> ControlFlow<()>) -> Result<ControlFlow<()>, ModelError> {
        let total = self.prompt.len();
        loop {
            let done = self.session.tokens.len();
            if progress(done, total).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if done >= total {
                return Ok(ControlFlow::Continue(()));
            }
            let end = total.min(done + self.model.prefill_chunk().get());
            let started = Instant::now();
            self.batch.clear();
            for position in done..end {
                let wants_logits = position + 1 == total;
                let token = self.prompt[position];
                self.batch.push(Row { sequence: self.session.sequence, position, token, rope_len: total, wants_logits });
            }
            self.model.forward(&self.batch, &mut self.session.cache, &mut self.state)?;
            self.session.tokens.extend_from_slice(&self.prompt[done..end]);
            self.timings.prompt_tokens += end - done;
            self.speculator.prefill(&self.prompt, end, end - done, started.elapsed());
            self.timings.prompt_time += started.elapsed();
        }
    }

    /// The next token; `None` once the generation has ended, see [`Generation::finish`]. Stop ids are not returned. Reads the prompt first
    /// if that was not done.
    pub fn next_token(&mut self) -> Result<Option<u32>, ModelError> {
        Ok(self.next_choice()?.map(|choice| choice.token))
    }

    /// The same, with its log-probability where [`GenerationOptions::n_logprobs`] asks for it.
    pub fn next_choice(&mut self) -> Result<Option<Choice>, ModelError> {
        if self.finish.is_some() {
            return Ok(None);
        }
        if self.options.max_tokens.is_some_and(|max| self.timings.generated_tokens >= max) {
            self.finish = Some(Finish::MaxTokens);
            return Ok(None);
        }
        if self.session.tokens.len() < self.prompt.len() {
            let _always_continues = self.prefill(&mut |_, _| ControlFlow::Continue(()))?;
        }
        let started = Instant::now();
        if let Some(token) = self.pending {
            let position = self.session.tokens.len();
            if position >= self.options.ctx_size {
                self.finish = Some(Finish::Context);
                return Ok(None);
            }
            match self.ahead.takes(token) {
                true => self.timings.accepted_tokens += 1,
                false => self.pass(token)?,
            }
            self.session.tokens.push(token);
        }
        let choice = self.chooser.choose(self.state.logits_mut(self.ahead.n_right))?;
        let token = choice.token;
        if self.pending.replace(token).is_some() {
            self.timings.decode_time += started.elapsed();
            self.timings.decode_tokens += 1;
        }
        self.timings.generated_tokens += 1;
        if self.options.stop_ids.contains(&token) {
            self.finish = Some(Finish::Eos(token));
            return Ok(None);
        }
        if self.chooser.is_complete() {
            self.finish = Some(Finish::Complete);
        }
        Ok(Some(choice))
    }

    /// Reads `token`, which follows the session's, and a draft of what may come after it: `self.ahead` holds that. A row is wanted for each.
    fn pass(&mut self, token: u32) -> Result<(), ModelError> {
        let position = self.session.tokens.len();
        self.speculator.settle(self.ahead.n_right, self.ahead.n_right < self.ahead.draft.len());
        self.forget_ahead();
        // No more than can be used, by the output's length and the context's.
        let left = self.options.max_tokens.map_or(usize::MAX, |max| max - self.timings.generated_tokens);
        let room = (left - 1).min(self.options.ctx_size - position - 1);
        let (text, stop_ids) = ((&self.session.tokens[..], token), &self.options.stop_ids);
        self.speculator.draft(&self.chooser, text, room, stop_ids, &mut self.ahead.draft);
        let started = Instant::now();
        if self.forward_ahead(token).is_err() {
            // Memory for one row may be there where that for many is not; what else is wrong, shows again.
            self.speculator.turn_off();
            self.forget_ahead();
            self.forward_ahead(token)?;
        }
        self.speculator.pass(1 + self.ahead.draft.len(), started.elapsed());
        self.timings.decode_passes += 1;
        self.timings.drafted_tokens += self.ahead.draft.len();
        Ok(())
    }

    /// The pass of `token` and the draft.
    fn forward_ahead(&mut self, token: u32) -> Result<(), ModelError> {
        let start = self.session.tokens.len();
        self.batch.clear();
        for (position, &token) in (start..).zip([token].iter().chain(&self.ahead.draft)) {
            let rope_len = (position + 1).max(self.prompt.len());
            self.batch.push(Row { sequence: self.session.sequence, position, token, rope_len, wants_logits: true });
        }
        self.model.forward(&self.batch, &mut self.session.cache, &mut self.state)
    }

    /// Drops what was read beyond the session's tokens.
    fn forget_ahead(&mut self) {
        self.ahead.clear();
        self.session.cache.truncate(self.session.sequence, self.session.tokens.len());
    }

    /// Takes back the last `n_tokens` tokens that were returned, all of them where there are fewer. The next is chosen anew from the very
    /// logits that the first of them was chosen from, and is none of `rejected`.
    pub fn rewind(&mut self, n_tokens: usize, rejected: &[u32]) -> Result<(), ModelError> {
        let n_chosen = self.session.tokens.len().saturating_sub(self.prompt.len()) + usize::from(self.pending.is_some());
        // A stop id was chosen, too, but not returned.
        let n_gone = n_chosen.min(n_tokens + usize::from(matches!(self.finish, Some(Finish::Eos(_)))));
        self.chooser.rewind(n_gone, rejected)?;
        self.timings.generated_tokens -= n_gone;
        self.finish = None;
        if let Some(last) = self.pending.take() {
            self.session.tokens.push(last);
        }
        self.session.tokens.truncate(self.prompt.len() + n_chosen - n_gone);
        // The last that stays is read again, for its logits; of the prompt, by the next prefill.
        let last = self.session.tokens.pop();
        self.pending = last.filter(|_| n_gone < n_chosen);
        self.forget_ahead();
        self.speculator.truncate(self.session.tokens.len());
        Ok(())
    }

    /// Whether the output is whole as it stands: what the constraint demands, where there is one.
    pub fn may_end(&mut self) -> bool {
        self.chooser.may_end()
    }

    /// Why the generation ended, once it has.
    pub fn finish(&self) -> Option<Finish> {
        self.finish
    }

    /// How long things took so far.
    pub fn timings(&self) -> Timings {
        let saved = self.speculator.saved(self.ahead.n_right);
        let plain_time =
            saved.map(|saved| (self.timings.decode_time.as_secs_f64() + saved).max(0.0)).map(Duration::from_secs_f64);
        Timings { plain_time, ..self.timings }
    }

    /// Bytes that the KV cache takes by now.
    pub fn kv_bytes(&self) -> usize {
        self.session.cache.bytes() + self.speculator.kv_bytes()
    }

    /// What was read, for another generation. Not to be kept after an error.
    pub fn into_session(mut self) -> Session<'m> {
        self.forget_ahead();
        self.session.draft = self.speculator.into_session().map(Box::new);
        self.session
    }
}
