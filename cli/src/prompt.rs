//! Text from the command line, a file or standard input, checked to be UTF-8.
//!
//! Not here: tokens. A NUL is a character like any other.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;

use crate::report::Failure;

/// The text of `--prompt`/`--text`, or of `--prompt-file` (where `-` is standard input). `flag` is how the caller calls the first.
pub fn read(flag: &str, text: Option<&OsStr>, file: Option<&Path>) -> Result<String, Failure> {
    match (text, file) {
        (Some(text), _) => utf8(flag, text.as_encoded_bytes().to_vec()),
        (None, Some(path)) => read_file(path),
        (None, None) => {
            Err(Failure::input(format!("{flag}: expected a text (or --prompt-file FILE, - for standard input), found nothing")))
        }
    }
}

/// All of standard input as text.
pub fn read_stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).map_err(|error| Failure::read("standard input", &error))?;
    utf8("standard input", bytes)
}

fn read_file(path: &Path) -> Result<String, Failure> {
    if path == Path::new("-") {
        return read_stdin();
    }
    let name = path.display().to_string();
    // A pipe is welcome (`--prompt-file <(command)`); a device such as /dev/zero has no end.
    let kind = std::fs::metadata(path).map_err(|error| Failure::read(&name, &error))?.file_type();
    if kind.is_dir() || is_device(&kind) {
        let found = if kind.is_dir() { "a folder" } else { "a device" };
        return Err(Failure::input(format!("{name}: expected a text file, found {found}")));
    }
    let bytes = std::fs::read(path).map_err(|error| Failure::read(&name, &error))?;
    utf8(&name, bytes)
}

#[cfg(unix)]
fn is_device(kind: &std::fs::FileType) -> bool {
    use std::os::unix::fs::FileTypeExt;
    // Standard input by its name (/dev/stdin) is a pipe, a file or a terminal; a terminal is a character device that ends.
    kind.is_block_device() || (kind.is_char_device() && !std::io::IsTerminal::is_terminal(&std::io::stdin()))
}

#[cfg(not(unix))]
fn is_device(_: &std::fs::FileType) -> bool {
    false
}

fn utf8(source: &str, bytes: Vec<u8>) -> Result<String, Failure> {
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
}
