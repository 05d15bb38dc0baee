//! Where the lines of a chat come from: an editor with a history on a terminal, else standard input as it is.
//!
//! Not here: what a line means (`command.rs`).

use std::io::{self, BufRead, IsTerminal, Read};

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::interrupt;
use crate::report::Failure;

/// The longest line that is read, in bytes.
const MAX_LINE: u64 = 64 << 20;

/// A source of lines.
pub enum Input {
    /// A person.
    Terminal(Box<DefaultEditor>),
    /// A file or a pipe.
    Pipe,
}

impl Input {
    /// An editor if both standard streams are terminals.
    pub fn open() -> Result<Input, Failure> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(Input::Pipe);
        }
        let editor = DefaultEditor::new()
            .map_err(|error| Failure::input(format!("terminal: expected one to edit lines on, found: {error}")))?;
        Ok(Input::Terminal(Box::new(editor)))
    }

    /// Whether a person reads the answers.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Input::Terminal(_))
    }

    /// The next message or command, of several lines where they end with a backslash; `None` at the end.
    pub fn next(&mut self) -> Result<Option<String>, Failure> {
        let mut text = String::new();
        let mut prompt = "> ";
        loop {
            let Some(line) = self.line(prompt)? else {
                return Ok((!text.is_empty()).then_some(text));
            };
            match line.strip_suffix('\\') {
                Some(part) => {
                    text.push_str(part);
                    text.push('\n');
                    prompt = ". ";
                }
                None => {
                    text.push_str(&line);
                    break;
                }
            }
        }
        if let Input::Terminal(editor) = self {
            // A history that is full or refuses a line is no reason to stop.
            let _ = editor.add_history_entry(text.as_str());
        }
        Ok(Some(text))
    }

    fn line(&mut self, prompt: &str) -> Result<Option<String>, Failure> {
        match self {
            Input::Terminal(editor) => match interrupt::while_editing(|| editor.readline(prompt)) {
                Ok(line) => Ok(Some(line)),
                // An empty message: the line so far is dropped, and the next begins.
                Err(ReadlineError::Interrupted) => Ok(Some(String::new())),
                Err(ReadlineError::Eof) => Ok(None),
                Err(error) => Err(Failure::input(format!("terminal: expected a line, found: {error}"))),
            },
            Input::Pipe => {
                let mut bytes = Vec::new();
                let mut limited = io::stdin().lock().take(MAX_LINE);
                limited.read_until(b'\n', &mut bytes).map_err(|error| Failure::read("standard input", &error))?;
                if bytes.is_empty() {
                    return Ok(None);
                }
                let line = String::from_utf8(bytes);
                let line = line.map_err(|_| Failure::input("standard input: expected UTF-8 text, found other bytes"))?;
                Ok(Some(line.trim_end_matches(['\n', '\r']).to_string()))
            }
        }
    }
}
