//! `infer detokenize`: the text that token ids stand for.

use serde_json::json;

use crate::args::DetokenizeArgs;
use crate::report::{self, Failure};
use crate::{commands, prompt};

/// Runs the command.
pub fn run(args: &DetokenizeArgs) -> Result<(), Failure> {
    commands::model_location(&args.model)?;
    let ids = if args.ids.is_empty() { parse(&prompt::read_stdin()?)? } else { args.ids.clone() };
    let tokenizer = commands::open_tokenizer(&args.model)?;
    if let Some(id) = ids.iter().find(|&&id| !tokenizer.has_token(id)) {
        return Err(Failure::input(format!(
            "token ids: expected ids of the tokenizer, all below {}, found {id}",
            tokenizer.vocab_size()
        )));
    }
    let text = tokenizer.decode(&ids, args.skip_special)?;
    match args.json {
        true => report::print_json(&json!({ "text": text })),
        // The text and nothing else: what is piped on should be what was tokenised.
        false => report::print(&text),
    }
}

/// Ids separated by white space or commas; brackets around them, as JSON has, do no harm.
fn parse(text: &str) -> Result<Vec<u32>, Failure> {
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']')).filter(|word| !word.is_empty());
    let id = |word: &str| {
        let found = || Failure::input(format!("standard input: expected token ids, whole numbers below 2^32, found {word:?}"));
        word.parse().map_err(|_| found())
    };
    words.map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_in_the_usual_notations() {
        assert_eq!(parse("1 2\n3\t4,5, 6\n").unwrap(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(parse("[1, 15043]").unwrap(), [1, 15043]);
        assert_eq!(parse("").unwrap(), Vec::<u32>::new());
        let failure = parse("1 -2").unwrap_err();
        assert_eq!(failure.line(), "standard input: expected token ids, whole numbers below 2^32, found \"-2\"");
    }
}
