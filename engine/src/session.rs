//! `Session`: what a model has read, to be handed from one generation to the next, or kept as bytes.
//!
//! Not here: the loop that reads and chooses (`generate.rs`), and files: bytes come from the caller and go to it.

use infer_kernels::DType;

use crate::error::ModelError;
use crate::kv_cache::{KvCache, PAGE_LEN, SequenceId};
use crate::model::Model;
use crate::rope::RopeScaling;

/// What a model has read: a sequence of its cache and the tokens in it. One generation hands it to the next, which then reads only
/// what is new.
pub struct Session<'m> {
    pub(crate) model: &'m Model,
    pub(crate) cache: KvCache,
    pub(crate) sequence: SequenceId,
    /// As many as the sequence has positions, but for what a generation reads ahead.
    pub(crate) tokens: Vec<u32>,
    /// What another model has read of the same text, to draft for this one.
    pub(crate) draft: Option<Box<Session<'m>>>,
}

impl<'m> Session<'m> {
    /// Nothing read yet.
    pub fn new(model: &'m Model) -> Session<'m> {
        let mut cache = model.new_cache();
        let sequence = cache.create();
        Session { model, cache, sequence, tokens: Vec::new(), draft: None }
    }

    /// The same with `model` to draft for it, unless there is one already: a smaller model for which the same ids are the same tokens. What is
    /// generated does not change, to the bit, whatever it says.
    pub fn with_draft(mut self, model: &'m Model) -> Session<'m> {
        self.draft.get_or_insert_with(|| Box::new(Session::new(model)));
        self
    }

    /// The session that has read `tokens`, with their keys and values from the bytes that [`Session::pages`] gave: what follows is, bit for
    /// bit, what would follow had they been read, if [`Session::page_name`], the weights and the program are the same. Wrong bytes of the right
    /// length give wrong logits and nothing worse.
    ///
    /// # Errors
    /// If a token is none of the vocabulary, the pages are not as many or as long as the tokens need, or memory is short.
    pub fn restore<'b>(
        model: &'m Model,
        tokens: &[u32],
        pages: impl ExactSizeIterator<Item = &'b [u8]>,
    ) -> Result<Session<'m>, ModelError> {
        let vocab_size = model.config().vocab_size;
        if let Some(id) = tokens.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(ModelError::prompt(format_args!("token ids below {vocab_size}"), id));
        }
        let parts = tokens.chunks(PAGE_LEN);
        if pages.len() != parts.len() {
            return Err(ModelError::page(format_args!("{} pages for {} tokens", parts.len(), tokens.len()), pages.len()));
        }
        let mut session = Session::new(model);
        for (part, bytes) in parts.zip(pages) {
            session.cache.restore(session.sequence, bytes, part.len())?;
        }
        session.tokens.extend_from_slice(tokens);
        Ok(session)
    }

    /// The tokens that were read.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// What the bytes of [`Session::pages`] mean, beside the weights: the layout, and the arithmetic that made them.
    pub fn page_name(&self) -> String {
        // What `auto` makes of bf16 weights depends on more of the CPU than the instruction set; all else follows from these.
        let (model, of_bf16) = (self.model, self.model.compute_of(DType::BF16));
        format!("{}, isa {}, compute {} ({of_bf16} for bf16)", self.cache.page_name(), model.isa(), model.compute)
    }

    /// Keys and values as bytes, a page for each [`PAGE_LEN`] tokens; the last may be partly unused.
    pub fn pages(&self) -> impl ExactSizeIterator<Item = impl AsRef<[u8]>> {
        self.cache.pages(self.sequence)
    }

    /// Forgets all but what `prompt` begins with, too; its last token stays to be read, for its logits.
    pub(crate) fn keep_common(&mut self, prompt: &[u32]) {
        let same = self.tokens.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        let kept = if self.model.reads_anew() { 0 } else { same.min(prompt.len().saturating_sub(1)) };
        self.cache.truncate(self.sequence, kept);
        self.tokens.truncate(kept);
    }
}

impl Model {
    /// Whether each prompt has to be read whole: the angles of dynamic rope scaling depend on the length of the prompt, and keys that were
    /// read for another are not the same.
    pub fn reads_anew(&self) -> bool {
        matches!(self.config().rope.scaling, RopeScaling::Dynamic { .. })
    }
}
