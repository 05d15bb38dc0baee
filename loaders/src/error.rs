//! `LoadError`: what was wrong with a file, in one line that names the file and the tensor, field or key.
//!
//! Not here: exit codes and printing (the command line), and errors about a model's arithmetic (the engine).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The most characters shown of a name, of what was expected and of what was found. Hostile files hold megabytes of each, and a line
/// of 300 characters should have room for all and a path.
const NAME_SHOWN: usize = 60;
const EXPECTED_SHOWN: usize = 100;
const FOUND_SHOWN: usize = 80;

/// Why a checkpoint, or a part of it, could not be loaded.
///
/// Its `Display` is one line, without a final full stop: `<file>: <tensor 'x'|field 'x'>: expected A, found B`.
pub struct LoadError(Box<Inner>);

/// What kind of trouble an error is; the command line turns it into an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The file is wrong, or is not what was asked for.
    Input,
    /// The machine has too little of something: memory, address space, file descriptors.
    Resources,
    /// The file changed, or could not be read, while it was in use.
    Io,
}

struct Inner {
    path: PathBuf,
    subject: Subject,
    kind: Kind,
}

/// The part of a file that an error is about.
pub(crate) enum Subject {
    File,
    Tensor(String),
    Field(String),
}

enum Kind {
    Mismatch { expected: String, found: String },
    Os { doing: &'static str, source: io::Error },
    Memory { bytes: u64 },
    Changed { found: String },
}

impl LoadError {
    /// What kind of trouble this is.
    pub fn fault(&self) -> Fault {
        match &self.0.kind {
            Kind::Mismatch { .. } => Fault::Input,
            Kind::Os { source, .. } => fault_of(source),
            Kind::Memory { .. } => Fault::Resources,
            Kind::Changed { .. } => Fault::Io,
        }
    }

    /// The file that the error is about.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The file as a whole is not what was expected.
    pub(crate) fn file(path: &Path, expected: impl fmt::Display, found: impl fmt::Display) -> LoadError {
        LoadError::about(path, Subject::File, expected, found)
    }

    /// One tensor of the file is not what was expected.
    pub(crate) fn tensor(path: &Path, name: &str, expected: impl fmt::Display, found: impl fmt::Display) -> LoadError {
        LoadError::about(path, Subject::Tensor(name.to_owned()), expected, found)
    }

    /// One field of the file is not what was expected.
    pub(crate) fn field(path: &Path, name: &str, expected: impl fmt::Display, found: impl fmt::Display) -> LoadError {
        LoadError::about(path, Subject::Field(name.to_owned()), expected, found)
    }

    pub(crate) fn about(path: &Path, subject: Subject, expected: impl fmt::Display, found: impl fmt::Display) -> LoadError {
        LoadError::new(path, subject, Kind::Mismatch { expected: expected.to_string(), found: found.to_string() })
    }

    /// The same error about a field under another name, if there is one.
    pub(crate) fn renamed(mut self, name: impl Fn(&str) -> Option<&'static str>) -> LoadError {
        if let Subject::Field(field) = &mut self.0.subject
            && let Some(other) = name(field)
        {
            *field = other.to_owned();
        }
        self
    }

    /// The operating system refused; `doing` is a verb phrase such as "open the file".
    pub(crate) fn os(path: &Path, doing: &'static str, source: io::Error) -> LoadError {
        LoadError::new(path, Subject::File, Kind::Os { doing, source })
    }

    /// Memory for `bytes` bytes of the file's content could not be had.
    pub(crate) fn memory(path: &Path, bytes: u64) -> LoadError {
        LoadError::new(path, Subject::File, Kind::Memory { bytes })
    }

    /// The file is no longer what it was when it was opened.
    pub(crate) fn changed(path: &Path, found: impl fmt::Display) -> LoadError {
        LoadError::new(path, Subject::File, Kind::Changed { found: found.to_string() })
    }

    fn new(path: &Path, subject: Subject, kind: Kind) -> LoadError {
        LoadError(Box::new(Inner { path: path.to_owned(), subject, kind }))
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", one_line(&self.0.path.to_string_lossy(), usize::MAX))?;
        match &self.0.subject {
            Subject::File => {}
            Subject::Tensor(name) => write!(f, "tensor '{}': ", one_line(name, NAME_SHOWN))?,
            Subject::Field(name) => write!(f, "field '{}': ", one_line(name, NAME_SHOWN))?,
        }
        match &self.0.kind {
            Kind::Mismatch { expected, found } => {
                write!(f, "expected {}, found {}", one_line(expected, EXPECTED_SHOWN), one_line(found, FOUND_SHOWN))
            }
            Kind::Os { doing, source } => write!(f, "expected to {doing}, found: {source}"),
            Kind::Memory { bytes } => {
                write!(f, "expected {bytes} bytes of memory for the file's content, found too little")
            }
            Kind::Changed { found } => {
                write!(f, "changed while in use: expected the file as it was opened, found {found}")
            }
        }
    }
}

impl fmt::Debug for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoadError({:?}: {self})", self.fault())
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.kind {
            Kind::Os { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A string from a file or the system, made fit for one line: control characters are escaped, and if that takes more than `limit`
/// characters the rest becomes an ellipsis.
pub(crate) fn one_line(text: &str, limit: usize) -> String {
    let mut line = String::new();
    let mut left = limit;
    for c in text.chars() {
        // The two separators end a line in some terminals and log readers; the bidirectional marks reorder it.
        let marks = matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let escaped = (c.is_control() || marks).then(|| c.escape_default());
        let length = escaped.as_ref().map_or(1, |escaped| escaped.len());
        if length > left {
            line.push('…');
            break;
        }
        left -= length;
        match escaped {
            Some(escaped) => line.extend(escaped),
            None => line.push(c),
        }
    }
    line
}

/// The user named the wrong file, or the machine ran out of something, or the file could not be read.
fn fault_of(error: &io::Error) -> Fault {
    use io::ErrorKind::*;
    match error.kind() {
        NotFound | PermissionDenied | IsADirectory | NotADirectory | InvalidInput | InvalidFilename | InvalidData => Fault::Input,
        OutOfMemory | QuotaExceeded => Fault::Resources,
        _ if is_out_of_descriptors(error) => Fault::Resources,
        _ if is_symlink_loop(error) => Fault::Input,
        _ => Fault::Io,
    }
}

#[cfg(unix)]
fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

#[cfg(unix)]
fn is_symlink_loop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ELOOP)
}

#[cfg(not(unix))]
fn is_out_of_descriptors(_: &io::Error) -> bool {
    false
}

#[cfg(not(unix))]
fn is_symlink_loop(_: &io::Error) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_that_names_file_subject_expectation_and_finding() {
        let error = LoadError::tensor(Path::new("m.safetensors"), "a\nb", "shape [2, 3]", "shape [3, 2]");
        assert_eq!(error.to_string(), "m.safetensors: tensor 'a\\nb': expected shape [2, 3], found shape [3, 2]");
        assert_eq!(error.fault(), Fault::Input);
    }

    #[test]
    fn a_long_name_is_cut() {
        for unit in ["x", "\u{7f}", "\n", "你"] {
            let text = unit.repeat(1 << 20);
            let line = LoadError::field(Path::new("c.json"), &text, &text, &text).to_string();
            assert!(line.chars().count() <= 300 && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn system_errors_map_to_faults() {
        let fault = |error| LoadError::os(Path::new("f"), "open the file", error).fault();
        assert_eq!(fault(io::Error::from(io::ErrorKind::NotFound)), Fault::Input);
        assert_eq!(fault(io::Error::from(io::ErrorKind::OutOfMemory)), Fault::Resources);
        assert_eq!(fault(io::Error::other("disk on fire")), Fault::Io);
        #[cfg(unix)]
        {
            assert_eq!(fault(io::Error::from_raw_os_error(libc::EMFILE)), Fault::Resources);
            assert_eq!(fault(io::Error::from_raw_os_error(libc::EIO)), Fault::Io);
            assert_eq!(fault(io::Error::from_raw_os_error(libc::ELOOP)), Fault::Input);
        }
    }
}
