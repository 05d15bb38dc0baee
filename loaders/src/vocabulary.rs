//! The vocabulary and the merges of `tokenizer.json`, borrowed from the file and checked.
//!
//! Not here: the rest of that file (`tokenizer_file.rs`), and applying merges to a text.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};

use crate::tokenizer_file::Wrong;

/// The highest id may be this many times the number of tokens, and then some.
const MAX_SPARSITY: u64 = 4;

/// The tokens of a model.
pub(crate) enum Vocabulary<'a> {
    /// Of BPE, WordPiece and WordLevel: token to id.
    Ids(HashMap<Cow<'a, str>, u32>),
    /// Of Unigram: tokens with a score each, in the order of their ids. Only their number is kept.
    Scored(u64),
}

/// The pairs of tokens that become one, in the order of their rank. A file spells a pair `["a", "b"]` or, in older versions, `"a b"`.
pub(crate) struct Merges<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl Vocabulary<'_> {
    /// The highest id, checked to be that of one token only, and no higher than [`Vocabulary::id_limit`].
    ///
    /// # Errors
    /// If an id is that of two tokens (which one it means would differ from run to run), or too high.
    pub(crate) fn highest_id(&self, n_added: usize) -> Result<Option<u32>, Wrong> {
        let limit = self.id_limit(n_added);
        let ids = match self {
            Vocabulary::Ids(ids) => ids,
            Vocabulary::Scored(n) => return Ok(u32::try_from(*n).ok().and_then(|n| n.checked_sub(1))),
        };
        let highest = ids.iter().max_by_key(|(_, id)| **id);
        let Some((token, &highest)) = highest else {
            return Ok(None);
        };
        if u64::from(highest) > limit {
            let expected = format_args!("ids of at most {limit} for {} tokens", ids.len());
            return Err(Wrong::new(expected, format_args!("id {highest} of '{token}'")));
        }
        // No larger than four times the number of tokens, by the check above.
        let mut seen = vec![false; highest as usize + 1];
        for (token, &id) in ids {
            if let Some(seen) = seen.get_mut(id as usize)
                && std::mem::replace(seen, true)
            {
                return Err(Wrong::new("one token for each id", format_args!("id {id} a second time, for '{token}'")));
            }
        }
        Ok(Some(highest))
    }

    /// The highest id that a file with so many added tokens may use: whoever makes a table of all ids must be able to.
    pub(crate) fn id_limit(&self, n_added: usize) -> u64 {
        let n_tokens = match self {
            Vocabulary::Ids(ids) => ids.len() as u64,
            Vocabulary::Scored(n) => *n,
        };
        n_tokens.saturating_add(n_added as u64).saturating_mul(MAX_SPARSITY).saturating_add(1024)
    }
}

impl Merges<'_> {
    /// Checks that each merge is of two tokens and makes a third. The crate panics at a result longer than every token.
    ///
    /// # Errors
    /// If a token is unknown.
    pub(crate) fn check(&self, ids: &HashMap<Cow<str>, u32>, prefix: &str) -> Result<(), Wrong> {
        let mut merged = String::new();
        for (n, (a, b)) in self.0.iter().enumerate() {
            if let Some(unknown) = [a, b].into_iter().find(|part| !ids.contains_key(part.as_ref())) {
                return Err(Wrong::new(format_args!("tokens of the vocabulary in merge {n}"), format_args!("'{unknown}'")));
            }
            // The crate cuts as many bytes from `b` as the prefix has, whether or not `b` begins with it.
            let Some(rest) = b.get(prefix.len()..) else {
                return Err(Wrong::new(format_args!("'{prefix}' at the beginning in merge {n}"), format_args!("'{b}'")));
            };
            merged.clear();
            merged.push_str(a);
            merged.push_str(rest);
            if !ids.contains_key(merged.as_str()) {
                let expected = format_args!("the result of merge {n} in the vocabulary");
                return Err(Wrong::new(expected, format_args!("no token '{merged}'")));
            }
        }
        Ok(())
    }

    /// The pairs as the crate wants them.
    pub(crate) fn into_owned(self) -> Vec<(String, String)> {
        self.0.into_iter().map(|(a, b)| (a.into_owned(), b.into_owned())).collect()
    }
}

/// A string that borrows from the file where it can. (A bare `Cow` never does.)
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Vocabulary<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VocabularyVisitor)
    }
}

struct VocabularyVisitor;

impl<'de> Visitor<'de> for VocabularyVisitor {
    type Value = Vocabulary<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of ids or an array of scored tokens as `vocab`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut ids = HashMap::new();
        while let Some((token, id)) = map.next_entry::<Text<'de>, u32>()? {
            if let Some(first) = ids.insert(token.0, id) {
                return Err(A::Error::custom(format_args!("a token twice in `vocab`, with ids {first} and {id}")));
            }
        }
        Ok(Vocabulary::Ids(ids))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut n = 0;
        while seq.next_element::<(Text<'de>, f64)>()?.is_some() {
            n += 1;
        }
        Ok(Vocabulary::Scored(n))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Merges<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(MergesVisitor)
    }
}

struct MergesVisitor;

impl<'de> Visitor<'de> for MergesVisitor {
    type Value = Merges<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of merges as `merges`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut merges = Vec::new();
        while let Some(Merge(a, b)) = seq.next_element()? {
            merges.push((a, b));
        }
        Ok(Merges(merges))
    }
}

struct Merge<'a>(Cow<'a, str>, Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Merge<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MergeVisitor)
    }
}

struct MergeVisitor;

impl MergeVisitor {
    /// The two tokens of the older spelling, in which no token may contain a space.
    fn halves<E: Error>(self, text: &str) -> Result<(&str, &str), E> {
        let halves = text.split_once(' ').filter(|(_, b)| !b.contains(' '));
        halves.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

impl<'de> Visitor<'de> for MergeVisitor {
    type Value = Merge<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("two tokens, or a string of two tokens with a space between")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        self.halves(text).map(|(a, b)| Merge(a.into(), b.into()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        self.halves(text).map(|(a, b)| Merge(a.to_owned().into(), b.to_owned().into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut token = |n| -> Result<Cow<'de, str>, A::Error> {
            Ok(seq.next_element::<Text<'de>>()?.ok_or_else(|| A::Error::invalid_length(n, &self))?.0)
        };
        let (a, b) = (token(0)?, token(1)?);
        match seq.next_element::<IgnoredAny>()? {
            None => Ok(Merge(a, b)),
            Some(_) => Err(A::Error::invalid_length(3, &self)),
        }
    }
}
