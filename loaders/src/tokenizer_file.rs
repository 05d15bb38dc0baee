//! The checks that `tokenizer.json` must pass before the `tokenizers` crate reads it.
//!
//! Not here: what the file means. That crate trusts its input: some files make it panic, run out of stack or take memory by a number
//! in the file. Each rule below names what it keeps away.

use std::path::Path;

use crate::error::LoadError;
use crate::file::read_limited;

/// The longest `tokenizer.json` that is read; the longest in use have 35 MB.
const MAX_BYTES: u64 = 64 << 20;

/// What the checks found out.
#[derive(Debug)]
pub(crate) struct Facts {
    /// 1 + the highest id.
    pub(crate) vocab_size: usize,
}

/// Reads the file.
///
/// # Errors
/// If it is missing, too long or cannot be read.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    read_limited(path, MAX_BYTES)
}

/// Checks the file.
///
/// # Errors
/// If a rule is broken; the message names the field.
pub(crate) fn check(path: &Path, json: &[u8]) -> Result<Facts, LoadError> {
    let file: File = serde_json::from_slice(json).map_err(|error| LoadError::file(path, "a tokenizer in JSON", error))?;
    let fail = |field: &str, (expected, found): (String, String)| LoadError::field(path, field, expected, found);

    for (name, part) in [
        ("normalizer", &file.normalizer),
        ("pre_tokenizer", &file.pre_tokenizer),
        ("post_processor", &file.post_processor),
        ("decoder", &file.decoder),
    ] {
        check_part(part, 0).map_err(|wrong| fail(name, wrong))?;
    }
    let highest = check_ids(&file).map_err(|(field, wrong)| fail(field, wrong))?;
    if let (Vocab::Ids(vocab), Some(merges)) = (&file.model.vocab, &file.model.merges) {
        let prefix = file.model.continuing_subword_prefix.as_deref().unwrap_or_default();
        check_merges(vocab, &merges.0, prefix).map_err(|wrong| fail("model.merges", wrong))?;
    }
    Ok(Facts { vocab_size: highest as usize + 1 })
}

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// How deep normalizers, pre-tokenizers, decoders and post-processors may be nested. The ones in use nest twice; the crate's
/// recursive parser tries several readings at each level.
const MAX_NESTING: usize = 6;
/// The highest id may be this many times the number of tokens, and then some.
const MAX_SPARSITY: u64 = 4;

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow, default)]
    added_tokens: Vec<AddedToken<'a>>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    #[serde(borrow)]
    model: Model<'a>,
}

#[derive(Deserialize)]
struct AddedToken<'a> {
    id: u32,
    #[serde(borrow)]
    content: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(borrow)]
    vocab: Vocab<'a>,
    #[serde(borrow, default)]
    merges: Option<Merges<'a>>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
}

/// The vocabulary of BPE, WordPiece and WordLevel, or of Unigram.
enum Vocab<'a> {
    /// Token to id.
    Ids(HashMap<Cow<'a, str>, u32>),
    /// Tokens with a score, in the order of their ids; how many.
    Scored(u64),
}

/// Pairs of tokens that become one. A file spells a pair `["a", "b"]` or, in older versions, `"a b"`.
struct Merges<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

type Wrong = (String, String);

fn wrong(expected: impl fmt::Display, found: impl fmt::Display) -> Wrong {
    (expected.to_string(), found.to_string())
}

/// Limits nesting.
fn check_part(part: &Value, depth: usize) -> Result<(), Wrong> {
    if depth > 2 * MAX_NESTING {
        return Err(wrong(format_args!("nesting of at most {MAX_NESTING}"), "deeper nesting"));
    }
    match part {
        Value::Array(items) => items.iter().try_for_each(|item| check_part(item, depth + 1)),
        Value::Object(fields) => fields.values().try_for_each(|field| check_part(field, depth + 1)),
        _ => Ok(()),
    }
}

/// The highest id, if the ids are distinct and not too sparse.
fn check_ids(file: &File) -> Result<u32, (&'static str, Wrong)> {
    let n_tokens = match &file.model.vocab {
        Vocab::Ids(vocab) => vocab.len() as u64,
        Vocab::Scored(n) => *n,
    } + file.added_tokens.len() as u64;
    let most = n_tokens.saturating_mul(MAX_SPARSITY).saturating_add(1024);
    let mut highest = match &file.model.vocab {
        Vocab::Ids(vocab) => {
            let mut seen: HashMap<u32, &str> = HashMap::with_capacity(vocab.len());
            for (token, &id) in vocab {
                if u64::from(id) > most {
                    let found = format_args!("id {id} of '{token}'");
                    return Err(("model.vocab", wrong(format_args!("ids of at most {most} for {n_tokens} tokens"), found)));
                }
                if let Some(other) = seen.insert(id, token) {
                    return Err((
                        "model.vocab",
                        wrong("one token for each id", format_args!("'{other}' and '{token}' with id {id}")),
                    ));
                }
            }
            seen.into_keys().max()
        }
        Vocab::Scored(n) => u32::try_from(*n).ok().and_then(|n| n.checked_sub(1)),
    };
    for token in &file.added_tokens {
        if u64::from(token.id) > most {
            let found = format_args!("id {} of '{}'", token.id, token.content);
            return Err(("added_tokens", wrong(format_args!("ids of at most {most} for {n_tokens} tokens"), found)));
        }
        highest = highest.max(Some(token.id));
    }
    highest.ok_or(("model.vocab", wrong("one token or more", "none")))
}

/// Keeps away the crate's panic at a merge that is longer than every token, and makes unknown tokens an error that names them.
fn check_merges(vocab: &HashMap<Cow<str>, u32>, merges: &[(Cow<str>, Cow<str>)], prefix: &str) -> Result<(), Wrong> {
    let mut merged = String::new();
    for (n, (a, b)) in merges.iter().enumerate() {
        if let Some(unknown) = [a, b].into_iter().find(|part| !vocab.contains_key(part.as_ref())) {
            return Err(wrong(format_args!("tokens of the vocabulary in merge {n}"), format_args!("'{unknown}'")));
        }
        // The crate cuts as many bytes from `b` as the prefix has, whether or not `b` begins with it.
        let Some(rest) = b.get(prefix.len()..) else {
            return Err(wrong(format_args!("merge {n} to begin with the prefix '{prefix}'"), format_args!("'{b}'")));
        };
        merged.clear();
        merged.push_str(a);
        merged.push_str(rest);
        if !vocab.contains_key(merged.as_str()) {
            return Err(wrong(format_args!("the result of merge {n} in the vocabulary"), format_args!("'{merged}' missing")));
        }
    }
    Ok(())
}

impl<'de: 'a, 'a> Deserialize<'de> for Vocab<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct VocabVisitor;
        impl<'de> Visitor<'de> for VocabVisitor {
            type Value = Vocab<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of ids or an array of tokens as `vocab`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut vocab = HashMap::new();
                while let Some((token, id)) = map.next_entry::<BorrowedStr<'de>, u32>()? {
                    if let Some(first) = vocab.insert(token.0, id)
                        && first != id
                    {
                        return Err(A::Error::custom(format_args!("a token with two ids, {first} and {id}")));
                    }
                }
                Ok(Vocab::Ids(vocab))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut n = 0;
                while seq.next_element::<(BorrowedStr<'de>, f64)>()?.is_some() {
                    n += 1;
                }
                Ok(Vocab::Scored(n))
            }
        }
        deserializer.deserialize_any(VocabVisitor)
    }
}

/// A string that borrows from the file where it can. (`Cow` alone does so only as a field with an attribute.)
#[derive(Deserialize)]
struct BorrowedStr<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Merges<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MergesVisitor;
        impl<'de> Visitor<'de> for MergesVisitor {
            type Value = Merges<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of merges")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut merges = Vec::new();
                while let Some(Merge(a, b)) = seq.next_element()? {
                    merges.push((a, b));
                }
                Ok(Merges(merges))
            }
        }
        deserializer.deserialize_seq(MergesVisitor)
    }
}

struct Merge<'a>(Cow<'a, str>, Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Merge<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MergeVisitor;
        impl<'de> Visitor<'de> for MergeVisitor {
            type Value = Merge<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge: two tokens, or a string of two tokens with a space between")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                match text.split_once(' ') {
                    Some((a, b)) if !b.contains(' ') => Ok(Merge(a.into(), b.into())),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                match text.split_once(' ') {
                    Some((a, b)) if !b.contains(' ') => Ok(Merge(a.to_owned().into(), b.to_owned().into())),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut next = |n| -> Result<Cow<'de, str>, A::Error> {
                    Ok(seq.next_element::<BorrowedStr<'de>>()?.ok_or_else(|| A::Error::invalid_length(n, &self))?.0)
                };
                let (a, b) = (next(0)?, next(1)?);
                match seq.next_element::<serde::de::IgnoredAny>()? {
                    None => Ok(Merge(a, b)),
                    Some(_) => Err(A::Error::invalid_length(3, &self)),
                }
            }
        }
        deserializer.deserialize_any(MergeVisitor)
    }
}
