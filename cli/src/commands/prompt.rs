//! `infer prompt`: what a prompt becomes before a model sees it: its text, and each token with where it comes from.
//!
//! Not here: a model. Tokenizer and chat template are all that is read.

use infer_loaders::Origin;
use serde_json::json;

use crate::args::PromptArgs;
use crate::conversation::Conversation;
use crate::report::{self, Failure};
use crate::{commands, prompt};

/// A token for show.
struct Shown {
    id: u32,
    text: String,
    origin: &'static str,
    is_special: bool,
}

/// Runs the command.
pub fn run(args: &PromptArgs) -> Result<(), Failure> {
    commands::model_location(&args.model)?;
    let conversation = Conversation::from_args(&args.conversation)?;
    let text = match conversation.as_ref().is_some_and(Conversation::is_complete) {
        true => prompt::read_optional("--prompt", args.prompt.as_deref(), args.prompt_file.as_deref())?,
        false => Some(prompt::read("--prompt", args.prompt.as_deref(), args.prompt_file.as_deref())?),
    };
    let tokenizer = commands::open_tokenizer(&args.model)?;
    let piece = |id| tokenizer.piece(id).unwrap_or_default();
    let (text, tokens) = match conversation {
        Some(conversation) => {
            let rendered = conversation.with_prompt(text).render(&commands::open_chat_templates(&args.model)?, &tokenizer)?;
            let tokens = tokenizer.encode_chat(&rendered)?;
            let shown = tokens.into_iter().map(|token| Shown {
                id: token.id,
                text: rendered.text().get(token.range).map_or_else(|| piece(token.id), str::to_string),
                origin: match token.origin {
                    Origin::Template => "template",
                    Origin::Inserted => "message",
                    Origin::Unknown => "unknown",
                },
                is_special: tokenizer.is_special(token.id),
            });
            (rendered.text().to_string(), shown.collect::<Vec<_>>())
        }
        None => {
            let text = text.unwrap_or_default();
            let shown = tokenizer.encode(&text, true)?.into_iter().map(|id| {
                let is_special = tokenizer.is_special(id);
                Shown { id, text: piece(id), origin: if is_special { "special" } else { "text" }, is_special }
            });
            let shown = shown.collect();
            (text, shown)
        }
    };
    if args.json {
        let token =
            |token: &Shown| json!({ "id": token.id, "text": token.text, "origin": token.origin, "special": token.is_special });
        return report::print_json(&json!({ "text": text, "tokens": tokens.iter().map(token).collect::<Vec<_>>() }));
    }
    let mut lines = format!("{}\n\n", commands::generate::harmless(&text));
    for token in &tokens {
        let special = if token.is_special { "  special" } else { "" };
        lines.push_str(&format!("{:>7}  {:<8}  {:?}{special}\n", token.id, token.origin, token.text));
    }
    lines.push_str(&format!("{} tokens\n", tokens.len()));
    report::print(&lines)
}
