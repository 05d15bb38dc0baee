//! `Tokenizer`: text to ids and back, by `tokenizer.json` and `tokenizer_config.json` (formats.md section 4).
//!
//! Not here: the algorithms, which are the `tokenizers` crate's; the checks that keep a hostile file away from it
//! (`tokenizer_file.rs`); and chat templates.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::{PaddingParams, TruncationParams};

use crate::error::LoadError;
use crate::file::exists;
use crate::metadata::Metadata;
use crate::text_stream::TextStream;
use crate::tokenizer_file;

/// A tokenizer.
pub struct Tokenizer {
    /// `tokenizer.json`.
    path: Arc<Path>,
    inner: tokenizers::Tokenizer,
    vocab_size: usize,
    /// Sorted.
    special_ids: Vec<u32>,
    bos_id: Option<u32>,
    eos_ids: Vec<u32>,
    specials: Specials,
}

/// What `encode` puts around a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Specials {
    /// What the post-processor in `tokenizer.json` says.
    AsProcessed,
    /// These, because `tokenizer_config.json` has `add_bos_token` or `add_eos_token`.
    Around { before: Option<u32>, after: Option<u32> },
}

impl Tokenizer {
    /// Reads `tokenizer.json` and, if there is one, `tokenizer_config.json` from a folder.
    ///
    /// # Errors
    /// If the former is missing, or either is malformed.
    pub fn open(folder: &Path) -> Result<Tokenizer, LoadError> {
        let json = tokenizer_file::read(&folder.join("tokenizer.json"))?;
        let config_path = folder.join("tokenizer_config.json");
        let config = exists(&config_path).then(|| Metadata::read(&config_path)).transpose()?;
        Tokenizer::parse(&folder.join("tokenizer.json"), &json, config.as_ref())
    }

    /// Makes a tokenizer of a `tokenizer.json` that is in memory; `path` stands for it in messages. `config` is
    /// `tokenizer_config.json`.
    ///
    /// # Errors
    /// Those of [`Tokenizer::open`] that concern the content.
    pub fn parse(path: &Path, json: &[u8], config: Option<&Metadata>) -> Result<Tokenizer, LoadError> {
        let facts = tokenizer_file::check(path, json)?;
        let mut inner = guarded(path, || tokenizers::Tokenizer::from_bytes(json))?;
        // A tokenizer saved by a training run may cut and pad texts; an engine must do neither.
        guarded(path, || inner.with_truncation(None::<TruncationParams>).map(|_| ()))?;
        inner.with_padding(None::<PaddingParams>);
        let added = inner.get_added_vocabulary().get_added_tokens_decoder();
        let mut special_ids: Vec<u32> = added.iter().filter(|(_, token)| token.special).map(|(&id, _)| id).collect();
        special_ids.sort_unstable();
        let mut tokenizer = Tokenizer {
            path: path.into(),
            inner,
            vocab_size: facts.vocab_size,
            special_ids,
            bos_id: None,
            eos_ids: Vec::new(),
            specials: Specials::AsProcessed,
        };
        if let Some(config) = config {
            tokenizer.configure(config)?;
        }
        Ok(tokenizer)
    }

    /// The ids of a text. With `add_special`, also what the model expects around a text, such as a BOS token; the text of a chat
    /// template has them already.
    ///
    /// # Errors
    /// If the tokenizer's regular expressions give up on the text, or it has neither an id for a part of it nor one for unknown.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, LoadError> {
        let process = add_special && self.specials == Specials::AsProcessed;
        let encoding = self.guarded(|| self.inner.encode_fast(text, process))?;
        match self.specials {
            Specials::Around { before, after } if add_special => {
                Ok(before.into_iter().chain(encoding.get_ids().iter().copied()).chain(after).collect())
            }
            _ => Ok(encoding.get_ids().to_vec()),
        }
    }

    /// The text of ids. Ids without a token are passed over, and with `skip_special` those of special tokens, too.
    ///
    /// # Errors
    /// If the decoder in `tokenizer.json` refuses a token.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, LoadError> {
        self.guarded(|| self.inner.decode(ids, skip_special))
    }

    /// Decodes ids that come one at a time.
    pub fn stream(&self, skip_special: bool) -> TextStream<'_> {
        TextStream::new(self, skip_special)
    }

    /// The token of an id as the vocabulary spells it, e.g. `Ġthe` or `▁the`.
    pub fn piece(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The id of a token as the vocabulary spells it.
    pub fn id(&self, piece: &str) -> Option<u32> {
        self.inner.token_to_id(piece)
    }

    /// Whether the vocabulary, with its added tokens, has this id.
    pub fn has_token(&self, id: u32) -> bool {
        self.piece(id).is_some()
    }

    /// 1 + the highest id.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Whether the id is that of a special token: one that stands for no text.
    pub fn is_special(&self, id: u32) -> bool {
        self.special_ids.binary_search(&id).is_ok()
    }

    /// The id of `bos_token` in `tokenizer_config.json`.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos_id
    }

    /// The id of `eos_token` in `tokenizer_config.json`; none or one.
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos_ids
    }

    /// The token of an id that goes into a text.
    pub(crate) fn token_for_text(&self, id: u32, skip_special: bool) -> Option<String> {
        let token = self.piece(id)?;
        let skipped = skip_special && self.inner.get_added_vocabulary().is_special_token(&token);
        (!skipped).then_some(token)
    }

    pub(crate) fn decoder(&self) -> Option<&DecoderWrapper> {
        self.inner.get_decoder()
    }

    /// Calls the `tokenizers` crate. See [`guarded`].
    pub(crate) fn guarded<T>(&self, call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, LoadError> {
        guarded(&self.path, call)
    }

    /// Takes the named tokens from `tokenizer_config.json`, and `add_bos_token` and `add_eos_token` with the meaning that
    /// transformers 5 gives them: if either key is there, both replace the post-processor, and a missing one is false.
    fn configure(&mut self, config: &Metadata) -> Result<(), LoadError> {
        let (bos, eos) = (named_token(config, "bos_token")?, named_token(config, "eos_token")?);
        self.bos_id = bos.and_then(|token| self.id(token));
        self.eos_ids = eos.and_then(|token| self.id(token)).into_iter().collect();
        if config.has("add_bos_token") || config.has("add_eos_token") {
            let add = |flag, key, token: Option<&str>| match token {
                Some(token) if config.flag(flag)? == Some(true) => {
                    self.id(token).map(Some).ok_or_else(|| config.error(key, "a token of tokenizer.json"))
                }
                _ => Ok(None),
            };
            let before = add("add_bos_token", "bos_token", bos)?;
            let after = add("add_eos_token", "eos_token", eos)?;
            self.specials = Specials::Around { before, after };
        }
        Ok(())
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({}, {} ids)", self.path.display(), self.vocab_size)
    }
}

/// A token named in `tokenizer_config.json`: a string, or an object with a `content`.
fn named_token<'a>(config: &'a Metadata, key: &str) -> Result<Option<&'a str>, LoadError> {
    let token = match config.get(key) {
        None => return Ok(None),
        Some(Value::Object(fields)) => fields.get("content").and_then(Value::as_str),
        Some(other) => other.as_str(),
    };
    token.map(Some).ok_or_else(|| config.error(key, "a string, or an object with a string `content`"))
}

/// Calls the `tokenizers` crate, whose errors become one line about the file.
fn guarded<T>(path: &Path, call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, LoadError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| LoadError::file(path, "a tokenizer that can be used", error)),
        Err(_) => Err(LoadError::file(path, "a tokenizer that can be used", "one that breaks the tokenizer library")),
    }
}
