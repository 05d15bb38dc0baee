//! `ModelError`: why a model could not be built or run, in one line.
//!
//! Not here: errors of files ([`LoadError`], which is passed through) and exit codes (the command line).

use std::fmt;

use infer_loaders::{Fault, LoadError};

use crate::sampler::{LogitsError, SamplingError};

/// Why a model could not be built or run. Its `Display` is one line: what, expected, found.
pub struct ModelError(Box<Kind>);

enum Kind {
    Load(LoadError),
    Sampling(SamplingError),
    Logits(LogitsError),
    Isa { isa: String },
    Threads { message: String },
    Memory { what: &'static str, bytes: Option<usize> },
    Prompt { expected: String, found: String },
    Row { expected: String, found: String },
    Page { expected: String, found: String },
    Constraint { message: String },
}

impl ModelError {
    /// What kind of trouble this is.
    pub fn fault(&self) -> Fault {
        match &*self.0 {
            Kind::Load(e) => e.fault(),
            Kind::Memory { .. } | Kind::Threads { .. } => Fault::Resources,
            Kind::Sampling(_) | Kind::Logits(_) | Kind::Isa { .. } => Fault::Input,
            Kind::Prompt { .. } | Kind::Row { .. } | Kind::Page { .. } | Kind::Constraint { .. } => Fault::Input,
        }
    }

    /// The instruction set asked for is not one that this CPU can run.
    pub(crate) fn isa(isa: impl fmt::Display) -> ModelError {
        ModelError(Box::new(Kind::Isa { isa: isa.to_string() }))
    }

    /// The worker threads could not be started.
    pub(crate) fn threads(message: impl fmt::Display) -> ModelError {
        ModelError(Box::new(Kind::Threads { message: message.to_string() }))
    }

    /// Memory for `what` could not be had; `bytes` is `None` where their number overflows.
    pub(crate) fn memory(what: &'static str, bytes: Option<usize>) -> ModelError {
        ModelError(Box::new(Kind::Memory { what, bytes }))
    }

    /// The prompt is not one that can be continued.
    pub(crate) fn prompt(expected: impl fmt::Display, found: impl fmt::Display) -> ModelError {
        ModelError(Box::new(Kind::Prompt { expected: expected.to_string(), found: found.to_string() }))
    }

    /// Bytes are not a page of the KV cache.
    pub(crate) fn page(expected: impl fmt::Display, found: impl fmt::Display) -> ModelError {
        ModelError(Box::new(Kind::Page { expected: expected.to_string(), found: found.to_string() }))
    }

    /// A constraint cannot tell what may follow.
    pub(crate) fn constraint(message: String) -> ModelError {
        ModelError(Box::new(Kind::Constraint { message }))
    }

    /// A row of a batch does not fit the model or the cache.
    pub(crate) fn row(expected: impl fmt::Display, found: impl fmt::Display) -> ModelError {
        ModelError(Box::new(Kind::Row { expected: expected.to_string(), found: found.to_string() }))
    }
}

impl From<LoadError> for ModelError {
    fn from(e: LoadError) -> ModelError {
        ModelError(Box::new(Kind::Load(e)))
    }
}

impl From<SamplingError> for ModelError {
    fn from(e: SamplingError) -> ModelError {
        ModelError(Box::new(Kind::Sampling(e)))
    }
}

impl From<LogitsError> for ModelError {
    fn from(e: LogitsError) -> ModelError {
        ModelError(Box::new(Kind::Logits(e)))
    }
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Load(e) => e.fmt(f),
            Kind::Sampling(e) => e.fmt(f),
            Kind::Logits(e) => e.fmt(f),
            Kind::Isa { isa } => write!(f, "isa: expected an instruction set that this CPU has, found {isa}"),
            Kind::Threads { message } => write!(f, "threads: expected to start the worker threads, found: {message}"),
            Kind::Memory { what, bytes: Some(bytes) } => write!(f, "{what}: expected {bytes} bytes of memory, found too little"),
            Kind::Memory { what, bytes: None } => write!(f, "{what}: expected a size that fits memory, found one that overflows"),
            Kind::Prompt { expected, found } => write!(f, "prompt: expected {expected}, found {found}"),
            Kind::Page { expected, found } => write!(f, "KV cache: expected {expected}, found {found}"),
            Kind::Constraint { message } => write!(f, "constraint: {message}"),
            Kind::Row { expected, found } => write!(f, "batch: expected {expected}, found {found}"),
        }
    }
}

impl fmt::Debug for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelError({:?}: {self})", self.fault())
    }
}

impl std::error::Error for ModelError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.0 {
            Kind::Load(e) => std::error::Error::source(e),
            _ => None,
        }
    }
}
