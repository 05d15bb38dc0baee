//! `Charsmap`: the character map of SentencePiece's normalizers (`precompiled_charsmap`), checked as far as its size goes.
//!
//! The format: base64 of the number of bytes of a trie (32 bits, little-endian), the trie (32 bits a node), and the replacements, each
//! ended by a NUL. Not here: looking characters up, which the `tokenizers` crate does; it takes memory for as many nodes as the map
//! claims to have before it looks whether they are there.

use crate::tokenizer_file::Wrong;

/// The replacements of a map whose trie is as long as it says.
#[derive(Debug)]
pub(crate) struct Charsmap {
    replacements: Vec<u8>,
}

impl Charsmap {
    /// Decodes the text of `precompiled_charsmap`.
    ///
    /// # Errors
    /// If it is no base64, or the trie is longer than the map.
    pub(crate) fn decode(text: &str) -> Result<Charsmap, Wrong> {
        let bytes = base64(text).ok_or_else(|| Wrong::new("a precompiled_charsmap in base64", "other characters"))?;
        let Some((size, rest)) = bytes.split_first_chunk() else {
            return Err(Wrong::new("a precompiled_charsmap of 4 bytes or more", format_args!("{} bytes", bytes.len())));
        };
        let size = u32::from_le_bytes(*size);
        match usize::try_from(size).ok().and_then(|size| rest.split_at_checked(size)) {
            // The first node is read whatever the text.
            Some((trie, replacements)) if trie.len() >= 4 && trie.len().is_multiple_of(4) => {
                Ok(Charsmap { replacements: replacements.to_vec() })
            }
            _ => {
                let expected = format_args!("a precompiled_charsmap whose trie is within its {} bytes", bytes.len());
                Err(Wrong::new(expected, format_args!("a trie of {size} bytes")))
            }
        }
    }

    /// Bytes of the longest replacement.
    pub(crate) fn longest_replacement(&self) -> u64 {
        self.replacements.split(|&byte| byte == 0).map(<[u8]>::len).max().unwrap_or(0) as u64
    }
}

/// Decodes base64 (RFC 4648, section 4); `None` where it is none.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::new();
    for group in digits.chunks(4) {
        let mut bits = 0_u32;
        for &digit in group {
            bits = bits << 6 | u32::from(value(digit)?);
        }
        // Four digits are three bytes; three are two and two are one, and the bits left over mean nothing.
        bits <<= 6 * (4 - group.len());
        let [_, decoded @ ..] = bits.to_be_bytes();
        bytes.extend(decoded.iter().take(group.len().checked_sub(1)?));
    }
    Some(bytes)
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        // RFC 4648, section 10.
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(base64("//79"), Some(vec![0xff, 0xfe, 0xfd]));
        for bad in ["Z", "Zg", "Zg=", "Zm9v=", "Z===", "Zm9v====", "Zm 9", "Zm9-", "Zm9\u{e9}"] {
            assert_eq!(base64(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_map_knows_its_longest_replacement() {
        // One node of zeros, then "ab", "c" and what has no end.
        let text = "BAAAAAAAAABhYgBjAGRlZg==";
        assert_eq!(base64(text).unwrap(), b"\x04\0\0\0\0\0\0\0ab\0c\0def");
        assert_eq!(Charsmap::decode(text).unwrap().longest_replacement(), 3);
    }

    #[test]
    fn a_trie_that_is_not_there_is_refused() {
        for text in ["", "AAAA", "!!!!", "AAAAAA==", "AAAA////", "BAAAAA==", "/////wAAAAA=", "BQAAAAAAAAAA"] {
            assert!(Charsmap::decode(text).is_err(), "{text}");
        }
    }
}
