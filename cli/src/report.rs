//! What the user sees besides the generated text: one-line errors and warnings, quantities in readable units, tables, JSON.
//!
//! Not here: what is reported (the commands), and progress bars (`progress.rs`). Nothing else writes to the standard streams.

use std::error::Error;
use std::fmt::{Display, Write as _};
use std::io::{self, ErrorKind, Write as _};
use std::time::Duration;

use infer_loaders::{Fault, LoadError};

/// The exit code of a lack of resources.
pub const STATUS_RESOURCES: u8 = 3;

/// Longest error or warning line, in characters with its label: enough for a path, a tensor and what was wrong with it.
const MAX_LINE: usize = 300;

/// Longest cell of a table, in characters.
const MAX_CELL: usize = 120;

/// Why the program ends early: an exit code, and a line for standard error unless there is nothing to say.
#[derive(Debug)]
pub struct Failure {
    status: u8,
    line: String,
}

impl Failure {
    /// Wrong usage or wrong input (exit 2).
    pub fn input(line: impl Into<String>) -> Failure {
        Failure { status: 2, line: line.into() }
    }

    /// A check was made and failed (exit 1).
    pub fn check(line: impl Into<String>) -> Failure {
        Failure { status: 1, line: line.into() }
    }

    /// The machine cannot do this (exit 3).
    pub fn resources(line: impl Into<String>) -> Failure {
        Failure { status: STATUS_RESOURCES, line: line.into() }
    }

    /// Standard output cannot be written. A reader that went away (`| head`) wanted no more: that ends quietly.
    pub fn output(error: io::Error) -> Failure {
        match error.kind() {
            ErrorKind::BrokenPipe => Failure { status: 0, line: String::new() },
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge | ErrorKind::OutOfMemory => {
                Failure { status: STATUS_RESOURCES, line: format!("standard output: expected room for the text, found: {error}") }
            }
            _ => Failure { status: 4, line: format!("standard output: expected to write the text, found: {error}") },
        }
    }

    /// A file named by the user cannot be read: not there or not a file (exit 2), or a fault while reading (exit 4).
    pub fn read(file: impl Display, error: &io::Error) -> Failure {
        let status = match error.kind() {
            ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidFilename => 2,
            ErrorKind::OutOfMemory => STATUS_RESOURCES,
            _ => 4,
        };
        Failure { status, line: format!("{file}: expected to read a text, found: {error}") }
    }

    /// A file cannot be written: not a place for one (exit 2), no room (exit 3), or a fault while writing (exit 4).
    pub fn write(file: impl Display, error: &io::Error) -> Failure {
        let status = match error.kind() {
            ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::AlreadyExists
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidFilename => 2,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge | ErrorKind::OutOfMemory => {
                STATUS_RESOURCES
            }
            _ => 4,
        };
        Failure { status, line: format!("{file}: expected to write the file, found: {error}") }
    }

    /// The process's exit code.
    pub fn status(&self) -> u8 {
        self.status
    }

    /// The line without "error: "; empty where nothing is to be said.
    pub fn line(&self) -> &str {
        &self.line
    }

    fn from_error(error: &dyn Error, fault: Fault) -> Failure {
        let status = match fault {
            Fault::Input => 2,
            Fault::Resources => STATUS_RESOURCES,
            // Fault::Io, and what the loaders may tell apart in future: the file could not be used.
            _ => 4,
        };
        let mut line = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_line = cause.to_string();
            // Some errors print their cause themselves.
            if !line.contains(&cause_line) {
                let _ = write!(line, ": {cause_line}");
            }
            source = cause.source();
        }
        Failure { status, line }
    }
}

impl From<infer::Error> for Failure {
    fn from(error: infer::Error) -> Failure {
        Failure::from_error(&error, error.fault())
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Failure {
        Failure::from_error(&error, error.fault())
    }
}

impl From<infer_engine::ModelError> for Failure {
    fn from(error: infer_engine::ModelError) -> Failure {
        Failure::from_error(&error, error.fault())
    }
}

/// Writes `label: line` to standard error as one line, whatever the line contains. A closed standard error is no reason to fail.
pub fn say(label: &str, line: &str) {
    let limit = MAX_LINE.saturating_sub(label.chars().count() + 2);
    note(&format!("{label}: {}", shorten(&escape(line), limit)));
}

/// Writes a warning to standard error.
pub fn warn(line: &str) {
    say("warning", line);
}

/// Writes `text` and a line end to standard error.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes `text` to standard output and flushes it.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::output)
}

/// Writes one JSON object and a line end to standard output.
pub fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    print(&format!("{value}\n"))
}

/// `text` with control characters made visible: no file name or token can start a new line or move a terminal's cursor.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() || is_format_control(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

/// Line and paragraph separators, and the marks that turn the direction of the text around them.
fn is_format_control(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// At most `limit` characters of `text`: its beginning, which names the subject, and its end, which says what was found.
fn shorten(text: &str, limit: usize) -> String {
    let length = text.chars().count();
    if length <= limit {
        return text.to_string();
    }
    let tail = limit / 3;
    let head = limit - tail - 5;
    text.chars().take(head).chain(" ... ".chars()).chain(text.chars().skip(length - tail)).collect()
}

/// A number of bytes in binary units, e.g. `2.30 GiB`.
pub fn bytes(n: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = n as f64;
    let mut unit = "B";
    for next in units {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "B" { format!("{n} B") } else { format!("{value:.2} {unit}") }
}

/// A count in decimal units, e.g. `134.5 M`.
pub fn count(n: u64) -> String {
    match n {
        0..10_000 => n.to_string(),
        10_000..1_000_000 => format!("{:.1} thousand", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} million", n as f64 / 1e6),
        _ => format!("{:.2} billion", n as f64 / 1e9),
    }
}

/// Tokens per second; nothing for no tokens or no time.
pub fn rate(tokens: usize, time: Duration) -> String {
    match tokens > 0 && !time.is_zero() {
        true => format!("{:.2} tok/s", tokens as f64 / time.as_secs_f64()),
        false => "-".to_string(),
    }
}

/// A table with a header: the first `n_text` columns flush left, the others flush right, two spaces between. Cells may hold what a file
/// says: they are made one line of bounded length.
pub fn table(header: &[&str], rows: &[Vec<String>], n_text: usize) -> String {
    let header = header.iter().map(|cell| cell.to_string()).collect();
    let shown = |row: &Vec<String>| row.iter().map(|cell| shorten(&escape(cell), MAX_CELL)).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = std::iter::once(&header).chain(rows).map(shown).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            let _ = match column < n_text {
                true => write!(line, "{gap}{cell:<width$}"),
                false => write!(line, "{gap}{cell:>width$}"),
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line_of_bounded_length() {
        assert_eq!(escape("a\nb\x1b[2Jé\u{202e}"), "a\\nb\\u{1b}[2Jé\\u{202e}");
        let long = format!("{}{}", "a".repeat(1000), "z".repeat(1000));
        let short = shorten(&long, 300);
        assert_eq!(short.chars().count(), 300);
        assert!(short.starts_with("aaa") && short.ends_with("zzz") && short.contains("a ... z"));
        assert_eq!(shorten("as it is", 300), "as it is");
    }

    #[test]
    fn quantities_have_readable_units() {
        assert_eq!([bytes(0), bytes(1023), bytes(1024), bytes(2_469_606_195)], ["0 B", "1023 B", "1.00 KiB", "2.30 GiB"]);
        assert_eq!([count(9_999), count(134_515_008), count(1_235_814_400)], ["9999", "134.5 million", "1.24 billion"]);
        assert_eq!(rate(10, Duration::from_millis(500)), "20.00 tok/s");
        assert_eq!(rate(0, Duration::from_millis(500)), "-");
    }

    #[test]
    fn tables_align_text_left_and_numbers_right() {
        let rows = [vec!["a".to_string(), "1".to_string()], vec!["long".to_string(), "100".to_string()]];
        assert_eq!(table(&["name", "n"], &rows, 1), "name    n\na       1\nlong  100\n");
        let rows = [vec!["x".repeat(100_000)], vec!["a\nb".to_string()]];
        let table = table(&["name"], &rows, 1);
        assert!(table.lines().count() == 3 && table.lines().all(|line| line.len() <= MAX_CELL), "{table}");
    }

    #[test]
    fn a_closed_pipe_is_quiet_and_a_full_disk_is_not() {
        let closed = Failure::output(io::Error::from(ErrorKind::BrokenPipe));
        assert_eq!((closed.status(), closed.line()), (0, ""));
        let full = Failure::output(io::Error::from(ErrorKind::StorageFull));
        assert_eq!(full.status(), 3);
        assert!(full.line().starts_with("standard output: "));
    }
}
