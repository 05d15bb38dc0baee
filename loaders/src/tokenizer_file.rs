//! `tokenizer.json`: read, checked, and put together with the parts of the `tokenizers` crate.
//!
//! Not here: what the parts do. That crate trusts its input: some files make its own reader panic, run out of stack, take memory by a
//! number in the file, or behave differently from run to run. Each check below names what it keeps away.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::{BpeBuilder, Vocab};
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::{AddedToken, TokenizerImpl};

use crate::error::LoadError;
use crate::growth;
use crate::guard::{caught, guarded};
use crate::location::Location;
use crate::pre_tokenize::{Stages, linear};
use crate::vocabulary::{Merges, Vocabulary};

/// The file of a folder that this is about.
pub(crate) const FILE_NAME: &str = "tokenizer.json";

/// The longest `tokenizer.json` that is read; the longest in use have 35 MB.
const MAX_BYTES: u64 = 64 << 20;
/// How deep arrays and objects may be nested in a normalizer, pre-tokenizer, post-processor or decoder. The ones in use nest five
/// deep. The crate's parsers are recursive and try several readings at each level: their time doubles with each.
const MAX_NESTING: usize = 12;

/// The crate's tokenizer with our own splitting.
pub(crate) type Assembled = TokenizerImpl<ModelWrapper, NormalizerWrapper, Stages, PostProcessorWrapper, DecoderWrapper>;

/// The file's top level. `truncation` and `padding`, left behind by some training runs, are passed over: an engine does neither.
#[derive(Deserialize)]
struct File<'a> {
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    #[serde(borrow)]
    model: &'a RawValue,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

/// The settings of a model that are checked, and all those of byte-pair encoding.
#[derive(Deserialize)]
struct Model<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    vocab: Vocabulary<'a>,
    #[serde(borrow, default)]
    merges: Option<Merges<'a>>,
    #[serde(default)]
    dropout: Option<f64>,
    #[serde(default)]
    unk_token: Option<Value>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    fuse_unk: Option<bool>,
    #[serde(default)]
    byte_fallback: Option<bool>,
    #[serde(default)]
    ignore_merges: Option<bool>,
}

/// Reads the file.
///
/// # Errors
/// If it is missing, longer than 64 MiB or cannot be read.
pub(crate) fn read(folder: &Location) -> Result<Cow<'static, [u8]>, LoadError> {
    folder.read(FILE_NAME, MAX_BYTES)
}

/// What a `tokenizer.json` of byte-pair encoding consists of, for writing it in another form.
pub(crate) struct BytePairs {
    /// In the order of their ranks.
    pub(crate) merges: Vec<(String, String)>,
    pub(crate) byte_fallback: bool,
    pub(crate) ignore_merges: bool,
    pub(crate) unknown: Option<String>,
    pub(crate) pre_tokenizer: Value,
}

/// Takes apart a file that [`assemble`] accepted; none if its model is another one.
///
/// # Errors
/// If the file is not one that [`assemble`] accepts.
pub(crate) fn byte_pairs(path: &Path, json: &[u8]) -> Result<Option<BytePairs>, LoadError> {
    let malformed = |error| LoadError::file(path, "a tokenizer in JSON", error);
    let file: File = serde_json::from_slice(json).map_err(malformed)?;
    let model: Model = serde_json::from_str(file.model.get()).map_err(malformed)?;
    Ok(match (model.kind.as_deref(), model.vocab, model.merges) {
        (Some("BPE") | None, Vocabulary::Ids(_), Some(merges)) => Some(BytePairs {
            merges: merges.into_owned(),
            byte_fallback: model.byte_fallback.unwrap_or(false),
            ignore_merges: model.ignore_merges.unwrap_or(false),
            unknown: model.unk_token.and_then(|token| token.as_str().map(str::to_owned)),
            pre_tokenizer: file.pre_tokenizer,
        }),
        _ => None,
    })
}

/// Checks the file and makes a tokenizer of it; also returns 1 + the highest id.
///
/// # Errors
/// If a check fails or the crate refuses a part; the message names the field.
pub(crate) fn assemble(path: &Path, json: &[u8]) -> Result<(Assembled, usize), LoadError> {
    let file: File = serde_json::from_slice(json).map_err(|error| LoadError::file(path, "a tokenizer in JSON", error))?;
    if let Some(version) = file.version.as_deref().filter(|&version| version != "1.0") {
        return Err(LoadError::field(path, "version", "\"1.0\"", format_args!("\"{version}\"")));
    }
    let (normalizer, pre_tokenizer, decoder) = (&file.normalizer, &file.pre_tokenizer, &file.decoder);
    // A pre-tokenizer works on what the normalizer made of a text.
    for (field, parts) in
        [("normalizer", &[normalizer][..]), ("pre_tokenizer", &[normalizer, pre_tokenizer]), ("decoder", &[decoder])]
    {
        growth::check(parts.iter().copied()).map_err(|wrong| LoadError::field(path, field, wrong.expected, wrong.found))?;
    }
    let (model, highest) = assemble_model(path, &file)?;
    let mut tokenizer = Assembled::new(model);
    let normalizer: Option<NormalizerWrapper> = part(path, "normalizer", file.normalizer)?;
    let pre_tokenizer: Option<PreTokenizerWrapper> = part(path, "pre_tokenizer", file.pre_tokenizer)?;
    let stages = pre_tokenizer.map(|wrapper| guarded(path, || Stages::new(wrapper))).transpose()?;
    tokenizer.with_pre_tokenizer(stages);
    tokenizer.with_post_processor(part::<PostProcessorWrapper>(path, "post_processor", file.post_processor)?);
    tokenizer.with_decoder(part::<DecoderWrapper>(path, "decoder", file.decoder)?);
    guarded(path, || {
        // The normalizer first: added tokens may be normalised by it.
        tokenizer.with_normalizer(normalizer)?;
        tokenizer.add_tokens(file.added_tokens.into_iter().map(|added| added.token))
    })?;
    // The crate numbers new tokens itself and passes over the ids in the file, as transformers therefore does, too.
    let added = tokenizer.get_added_vocabulary().get_added_tokens_decoder().keys().copied().max();
    match highest.max(added) {
        Some(highest) => Ok((tokenizer, highest as usize + 1)),
        None => Err(LoadError::field(path, "model.vocab", "one token or more", "none")),
    }
}

/// The model and its highest id.
fn assemble_model(path: &Path, file: &File) -> Result<(ModelWrapper, Option<u32>), LoadError> {
    let bad_model = |error| LoadError::field(path, "model", "a model of the tokenizers format", error);
    let model: Model = serde_json::from_str(file.model.get()).map_err(bad_model)?;
    let bad = |field: &str, wrong: Wrong| LoadError::field(path, &format!("model.{field}"), wrong.expected, wrong.found);
    let highest = model.vocab.highest_id(file.added_tokens.len()).map_err(|wrong| bad("vocab", wrong))?;
    for added in &file.added_tokens {
        if u64::from(added.id) > model.vocab.id_limit(file.added_tokens.len()) {
            let found = format_args!("id {} of '{}'", added.id, added.token.content);
            return Err(LoadError::field(path, "added_tokens", "ids without great gaps", found));
        }
    }
    if let Some(dropout) = model.dropout.filter(|&dropout| dropout != 0.0) {
        // Merges would be left out at random, differently at every call.
        return Err(bad("dropout", Wrong::new("null or 0", dropout)));
    }
    match (model.kind.as_deref(), model.vocab, model.merges) {
        (Some("BPE") | None, Vocabulary::Ids(ids), Some(merges)) => {
            let prefix = model.continuing_subword_prefix.as_deref().unwrap_or_default();
            merges.check(&ids, prefix).map_err(|wrong| bad("merges", wrong))?;
            let unknown = match model.unk_token {
                None | Some(Value::Null) => None,
                Some(Value::String(token)) if ids.contains_key(token.as_str()) => Some(token),
                Some(other) => return Err(bad("unk_token", Wrong::new("a token of the vocabulary", other))),
            };
            let ids: Vocab = ids.into_iter().map(|(token, id)| (token.into_owned(), id)).collect();
            let mut builder = BpeBuilder::new()
                .vocab_and_merges(ids, merges.into_owned())
                .fuse_unk(model.fuse_unk.unwrap_or(false))
                .byte_fallback(model.byte_fallback.unwrap_or(false))
                .ignore_merges(model.ignore_merges.unwrap_or(false));
            if let Some(token) = unknown {
                builder = builder.unk_token(token);
            }
            if let Some(prefix) = model.continuing_subword_prefix {
                builder = builder.continuing_subword_prefix(prefix);
            }
            if let Some(suffix) = model.end_of_word_suffix {
                builder = builder.end_of_word_suffix(suffix);
            }
            Ok((ModelWrapper::BPE(guarded(path, || builder.build())?), highest))
        }
        (Some("BPE"), _, _) => Err(bad("vocab", Wrong::new("an object of ids, and merges beside it", "something else"))),
        (Some("Unigram" | "WordPiece" | "WordLevel") | None, _, _) => {
            let parse = || serde_json::from_str(file.model.get()).map_err(tokenizers::Error::from);
            Ok((guarded(path, parse)?, highest))
        }
        (Some(other), _, _) => Err(bad("type", Wrong::new("BPE, Unigram, WordPiece or WordLevel", format_args!("'{other}'")))),
    }
}

/// A part of the tokenizer that is one of the crate's types; null is none.
fn part<T: DeserializeOwned>(path: &Path, field: &str, value: Value) -> Result<Option<T>, LoadError> {
    if value.is_null() {
        return Ok(None);
    }
    let bad = |expected: &str, found: &dyn fmt::Display| LoadError::field(path, field, expected, found);
    if is_nested_deeper(&value, MAX_NESTING) {
        return Err(bad("nesting as in a tokenizer", &format_args!("nesting deeper than {MAX_NESTING}")));
    }
    // The crate stops replacing, without a word, when such an expression gives up; those of other fields are ours to run.
    if let Some(pattern) = slow_regex(&value).filter(|_| field != "pre_tokenizer") {
        return Err(bad("regular expressions without look-around or back-references", &format_args!("'{pattern}'")));
    }
    let parsed = caught(|| Ok(serde_json::from_value(value)?));
    parsed.map(Some).map_err(|error| bad("a part of the tokenizers format", &error))
}

fn is_nested_deeper(value: &Value, depth: usize) -> bool {
    let mut inner: Box<dyn Iterator<Item = &Value>> = match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(fields) => Box::new(fields.values()),
        _ => return false,
    };
    depth == 0 || inner.any(|value| is_nested_deeper(value, depth - 1))
}

/// A `{"Regex": pattern}` anywhere within that the linear engine cannot run.
fn slow_regex(value: &Value) -> Option<&str> {
    match value {
        Value::Array(items) => items.iter().find_map(slow_regex),
        Value::Object(fields) => {
            let pattern = fields.get("Regex").and_then(Value::as_str);
            pattern.filter(|pattern| linear(pattern).is_none()).or_else(|| fields.values().find_map(slow_regex))
        }
        _ => None,
    }
}

/// What a check expected and what it found.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) expected: String,
    pub(crate) found: String,
}

impl Wrong {
    pub(crate) fn new(expected: impl fmt::Display, found: impl fmt::Display) -> Wrong {
        Wrong { expected: expected.to_string(), found: found.to_string() }
    }
}
