//! `infer tokenize`: the token ids of a text and the pieces that they stand for.

use serde_json::json;

use crate::args::TokenizeArgs;
use crate::report::{self, Failure};
use crate::{commands, prompt};

/// Runs the command.
pub fn run(args: &TokenizeArgs) -> Result<(), Failure> {
    commands::model_location(&args.model)?;
    let text = prompt::read("--text", args.text.as_deref(), args.prompt_file.as_deref())?;
    let tokenizer = commands::open_tokenizer(&args.model)?;
    let ids = tokenizer.encode(&text, !args.no_special)?;
    let pieces = ids.iter().map(|&id| tokenizer.piece(id).unwrap_or_default());
    if args.json {
        return report::print_json(&json!({ "ids": ids, "pieces": pieces.collect::<Vec<_>>() }));
    }
    let mut lines = String::new();
    for (id, piece) in ids.iter().zip(pieces) {
        lines.push_str(&format!("{id:>7}  {piece:?}\n"));
    }
    report::print(&lines)
}
