//! DRY's sequence breakers: from the texts that no repetition reaches across to the tokens in which a model may write them.
//!
//! A text is in one token, alone or with other text around it, or it begins at the end of one token and goes on in others: the way of llama.cpp.
//! Not here: what a breaker does (the engine).

use infer_engine::Breaker;
use infer_loaders::{LoadError, Tokenizer};

/// The usual ones: those of DRY's author.
const USUAL: [&str; 4] = ["\n", ":", "\"", "*"];

/// The breakers that `given` means to `tokenizer`; the usual ones where none are given. Special tokens, too: they are no text that could
/// repeat.
///
/// # Errors
/// As of [`Tokenizer::encode`].
pub fn breakers(given: &[String], tokenizer: &Tokenizer) -> Result<Vec<Breaker>, LoadError> {
    let texts: Vec<&str> = if given.is_empty() { USUAL.to_vec() } else { given.iter().map(String::as_str).collect() };
    let vocabulary: Vec<(u32, Option<Vec<u8>>)> =
        (0..tokenizer.vocab_size() as u32).map(|id| (id, tokenizer.token_bytes(id))).collect();
    let tokens = |is_one: &dyn Fn(u32, Option<&[u8]>) -> bool| -> Vec<u32> {
        vocabulary.iter().filter(|(id, bytes)| is_one(*id, bytes.as_deref())).map(|(id, _)| *id).collect()
    };
    let single = tokens(&|id, bytes| match bytes {
        Some(bytes) => texts.iter().any(|text| bytes.windows(text.len()).any(|part| part == text.as_bytes())),
        None => tokenizer.is_special(id),
    });
    let mut found = vec![Breaker { heads: single, tail: Vec::new() }];
    for text in texts {
        for (place, _) in text.char_indices().skip(1) {
            let (start, rest) = text.split_at(place);
            let heads = tokens(&|_, bytes| bytes.is_some_and(|bytes| bytes.ends_with(start.as_bytes())));
            if let Some(tail) = tail(text, rest, tokenizer)? {
                found.push(Breaker { heads, tail });
            }
        }
    }
    found.retain(|breaker| !breaker.heads.is_empty());
    Ok(found)
}

/// The tokens of `rest`, the end of `text`: those that it has within `text` if one begins there, else those that it has by itself. `None` if neither
/// spells just `rest`, e.g. because a tokenizer puts a space before each text.
fn tail(text: &str, rest: &str, tokenizer: &Tokenizer) -> Result<Option<Vec<u32>>, LoadError> {
    for ids in [tokenizer.encode(text, false)?, tokenizer.encode(rest, false)?] {
        let mut bytes = Vec::new();
        for (place, id) in ids.iter().enumerate().rev() {
            bytes.splice(..0, tokenizer.token_bytes(*id).unwrap_or_default());
            if bytes == rest.as_bytes() {
                return Ok(Some(ids[place..].to_vec()));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use infer_loaders::Tokenizer;

    use super::*;

    /// Byte-level, with `ab`, `==` and ` =` as merges, and a special token.
    fn tokenizer() -> Tokenizer {
        let json = r#"{
            "added_tokens": [{"id": 9, "content": "<end>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
            "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "=": 2, "Ċ": 3, "ab": 4, "==": 5, "aĊ": 6, "Ġ": 7, "Ġ=": 8},
                "merges": [["a", "b"], ["=", "="], ["a", "Ċ"], ["Ġ", "="]]}}"#;
        Tokenizer::parse("tokenizer.json".as_ref(), json.as_bytes(), &[]).expect("a tokenizer")
    }

    fn found(texts: &[&str]) -> Vec<(Vec<u32>, Vec<u32>)> {
        let texts: Vec<String> = texts.iter().map(|text| text.to_string()).collect();
        let breakers = breakers(&texts, &tokenizer()).expect("breakers");
        breakers.into_iter().map(|breaker| (breaker.heads, breaker.tail)).collect()
    }

    #[test]
    fn a_text_is_in_one_token_or_begins_at_the_end_of_one() {
        assert_eq!(found(&["\n"]), [(vec![3, 6, 9], vec![])]);
        // In no single token: the special one is a breaker all the same.
        let one = (vec![9], vec![]);
        assert_eq!(found(&["\n=="]), [one.clone(), (vec![3, 6], vec![5])]);
        assert_eq!(found(&["b\n"]), [one, (vec![1, 4], vec![3])]);
    }

    #[test]
    fn the_usual_ones_stand_for_none() {
        assert_eq!(found(&[]), found(&["\n", ":", "\"", "*"]));
    }
}
