//! `Tokenizer`: text to ids and back, by `tokenizer.json` (formats.md section 4).
//!
//! Not here: the algorithms, which are the `tokenizers` crate's; reading that file (`tokenizer_file.rs`); and chat templates.
//!
//! `add_bos_token` and `add_eos_token` in `tokenizer_config.json` have no effect, whatever formats.md says: transformers 5.23 drops
//! both where there is a `tokenizer.json` (`PreTrainedTokenizerBase._from_pretrained`), and its post-processor decides alone.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::{AddedToken, Decoder};

use crate::error::LoadError;
use crate::guard::guarded;
use crate::location::Location;
use crate::metadata::Metadata;
use crate::text_stream::{TextStream, token_bytes};
use crate::tokenizer_file::{self, Assembled};

/// The keys that name special tokens (transformers, `SPECIAL_TOKENS_ATTRIBUTES`).
const NAMED_TOKENS: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The longest file that names special tokens that is read; those that also list tens of thousands of added tokens have 12 MB.
pub(crate) const MAX_SETTINGS_BYTES: u64 = 64 << 20;

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
    /// (key, token) as the settings have them.
    named: Vec<(&'static str, String)>,
}

impl Tokenizer {
    /// Reads `tokenizer.json` from a folder, and the names of special tokens from `tokenizer_config.json` or, as older models have
    /// it, `special_tokens_map.json`.
    ///
    /// # Errors
    /// If the first is missing, or any is malformed.
    pub fn open(folder: impl Into<Location>) -> Result<Tokenizer, LoadError> {
        let folder = folder.into();
        let json = tokenizer_file::read(&folder)?;
        let mut settings = Vec::new();
        for name in ["tokenizer_config.json", "special_tokens_map.json"] {
            if folder.has(name) {
                settings.push(Metadata::read_keys(&folder, name, MAX_SETTINGS_BYTES, &NAMED_TOKENS)?);
            }
        }
        Tokenizer::parse(&folder.join(tokenizer_file::FILE_NAME), &json, &settings)
    }

    /// Makes a tokenizer of a `tokenizer.json` that is in memory; `path` stands for it in messages. `settings` are the files that
    /// name special tokens; of two that name the same, the first counts.
    ///
    /// # Errors
    /// Those of [`Tokenizer::open`] that concern the content.
    pub fn parse(path: &Path, json: &[u8], settings: &[Metadata]) -> Result<Tokenizer, LoadError> {
        let (inner, vocab_size) = tokenizer_file::assemble(path, json)?;
        let mut tokenizer = Tokenizer {
            path: path.into(),
            inner,
            vocab_size,
            special_ids: Vec::new(),
            bos_id: None,
            eos_ids: Vec::new(),
            named: Vec::new(),
        };
        for key in NAMED_TOKENS {
            let mut names = settings.iter().map(|settings| named_token(settings, key));
            if let Some(token) = names.find_map(Result::transpose).transpose()? {
                tokenizer.name_token(key, token)?;
            }
        }
        let added = tokenizer.inner.get_added_vocabulary().get_added_tokens_decoder();
        tokenizer.special_ids = added.iter().filter(|(_, token)| token.special).map(|(&id, _)| id).collect();
        tokenizer.special_ids.sort_unstable();
        tokenizer.check_post_processor()?;
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
        let tokens: Vec<String> = ids.iter().filter_map(|&id| self.token_for_text(id, skip_special)).collect();
        match self.decoder() {
            // Not to be asked about nothing: `BPEDecoder` subtracts one from the number of tokens.
            _ if tokens.is_empty() => Ok(String::new()),
            Some(decoder) => self.guarded(|| decoder.decode(tokens)),
            None => Ok(tokens.join(" ")),
        }
    }

    /// Decodes ids that come one at a time.
    pub fn stream(&self, skip_special: bool) -> TextStream<'_> {
        TextStream::new(self, skip_special)
    }

    /// The bytes that a token adds to a text in which it is not the first, e.g. ` the`; perhaps a part of a character. `None` for special
    /// tokens, ids without a token, and where the decoder gives a token no text of its own.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        token_bytes(self, id)
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

    /// The special tokens that the settings name: `bos_token` and its like, and the token.
    pub fn named_tokens(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.named.iter().map(|(key, token)| (*key, token.as_str()))
    }

    /// The tokens that a user's words in a chat must not become: special ones, and other added ones that `template` contains, unless
    /// they are white space (transformers, `_get_control_tokens`).
    pub(crate) fn control_tokens(&self, template: &str) -> Vec<String> {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder().values();
        let is_control =
            |token: &&AddedToken| token.special || (template.contains(&token.content) && !token.content.trim().is_empty());
        added.filter(is_control).map(|token| token.content.clone()).collect()
    }

    /// The `tokenizers` crate's tokenizer.
    pub(crate) fn inner(&self) -> &Assembled {
        &self.inner
    }

    /// The error that this tokenizer cannot be used so.
    pub(crate) fn error(&self, expected: impl std::fmt::Display, found: impl std::fmt::Display) -> LoadError {
        LoadError::file(&self.path, expected, found)
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

    /// Tries the post-processor on no text: a template may name tokens that it does not define, or ids that are no token's.
    fn check_post_processor(&self) -> Result<(), LoadError> {
        let wrong = |found: &dyn std::fmt::Display| {
            LoadError::field(&self.path, "post_processor", "special tokens that it defines and the tokenizer has", found)
        };
        let around = self.encode("", true).map_err(|_| wrong(&"one that it does not define"))?;
        match around.into_iter().find(|&id| !self.has_token(id)) {
            Some(unknown) => Err(wrong(&format_args!("id {unknown}"))),
            None => Ok(()),
        }
    }

    /// A token that settings name is special, also where `tokenizer.json` has it as an ordinary one (transformers,
    /// `TokenizersBackend.__init__`). A name without a token, which transformers would append to the vocabulary, is passed over:
    /// the model has no row for it.
    fn name_token(&mut self, key: &'static str, token: &str) -> Result<(), LoadError> {
        self.named.push((key, token.to_owned()));
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::Dir;

    /// A byte-pair tokenizer: letters and two merges, SentencePiece style, with a BOS template.
    fn sample() -> Value {
        let token = |id: u32, content: &str| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                "special": true})
        };
        json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [token(0, "<unk>"), token(1, "<s>"), token(2, "</s>")],
            "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
            "pre_tokenizer": null,
            "post_processor": {"type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
            "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
                "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2, "▁": 3, "a": 4, "b": 5, "ab": 6, "▁ab": 7, "<0xC3>": 8, "<0xA4>": 9},
                "merges": [["a", "b"], "▁ ab"]},
        })
    }

    fn parse(json: &Value) -> Result<Tokenizer, LoadError> {
        Tokenizer::parse(Path::new("tokenizer.json"), json.to_string().as_bytes(), &[])
    }

    fn settings(json: Value) -> Metadata {
        Metadata::parse(Path::new("tokenizer_config.json"), json.to_string().as_bytes()).unwrap()
    }

    fn parse_with(json: &Value, config: Value) -> Result<Tokenizer, LoadError> {
        Tokenizer::parse(Path::new("tokenizer.json"), json.to_string().as_bytes(), &[settings(config)])
    }

    /// Checks that the sample with the value at `pointer` replaced is refused with this message.
    fn check_refused(pointer: &str, value: Value, message: &str) {
        let mut json = sample();
        *json.pointer_mut(pointer).unwrap() = value;
        let error = parse(&json).expect_err(pointer).to_string();
        assert!(error.starts_with("tokenizer.json: ") && error.contains(message), "{pointer}: {error}");
        assert!(error.chars().count() <= 300 && !error.contains('\n'), "{error}");
    }

    #[test]
    fn texts_become_ids_and_come_back() {
        let tokenizer = parse(&sample()).unwrap();
        assert_eq!(tokenizer.encode("", true).unwrap(), [1]);
        assert_eq!(tokenizer.encode("", false).unwrap(), [] as [u32; 0]);
        assert_eq!(tokenizer.encode("ab ab", true).unwrap(), [1, 7, 7]);
        assert_eq!(tokenizer.encode("ä</s>a", false).unwrap(), [3, 8, 9, 2, 3, 4]);
        assert_eq!(tokenizer.decode(&[1, 7, 7, 8, 9, 2], true).unwrap(), "ab abä");
        assert_eq!(tokenizer.decode(&[1, 7, 999], false).unwrap(), "<s> ab");
        assert_eq!(tokenizer.decode(&[], true).unwrap(), "");
        assert_eq!((tokenizer.vocab_size(), tokenizer.piece(7).as_deref(), tokenizer.id("ab")), (10, Some("▁ab"), Some(6)));
        assert!(tokenizer.has_token(9) && !tokenizer.has_token(10) && tokenizer.is_special(2) && !tokenizer.is_special(3));
        assert_eq!((tokenizer.bos_id(), tokenizer.eos_ids()), (None, &[] as &[u32]));
    }

    #[test]
    fn special_tokens_are_named_by_strings_or_objects() {
        let tokenizer =
            parse_with(&sample(), json!({"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false}})).unwrap();
        assert_eq!((tokenizer.bos_id(), tokenizer.eos_ids()), (Some(1), &[2][..]));
        let unknown = parse_with(&sample(), json!({"bos_token": "<none>", "eos_token": null})).unwrap();
        assert_eq!((unknown.bos_id(), unknown.eos_ids(), unknown.vocab_size()), (None, &[] as &[u32], 10));
        let error = parse_with(&sample(), json!({"eos_token": 7})).unwrap_err().to_string();
        assert!(error.starts_with("tokenizer_config.json: field 'eos_token': expected a string, or an object"), "{error}");
        assert!(parse_with(&sample(), json!({"eos_token": {"id": 2}})).is_err());
    }

    #[test]
    fn a_named_token_is_special_even_if_the_tokenizer_has_it_as_an_ordinary_one() {
        let mut json = sample();
        json["added_tokens"].as_array_mut().unwrap().remove(2);
        assert_eq!(parse(&json).unwrap().decode(&[7, 2], true).unwrap(), "ab</s>");
        let named = parse_with(&json, json!({"eos_token": "</s>"})).unwrap();
        assert_eq!(named.decode(&[7, 2], true).unwrap(), "ab");
        assert!(named.is_special(2));
    }

    /// Recorded from transformers 5.23.0 (`AutoTokenizer.from_pretrained` on such a folder): the post-processor decides alone.
    #[test]
    fn add_bos_token_and_add_eos_token_have_no_effect() {
        for flags in [json!({}), json!({"add_bos_token": false}), json!({"add_bos_token": true, "add_eos_token": true})] {
            let mut config = json!({"bos_token": "<s>", "eos_token": "</s>"});
            config.as_object_mut().unwrap().extend(flags.as_object().unwrap().clone());
            assert_eq!(parse_with(&sample(), config.clone()).unwrap().encode("ab", true).unwrap(), [1, 7]);
            let mut plain = sample();
            plain["post_processor"] = Value::Null;
            assert_eq!(parse_with(&plain, config).unwrap().encode("ab", true).unwrap(), [7]);
        }
    }

    #[test]
    fn truncation_and_padding_are_passed_over() {
        let mut json = sample();
        json["truncation"] = json!({"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0});
        json["padding"] = json!({"strategy": {"Fixed": 1_u64 << 40}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "<unk>"});
        assert_eq!(parse(&json).unwrap().encode("ab ab", true).unwrap(), [1, 7, 7]);
    }

    #[test]
    fn malformed_tokenizers_are_refused() {
        let text = sample().to_string();
        for end in (0..text.len()).filter(|&end| text.is_char_boundary(end)) {
            let error = Tokenizer::parse(Path::new("tokenizer.json"), &text.as_bytes()[..end], &[]).unwrap_err();
            assert!(error.to_string().starts_with("tokenizer.json: expected a tokenizer in JSON"), "{error}");
        }
        check_refused("/version", json!("2.0"), "field 'version': expected \"1.0\", found \"2.0\"");
        check_refused("/model", json!({}), "field 'model': expected a model");
        check_refused("/model", json!(7), "field 'model': expected a model");
        check_refused(
            "/model/type",
            json!("Mamba"),
            "field 'model.type': expected BPE, Unigram, WordPiece or WordLevel, found 'Mamba'",
        );
        check_refused("/model/vocab", json!({}), "field 'model.merges': expected tokens of the vocabulary in merge 0, found 'a'");
        check_refused("/model/vocab", json!([["a", 0.5]]), "field 'model.vocab': expected an object of ids");
        check_refused("/model/vocab/a", json!(4_000_000_000_u32), "field 'model.vocab': expected ids of at most 1076");
        check_refused("/model/vocab/a", json!(4_000_000_000_000_u64), "field 'model'");
        check_refused("/model/vocab/a", json!(-1), "field 'model'");
        check_refused("/model/vocab/a", json!(5), "field 'model.vocab': expected one token for each id");
        check_refused("/added_tokens/0/id", json!(4_000_000_000_u32), "field 'added_tokens'");
        check_refused("/model/dropout", json!(0.1), "field 'model.dropout': expected null or 0, found 0.1");
        check_refused("/model/unk_token", json!("<none>"), "field 'model.unk_token'");
        check_refused("/decoder", json!({"type": "Nonsense"}), "field 'decoder'");
        check_refused("/decoder/decoders/3/content", json!("ab"), "field 'decoder'");
        check_refused(
            "/normalizer/normalizers/1/pattern",
            json!({"Regex": "(?=a)"}),
            "field 'normalizer': expected regular expressions",
        );
        check_refused("/normalizer/normalizers/1/pattern", json!({"Regex": "("}), "field 'normalizer'");
        check_refused(
            "/post_processor/special_tokens",
            json!({}),
            "field 'post_processor': expected special tokens that it defines",
        );
        check_refused(
            "/post_processor/special_tokens/<s>/ids",
            json!([77]),
            "field 'post_processor': expected special tokens that it defines and the tokenizer has, found id 77",
        );
        let empty = json!({"model": {"type": "WordLevel", "vocab": {}, "unk_token": "a"}});
        assert!(parse(&empty).unwrap_err().to_string().contains("field 'model.vocab': expected one token or more"));
        assert!(parse(&json!([])).is_err());
    }

    #[test]
    fn merges_are_checked() {
        check_refused(
            "/model/merges/0",
            json!(["a", "c"]),
            "field 'model.merges': expected tokens of the vocabulary in merge 0, found 'c'",
        );
        check_refused(
            "/model/merges/0",
            json!(["a", "a"]),
            "expected the result of merge 0 in the vocabulary, found no token 'aa'",
        );
        // Longer than every token: the library copies it into a buffer of the longest token's length.
        check_refused("/model/merges/0", json!(["<0xC3>", "<0xC3>"]), "found no token '<0xC3><0xC3>'");
        for merge in [json!(["a"]), json!(["a", "b", "a"]), json!("ab"), json!("a b a"), json!(7), json!([1, 2]), Value::Null] {
            check_refused("/model/merges/0", merge, "field 'model'");
        }
        check_refused("/model/continuing_subword_prefix", json!("##"), "expected '##' at the beginning in merge 0");
    }

    #[test]
    fn deep_nesting_is_refused_without_recursion() {
        let nested = |depth| {
            let (open, close) = (r#"{"type":"Sequence","normalizers":["#.repeat(depth), "]}".repeat(depth));
            let mut tokenizer = sample();
            tokenizer["normalizer"] = json!("here");
            tokenizer.to_string().replace("\"here\"", &format!("{open}{close}"))
        };
        for depth in [7, 20, 60, 10_000, 100_000] {
            let error = Tokenizer::parse(Path::new("tokenizer.json"), nested(depth).as_bytes(), &[]).unwrap_err().to_string();
            assert!(error.contains("nesting") || error.contains("recursion limit"), "{depth}: {error}");
        }
        assert!(Tokenizer::parse(Path::new("tokenizer.json"), nested(3).as_bytes(), &[]).is_ok());
    }

    #[test]
    fn a_word_without_id_is_an_error_of_encode() {
        let json = json!({"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "<unk>"}});
        let tokenizer = parse(&json).unwrap();
        assert_eq!(tokenizer.encode("a", false).unwrap(), [0]);
        assert!(
            tokenizer
                .encode("b", false)
                .unwrap_err()
                .to_string()
                .starts_with("tokenizer.json: expected a tokenizer that can be used")
        );
    }

    #[test]
    fn long_runs_take_linear_time() {
        let tokenizer = parse(&sample()).unwrap();
        for unit in ["a", " ", "\n", "^", "你"] {
            let text = unit.repeat(1_000_000);
            let begin = std::time::Instant::now();
            assert!(!tokenizer.encode(&text, false).unwrap().is_empty(), "{unit:?}");
            // 2 s per MB is the promise; other tests run beside this one.
            assert!(begin.elapsed().as_secs() < 10 * text.len().div_ceil(1_000_000) as u64, "{unit:?}: {:?}", begin.elapsed());
        }
    }

    #[test]
    fn a_folder_needs_tokenizer_json_only() {
        let dir = Dir::new();
        assert!(Tokenizer::open(dir.path()).unwrap_err().to_string().contains("tokenizer.json: expected to find the file"));
        dir.write("tokenizer.json", sample().to_string());
        assert_eq!(Tokenizer::open(dir.path()).unwrap().bos_id(), None);
        dir.write("special_tokens_map.json", json!({"bos_token": {"content": "<s>"}, "eos_token": "<s>"}).to_string());
        assert_eq!(Tokenizer::open(dir.path()).unwrap().bos_id(), Some(1));
        dir.write("tokenizer_config.json", json!({"eos_token": "</s>"}).to_string());
        let tokenizer = Tokenizer::open(dir.path()).unwrap();
        assert_eq!((tokenizer.bos_id(), tokenizer.eos_ids()), (Some(1), &[2][..]));
        let others: Vec<String> = (0..200_000).map(|n| format!(r#""{n}":{{"content":"<{n}>","special":true}}"#)).collect();
        let large = format!(r#"{{"added_tokens_decoder":{{{}}},"eos_token":"<s>"}}"#, others.join(","));
        dir.write("tokenizer_config.json", large);
        assert_eq!(Tokenizer::open(dir.path()).unwrap().eos_ids(), [1]);
        dir.write("tokenizer_config.json", "{} {}");
        assert!(Tokenizer::open(dir.path()).unwrap_err().to_string().contains("tokenizer_config.json: expected a JSON object"));
        dir.write("tokenizer_config.json", "[]");
        assert!(Tokenizer::open(dir.path()).unwrap_err().to_string().contains("tokenizer_config.json: expected a JSON object"));
    }
}
