//! Text from the command line, a file or standard input, checked to be UTF-8.
//!
//! Not here: tokens. A NUL is a character like any other.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::report::Failure;

/// The longest text that is read, in bytes: far more than any context holds, and an end for what has none, such as /dev/zero.
const MAX_TEXT: u64 = 64 << 20;

/// The text of `--prompt`/`--text`, or of `--prompt-file` (where `-` is standard input). `flag` is how the caller calls the first.
pub fn read(flag: &str, text: Option<&OsStr>, file: Option<&Path>) -> Result<String, Failure> {
    match (text, file) {
        (Some(text), _) => utf8(flag, text.as_encoded_bytes().to_vec()),
        (None, Some(path)) if path == Path::new("-") => read_stdin(),
        (None, Some(path)) => {
            let name = path.display().to_string();
            // Opening a folder works on some systems, reading it on none.
            let bytes = File::open(path).and_then(read_limited).map_err(|error| Failure::read(&name, &error))?;
            utf8(&name, bytes)
        }
        (None, None) => {
            Err(Failure::input(format!("{flag}: expected a text (or --prompt-file FILE, - for standard input), found nothing")))
        }
    }
}

/// The text that the flags give, if they give one.
pub fn read_optional(flag: &str, text: Option<&OsStr>, file: Option<&Path>) -> Result<Option<String>, Failure> {
    match (text, file) {
        (None, None) => Ok(None),
        given => read(flag, given.0, given.1).map(Some),
    }
}

/// All of standard input as text.
pub fn read_stdin() -> Result<String, Failure> {
    let name = "standard input";
    utf8(name, read_limited(io::stdin().lock()).map_err(|error| Failure::read(name, &error))?)
}

/// At most one byte more than the limit.
fn read_limited(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_TEXT + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn utf8(source: &str, bytes: Vec<u8>) -> Result<String, Failure> {
    if bytes.len() as u64 > MAX_TEXT {
        return Err(Failure::input(format!("{source}: expected at most {MAX_TEXT} bytes of text, found more")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let found = error.as_bytes().get(at).copied().unwrap_or_default();
        Failure::input(format!("{source}: expected UTF-8 text, found byte 0x{found:02x} at offset {at}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_utf8_is_located() {
        let failure = utf8("prompt.txt", b"caf\xc3\xa9 \xff\xfe".to_vec()).unwrap_err();
        assert_eq!((failure.status(), failure.line()), (2, "prompt.txt: expected UTF-8 text, found byte 0xff at offset 6"));
        assert_eq!(utf8("prompt.txt", b"a\0b".to_vec()).unwrap(), "a\0b");
    }

    #[test]
    fn a_text_without_end_is_refused() {
        let failure = utf8("endless", read_limited(io::repeat(b'a')).unwrap()).unwrap_err();
        assert_eq!(failure.line(), "endless: expected at most 67108864 bytes of text, found more");
    }
}
