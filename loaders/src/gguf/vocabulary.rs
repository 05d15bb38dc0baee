//! The tokenizer that a GGUF file's keys describe, as the `tokenizer.json` of the same meaning: SentencePiece's byte-pair encoding by
//! scores (`llama`), or the byte-level one by merges (`gpt2`).
//!
//! That text then goes through the checks of `tokenizer_file.rs` like any other. What it does to a text follows llama.cpp, where Hugging
//! Face's files of the same models differ: nothing is normalised. Not here: other models of tokenizers (Unigram, WordPiece, RWKV).

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::header::{Value, Values};
use crate::chat_template::{ChatTemplates, NO_CHAT_MODEL};
use crate::error::LoadError;
use crate::metadata::Metadata;
use crate::tokenizer::Tokenizer;

/// The longest token of a vocabulary by scores, all of whose halves are looked for; those in use have 48 bytes at most.
const MAX_SCORED_BYTES: usize = 512;

/// Types of tokens (`llama_token_type`).
pub(super) const NORMAL: i64 = 1;
pub(super) const UNKNOWN: i64 = 2;
pub(super) const CONTROL: i64 = 3;
pub(super) const USER_DEFINED: i64 = 4;
pub(super) const UNUSED: i64 = 5;
pub(super) const BYTE: i64 = 6;

pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
pub(super) const SCORES: &str = "tokenizer.ggml.scores";
pub(super) const TYPES: &str = "tokenizer.ggml.token_type";
pub(super) const MERGES: &str = "tokenizer.ggml.merges";
pub(super) const MODEL: &str = "tokenizer.ggml.model";
pub(super) const PRE: &str = "tokenizer.ggml.pre";

pub(super) const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
pub(super) const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
pub(super) const ADD_SPACE: &str = "tokenizer.ggml.add_space_prefix";
pub(super) const CHAT_TEMPLATE: &str = "tokenizer.chat_template";

/// Keys of single ids; the first three end a text.
pub(super) const EOS_KEYS: [&str; 3] =
    ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];
pub(super) const BOS_KEY: &str = "tokenizer.ggml.bos_token_id";
pub(super) const UNKNOWN_KEY: &str = "tokenizer.ggml.unknown_token_id";
pub(super) const PADDING_KEY: &str = "tokenizer.ggml.padding_token_id";

/// Tokens that end a text whatever the keys say (formats.md section 5).
const END_TOKENS: [&str; 12] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<EOT>",
    "[EOS]",
    "<｜end▁of▁sentence｜>",
];

/// Words of the pre-tokenizers, which are llama.cpp's.
pub(super) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How a byte-level tokenizer splits a text before merging.
pub(super) struct PreTokenizer {
    /// The name in the file.
    pub(super) name: &'static str,
    /// Expressions that are applied one after the other, each to the parts that the one before left.
    pub(super) words: &'static [&'static str],
    /// Whether a word that is a token is taken without merging.
    pub(super) ignores_merges: bool,
    /// Whether a text begins with BOS, unless the file says otherwise.
    adds_bos: bool,
}

pub(super) const PRE_TOKENIZERS: [PreTokenizer; 8] = [
    PreTokenizer {
        name: "default",
        words: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
        ignores_merges: false,
        adds_bos: false,
    },
    PreTokenizer { name: "llama-bpe", words: &[LLAMA3], ignores_merges: true, adds_bos: true },
    PreTokenizer { name: "llama3", words: &[LLAMA3], ignores_merges: true, adds_bos: true },
    PreTokenizer { name: "llama-v3", words: &[LLAMA3], ignores_merges: true, adds_bos: true },
    PreTokenizer { name: "qwen2", words: &[QWEN2], ignores_merges: false, adds_bos: false },
    PreTokenizer { name: "deepseek-r1-qwen", words: &[QWEN2], ignores_merges: false, adds_bos: false },
    PreTokenizer { name: "smollm", words: &[r"\p{N}", GPT2], ignores_merges: false, adds_bos: false },
    PreTokenizer { name: "gpt-2", words: &[GPT2], ignores_merges: false, adds_bos: false },
];

/// What a file says about its tokenizer.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    pub(super) path: PathBuf,
    pub(super) model: Option<String>,
    pub(super) pre: Option<String>,
    pub(super) tokens: Vec<String>,
    pub(super) scores: Option<Vec<f32>>,
    pub(super) types: Vec<i64>,
    pub(super) merges: Vec<String>,
    pub(super) bos_id: Option<u32>,
    pub(super) eos_id: Option<u32>,
    pub(super) unknown_id: Option<u32>,
    pub(super) padding_id: Option<u32>,
    /// The ids of `eot_token_id` and `eom_token_id`, which end a text, too.
    pub(super) turn_ids: [Option<u32>; 2],
    /// Ids of the tokens that end a text by their name.
    pub(super) end_ids: Vec<u32>,
    pub(super) add_bos: Option<bool>,
    pub(super) add_eos: bool,
    pub(super) add_space_prefix: bool,
    pub(super) chat_template: Option<String>,
}

impl Vocabulary {
    /// Takes the vocabulary out of a file's keys; none if it has no tokens. `n_rows` are those of the embedding.
    ///
    /// # Errors
    /// If a key has another type than it should, lists differ in length, an id is no token's, or a token that stands for a byte names none.
    pub(super) fn take(path: &Path, values: &mut Values, n_rows: Option<usize>) -> Result<Option<Vocabulary>, LoadError> {
        let mut keys = Keys { path, values };
        let Some(tokens) = keys.take(TOKENS, "an array of strings", |value| match value {
            Value::Texts(tokens) => Some(tokens),
            _ => None,
        })?
        else {
            return Ok(None);
        };
        let n = tokens.len();
        if n == 0 || n_rows.is_some_and(|rows| n > rows) {
            let expected = format!("1 to {} tokens, as the embedding has rows", n_rows.unwrap_or(n));
            return Err(LoadError::field(path, TOKENS, expected, n));
        }
        let scores = keys.take(SCORES, "an array of floats", |value| match value {
            Value::Floats(scores) => Some(scores),
            _ => None,
        })?;
        let types = keys.take(TYPES, "an array of integers", |value| match value {
            Value::Integers(types) => Some(types),
            _ => None,
        })?;
        for (key, length) in [(SCORES, scores.as_ref().map(Vec::len)), (TYPES, types.as_ref().map(Vec::len))] {
            if let Some(length) = length.filter(|&length| length != n) {
                return Err(LoadError::field(path, key, format_args!("{n} items, as {TOKENS} has"), length));
            }
        }
        let types = types.unwrap_or_else(|| vec![NORMAL; n]);
        for (token, _) in tokens.iter().zip(&types).filter(|(_, kind)| **kind == BYTE) {
            if !is_byte(token) {
                return Err(LoadError::field(path, TOKENS, "bytes as '<0x00>' to '<0xFF>'", format_args!("'{token}'")));
            }
        }
        let merges = keys.take(MERGES, "an array of strings", |value| match value {
            Value::Texts(merges) => Some(merges),
            _ => None,
        })?;
        let [eos_id, eot_id, eom_id] = EOS_KEYS.map(|key| keys.id(key, n));
        let (eos_id, eot_id, eom_id) = (eos_id?, eot_id?, eom_id?);
        let named = tokens
            .iter()
            .zip(0_u32..)
            .zip(&types)
            .filter(|((token, _), kind)| **kind != NORMAL && END_TOKENS.contains(&token.as_str()));
        let end_ids = named.map(|((_, id), _)| id).collect();
        Ok(Some(Vocabulary {
            path: path.to_owned(),
            model: keys.text(MODEL)?,
            pre: keys.text(PRE)?,
            scores,
            types,
            merges: merges.unwrap_or_default(),
            bos_id: keys.id(BOS_KEY, n)?,
            eos_id,
            unknown_id: keys.id(UNKNOWN_KEY, n)?,
            padding_id: keys.id(PADDING_KEY, n)?,
            turn_ids: [eot_id, eom_id],
            end_ids,
            add_bos: keys.flag(ADD_BOS)?,
            add_eos: keys.flag(ADD_EOS)?.unwrap_or(false),
            add_space_prefix: keys.flag(ADD_SPACE)?.unwrap_or(true),
            chat_template: keys.text(CHAT_TEMPLATE)?,
            tokens,
        }))
    }

    /// Ids that end a text, that of `eos_token_id` first.
    pub(super) fn eos_ids(&self) -> Vec<u32> {
        let mut seen = HashSet::new();
        self.eos_id
            .into_iter()
            .chain(self.turn_ids.into_iter().flatten())
            .chain(self.end_ids.iter().copied())
            .filter(|id| seen.insert(*id))
            .collect()
    }

    pub(super) fn bos_id(&self) -> Option<u32> {
        self.bos_id
    }

    /// The chat template.
    ///
    /// # Errors
    /// If there is none, or it is malformed.
    pub(crate) fn chat_templates(&self) -> Result<ChatTemplates, LoadError> {
        match &self.chat_template {
            Some(source) => ChatTemplates::single(&self.path, source),
            None => Err(LoadError::field(&self.path, CHAT_TEMPLATE, "a chat template", NO_CHAT_MODEL)),
        }
    }

    /// The token of an id by the key of a special one.
    fn token(&self, id: Option<u32>) -> Option<&str> {
        self.tokens.get(usize::try_from(id?).ok()?).map(String::as_str)
    }

    /// Special tokens by the names that `tokenizer_config.json` would give them.
    pub(crate) fn settings(&self) -> Metadata {
        let names = [
            ("bos_token", self.bos_id),
            ("eos_token", self.eos_id),
            ("unk_token", self.unknown_id),
            ("pad_token", self.padding_id),
        ];
        let fields = names.into_iter().filter_map(|(name, id)| Some((name.to_owned(), json!(self.token(id)?))));
        Metadata::of(&self.path, fields.collect(), Default::default())
    }

    /// Builds the tokenizer.
    ///
    /// # Errors
    /// If the model or the pre-tokenizer is none that is supported, or tokens and merges contradict one another.
    pub(crate) fn tokenizer(&self) -> Result<Tokenizer, LoadError> {
        let json = match self.model.as_deref() {
            Some("llama") => self.scored()?,
            Some("gpt2") => self.merged()?,
            other => {
                let found = other.map_or_else(|| "nothing".to_owned(), |name| format!("\"{name}\""));
                return Err(LoadError::field(&self.path, MODEL, "llama or gpt2", found));
            }
        };
        let json = json.to_string();
        Tokenizer::parse(&self.path, json.as_bytes(), &[self.settings()]).map_err(|error| {
            error.renamed(|field| match field {
                "model.merges" => Some(MERGES),
                "model" | "model.vocab" | "added_tokens" => Some(TOKENS),
                _ => None,
            })
        })
    }

    /// SentencePiece's model: of two neighbours, those are joined first whose token has the highest score. As ranks of merges, that is every
    /// way to make a token of two others, in the order of the scores.
    fn scored(&self) -> Result<Json, LoadError> {
        let Some(scores) = &self.scores else {
            return Err(LoadError::field(&self.path, SCORES, "a score for each token", "nothing"));
        };
        let ids = self.ids()?;
        let mut merges: Vec<(f32, u32, u32, (&str, &str))> = Vec::new();
        for ((token, &score), &kind) in self.tokens.iter().zip(scores).zip(&self.types) {
            if score.is_nan() {
                return Err(LoadError::field(&self.path, SCORES, "numbers", score));
            }
            if matches!(kind, UNKNOWN | CONTROL | BYTE) {
                continue;
            }
            if token.len() > MAX_SCORED_BYTES {
                let expected = format_args!("tokens of at most {MAX_SCORED_BYTES} bytes");
                return Err(LoadError::field(&self.path, TOKENS, expected, token.len()));
            }
            for (at, _) in token.char_indices().skip(1) {
                let (a, b) = token.split_at(at);
                if let (Some(&first), Some(&second)) = (ids.get(a), ids.get(b)) {
                    merges.push((score, first, second, (a, b)));
                }
            }
        }
        merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        let merges: Vec<Json> = merges.into_iter().map(|(_, _, _, (a, b))| json!([a, b])).collect();
        let space = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let unspace = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
        let (mut normalizers, mut decoders) =
            (vec![space], vec![unspace, json!({"type": "ByteFallback"}), json!({"type": "Fuse"})]);
        if self.add_space_prefix {
            normalizers.insert(0, json!({"type": "Prepend", "prepend": "▁"}));
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        let unknown = self.token(self.unknown_id);
        Ok(json!({
            "added_tokens": self.added(),
            "normalizer": {"type": "Sequence", "normalizers": normalizers},
            "post_processor": self.post_processor(true),
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {"type": "BPE", "unk_token": unknown, "fuse_unk": true, "byte_fallback": true, "vocab": ids, "merges": merges},
        }))
    }

    /// GPT-2's model: bytes as letters, joined in the order of the merges.
    fn merged(&self) -> Result<Json, LoadError> {
        let name = self.pre.as_deref().unwrap_or("default");
        let Some(pre) = PRE_TOKENIZERS.iter().find(|pre| pre.name == name) else {
            let names: Vec<&str> = PRE_TOKENIZERS.iter().map(|pre| pre.name).collect();
            return Err(LoadError::field(&self.path, PRE, names.join(", "), format_args!("\"{name}\"")));
        };
        let mut merges = Vec::new();
        for merge in &self.merges {
            // Neither half is empty, and the first may be a space.
            let at = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at);
            let halves = at.map(|at| (merge.get(..at).unwrap_or_default(), merge.get(at + 1..).unwrap_or_default()));
            let Some((a, b)) = halves.filter(|(_, b)| !b.is_empty()) else {
                return Err(LoadError::field(&self.path, MERGES, "two tokens with a space between", format_args!("'{merge}'")));
            };
            merges.push(json!([a, b]));
        }
        let split = |words: &&str| json!({"type": "Split", "pattern": {"Regex": words}, "behavior": "Isolated", "invert": false});
        let mut stages: Vec<Json> = pre.words.iter().map(split).collect();
        stages.push(json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}));
        Ok(json!({
            "added_tokens": self.added(),
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": stages},
            "post_processor": self.post_processor(pre.adds_bos),
            "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
            "model": {"type": "BPE", "ignore_merges": pre.ignores_merges, "vocab": self.ids()?, "merges": merges},
        }))
    }

    /// The id of each token.
    fn ids(&self) -> Result<HashMap<&str, u32>, LoadError> {
        let mut ids = HashMap::new();
        for (token, id) in self.tokens.iter().zip(0_u32..) {
            if let Some(first) = ids.insert(token.as_str(), id) {
                let found = format_args!("'{token}' with ids {first} and {id}");
                return Err(LoadError::field(&self.path, TOKENS, "distinct tokens", found));
            }
        }
        Ok(ids)
    }

    /// Tokens that are found in a text as they are, before all else.
    fn added(&self) -> Vec<Json> {
        let of_type = self.tokens.iter().zip(0_u32..).zip(&self.types);
        let added = of_type.filter(|(_, kind)| matches!(**kind, UNKNOWN | CONTROL | USER_DEFINED));
        let added = added.filter(|((token, _), _)| !token.is_empty()).map(|((token, id), &kind)| {
            json!({"id": id, "content": token, "special": kind != USER_DEFINED, "normalized": false, "single_word": false,
                "lstrip": false, "rstrip": false})
        });
        added.collect()
    }

    /// What puts BOS and EOS around a text.
    fn post_processor(&self, adds_bos: bool) -> Json {
        let bos = self.token(self.bos_id).filter(|_| self.add_bos.unwrap_or(adds_bos)).zip(self.bos_id);
        let eos = self.token(self.eos_id).filter(|_| self.add_eos).zip(self.eos_id);
        if bos.is_none() && eos.is_none() {
            return Json::Null;
        }
        let special = |(token, _): (&str, u32)| json!({"SpecialToken": {"id": token, "type_id": 0}});
        let text = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
        let around = |texts: &[&str]| -> Vec<Json> {
            let texts = texts.iter().map(|name| text(name));
            bos.map(special).into_iter().chain(texts).chain(eos.map(special)).collect()
        };
        let known = |(token, id): (&str, u32)| (token.to_owned(), json!({"id": token, "ids": [id], "tokens": [token]}));
        let tokens: serde_json::Map<String, Json> = bos.into_iter().chain(eos).map(known).collect();
        json!({"type": "TemplateProcessing", "single": around(&["A"]), "pair": around(&["A", "B"]), "special_tokens": tokens})
    }
}

/// The error for a file without a vocabulary.
pub(crate) fn missing(path: &Path) -> LoadError {
    LoadError::field(path, TOKENS, "a vocabulary", "nothing")
}

/// Typed access to the keys of a vocabulary.
struct Keys<'a> {
    path: &'a Path,
    values: &'a mut Values,
}

impl Keys<'_> {
    fn take<T>(&mut self, key: &str, expected: &str, of: impl Fn(Value) -> Option<T>) -> Result<Option<T>, LoadError> {
        let Some(value) = self.values.remove(key) else { return Ok(None) };
        let found = value.to_string();
        of(value).map(Some).ok_or_else(|| LoadError::field(self.path, key, expected, found))
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, LoadError> {
        self.take(key, "a string", |value| match value {
            Value::Text(text) => Some(text),
            _ => None,
        })
    }

    fn flag(&mut self, key: &str) -> Result<Option<bool>, LoadError> {
        self.take(key, "true or false", |value| match value {
            Value::Bool(flag) => Some(flag),
            _ => None,
        })
    }

    /// The id of one of `n` tokens.
    fn id(&mut self, key: &str, n: usize) -> Result<Option<u32>, LoadError> {
        let below = |id: &u32| usize::try_from(*id).is_ok_and(|id| id < n);
        let of = |value: Value| u32::try_from(value.integer()?).ok().filter(below);
        self.take(key, &format!("an id below {n}, the number of tokens"), of)
    }
}

/// Whether a token is spelled as one that stands for a byte.
pub(super) fn is_byte(token: &str) -> bool {
    let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| {
        digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte))
    })
}
