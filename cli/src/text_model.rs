//! `TextModel`: a checkpoint opened for text in, text out.
//!
//! Not here: arithmetic (the engine), file formats (the loaders), and anything about a terminal (the binary).

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::OnceLock;

use infer_engine::{Choice, Finish, Generation, GenerationOptions, Model, ModelOptions, Sampling, Session, Speculation, Timings};
use infer_loaders::{Checkpoint, OpenOptions, TextStream, Tokenizer};

use crate::banned::{HoldBack, Verdict};
use crate::defaults;
use crate::error::Error;
use crate::grammar::{Grammar, GrammarConstraint, Vocabulary};
use crate::stop::{StopScanner, StopStrings};

/// A model with its tokenizer and the defaults of its files.
pub struct TextModel {
    checkpoint: Checkpoint,
    model: Model,
    tokenizer: Tokenizer,
    sampling: Sampling,
    stop_ids: Vec<u32>,
    /// Built where a grammar is first asked for.
    vocabulary: OnceLock<Vocabulary>,
    /// Drafts for it.
    draft: Option<Box<TextModel>>,
}

/// How a text is generated.
#[derive(Clone, Debug, Default)]
pub struct GenerateOptions {
    /// Generate at most this many tokens; `None`: until the model ends the text or the context is full.
    pub max_tokens: Option<usize>,
    /// Tokens of prompt and text together; `None`: the model's own limit.
    pub ctx_size: Option<usize>,
    /// How tokens are chosen; `None`: as the model's files say, see [`TextModel::sampling`].
    pub sampling: Option<Sampling>,
    /// Strings that end the text and are not part of it. None of them may be empty.
    pub stop: Vec<String>,
    /// Strings that never come up in the text: where one would, other tokens are chosen from where it begins. None of them may be empty.
    pub banned: Vec<String>,
    /// What the text must be.
    pub grammar: Option<Grammar>,
    /// Tell each token's log-probability and this many of the likeliest tokens, see [`Observer::token`].
    pub n_logprobs: Option<usize>,
    /// Never choose an end-of-text token.
    pub ignore_eos: bool,
    /// Whether tokens are drafted ahead, which changes the speed and never the text.
    pub speculation: Speculation,
}

/// Why a text ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended it with this token.
    Eos(u32),
    /// The text is all that its grammar allows.
    Complete,
    /// This stop string came up.
    Stop(String),
    /// As many tokens were generated as had been asked for.
    MaxTokens,
    /// Prompt and text fill the context.
    Context,
    /// The observer asked for it.
    Cancelled,
}

/// What is known about a text that was generated; the text itself went to the [`Observer`].
#[derive(Clone, Debug)]
pub struct Completion {
    /// Why it ended.
    pub finish: FinishReason,
    /// Whether the text is all that its grammar demands; true where there is none.
    pub is_whole: bool,
    /// Tokens and times.
    pub timings: Timings,
    /// Bytes of the key-value cache at the end.
    pub kv_bytes: usize,
}

/// Receives a text while it is generated. Any `FnMut(&str) -> ControlFlow<()>` is one.
pub trait Observer {
    /// The next piece of text: never empty, always whole characters. `Break` ends the generation.
    fn text(&mut self, piece: &str) -> ControlFlow<()>;

    /// A token that is part of the text from now on, whatever comes; before its text, which may come later or, where it belongs to a stop
    /// string, not at all.
    fn token(&mut self, choice: &Choice) {
        let _ = choice;
    }

    /// `done` of `total` prompt tokens have been read. `Break` ends the generation.
    fn prefill(&mut self, done: usize, total: usize) -> ControlFlow<()> {
        let _ = (done, total);
        ControlFlow::Continue(())
    }
}

impl<F: FnMut(&str) -> ControlFlow<()>> Observer for F {
    fn text(&mut self, piece: &str) -> ControlFlow<()> {
        self(piece)
    }
}

impl TextModel {
    /// The demonstration model that is part of the program (feature `built-in-model`, on by default).
    #[cfg(feature = "built-in-model")]
    pub fn built_in(options: &ModelOptions) -> Result<TextModel, Error> {
        let location = crate::built_in_model().expect("the feature is on");
        TextModel::new(infer_loaders::open(location, &OpenOptions::default())?, options)
    }

    /// Opens the model at `path`, a folder in Hugging Face layout or a `.safetensors` file with its `config.json` beside it. Weights
    /// are mapped and read in place.
    pub fn open(path: impl AsRef<Path>, options: &ModelOptions) -> Result<TextModel, Error> {
        TextModel::new(infer_loaders::open(path.as_ref(), &OpenOptions::default())?, options)
    }

    /// Makes a model of an open checkpoint, which must have a tokenizer.
    pub fn new(checkpoint: Checkpoint, options: &ModelOptions) -> Result<TextModel, Error> {
        let model = Model::open(&checkpoint, options)?;
        let tokenizer = checkpoint.tokenizer()?;
        let vocab_size = model.config().vocab_size;
        if tokenizer.vocab_size() > vocab_size {
            let expected = format_args!("at least {}, as the ids in tokenizer.json need", tokenizer.vocab_size()).to_string();
            return Err(checkpoint.config().error("vocab_size", expected).into());
        }
        let sampling = defaults::sampling(checkpoint.generation_config())?;
        let stop_ids = defaults::stop_ids(&checkpoint, &tokenizer, vocab_size)?;
        Ok(TextModel { checkpoint, model, tokenizer, sampling, stop_ids, vocabulary: OnceLock::new(), draft: None })
    }

    /// From here on `draft`, a smaller model with the same vocabulary, drafts tokens for this one, unless [`GenerateOptions::speculation`] is off. The
    /// text is the same, to the bit, whatever it drafts; where it is often right, it comes sooner.
    ///
    /// # Errors
    /// If its vocabulary is another.
    pub fn set_draft(&mut self, draft: TextModel) -> Result<(), Error> {
        let (ours, theirs) = (&self.tokenizer, &draft.tokenizer);
        let refuse = |found: String| {
            let expected = format!("the vocabulary of {} ({} tokens)", self.checkpoint.path().display(), ours.vocab_size());
            Err(Error::invalid(draft.checkpoint.path().display(), expected, found))
        };
        if theirs.vocab_size() != ours.vocab_size() {
            return refuse(format!("one of {} tokens", theirs.vocab_size()));
        }
        let ids = 0..u32::try_from(ours.vocab_size()).unwrap_or(u32::MAX);
        if let Some(id) = ids.into_iter().find(|&id| ours.piece(id) != theirs.piece(id)) {
            let piece = |tokenizer: &Tokenizer| tokenizer.piece(id).unwrap_or_default();
            return refuse(format!("one whose token {id} is {:?} and not {:?}", piece(theirs), piece(ours)));
        }
        self.draft = Some(Box::new(draft));
        Ok(())
    }

    /// The model that drafts for this one.
    pub fn draft(&self) -> Option<&TextModel> {
        self.draft.as_deref()
    }

    /// The files.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The network.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// How tokens are chosen unless the caller says otherwise: what `generation_config.json` asks for, else greedy.
    pub fn sampling(&self) -> &Sampling {
        &self.sampling
    }

    /// The tokens that end a text, ascending.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// The tokens of a prompt, with what the model expects around a text (beginning-of-text, say). An empty prompt is the
    /// beginning-of-text token alone; where the model has none it is an input error, since something must be continued.
    pub fn tokenize(&self, prompt: &str) -> Result<Vec<u32>, Error> {
        let mut ids = self.tokenizer.encode(prompt, true)?;
        if ids.is_empty() {
            ids.extend(self.tokenizer.bos_id());
        }
        if ids.is_empty() {
            let found = "none: the prompt is empty and the tokenizer has no beginning-of-text token";
            return Err(Error::invalid("prompt", "at least one token", found));
        }
        Ok(ids)
    }

    /// Continues `prompt`. The text goes to `observer` piece by piece; the pieces together are what the generated tokens mean at once.
    pub fn generate(&self, prompt: &str, options: &GenerateOptions, observer: &mut dyn Observer) -> Result<Completion, Error> {
        self.generate_ids(&self.tokenize(prompt)?, options, observer)
    }

    /// Continues a prompt that was tokenised already, see [`TextModel::tokenize`].
    pub fn generate_ids(
        &self,
        prompt: &[u32],
        options: &GenerateOptions,
        observer: &mut dyn Observer,
    ) -> Result<Completion, Error> {
        self.generate_in(&mut None, prompt, options, observer)
    }

    /// The same within a session: what an earlier prompt and its text have in common with this one is not read again. The text is the
    /// same as without. After an error the session is empty.
    pub fn generate_in<'m>(
        &'m self,
        session: &mut Option<Session<'m>>,
        prompt: &[u32],
        options: &GenerateOptions,
        observer: &mut dyn Observer,
    ) -> Result<Completion, Error> {
        self.verify_unchanged()?;
        let stops = StopStrings::new(&options.stop)?;
        let banned = StopStrings::new(&options.banned)?;
        let (stop_ids, banned_ids) = match options.ignore_eos {
            true => (Vec::new(), self.stop_ids.clone()),
            false => (self.stop_ids.clone(), Vec::new()),
        };
        let mut generation = Generation::resume(
            self.session(session.take()),
            prompt,
            GenerationOptions {
                sampling: options.sampling.clone().unwrap_or_else(|| self.sampling.clone()),
                stop_ids,
                banned_ids,
                n_logprobs: options.n_logprobs,
                n_tokens: self.tokenizer.vocab_size(),
                max_tokens: options.max_tokens,
                ctx_size: options.ctx_size.unwrap_or(self.model.config().max_seq_len),
                speculation: options.speculation,
            },
        )?;
        if let Some(constraint) = self.constraint(options)? {
            generation.constrain(Box::new(constraint));
        }
        let finish = self.observe(&mut generation, prompt, &stops, &banned, observer)?;
        // A stop string takes from the text what the grammar had read.
        let is_whole = options.grammar.is_none() || !matches!(finish, FinishReason::Stop(_)) && generation.may_end();
        let completion = Completion { finish, is_whole, timings: generation.timings(), kv_bytes: generation.kv_bytes() };
        *session = Some(generation.into_session());
        Ok(completion)
    }

    /// Reads a prompt within a session and generates nothing: what the session has in common with it is not read again. `progress` is
    /// told of tokens read and their total.
    pub fn read_in<'m>(
        &'m self,
        session: &mut Option<Session<'m>>,
        prompt: &[u32],
        ctx_size: usize,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Timings, Error> {
        let options = GenerationOptions {
            sampling: Sampling::default(),
            stop_ids: Vec::new(),
            banned_ids: Vec::new(),
            n_logprobs: None,
            n_tokens: self.tokenizer.vocab_size(),
            max_tokens: Some(0),
            ctx_size,
            speculation: Speculation::Off,
        };
        self.verify_unchanged()?;
        let mut generation = Generation::resume(self.session(session.take()), prompt, options)?;
        let read = generation.prefill(&mut |done, total| {
            progress(done, total);
            ControlFlow::Continue(())
        });
        let _always_whole = read.map_err(|error| Error::run(self.checkpoint.path(), error))?;
        let timings = generation.timings();
        *session = Some(generation.into_session());
        Ok(timings)
    }

    /// `session`, or one that has read nothing, with the model that drafts.
    fn session<'m>(&'m self, session: Option<Session<'m>>) -> Session<'m> {
        let session = session.unwrap_or_else(|| Session::new(&self.model));
        match &self.draft {
            Some(draft) => session.with_draft(&draft.model),
            None => session,
        }
    }

    /// An error if a file is not what it was when it was opened.
    fn verify_unchanged(&self) -> Result<(), Error> {
        self.checkpoint.verify_unchanged()?;
        self.draft.as_ref().map_or(Ok(()), |draft| draft.verify_unchanged())
    }

    /// What holds a text to the grammar of `options`.
    fn constraint(&self, options: &GenerateOptions) -> Result<Option<GrammarConstraint>, Error> {
        let Some(grammar) = &options.grammar else { return Ok(None) };
        let vocabulary = match self.vocabulary.get() {
            Some(vocabulary) => vocabulary,
            None => {
                let built = Vocabulary::new(&self.tokenizer)?;
                self.vocabulary.get_or_init(|| built)
            }
        };
        vocabulary.constraint(grammar, &self.stop_ids).map(Some)
    }

    /// Checks that a text can follow `grammar` with this model's tokens.
    pub fn check_grammar(&self, grammar: &Grammar) -> Result<(), Error> {
        let options = GenerateOptions { grammar: Some(grammar.clone()), ..GenerateOptions::default() };
        self.constraint(&options).map(|_| ())
    }

    /// Runs a generation to its end, or to the observer's.
    fn observe(
        &self,
        generation: &mut Generation<'_>,
        prompt: &[u32],
        stops: &StopStrings,
        banned: &StopStrings,
        observer: &mut dyn Observer,
    ) -> Result<FinishReason, Error> {
        let mut scanner = stops.scanner();
        let in_model = |error| Error::run(self.checkpoint.path(), error);
        if generation.prefill(&mut |done, total| observer.prefill(done, total)).map_err(in_model)?.is_break() {
            return Ok(FinishReason::Cancelled);
        }
        let mut stream = Continuation::new(&self.tokenizer, prompt)?;
        let mut hold_back = HoldBack::new(banned);
        while let Some(choice) = generation.next_choice().map_err(in_model)? {
            // The way back, while there may be one.
            let before = if banned.is_empty() { None } else { Some(stream.clone()) };
            let text = stream.push(choice.token)?;
            match hold_back.push(choice, text, || before)? {
                Verdict::Release(tokens) => {
                    if let Some(finish) = show(tokens, &mut scanner, observer) {
                        return Ok(finish);
                    }
                }
                Verdict::Rewind { n_tokens, rejected, state } => {
                    generation.rewind(n_tokens, &rejected).map_err(in_model)?;
                    stream = state.unwrap_or(stream);
                }
            }
        }
        if let Some(finish) = show(hold_back.finish(), &mut scanner, observer) {
            return Ok(finish);
        }
        let (mut text, stop) = scanner.push(&stream.finish()?);
        if stop.is_none() {
            text.push_str(&scanner.finish());
        }
        if !text.is_empty() && observer.text(&text).is_break() {
            return Ok(FinishReason::Cancelled);
        }
        Ok(match (stop, generation.finish()) {
            (Some(stop), _) => FinishReason::Stop(stop.to_string()),
            (None, Some(Finish::Eos(id))) => FinishReason::Eos(id),
            (None, Some(Finish::Context)) => FinishReason::Context,
            (None, Some(Finish::Complete)) => FinishReason::Complete,
            (None, Some(Finish::MaxTokens) | None) => FinishReason::MaxTokens,
        })
    }
}

/// Shows tokens as far as no stop string may begin in them. Says why the text ends, where it does.
fn show(tokens: Vec<(Choice, String)>, scanner: &mut StopScanner<'_>, observer: &mut dyn Observer) -> Option<FinishReason> {
    for (choice, text) in tokens {
        observer.token(&choice);
        let (text, stop) = scanner.push(&text);
        if !text.is_empty() && observer.text(&text).is_break() {
            return Some(FinishReason::Cancelled);
        }
        if let Some(stop) = stop {
            return Some(FinishReason::Stop(stop.to_string()));
        }
    }
    None
}

/// The text of generated tokens as it stands after the prompt: what a token means may depend on what is before it (a leading space, say).
#[derive(Clone)]
struct Continuation<'t> {
    stream: TextStream<'t>,
    // The end of the prompt's own text that the stream still holds back.
    prompt_rest: String,
}

impl<'t> Continuation<'t> {
    fn new(tokenizer: &'t Tokenizer, prompt: &[u32]) -> Result<Continuation<'t>, Error> {
        let mut stream = tokenizer.stream(true);
        let mut n_given = 0;
        for &id in prompt {
            n_given += stream.push(id)?.len();
        }
        let prompt_rest = tokenizer.decode(prompt, true)?.split_off(n_given);
        Ok(Continuation { stream, prompt_rest })
    }

    fn push(&mut self, id: u32) -> Result<String, Error> {
        let text = self.stream.push(id)?;
        Ok(without(&mut self.prompt_rest, text))
    }

    fn finish(mut self) -> Result<String, Error> {
        let text = self.stream.finish()?;
        Ok(without(&mut self.prompt_rest, text))
    }
}

/// Takes `rest`, or as much of it as is there, from the front of `text`. Should the tokens after the prompt have changed how its end
/// reads (bytes that are no character together), the text is shown as it is.
fn without(rest: &mut String, text: String) -> String {
    if let Some(text) = text.strip_prefix(rest.as_str()) {
        let text = text.to_string();
        rest.clear();
        return text;
    }
    match rest.strip_prefix(text.as_str()) {
        Some(left) => {
            *rest = left.to_string();
            String::new()
        }
        None => {
            rest.clear();
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_stream_still_holds_of_the_prompt_is_not_shown_as_text() {
        let mut rest = "né".to_string();
        assert_eq!(without(&mut rest, String::new()), "");
        assert_eq!(without(&mut rest, "n".to_string()), "");
        assert_eq!(without(&mut rest, "é!".to_string()), "!");
        assert_eq!(without(&mut rest, "né".to_string()), "né");
        let mut rest = "é".to_string();
        assert_eq!(without(&mut rest, "\u{fffd}\u{fffd}\u{fffd}".to_string()), "\u{fffd}\u{fffd}\u{fffd}");
    }
}
