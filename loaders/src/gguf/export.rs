//! A tokenizer as the keys of a GGUF file: that of a folder in Hugging Face layout taken apart, or that of another GGUF file passed on.
//!
//! The file says less than `tokenizer.json` can: no normalizer, and pre-tokenizers by name alone. What was made is therefore held against the
//! original on a text of many kinds of characters, and refused if it gives other tokens. Not here: reading those keys (`vocabulary.rs`).

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value as Json;

use super::vocabulary::{
    ADD_BOS, ADD_EOS, ADD_SPACE, BOS_KEY, BYTE, CHAT_TEMPLATE, CONTROL, EOS_KEYS, GPT2, MERGES, MODEL, NORMAL, PADDING_KEY, PRE,
    PRE_TOKENIZERS, SCORES, TOKENS, TYPES, UNKNOWN, UNKNOWN_KEY, UNUSED, USER_DEFINED, Vocabulary, is_byte,
};
use super::writer::GgufValue;
use crate::chat_template::ChatTemplates;
use crate::error::LoadError;
use crate::location::Location;
use crate::tokenizer::Tokenizer;
use crate::tokenizer_file::{self, BytePairs};

/// Texts that a tokenizer of a GGUF file must split as the original does: words and their endings, digits, white space, punctuation, code,
/// accents, scripts without spaces, emoji, and characters that are none. None begins with a space: GGUF's tokenizers by scores put one more before it,
/// where some of Hugging Face's leave it.
const SAMPLES: [&str; 12] = [
    "The quick brown fox jumps over the lazy dog.",
    "I'm sure they've said she'd go; WE'LL SEE, IT'S THEIRS.",
    "1 22 333 4444 55555 3.14159 1,000,000 0x1F a1b2c3 ²³",
    "Two  spaces,   three   \t tabs\t\tand trailing  ",
    "one line\n\ntwo lines\r\n  indented\n\t\ttabs\n \n",
    "fn main() { let x: &[u8] = b\"\\n\"; if x != y && z <= 3 { x[0] += 1; } } // ==> done",
    "\"Quoted\", (bracketed) - dashed -- long \u{2014} dots... $5.00 #tag @user 50% a_b a*b ~/path/to/file.txt",
    "Größe, naïve café, señor, Łódź, Ærøskøbing, İstanbul",
    "Привет, мир! Γειά σου Κόσμε. שלום עולם مرحبا بالعالم",
    "你好，世界。今日は良い天気ですね。안녕하세요 세계 สวัสดีชาวโลก",
    "👍🏽 👩\u{200d}👩\u{200d}👧 🇫🇷 ½ ™ \u{feff} \u{a0}no-break\u{2003}em",
    "",
];

impl Vocabulary {
    /// The vocabulary of a folder's tokenizer, with a token for each of the embedding's `n_rows` rows; none if the folder has no
    /// `tokenizer.json`. `bos_id` and `eos_id` count where the tokenizer's settings name no such tokens.
    ///
    /// # Errors
    /// If the tokenizer is malformed, of a kind that GGUF does not have, or has more tokens than there are rows.
    pub(crate) fn of_folder(
        folder: &Location,
        n_rows: usize,
        bos_id: Option<u32>,
        eos_id: Option<u32>,
    ) -> Result<Vocabulary, LoadError> {
        let original = Tokenizer::open(folder.clone())?;
        let path = folder.join(tokenizer_file::FILE_NAME);
        let wrong = |field: &str, expected: &str, found: &str| LoadError::field(&path, field, expected, found);
        let Some(parts) = tokenizer_file::byte_pairs(&path, &tokenizer_file::read(folder)?)? else {
            return Err(wrong("model.type", "BPE, the one kind that GGUF files are written with", "another one"));
        };
        if original.vocab_size() > n_rows {
            let expected = format!("ids below {n_rows}, the rows of the embedding");
            return Err(wrong("model.vocab", &expected, &format!("{} ids", original.vocab_size())));
        }
        let named = |key: &str| original.named_tokens().find(|(name, _)| *name == key).and_then(|(_, token)| original.id(token));
        let (around, before) = (original.encode("a", true)?, original.encode("a", false)?);
        let begin = around.first().copied().filter(|first| before.first() != Some(first));
        let end = around.last().copied().filter(|last| before.last() != Some(last));
        let is_bytes = stages(&parts.pre_tokenizer).iter().any(|stage| stage["type"] == "ByteLevel");
        let (tokens, types) = tokens(&original, &parts, n_rows, is_bytes);
        let mut vocabulary = Vocabulary {
            path: path.clone(),
            model: Some(if is_bytes { "gpt2" } else { "llama" }.to_owned()),
            pre: None,
            scores: None,
            tokens,
            types,
            merges: Vec::new(),
            bos_id: begin.or(original.bos_id()).or(bos_id),
            eos_id: original.eos_ids().first().copied().or(end).or(eos_id),
            unknown_id: parts.unknown.as_deref().and_then(|token| original.id(token)).or_else(|| named("unk_token")),
            padding_id: named("pad_token"),
            turn_ids: [None; 2],
            end_ids: Vec::new(),
            add_bos: Some(begin.is_some()),
            add_eos: end.is_some(),
            add_space_prefix: original.piece(before.first().copied().unwrap_or_default()).is_some_and(|p| p.starts_with('▁')),
            chat_template: match ChatTemplates::open(folder.clone())? {
                Some(templates) => Some(templates.choose(None, false)?.source().to_owned()),
                None => None,
            },
        };
        if is_bytes {
            vocabulary.pre = Some(pre_tokenizer(&path, &parts)?.to_owned());
            vocabulary.merges = parts.merges.iter().map(|(a, b)| format!("{a} {b}")).collect();
        } else if parts.byte_fallback {
            vocabulary.scores = Some(scores(&vocabulary.tokens, &parts));
        } else {
            return Err(wrong("model", "byte-level BPE, or BPE with byte fallback", "neither"));
        }
        vocabulary.check_against(&original)?;
        Ok(vocabulary)
    }

    /// Compares what the vocabulary makes of texts with what the tokenizer does that it was made of.
    fn check_against(&self, original: &Tokenizer) -> Result<(), LoadError> {
        let ours = self.tokenizer()?;
        for sample in SAMPLES {
            let (theirs, ours) = (original.encode(sample, true)?, ours.encode(sample, true)?);
            if theirs != ours {
                let found = format_args!("one that GGUF's keys make other tokens of '{sample}' of");
                return Err(LoadError::file(&self.path, "a tokenizer whose parts GGUF has, too", found));
            }
        }
        Ok(())
    }

    /// The keys that say all this.
    pub(crate) fn keys(&self) -> Vec<(&'static str, GgufValue)> {
        let mut keys = Vec::new();
        let mut add = |key, value: Option<GgufValue>| keys.extend(value.map(|value| (key, value)));
        let is_scored = self.scores.is_some();
        add(MODEL, self.model.clone().map(GgufValue::Text));
        add(PRE, Some(GgufValue::Text(self.pre.clone().unwrap_or_else(|| "default".to_owned()))));
        add(TOKENS, Some(GgufValue::Texts(self.tokens.clone())));
        add(SCORES, self.scores.clone().map(GgufValue::F32s));
        add(TYPES, Some(GgufValue::I32s(self.types.iter().map(|&kind| kind as i32).collect())));
        add(MERGES, Some(self.merges.clone()).filter(|merges| !merges.is_empty()).map(GgufValue::Texts));
        let ids = [self.eos_id, self.turn_ids[0], self.turn_ids[1]];
        for (key, id) in EOS_KEYS.into_iter().zip(ids) {
            add(key, id.map(GgufValue::U32));
        }
        for (key, id) in [(BOS_KEY, self.bos_id), (UNKNOWN_KEY, self.unknown_id), (PADDING_KEY, self.padding_id)] {
            add(key, id.map(GgufValue::U32));
        }
        add(ADD_BOS, self.add_bos.map(GgufValue::Bool));
        add(ADD_EOS, Some(GgufValue::Bool(self.add_eos)));
        add(ADD_SPACE, is_scored.then_some(GgufValue::Bool(self.add_space_prefix)));
        add(CHAT_TEMPLATE, self.chat_template.clone().map(GgufValue::Text));
        keys
    }
}

/// The token of each id and its type. An id without a token gets a name that no text becomes.
fn tokens(original: &Tokenizer, parts: &BytePairs, n_rows: usize, is_bytes: bool) -> (Vec<String>, Vec<i64>) {
    let added = original.inner().get_added_vocabulary().get_added_tokens_decoder();
    let kind = |id: u32, token: &str| match added.get(&id) {
        _ if !is_bytes && parts.unknown.as_deref() == Some(token) => UNKNOWN,
        Some(added) if added.special => CONTROL,
        Some(_) => USER_DEFINED,
        None if !is_bytes && is_byte(token) => BYTE,
        None => NORMAL,
    };
    let of_id = |id: u32| match original.piece(id) {
        Some(token) => (kind(id, &token), token),
        None => (UNUSED, format!("[PAD{id}]")),
    };
    (0..n_rows as u32).map(of_id).map(|(kind, token)| (token, kind)).unzip()
}

/// Scores that join in the order of the merges' ranks: those of a token's first merge, highest first.
fn scores(tokens: &[String], parts: &BytePairs) -> Vec<f32> {
    let mut ranks: HashMap<String, usize> = HashMap::new();
    for (rank, (a, b)) in parts.merges.iter().enumerate() {
        ranks.entry(format!("{a}{b}")).or_insert(rank);
    }
    // Ranks below 2^24 are exact. What nothing is joined to is below all that something is.
    let least = parts.merges.len();
    let score = |token: &String| match ranks.get(token) {
        Some(&rank) => -(rank as f32),
        None if is_byte(token) || token.is_empty() => 0.0,
        None => -(least as f32),
    };
    tokens.iter().map(score).collect()
}

/// The stages of a pre-tokenizer, laid out flat.
fn stages(pre_tokenizer: &Json) -> Vec<&Json> {
    match pre_tokenizer["pretokenizers"].as_array() {
        Some(inner) if pre_tokenizer["type"] == "Sequence" => inner.iter().flat_map(stages).collect(),
        _ if pre_tokenizer.is_null() => Vec::new(),
        _ => vec![pre_tokenizer],
    }
}

/// The name that GGUF has for a byte-level pre-tokenizer: the one whose words are the same expressions.
fn pre_tokenizer(path: &Path, parts: &BytePairs) -> Result<&'static str, LoadError> {
    let stages = stages(&parts.pre_tokenizer);
    let words: Result<Vec<&str>, ()> = stages.iter().filter_map(|stage| words(stage).transpose()).collect();
    let same = |words: &[&str]| PRE_TOKENIZERS.iter().filter(|pre| pre.words == words).collect::<Vec<_>>();
    let found = words.map(|words| same(&words)).unwrap_or_default();
    let exact = found.iter().find(|pre| pre.ignores_merges == parts.ignore_merges);
    exact.or(found.first()).map(|pre| pre.name).ok_or_else(|| {
        let names: Vec<&str> = PRE_TOKENIZERS.iter().map(|pre| pre.name).collect();
        LoadError::field(path, "pre_tokenizer", format_args!("one of GGUF's: {}", names.join(", ")), "another one")
    })
}

/// The expression of a stage; none if it has none, an error (none, too) if it is a stage that GGUF has not.
fn words(stage: &Json) -> Result<Option<&str>, ()> {
    match stage["type"].as_str() {
        Some("ByteLevel") if stage["add_prefix_space"] == true => Err(()),
        Some("ByteLevel") => Ok(Some(GPT2).filter(|_| stage["use_regex"] != false)),
        Some("Digits") if stage["individual_digits"] == true => Ok(Some(r"\p{N}")),
        Some("Split") if stage["behavior"] == "Isolated" && stage["invert"] != true => {
            stage["pattern"]["Regex"].as_str().map(Some).ok_or(())
        }
        _ => Err(()),
    }
}
