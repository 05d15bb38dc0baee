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
#[derive(Debug)]
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

/// A decoder that maps each token by itself or with a few neighbours.
#[derive(Debug)]
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
#[derive(Debug)]
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
#[derive(Debug)]
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
