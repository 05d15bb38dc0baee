//! What a line of a chat asks for: a command after a slash, or words for the model.
//!
//! Not here: doing it (`mod.rs`).

/// What `/help` prints.
pub const HELP: &str = "\
/help           this list
/system [TEXT]  show the system message, or set it
/clear          forget the conversation, but for the system message
/regen          answer the last message again
/undo           take back the last message and its answer
/save FILE      write the conversation as JSON
/load FILE      go on with a conversation that was written so
/stats          tokens and times of the last answer
/set [NAME X]   show the settings, or change one of them
/exit           leave; so does Ctrl-D
A line that ends with \\ goes on in the next; so does a pasted one. Ctrl-C stops an answer.
// begins a message with a slash.
";

/// A line of a chat.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'l> {
    /// Words for the model.
    Message(&'l str),
    /// A command and what follows it.
    Command(&'l str, &'l str),
    /// Nothing.
    Empty,
}

impl<'l> Line<'l> {
    /// Reads a line.
    pub fn parse(line: &'l str) -> Line<'l> {
        let trimmed = line.trim();
        match trimmed.strip_prefix('/') {
            _ if trimmed.is_empty() => Line::Empty,
            Some(rest) if rest.starts_with('/') => Line::Message(rest),
            Some(rest) => {
                let (name, argument) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                Line::Command(name, argument.trim())
            }
            None => Line::Message(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Line;

    #[test]
    fn a_slash_begins_a_command() {
        assert_eq!(Line::parse(" /set  top-k  5 "), Line::Command("set", "top-k  5"));
        assert_eq!(Line::parse("/exit"), Line::Command("exit", ""));
        assert_eq!(Line::parse("//not a command"), Line::Message("/not a command"));
        assert_eq!(Line::parse(" a / b "), Line::Message(" a / b "));
        assert_eq!(Line::parse(" \t"), Line::Empty);
    }
}
