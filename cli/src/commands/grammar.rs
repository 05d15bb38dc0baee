//! The flags that say what a text must be, and what is said where it is not.
//!
//! Not here: what a grammar means (the library).

use infer::{FinishReason, Grammar};

use crate::args::GrammarArgs;
use crate::prompt;
use crate::report::Failure;

/// The grammar that the flags give.
pub fn read(args: &GrammarArgs) -> Result<Option<Grammar>, Failure> {
    if let Some(schema) = &args.json_schema {
        let is_inline = schema.trim_start().starts_with('{');
        let text = if is_inline { schema.clone() } else { prompt::read("--json-schema", None, Some(schema.as_ref()))? };
        return Ok(Some(Grammar::JsonSchema(text)));
    }
    if let Some(regex) = &args.regex {
        return Ok(Some(Grammar::Regex(regex.clone())));
    }
    let lark = args.grammar.as_deref().map(|file| prompt::read("--grammar", None, Some(file))).transpose()?;
    Ok(lark.map(Grammar::Lark))
}

/// The failure of a text that ended before it was what it must be.
pub fn unfinished(finish: &FinishReason) -> Failure {
    let why = match finish {
        FinishReason::MaxTokens => "--max-tokens was reached",
        FinishReason::Context => "the context was full",
        FinishReason::Stop(_) => "a stop string came up",
        FinishReason::Cancelled => "it was stopped",
        FinishReason::Eos(_) | FinishReason::Complete => "the model ended it",
    };
    Failure::check(format!("text: expected all that its grammar demands, found a part: {why}"))
}
