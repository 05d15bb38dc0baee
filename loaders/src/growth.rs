//! How much longer the parts of a tokenizer can make a text: a hostile file doubles it forty times in a row, and no machine has the
//! memory for that.
//!
//! Not here: running the parts. The estimates are of the worst text, from the settings alone, so that a file is refused when it is
//! opened and not when some text meets it.

use serde_json::Value;

use crate::charsmap::Charsmap;
use crate::tokenizer_file::Wrong;

/// The most that the parts of one direction, text to tokens or tokens to text, may multiply the bytes of a text by. Tokenizers in use
/// stay below 70, nearly all of it for one Arabic ligature that Unicode writes out in 18 letters.
const MAX_GROWTH: u64 = 1024;
/// The most parts in all sequences of one direction; tokenizers in use have ten.
const MAX_PARTS: usize = 256;

/// Checks parts of which each works on the text that the one before it made.
///
/// # Errors
/// If there are too many of them, they can lengthen a text too much, or a character map is malformed.
pub(crate) fn check<'v>(parts: impl IntoIterator<Item = &'v Value>) -> Result<(), Wrong> {
    let mut growth = 1_u64;
    let mut n_parts = 0;
    for value in parts {
        for part in flattened(value) {
            n_parts += 1;
            if n_parts > MAX_PARTS {
                return Err(Wrong::new(format_args!("at most {MAX_PARTS} parts"), "more"));
            }
            growth = growth.saturating_mul(factor(part)?);
            if growth > MAX_GROWTH {
                let expected = format_args!("parts that make a text at most {MAX_GROWTH} times as long");
                return Err(Wrong::new(expected, format_args!("{growth} times")));
            }
        }
    }
    Ok(())
}

/// The parts of nested sequences, in order. Whatever is no part is left to the crate to refuse.
fn flattened(value: &Value) -> Vec<&Value> {
    let lists = ["normalizers", "pretokenizers", "decoders"];
    match lists.iter().find_map(|list| value.get(list)?.as_array()) {
        Some(parts) => parts.iter().flat_map(flattened).collect(),
        None => vec![value],
    }
}

/// What one part can multiply the bytes of a text by, rounded up.
fn factor(part: &Value) -> Result<u64, Wrong> {
    let text = |key: &str| part.get(key).and_then(Value::as_str);
    // These two are known by their fields: the crate takes them without a `type`, too.
    if let Some(charsmap) = text("precompiled_charsmap") {
        return Ok(Charsmap::decode(charsmap)?.longest_replacement().max(1));
    }
    if let (Some(pattern), Some(content)) = (part.get("pattern"), text("content")) {
        let literal = pattern.get("String").unwrap_or(pattern).as_str().map_or(0, str::len);
        return Ok(match u64::try_from(literal).unwrap_or(u64::MAX) {
            // A regular expression: a byte is the least that it matches, or it matches nothing, beside each byte.
            0 => (content.len() as u64).saturating_add(1),
            literal => (content.len() as u64).div_ceil(literal).max(1),
        });
    }
    Ok(match text("type").unwrap_or_default() {
        // U+FDFA, three bytes, becomes 33.
        "NFKC" | "NFKD" => 11,
        // The most of the two canonical forms (Unicode standard annex 15, section 9, table 8).
        "NFC" | "NFD" => 3,
        // Spaces around ideographs, and the canonical decomposition.
        "BertNormalizer" => 5,
        // A letter of two bytes for each byte.
        "ByteLevel" => 2,
        // A letter of up to four bytes for each space.
        "Metaspace" => 4,
        // U+0130 becomes two letters.
        "Lowercase" => 2,
        _ => 1,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn complaint(parts: &[Value]) -> Option<String> {
        check(parts).err().map(|wrong| format!("expected {}, found {}", wrong.expected, wrong.found))
    }

    fn replace(pattern: &str, content: &str) -> Value {
        json!({ "type": "Replace", "pattern": { "String": pattern }, "content": content })
    }

    #[test]
    fn tokenizers_in_use_pass() {
        let llama2 = json!({ "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": "▁" }, replace(" ", "▁")] });
        assert_eq!(complaint(&[llama2, Value::Null]), None);
        let byte_level = json!({ "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": "a+" }, "behavior": "Isolated", "invert": false },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false },
        ]});
        assert_eq!(complaint(&[json!({ "type": "NFC" }), byte_level]), None);
        let decoder =
            json!({ "type": "Sequence", "decoders": [replace("▁", " "), { "type": "ByteFallback" }, { "type": "Fuse" }] });
        assert_eq!(complaint(&[decoder]), None);
    }

    #[test]
    fn doubling_again_and_again_is_refused() {
        for part in [replace("a", "aa"), json!({ "type": "ByteLevel" }), json!({ "type": "NFKD" })] {
            let many = json!({ "type": "Sequence", "normalizers": vec![part.clone(); 40] });
            assert!(
                complaint(&[many]).unwrap().starts_with("expected parts that make a text at most 1024 times as long, found ")
            );
            // Spread over two fields, and in sequences of sequences.
            let half = json!({ "type": "Sequence", "pretokenizers": [{ "type": "Sequence", "pretokenizers": vec![part; 6] }] });
            assert!(complaint(&[half.clone(), half]).is_some());
        }
        assert!(complaint(&[replace("a", &"a".repeat(1025))]).is_some());
        assert!(complaint(&[replace("ab", &"a".repeat(2048))]).is_none());
        assert!(complaint(&[replace("", &"a".repeat(1024))]).is_some(), "nothing matches beside each letter");
    }

    #[test]
    fn a_great_many_parts_are_refused() {
        let many = json!({ "type": "Sequence", "normalizers": vec![json!({ "type": "Strip" }); 257] });
        assert_eq!(complaint(&[many]).unwrap(), "expected at most 256 parts, found more");
    }
}
