//! A conversation from flags and files, ready for a chat template.
//!
//! Not here: rendering (the loaders), and who answers.

use std::path::Path;

use infer_loaders::{ChatRequest, ChatTemplates, RenderedChat, Tokenizer};
use serde_json::{Value, json};

use crate::args::ConversationArgs;
use crate::prompt;
use crate::report::{self, Failure};

/// Messages, and what a template may know besides.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    /// Objects with a `role`.
    pub messages: Vec<Value>,
    tools: Option<Value>,
    documents: Option<Value>,
}

impl Conversation {
    /// The conversation that the flags ask for; `None` where they ask for a bare text.
    pub fn from_args(args: &ConversationArgs) -> Result<Option<Conversation>, Failure> {
        if !args.chat && args.messages.is_none() && args.system.is_none() {
            return Ok(None);
        }
        let mut conversation = args.messages.as_deref().map(Conversation::read).transpose()?.unwrap_or_default();
        if let Some(system) = &args.system {
            conversation.set_system(system);
        }
        Ok(Some(conversation))
    }

    /// Reads a file of messages: a list, or an object with `messages` and perhaps `tools` and `documents`.
    pub fn read(path: &Path) -> Result<Conversation, Failure> {
        let text = prompt::read("--messages", None, Some(path))?;
        let wrong = |place: &str, expected: &str, found: &dyn std::fmt::Display| {
            Failure::input(format!("{}: {place}expected {expected}, found {found}", path.display()))
        };
        let value: Value = serde_json::from_str(&text).map_err(|error| wrong("", "messages in JSON", &error))?;
        let (messages, tools, documents) = match value {
            Value::Object(mut fields) => {
                let mut take = |key: &str| fields.remove(key).filter(|value| !value.is_null());
                (take("messages").unwrap_or_default(), take("tools"), take("documents"))
            }
            list => (list, None, None),
        };
        let Value::Array(mut messages) = messages else {
            return Err(wrong("messages: ", "a list", &messages));
        };
        for (key, value) in [("tools: ", &tools), ("documents: ", &documents)] {
            if let Some(value) = value.as_ref().filter(|value| !value.is_array()) {
                return Err(wrong(key, "a list", value));
            }
        }
        for (n, message) in messages.iter_mut().enumerate() {
            if !message.get("role").is_some_and(Value::is_string) {
                return Err(wrong(&format!("messages[{n}]: "), "an object with a string `role`", message));
            }
            parse_arguments(message);
        }
        Ok(Conversation { messages, tools, documents })
    }

    /// Puts a system message first, in the place of one that is there.
    pub fn set_system(&mut self, text: &str) {
        if self.messages.first().is_some_and(|message| message["role"] == "system") {
            self.messages.remove(0);
        }
        self.messages.insert(0, json!({ "role": "system", "content": text }));
    }

    /// Adds a message of a user or an assistant.
    pub fn push(&mut self, role: &str, text: &str) {
        self.messages.push(json!({ "role": role, "content": text }));
    }

    /// Whether there is something to answer already.
    pub fn is_complete(&self) -> bool {
        self.messages.iter().any(|message| message["role"] != "system")
    }

    /// With a last message of the user.
    pub fn with_prompt(mut self, text: Option<String>) -> Conversation {
        if let Some(text) = text {
            self.push("user", &text);
        }
        self
    }

    /// The text that the model's template makes of it, up to where the answer begins. Tells what is odd about it.
    pub fn render(&self, templates: &ChatTemplates, tokenizer: &Tokenizer) -> Result<RenderedChat, Failure> {
        let request = ChatRequest {
            messages: self.messages.clone(),
            tools: self.tools.clone(),
            documents: self.documents.clone(),
            add_generation_prompt: true,
            ..ChatRequest::default()
        };
        let rendered = templates.choose(None, self.tools.is_some())?.render(&request, tokenizer)?;
        if let Some(token) = rendered.foreign_tokens().next() {
            let n = rendered.foreign_tokens().count();
            report::warn(&format!("the messages spell {n} control tokens, such as {token:?}: they are taken as plain text"));
        }
        if rendered.is_altered() {
            report::warn(
                "the chat template treats control tokens in messages in a way of its own; here they are plain text to it",
            );
        }
        Ok(rendered)
    }
}

/// The arguments of a call come as JSON in a string; templates expect them as an object.
fn parse_arguments(message: &mut Value) {
    let Some(Value::Array(calls)) = message.get_mut("tool_calls") else { return };
    for call in calls {
        let Some(arguments) = call.pointer_mut("/function/arguments") else { continue };
        if let Some(parsed @ Value::Object(_)) = arguments.as_str().and_then(|text| serde_json::from_str(text).ok()) {
            *arguments = parsed;
        }
    }
}
