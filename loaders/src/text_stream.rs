//! `TextStream`: token ids in, text out, as early as it is final.
//!
//! The concatenation of everything that a stream gives out equals the text of all ids decoded at once, and each part is valid
//! UTF-8. Work per token does not depend on how many came before, except where a decoder needs them all (see [`Tail`]).
//!
//! Not here: the decoders. The steps below run the ones of the `tokenizers` crate, each on as few tokens as its definition allows;
//! only the two that work on the whole text, byte-level decoding and stripping, are written again, for text in pieces. Stop
//! strings are not here either: they belong to whoever asked for text.

use std::mem;

use tokenizers::decoders::DecoderWrapper;
use tokenizers::{Decoder, Result};

use crate::error::LoadError;
use crate::tokenizer::Tokenizer;

/// A streaming detokeniser. Made by [`Tokenizer::stream`].
#[derive(Clone, Debug)]
pub struct TextStream<'t> {
    tokenizer: &'t Tokenizer,
    skip_special: bool,
    steps: Vec<Step<'t>>,
    tail: Tail<'t>,
}

impl<'t> TextStream<'t> {
    pub(crate) fn new(tokenizer: &'t Tokenizer, skip_special: bool) -> TextStream<'t> {
        let (steps, tail) = plan(tokenizer.decoder());
        TextStream { tokenizer, skip_special, steps, tail }
    }

    /// The text that became final with this token; often none yet, when the token is part of a character.
    ///
    /// # Errors
    /// If the decoder of the tokenizer refuses the token. The stream is of no further use then.
    pub fn push(&mut self, id: u32) -> std::result::Result<String, LoadError> {
        match self.tokenizer.token_for_text(id, self.skip_special) {
            Some(token) => self.tokenizer.guarded(|| run(&mut self.steps, &mut self.tail, vec![token], false)),
            None => Ok(String::new()),
        }
    }

    /// The rest of the text. An unfinished character becomes U+FFFD.
    ///
    /// # Errors
    /// Those of [`TextStream::push`].
    pub fn finish(mut self) -> std::result::Result<String, LoadError> {
        self.tokenizer.guarded(|| run(&mut self.steps, &mut self.tail, Vec::new(), true))
    }
}

/// The bytes that a token adds to a text in which it is not the first; `None` for special tokens, ids without a token, and where the
/// decoder gives a token no text of its own.
pub(crate) fn token_bytes(tokenizer: &Tokenizer, id: u32) -> Option<Vec<u8>> {
    let mut text = tokenizer.token_for_text(id, true).filter(|_| !tokenizer.is_special(id))?;
    let (steps, tail) = plan(tokenizer.decoder());
    for step in &steps {
        let around = |before: &str, after: Option<&str>| -> Vec<String> {
            [Some(before), Some(&*text), after].into_iter().flatten().map(str::to_owned).collect()
        };
        text = match step {
            Step::FirstDiffers { decoder, .. } => decoder.decode_chain(around("", None)).ok()?.pop()?,
            Step::LastDiffers { decoder, .. } => decoder.decode_chain(around("", Some(""))).ok()?.swap_remove(1),
            Step::Each { decoder } => decoder.decode_chain(vec![text]).ok()?.pop()?,
            Step::Joined { .. } => format!(" {text}"),
            Step::Runs { .. } => match text.strip_prefix("<0x").filter(|_| is_byte_token(&text)) {
                Some(digits) => return u8::from_str_radix(digits.trim_end_matches('>'), 16).ok().map(|byte| vec![byte]),
                None => text,
            },
        };
    }
    match tail {
        Tail::Plain | Tail::Fused { .. } => Some(text.into_bytes()),
        Tail::Bytes { .. } => {
            let mut bytes = Vec::new();
            append_bytes(&text, &mut bytes);
            Some(bytes)
        }
        Tail::Whole { .. } => None,
    }
}

/// A decoder that maps each token by itself or with a few neighbours.
#[derive(Clone, Debug)]
enum Step<'t> {
    /// Every token by itself, but the first differently: `Metaspace`, `WordPiece`.
    FirstDiffers { decoder: &'t DecoderWrapper, begun: bool },
    /// No decoder at all: tokens are joined by spaces.
    Joined { begun: bool },
    /// Every token by itself, but the last differently: `BPEDecoder`. Holds one token back.
    LastDiffers { decoder: &'t DecoderWrapper, held: Option<String> },
    /// Every token by itself: `Replace`, and `Strip` before the tokens are fused.
    Each { decoder: &'t DecoderWrapper },
    /// `ByteFallback`: a run of byte tokens is valid or invalid as a whole, so it is held until it ends.
    Runs { decoder: &'t DecoderWrapper, held: Vec<String> },
}

/// What happens to the tokens that leave the steps.
#[derive(Clone, Debug)]
enum Tail<'t> {
    /// They are the text.
    Plain,
    /// They are joined into one token, from whose ends `strips` take characters in turn.
    Fused { strips: Vec<StripEnds> },
    /// They spell bytes with the letters of byte-level BPE; `held` is the beginning of an unfinished character.
    Bytes { held: Vec<u8> },
    /// Decoders whose result may depend on any token: everything is held until the end. No tokenizer of a Llama-like model has them.
    Whole { decoders: Vec<&'t DecoderWrapper>, held: Vec<String> },
}

/// `Strip` on a text that arrives in pieces.
#[derive(Clone, Debug)]
struct StripEnds {
    content: char,
    /// How many characters may still be taken from the start.
    start: usize,
}

/// Splits a decoder into steps and a tail.
fn plan(decoder: Option<&DecoderWrapper>) -> (Vec<Step<'_>>, Tail<'_>) {
    let Some(decoder) = decoder else {
        return (vec![Step::Joined { begun: false }], Tail::Plain);
    };
    let mut chain = Vec::new();
    flatten(decoder, &mut chain);
    let mut steps = Vec::new();
    for (n, &decoder) in chain.iter().enumerate() {
        let rest = chain.get(n + 1..).unwrap_or_default();
        let step = match decoder {
            DecoderWrapper::Metaspace(_) | DecoderWrapper::WordPiece(_) => Step::FirstDiffers { decoder, begun: false },
            DecoderWrapper::BPE(_) => Step::LastDiffers { decoder, held: None },
            DecoderWrapper::Replace(_) | DecoderWrapper::Strip(_) => Step::Each { decoder },
            DecoderWrapper::ByteFallback(_) => Step::Runs { decoder, held: Vec::new() },
            DecoderWrapper::ByteLevel(_) if rest.is_empty() => return (steps, Tail::Bytes { held: Vec::new() }),
            DecoderWrapper::Fuse(_) => {
                if let Some(strips) = rest.iter().map(|decoder| StripEnds::of(decoder)).collect() {
                    return (steps, Tail::Fused { strips });
                }
                return (steps, Tail::Whole { decoders: chain.split_off(n), held: Vec::new() });
            }
            DecoderWrapper::ByteLevel(_) | DecoderWrapper::CTC(_) | DecoderWrapper::Sequence(_) => {
                return (steps, Tail::Whole { decoders: chain.split_off(n), held: Vec::new() });
            }
        };
        steps.push(step);
    }
    (steps, Tail::Plain)
}

/// The decoders of nested sequences, in order. `tokenizer_file.rs` limits the nesting.
fn flatten<'t>(decoder: &'t DecoderWrapper, chain: &mut Vec<&'t DecoderWrapper>) {
    match decoder {
        DecoderWrapper::Sequence(sequence) => sequence.get_decoders().iter().for_each(|inner| flatten(inner, chain)),
        single => chain.push(single),
    }
}

/// Sends tokens through the steps and the tail; `last` says that no more will come.
fn run(steps: &mut [Step], tail: &mut Tail, mut tokens: Vec<String>, last: bool) -> Result<String> {
    for step in steps {
        tokens = step.run(tokens, last)?;
    }
    tail.run(tokens, last)
}

impl Step<'_> {
    fn run(&mut self, tokens: Vec<String>, last: bool) -> Result<Vec<String>> {
        match self {
            Step::Each { decoder } => decoder.decode_chain(tokens),
            Step::FirstDiffers { decoder, begun } => {
                let mut out = Vec::with_capacity(tokens.len());
                for token in tokens {
                    if mem::replace(begun, true) {
                        // An empty token in front makes this one not the first.
                        out.extend(decoder.decode_chain(vec![String::new(), token])?.into_iter().skip(1));
                    } else {
                        out.extend(decoder.decode_chain(vec![token])?);
                    }
                }
                Ok(out)
            }
            Step::Joined { begun } => {
                Ok(tokens.into_iter().map(|token| if mem::replace(begun, true) { format!(" {token}") } else { token }).collect())
            }
            Step::LastDiffers { decoder, held } => {
                let mut out = Vec::with_capacity(tokens.len());
                for token in tokens {
                    if let Some(previous) = held.replace(token) {
                        // An empty token behind makes this one not the last.
                        out.extend(decoder.decode_chain(vec![previous, String::new()])?.into_iter().take(1));
                    }
                }
                if let Some(previous) = held.take_if(|_| last) {
                    out.extend(decoder.decode_chain(vec![previous])?);
                }
                Ok(out)
            }
            Step::Runs { decoder, held } => {
                let mut out = Vec::new();
                for token in tokens {
                    let ends_run = !is_byte_token(&token);
                    held.push(token);
                    if ends_run {
                        out.extend(decoder.decode_chain(mem::take(held))?);
                    }
                }
                if last {
                    out.extend(decoder.decode_chain(mem::take(held))?);
                }
                Ok(out)
            }
        }
    }
}

impl Tail<'_> {
    fn run(&mut self, tokens: Vec<String>, last: bool) -> Result<String> {
        match self {
            Tail::Plain => Ok(tokens.concat()),
            Tail::Fused { strips } => {
                let mut text = tokens.concat();
                for strip in strips {
                    strip.run(&mut text);
                }
                Ok(text)
            }
            Tail::Bytes { held } => {
                for token in tokens {
                    append_bytes(&token, held);
                }
                Ok(take_text(held, last))
            }
            Tail::Whole { decoders, held } => {
                held.extend(tokens);
                if !last {
                    return Ok(String::new());
                }
                let mut tokens = mem::take(held);
                for decoder in decoders {
                    tokens = decoder.decode_chain(tokens)?;
                }
                Ok(tokens.concat())
            }
        }
    }
}

impl StripEnds {
    /// Of a `Strip` that takes from the start only: what it takes from the end cannot be known before the end.
    fn of(decoder: &DecoderWrapper) -> Option<StripEnds> {
        match decoder {
            DecoderWrapper::Strip(strip) if strip.stop == 0 => Some(StripEnds { content: strip.content, start: strip.start }),
            _ => None,
        }
    }

    fn run(&mut self, text: &mut String) {
        while let Some(first) = text.chars().next() {
            if self.start == 0 || first != self.content {
                self.start = 0;
                break;
            }
            self.start -= 1;
            text.remove(0);
        }
    }
}

/// Whether `ByteFallback` takes a token for a byte. Its rule is narrower than this one (`<0xZZ>` is no byte), which only means that
/// such a token is held a little longer.
fn is_byte_token(token: &str) -> bool {
    token.len() == 6 && token.starts_with("<0x") && token.ends_with('>')
}

/// Appends the bytes that a token of a byte-level vocabulary spells; a token with other letters (an added one) spells itself.
fn append_bytes(token: &str, bytes: &mut Vec<u8>) {
    let before = bytes.len();
    for letter in token.chars() {
        match byte_of(letter) {
            Some(byte) => bytes.push(byte),
            None => {
                bytes.truncate(before);
                bytes.extend_from_slice(token.as_bytes());
                return;
            }
        }
    }
}

/// The byte that a letter stands for in byte-level BPE (GPT-2, `bytes_to_unicode`): printable Latin-1 stands for itself, the other
/// 68 bytes are U+0100 and up, in order.
fn byte_of(letter: char) -> Option<u8> {
    match u32::from(letter) {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => u8::try_from(code).ok(),
        code @ 0x100..=0x120 => u8::try_from(code - 0x100).ok(), // 0x00 to 0x20
        code @ 0x121..=0x142 => u8::try_from(code - 0x121 + 0x7f).ok(), // 0x7f to 0xa0
        0x143 => Some(0xad),
        _ => None,
    }
}

/// Takes the text that cannot change any more from the front of `held`. Invalid sequences become U+FFFD as in
/// `String::from_utf8_lossy`: one for each maximal part of a character.
fn take_text(held: &mut Vec<u8>, last: bool) -> String {
    let mut text = String::new();
    let mut taken = 0;
    for chunk in held.utf8_chunks() {
        text.push_str(chunk.valid());
        taken += chunk.valid().len();
        let invalid = chunk.invalid();
        // Only at the very end may an invalid part be the beginning of a character.
        let unfinished = taken + invalid.len() == held.len() && is_unfinished(invalid);
        if invalid.is_empty() || (unfinished && !last) {
            continue;
        }
        text.push(char::REPLACEMENT_CHARACTER);
        taken += invalid.len();
    }
    held.drain(..taken);
    text
}

/// Whether more bytes could turn this invalid part into a character.
fn is_unfinished(invalid: &[u8]) -> bool {
    matches!(std::str::from_utf8(invalid), Err(error) if error.valid_up_to() == 0 && error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    /// A tokenizer of the given tokens, ids in order, with a decoder.
    fn tokenizer(tokens: &[&str], special: &[&str], decoder: &str) -> Tokenizer {
        let vocab: serde_json::Map<_, _> =
            tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), id.into())).collect();
        let added: Vec<_> = special
            .iter()
            .map(|token| {
                serde_json::json!({"id": vocab[*token], "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true})
            })
            .collect();
        let decoder: serde_json::Value = serde_json::from_str(decoder).unwrap();
        let model = serde_json::json!({"type": "BPE", "vocab": vocab, "merges": []});
        let json = serde_json::json!({"version": "1.0", "added_tokens": added, "decoder": decoder, "model": model});
        Tokenizer::parse(Path::new("tokenizer.json"), json.to_string().as_bytes(), &[]).unwrap()
    }

    const LLAMA2: &str = r#"{"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}"#;
    const BYTE_LEVEL: &str = r#"{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}"#;
    const METASPACE: &str = r#"{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}"#;

    /// Decoders of every kind, those of real models first.
    const DECODERS: [&str; 14] = [
        LLAMA2,
        BYTE_LEVEL,
        METASPACE,
        "null",
        r#"{"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}]}"#,
        r#"{"type": "Sequence", "decoders": [{"type": "ByteFallback"},
            {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}]}"#,
        r#"{"type": "WordPiece", "prefix": "Ã", "cleanup": true}"#,
        r#"{"type": "BPEDecoder", "suffix": "▁"}"#,
        r#"{"type": "CTC", "pad_token": "a", "word_delimiter_token": "b", "cleanup": true}"#,
        r#"{"type": "Fuse"}"#,
        r#"{"type": "Sequence", "decoders": [{"type": "Strip", "content": " ", "start": 2, "stop": 0}, {"type": "ByteFallback"}]}"#,
        r#"{"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 2, "stop": 0},
            {"type": "Strip", "content": "a", "start": 1, "stop": 0}]}"#,
        r#"{"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Replace", "pattern": {"String": "ab"}, "content": ""}]}"#,
        r#"{"type": "Sequence", "decoders": [{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            {"type": "Replace", "pattern": {"Regex": "a+"}, "content": "x"}]}"#,
    ];

    /// Tokens that matter to one decoder or another. The `Ã` and `ł` are letters of byte-level BPE.
    const TOKENS: [&str; 22] = [
        "a",
        "b",
        " ",
        "▁",
        "▁the",
        "the▁▁x",
        "<0xE4>",
        "<0xBD>",
        "<0xA0>",
        "<0x41>",
        "<0xFF>",
        "<0xZZ>",
        "<0x+1>",
        "Ã",
        "©",
        "ä",
        "½",
        "ł",
        "<s>",
        "你",
        " a b",
        "!",
    ];

    fn streamed(tokenizer: &Tokenizer, ids: &[u32], skip_special: bool) -> String {
        let mut stream = tokenizer.stream(skip_special);
        let mut text: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
        text += &stream.finish().unwrap();
        text
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn streamed_text_equals_batch_text(ids in prop::collection::vec(0..TOKENS.len() as u32 + 2, 0..24), skip in any::<bool>()) {
            for decoder in DECODERS {
                let tokenizer = tokenizer(&TOKENS, &["<s>"], decoder);
                let batch = tokenizer.decode(&ids, skip).unwrap();
                prop_assert_eq!(streamed(&tokenizer, &ids, skip), batch, "{} {:?}", decoder, ids);
            }
        }

        #[test]
        fn bytes_become_text_as_from_utf8_lossy_has_it(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(vec![0xf0, 0x9f, 0x98, 0x80, 0xe4, 0xbd, 0xa0])], 0..32),
            cuts in prop::collection::vec(1_usize..4, 32),
        ) {
            let (mut held, mut text, mut rest) = (Vec::new(), String::new(), bytes.as_slice());
            for cut in cuts {
                let (part, behind) = rest.split_at(cut.min(rest.len()));
                held.extend_from_slice(part);
                text += &take_text(&mut held, false);
                prop_assert!(held.len() < 4);
                rest = behind;
            }
            held.extend_from_slice(rest);
            text += &take_text(&mut held, true);
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes).into_owned());
        }
    }

    #[test]
    fn a_tokens_bytes_are_what_it_adds_to_a_text() {
        let metaspace = r#"{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}"#;
        let fallback = r#"{"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}"#;
        let level = r#"{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}"#;
        let check = |decoder: &str, token: &str, expected: Option<&[u8]>| {
            let tokenizer = tokenizer(&[token, "<s>"], &["<s>"], decoder);
            let id = tokenizer.id(token).unwrap();
            assert_eq!(tokenizer.token_bytes(id).as_deref(), expected, "{decoder} {token}");
            assert_eq!(tokenizer.token_bytes(tokenizer.id("<s>").unwrap()), None);
            assert_eq!(tokenizer.token_bytes(99), None);
        };
        check(metaspace, "▁the", Some(b" the"));
        check(fallback, "▁the", Some(b" the"));
        check(fallback, "<0xE2>", Some(b"\xe2"));
        check(fallback, "<0xZZ>", None);
        check(level, "Ġthe", Some(b" the"));
        check(level, "âĤ", Some(b"\xe2\x82"));
        check(level, "日", Some("日".as_bytes()));
    }

    #[test]
    fn every_byte_has_its_letter() {
        // Defined the other way round from `byte_of`: the table of GPT-2's `bytes_to_unicode`.
        let printable = |byte: &u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let others = (0..256).filter(|byte| !printable(byte)).zip(0x100..);
        for (byte, letter) in (0..256).filter(printable).map(|byte| (byte, byte)).chain(others) {
            assert_eq!(byte_of(char::from_u32(letter).unwrap()).map(u32::from), Some(byte), "{letter:#x}");
        }
        let n_letters = (0..=0x10_ffff).filter_map(char::from_u32).filter_map(byte_of).count();
        assert_eq!(n_letters, 256);
    }

    #[test]
    fn a_character_split_over_tokens_comes_out_whole() {
        // U+1F600 is f0 9f 98 80: "ð" "Ł" "ĺ" "Ģ" in letters.
        let tokenizer = tokenizer(&["ð", "Ł", "ĺ", "Ģ", "a"], &[], BYTE_LEVEL);
        let mut stream = tokenizer.stream(false);
        let parts: Vec<String> = [4, 0, 1, 2, 3, 4, 0].iter().map(|&id| stream.push(id).unwrap()).collect();
        assert_eq!(parts, ["a", "", "", "", "😀", "a", ""]);
        assert_eq!(stream.finish().unwrap(), "\u{fffd}");
    }

    #[test]
    fn a_run_of_byte_tokens_is_judged_as_a_whole() {
        let tokenizer = tokenizer(&["<0xE4>", "<0xBD>", "<0xA0>", "<0xFF>", "x"], &[], LLAMA2);
        assert_eq!(streamed(&tokenizer, &[0, 1, 2, 4], false), "你x");
        assert_eq!(streamed(&tokenizer, &[0, 1, 2, 3, 4], false), "\u{fffd}\u{fffd}\u{fffd}\u{fffd}x");
    }

    #[test]
    fn one_leading_space_is_stripped_at_the_start_of_the_sequence_only() {
        let tokenizer = tokenizer(&["▁a", "▁", "<s>"], &["<s>"], LLAMA2);
        assert_eq!(streamed(&tokenizer, &[2, 0, 0, 1, 1, 0], true), "a a   a");
        assert_eq!(streamed(&tokenizer, &[1, 0], true), " a");
    }

    #[test]
    fn text_comes_as_early_as_it_is_final() {
        let tokenizer = tokenizer(&["▁a", "b"], &[], LLAMA2);
        let mut stream = tokenizer.stream(false);
        assert_eq!(stream.push(0).unwrap(), "a");
        assert_eq!(stream.push(1).unwrap(), "b");
        assert_eq!(stream.push(0).unwrap(), " a");
        assert_eq!(stream.finish().unwrap(), "");
    }

    #[test]
    fn a_decoder_that_breaks_is_an_error() {
        let strip = r#"{"type": "Strip", "content": " ", "start": 0, "stop": 3}"#;
        let tokenizer = tokenizer(&["a", " "], &[], strip);
        assert!(tokenizer.stream(false).push(1).is_err());
        assert!(tokenizer.decode(&[1], false).is_err());
    }
}
