//! `Error`: what can go wrong between a checkpoint's path and its text, as one line and as a fault class.
//!
//! Not here: exit codes and how a line is printed (the binary), nor the errors of the crates below, which pass through unchanged.

use std::fmt;
use std::path::{Path, PathBuf};

use infer_engine::ModelError;
use infer_loaders::{Fault, LoadError};

/// An error of [`TextModel`](crate::TextModel). Displays as one line without a final full stop.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Load(LoadError),
    Model(ModelError),
    Run { model: PathBuf, error: ModelError },
    Invalid { subject: String, expected: String, found: String },
}

impl Error {
    /// A value that is not what it must be: "`subject`: expected `expected`, found `found`".
    pub(crate) fn invalid(subject: impl fmt::Display, expected: impl fmt::Display, found: impl fmt::Display) -> Error {
        let kind = Kind::Invalid { subject: subject.to_string(), expected: expected.to_string(), found: found.to_string() };
        Error { kind }
    }

    /// What went wrong while the model at `model` ran; the engine knows no files.
    pub(crate) fn run(model: &Path, error: ModelError) -> Error {
        Error { kind: Kind::Run { model: model.to_owned(), error } }
    }

    /// Whose fault it is: the input, the machine's resources, or reading a file.
    pub fn fault(&self) -> Fault {
        match &self.kind {
            Kind::Load(error) => error.fault(),
            Kind::Model(error) | Kind::Run { error, .. } => error.fault(),
            Kind::Invalid { .. } => Fault::Input,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Load(error) => error.fmt(f),
            Kind::Model(error) => error.fmt(f),
            Kind::Run { model, error } => write!(f, "{}: {error}", model.display()),
            Kind::Invalid { subject, expected, found } => write!(f, "{subject}: expected {expected}, found {found}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Error {
        Error { kind: Kind::Load(error) }
    }
}

impl From<ModelError> for Error {
    fn from(error: ModelError) -> Error {
        Error { kind: Kind::Model(error) }
    }
}
