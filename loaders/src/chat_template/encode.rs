//! A rendered chat to token ids: the template's control tokens become tokens, those in a user's words plain text.
//!
//! The rules are those of transformers' `encode_marked_chat`, and two of our own: what a user's token is, is decided in the finished
//! text, so that pieces of one cannot join; and no encoding passes that has more control tokens than the template wrote. Nothing is
//! put around the text: the template wrote its beginning-of-text token itself. Not here: rendering.

use std::collections::HashSet;
use std::ops::Range;

use tokenizers::tokenizer::{OffsetType, PreTokenizedString};
use tokenizers::{Encoding, Model, NormalizedString, Normalizer, PreTokenizer};

use super::RenderedChat;
use crate::error::LoadError;
use crate::tokenizer::Tokenizer;

/// A token of a rendered chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatToken {
    /// Its id.
    pub id: u32,
    /// The bytes of the text that it stands for.
    pub range: Range<usize>,
    /// Where these come from.
    pub origin: Origin,
}

/// Where a part of a rendered chat comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The template wrote it.
    Template,
    /// It came with the messages, tools, documents or variables.
    Inserted,
    /// The template changed what came in, so that it could not be followed.
    Unknown,
}

type Ids = Vec<(u32, Range<usize>)>;

impl Tokenizer {
    /// The tokens of a rendered chat. No control token that came with a user's words is among them.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode`]; or if the vocabulary gives a control token for its text, whatever is done.
    pub fn encode_chat(&self, chat: &RenderedChat) -> Result<Vec<ChatToken>, LoadError> {
        let encoder = Encoder {
            tokenizer: self,
            chat,
            control_ids: chat.tokens.texts().iter().filter_map(|token| self.id(token)).collect(),
            newline: self.encode("\n", false)?,
        };
        let mut tokens = Vec::new();
        let mut at = 0;
        for foreign in &chat.foreign {
            encoder.ours(at..foreign.start, &mut tokens)?;
            encoder.plain(foreign.clone(), &mut tokens)?;
            at = foreign.end;
        }
        encoder.ours(at..chat.text.len(), &mut tokens)?;
        let token = |(id, range): (u32, Range<usize>)| ChatToken { id, origin: chat.origin(&range), range };
        Ok(tokens.into_iter().map(token).collect())
    }

    /// Encodes with added tokens.
    fn encode_with_ranges(&self, text: &str) -> Result<Ids, LoadError> {
        self.guarded(|| Ok(with_ranges(&self.inner().encode(text, false)?)))
    }

    /// Encodes as if there were no added tokens.
    fn encode_without_added(&self, text: &str) -> Result<Ids, LoadError> {
        self.guarded(|| {
            let mut normalized = NormalizedString::from(text);
            if let Some(normalizer) = self.inner().get_normalizer() {
                normalizer.normalize(&mut normalized)?;
            }
            let mut words = PreTokenizedString::from(normalized);
            if let Some(pre_tokenizer) = self.inner().get_pre_tokenizer() {
                pre_tokenizer.pre_tokenize(&mut words)?;
            }
            words.tokenize(|word| self.inner().get_model().tokenize(word.get()))?;
            Ok(with_ranges(&words.into_encoding(None, 0, OffsetType::Byte)?))
        })
    }
}

impl RenderedChat {
    /// Where a part of the text comes from; of a token that has both, what was inserted counts.
    fn origin(&self, range: &Range<usize>) -> Origin {
        let Some(inserted) = &self.inserted else {
            let is_foreign = self.foreign.iter().any(|foreign| foreign.start < range.end && range.start < foreign.end);
            return if is_foreign { Origin::Inserted } else { Origin::Unknown };
        };
        // In order and apart: the first that ends behind the beginning of the range is the only one to look at.
        let next = inserted.partition_point(|part| part.end <= range.start);
        match inserted.get(next) {
            Some(part) if part.start < range.end => Origin::Inserted,
            _ => Origin::Template,
        }
    }
}

struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    chat: &'a RenderedChat,
    control_ids: HashSet<u32>,
    /// The ids of a line end, behind which parts that do not begin the text are encoded: some tokenizers put a space before a text.
    newline: Vec<u32>,
}

impl Encoder<'_> {
    /// Encodes a part without foreign tokens.
    fn ours(&self, range: Range<usize>, out: &mut Ids) -> Result<(), LoadError> {
        let ids = self.encoded(&range, &|text| self.tokenizer.encode_with_ranges(text))?;
        let written = self.chat.tokens.find(&self.chat.text[range.clone()]);
        if ids.iter().filter(|(id, _)| self.control_ids.contains(id)).count() <= written.len() {
            out.extend(ids);
            return Ok(());
        }
        // Normalisation, say, made a token of what is none as it is written.
        let mut at = range.start;
        for token in written {
            let token = range.start + token.start..range.start + token.end;
            self.plain(at..token.start, out)?;
            match self.tokenizer.id(&self.chat.text[token.clone()]) {
                Some(id) => out.push((id, token.clone())),
                None => self.plain(token.clone(), out)?,
            }
            at = token.end;
        }
        self.plain(at..range.end, out)
    }

    /// Encodes a part as text without any control token.
    fn plain(&self, range: Range<usize>, out: &mut Ids) -> Result<(), LoadError> {
        let ids = self.encoded(&range, &|text| self.tokenizer.encode_without_added(text))?;
        if !ids.iter().any(|(id, _)| self.control_ids.contains(id)) {
            out.extend(ids);
            return Ok(());
        }
        // The vocabulary has the text of a token as a word: in two halves it is none.
        let text = &self.chat.text[range.clone()];
        let starts: Vec<usize> = text.char_indices().map(|(n, _)| n).collect();
        match starts.get(starts.len() / 2) {
            Some(&half) if half > 0 => {
                self.plain(range.start..range.start + half, out)?;
                self.plain(range.start + half..range.end, out)
            }
            _ => Err(self.tokenizer.error("a vocabulary without control tokens among its letters", format_args!("{text:?}"))),
        }
    }

    fn encoded(&self, range: &Range<usize>, encode: &dyn Fn(&str) -> Result<Ids, LoadError>) -> Result<Ids, LoadError> {
        let text = &self.chat.text[range.clone()];
        if text.is_empty() {
            return Ok(Vec::new());
        }
        if range.start == 0 {
            return encode(text);
        }
        let ids = encode(&format!("\n{text}"))?;
        let (lead, rest) = ids.split_at_checked(self.newline.len()).unwrap_or_default();
        let (ids, before) = match lead.iter().map(|(id, _)| id).eq(&self.newline) && !lead.is_empty() {
            true => (rest.to_vec(), 1),
            false => (encode(text)?, 0),
        };
        let moved = |at: usize| range.start + at.saturating_sub(before).min(text.len());
        Ok(ids.into_iter().map(|(id, range)| (id, moved(range.start)..moved(range.end))).collect())
    }
}

fn with_ranges(encoding: &Encoding) -> Ids {
    encoding.get_ids().iter().zip(encoding.get_offsets()).map(|(&id, &(start, end))| (id, start..end)).collect()
}
