//! Why a command line does not run, in one line of our own words.
//!
//! Not here: errors of the work itself (`report.rs`).

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::report::Failure;

/// Why there are no arguments to run with.
#[derive(Debug)]
pub enum Refusal {
    /// `--help` or `--version`: text for standard output.
    Asked(String),
    /// A usage error, as one line.
    Usage(Failure),
}

impl From<clap::Error> for Refusal {
    fn from(error: clap::Error) -> Refusal {
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            return Refusal::Asked(error.render().to_string());
        }
        Refusal::Usage(Failure::input(one_line(&error)))
    }
}

/// clap's message without its usage text and with our words for a bad value: "--flag: expected X, found Y".
fn one_line(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    // InvalidArg reads "--top-k <K>" or "[ID]...".
    let flag = text(ContextKind::InvalidArg).map(|arg| arg.split(" <").next().unwrap_or(arg));
    let flag = flag.map(|flag| flag.trim_matches(['[', ']', '<', '>', '.']));
    let value = text(ContextKind::InvalidValue).unwrap_or_default();
    // clap does not say which argument it is.
    if error.kind() == ErrorKind::InvalidUtf8 {
        return "arguments: expected UTF-8 text in each flag and value, found other bytes".to_string();
    }
    if let (ErrorKind::ValueValidation, Some(flag), Some(expected)) = (error.kind(), flag, std::error::Error::source(error)) {
        return format!("{flag}: {expected}, found {value:?}");
    }
    if let (ErrorKind::InvalidValue, Some(flag), true) = (error.kind(), flag, value.is_empty()) {
        return format!("{flag}: expected a value, found nothing");
    }
    let rendered = error.render().to_string();
    let lines =
        rendered.lines().map(str::trim).take_while(|l| !l.starts_with("Usage:") && !l.starts_with("For more information"));
    let mut line = String::new();
    for part in lines.filter(|l| !l.is_empty()) {
        let separator = if line.is_empty() || line.ends_with(':') { "" } else { ";" };
        line.push_str(separator);
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(part.strip_prefix("error: ").unwrap_or(part));
    }
    line
}
