//! `Tokenizer`: text to ids and back, by `tokenizer.json` (formats.md section 4).
//!
//! Not here: the algorithms, which are the `tokenizers` crate's; reading that file (`tokenizer_file.rs`); and chat templates.
//!
//! `add_bos_token` and `add_eos_token` in `tokenizer_config.json` have no effect, whatever formats.md says: transformers 5.23 drops
//! both where there is a `tokenizer.json` (`PreTrainedTokenizerBase._from_pretrained`), and its post-processor decides alone.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tokenizers::AddedToken;
use tokenizers::decoders::DecoderWrapper;

use crate::error::LoadError;
use crate::file::exists;
use crate::guard::guarded;
use crate::metadata::Metadata;
use crate::text_stream::TextStream;
use crate::tokenizer_file::{self, Assembled};

/// The keys that name special tokens (transformers, `SPECIAL_TOKENS_ATTRIBUTES`).
const NAMED_TOKENS: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// A tokenizer.
pub struct Tokenizer {
    /// `tokenizer.json`.
    path: Arc<Path>,
    inner: Assembled,
    vocab_size: usize,
    /// Sorted.
    special_ids: Vec<u32>,
    bos_id: Option<u32>,
    eos_ids: Vec<u32>,
}

impl Tokenizer {
    /// Reads `tokenizer.json` from a folder, and the names of special tokens from `tokenizer_config.json` or, as older models have
    /// it, `special_tokens_map.json`.
    ///
    /// # Errors
    /// If the first is missing, or any is malformed.
    pub fn open(folder: &Path) -> Result<Tokenizer, LoadError> {
        let path = folder.join("tokenizer.json");
        let json = tokenizer_file::read(&path)?;
        let mut settings = Vec::new();
        for name in ["tokenizer_config.json", "special_tokens_map.json"] {
            let path = folder.join(name);
            if exists(&path) {
                settings.push(Metadata::read(&path)?);
            }
        }
        Tokenizer::parse(&path, &json, &settings)
    }

    /// Makes a tokenizer of a `tokenizer.json` that is in memory; `path` stands for it in messages. `settings` are the files that
    /// name special tokens; of two that name the same, the first counts.
    ///
    /// # Errors
    /// Those of [`Tokenizer::open`] that concern the content.
    pub fn parse(path: &Path, json: &[u8], settings: &[Metadata]) -> Result<Tokenizer, LoadError> {
        let (inner, vocab_size) = tokenizer_file::assemble(path, json)?;
        let mut tokenizer =
            Tokenizer { path: path.into(), inner, vocab_size, special_ids: Vec::new(), bos_id: None, eos_ids: Vec::new() };
        for key in NAMED_TOKENS {
            let mut names = settings.iter().map(|settings| named_token(settings, key));
            if let Some(token) = names.find_map(Result::transpose).transpose()? {
                tokenizer.name_token(key, token)?;
            }
        }
        let added = tokenizer.inner.get_added_vocabulary().get_added_tokens_decoder();
        tokenizer.special_ids = added.iter().filter(|(_, token)| token.special).map(|(&id, _)| id).collect();
        tokenizer.special_ids.sort_unstable();
        Ok(tokenizer)
    }

    /// The ids of a text. With `add_special`, also what the post-processor puts around a text, such as a BOS token; the text of a
    /// chat template has it already.
    ///
    /// # Errors
    /// If a regular expression of the tokenizer gives up on the text, or a word has no id and there is none for unknown words.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, LoadError> {
        self.guarded(|| Ok(self.inner.encode_fast(text, add_special)?.get_ids().to_vec()))
    }

    /// The text of ids. Ids without a token are passed over, and with `skip_special` those of special tokens, too.
    ///
    /// # Errors
    /// If the decoder of the tokenizer refuses a token.
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

    /// The id of `bos_token`.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos_id
    }

    /// The id of `eos_token`; none or one.
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

    /// A token that settings name is special, also where `tokenizer.json` has it as an ordinary one (transformers,
    /// `TokenizersBackend.__init__`). A name without a token, which transformers would append to the vocabulary, is passed over:
    /// the model has no row for it.
    fn name_token(&mut self, key: &str, token: &str) -> Result<(), LoadError> {
        let Some(id) = self.id(token) else {
            return Ok(());
        };
        match key {
            "bos_token" => self.bos_id = Some(id),
            "eos_token" => self.eos_ids = vec![id],
            _ => {}
        }
        if !self.inner.get_added_vocabulary().get_added_tokens_decoder().contains_key(&id) {
            guarded(&self.path, || self.inner.add_special_tokens([AddedToken::from(token, true)]))?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({}, {} ids)", self.path.display(), self.vocab_size)
    }
}

/// A named token: a string, or an object with a `content`.
fn named_token<'a>(settings: &'a Metadata, key: &str) -> Result<Option<&'a str>, LoadError> {
    let token = match settings.get(key) {
        None => return Ok(None),
        Some(Value::Object(fields)) => fields.get("content").and_then(Value::as_str),
        Some(other) => other.as_str(),
    };
    token.map(Some).ok_or_else(|| settings.error(key, "a string, or an object with a string `content`"))
}
