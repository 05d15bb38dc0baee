//! `DraftModel`: a smaller model with the same vocabulary that reads the same text and says how it would go on.
//!
//! It chooses as the target would: by the same sampler with the same history and, at each place, the same random number, and under a copy of
//! the same grammar, so that the target often draws the very token (a coupling: were the distributions the same, it always would). Not here:
//! how many tokens are worth trying (`mod.rs`), and their verification (`generate.rs`).

use crate::batch::{Batch, Row};
use crate::choice::Chooser;
use crate::error::ModelError;
use crate::session::Session;
use crate::state::State;

/// A model that drafts for one generation.
pub(crate) struct DraftModel<'m> {
    /// The text that both have read, and what was drafted after it.
    session: Session<'m>,
    state: State,
    batch: Batch,
    n_prompt: usize,
    /// A copy of the target's, made when the first token is drafted.
    chooser: Option<Chooser>,
    /// Tokens of the text, as it was known to be when the chooser was last used; the session may hold others from there on.
    n_known: usize,
}

impl<'m> DraftModel<'m> {
    /// Drafts for the continuation of `prompt`, of which `session` may hold a beginning.
    pub fn new(mut session: Session<'m>, prompt: &[u32]) -> DraftModel<'m> {
        session.keep_common(prompt);
        let (state, batch) = (session.model.new_state(), Batch::new());
        DraftModel { session, state, batch, n_prompt: prompt.len(), chooser: None, n_known: prompt.len() }
    }

    /// What it has read, for the next generation.
    pub fn into_session(self) -> Session<'m> {
        self.session
    }

    /// Bytes of its cache.
    pub fn kv_bytes(&self) -> usize {
        self.session.cache.bytes()
    }

    /// Reads the beginning of the prompt up to `end`, as far as that was not done.
    ///
    /// # Errors
    /// Those of a pass.
    pub fn prefill(&mut self, prompt: &[u32], end: usize) -> Result<(), ModelError> {
        let done = self.session.tokens.len().min(end);
        self.read(&prompt[done..end], false)
    }

    /// Drafts at most `n` tokens that may follow `text` and `last`, into `out`; fewer where one of `stop_ids` or a grammar ends the text.
    /// `chooser` is the target's, which has accepted all of them.
    ///
    /// # Errors
    /// Those of a pass or of a choice. The text can be had without.
    pub fn draft(
        &mut self,
        chooser: &Chooser,
        (text, last): (&[u32], u32),
        n: usize,
        stop_ids: &[u32],
        out: &mut Vec<u32>,
    ) -> Result<(), ModelError> {
        let token = |place: usize| text.get(place).copied().unwrap_or(last);
        let is_right = |place: &usize| self.session.tokens[*place] == token(*place);
        // The last token is always read, for its logits.
        let end = self.session.tokens.len().min(text.len());
        let kept = (self.n_known.min(end)..end).find(|place| !is_right(place)).unwrap_or(end);
        self.forget(kept);
        let mut chooser = match self.chooser.take() {
            Some(mut chooser) => {
                (self.n_known..=text.len()).try_for_each(|place| chooser.accept(token(place)))?;
                chooser
            }
            None => chooser.fork(),
        };
        self.n_known = text.len() + 1;
        self.read(&text[kept..], false)?;
        let mut next = last;
        for i in 1..=n {
            self.read(&[next], true)?;
            next = chooser.choose(self.state.logits_mut(0))?.token;
            out.push(next);
            if stop_ids.contains(&next) || chooser.is_complete() || i == n {
                chooser.rewind(i, &[])?;
                break;
            }
        }
        self.chooser = Some(chooser);
        Ok(())
    }

    /// Forgets the text from `len` on: it was taken back.
    ///
    /// # Errors
    /// If a grammar cannot take it back.
    pub fn truncate(&mut self, len: usize) -> Result<(), ModelError> {
        let n_gone = self.n_known.saturating_sub(len.max(self.n_prompt));
        self.n_known -= n_gone;
        self.forget(len);
        match &mut self.chooser {
            Some(chooser) => chooser.rewind(n_gone, &[]),
            None => Ok(()),
        }
    }

    fn forget(&mut self, len: usize) {
        self.session.tokens.truncate(len);
        self.session.cache.truncate(self.session.sequence, len);
    }

    /// Reads `tokens` after those of the session, the last of them for its logits, if these are wanted.
    fn read(&mut self, tokens: &[u32], wants_logits: bool) -> Result<(), ModelError> {
        let Session { model, cache, sequence, tokens: read, .. } = &mut self.session;
        for part in tokens.chunks(model.prefill_chunk().get()) {
            self.batch.clear();
            for (position, &token) in (read.len()..).zip(part) {
                let rope_len = (position + 1).max(self.n_prompt);
                self.batch.push(Row { sequence: *sequence, position, token, rope_len, wants_logits });
            }
            model.forward(&self.batch, cache, &mut self.state)?;
            read.extend_from_slice(part);
        }
        Ok(())
    }
}
