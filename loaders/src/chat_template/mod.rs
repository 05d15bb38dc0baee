//! Chat templates: messages to the text that a model was trained on, exactly as transformers 5.23 renders it (formats.md section 4).
//!
//! A rendered chat is more than a text: it knows which control tokens in it the template wrote and which came with a user's words.
//! [`Tokenizer::encode_chat`](crate::Tokenizer::encode_chat) makes tokens of the first and plain text of the second. Not here: what
//! a conversation is, and who says what in it.

mod encode;
mod environment;
mod generation_tag;
mod origin;
mod python;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::LoadError;
use crate::location::Location;
use crate::metadata::Metadata;
use crate::tokenizer::{MAX_SETTINGS_BYTES, Tokenizer};

pub use encode::{ChatToken, Origin};
use origin::{ControlTokens, Marks, StringChange, mapped, mapped_field, merged};

/// The longest template that is read; the longest in use have 30 KB.
const MAX_TEMPLATE_BYTES: u64 = 1 << 20;
/// The folder of further templates in a model's folder.
const FURTHER: &str = "additional_chat_templates";
/// The most templates that it may hold.
const MAX_TEMPLATES: usize = 100;
/// The names that a message's reasoning goes by (transformers, `_REASONING_FIELDS`).
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];
/// Stands at the end of a message that is to be continued (transformers, `render_jinja_template`).
const CONTINUE_TAG: &str = "CONTINUE_FINAL_MESSAGE_TAG ";
/// What errors say was found where a chat needs a template.
pub(crate) const NO_CHAT_MODEL: &str = "none: this is no chat model; use --prompt without --chat, or add one";

/// The templates of a model: one, or several that are chosen by name.
#[derive(Clone, Debug)]
pub struct ChatTemplates {
    templates: Vec<(String, ChatTemplate)>,
    /// Whether the names mean something, rather than the only template having one for want of another.
    is_named: bool,
}

/// A template.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    /// The file that it stands in.
    path: Arc<Path>,
    source: String,
}

/// What is rendered.
#[derive(Clone, Debug, Default)]
pub struct ChatRequest {
    /// Objects with a `role` and mostly a `content`.
    pub messages: Vec<Value>,
    /// Descriptions of functions that the model may call: JSON schemas.
    pub tools: Option<Value>,
    /// Texts that the model may quote.
    pub documents: Option<Value>,
    /// Whether the text ends with what comes before an answer. Not together with `continue_final_message`.
    pub add_generation_prompt: bool,
    /// Whether the text ends within the last message, for the model to go on with it.
    pub continue_final_message: bool,
    /// Further variables of the template, such as `enable_thinking`. They win over the names of special tokens.
    pub variables: Map<String, Value>,
}

/// A chat as text.
#[derive(Clone, Debug)]
pub struct RenderedChat {
    text: String,
    /// Control tokens in the text that are not the template's.
    foreign: Vec<Range<usize>>,
    /// All that came from messages, tools, documents and variables; `None` if the template does not let that be followed.
    inserted: Option<Vec<Range<usize>>>,
    is_altered: bool,
    tokens: ControlTokens,
}

impl ChatTemplates {
    /// Reads the templates of a folder: `chat_template.jinja` and `additional_chat_templates/*.jinja`; if there are none,
    /// `chat_template` in `tokenizer_config.json`, or in the `chat_template.json` of older processors. `None` if there is none at all.
    ///
    /// # Errors
    /// If a file cannot be read or is too long, or a template is not a string.
    pub fn open(folder: impl Into<Location>) -> Result<Option<ChatTemplates>, LoadError> {
        let folder = folder.into();
        let mut files = Vec::new();
        if folder.has("chat_template.jinja") {
            files.push(("default".to_owned(), "chat_template.jinja".to_owned()));
        }
        files.extend(further_files(&folder)?);
        if !files.is_empty() {
            let is_named = files.len() > 1 || files.iter().any(|(name, _)| name != "default");
            let read = |(name, file): (String, String)| Ok((name, ChatTemplate::read(&folder, &file)?));
            let templates = files.into_iter().map(read).collect::<Result<_, LoadError>>()?;
            return Ok(Some(ChatTemplates { templates, is_named }));
        }
        for name in ["tokenizer_config.json", "chat_template.json"] {
            if folder.has(name) {
                let settings = Metadata::read_keys(&folder, name, MAX_SETTINGS_BYTES, &["chat_template"])?;
                if let Some(templates) = ChatTemplates::from_settings(&settings)? {
                    return Ok(Some(templates));
                }
            }
        }
        Ok(None)
    }

    /// Those of [`ChatTemplates::open`], which must be there.
    ///
    /// # Errors
    /// If there are none, too.
    pub fn of(folder: impl Into<Location>) -> Result<ChatTemplates, LoadError> {
        let folder = folder.into();
        let expected = "a chat template (chat_template.jinja, or chat_template in tokenizer_config.json)";
        ChatTemplates::open(folder.clone())?.ok_or_else(|| LoadError::file(folder.path(), expected, NO_CHAT_MODEL))
    }

    /// The one template that a file holds in itself.
    pub fn single(path: &Path, source: &str) -> Result<ChatTemplates, LoadError> {
        let template = ChatTemplate::new(path, source.to_owned())?;
        Ok(ChatTemplates { templates: vec![("default".to_owned(), template)], is_named: false })
    }

    /// The template of that name; without a name, `tool_use` if there are tools, else `default`.
    ///
    /// # Errors
    /// If there is no such template.
    pub fn choose(&self, name: Option<&str>, has_tools: bool) -> Result<&ChatTemplate, LoadError> {
        let find = |name: &str| self.templates.iter().rev().find(|(other, _)| other == name).map(|(_, template)| template);
        let wanted = match name {
            Some(name) => find(name),
            None if !self.is_named => find("default"),
            None => find("tool_use").filter(|_| has_tools).or_else(|| find("default")),
        };
        wanted.ok_or_else(|| {
            let names: Vec<&str> = self.templates.iter().map(|(name, _)| name.as_str()).collect();
            let path = self.templates.first().map_or(Path::new(""), |(_, template)| &template.path);
            let found = format_args!("{}", names.join(", ")).to_string();
            LoadError::field(path, "chat_template", format_args!("a template '{}'", name.unwrap_or("default")), found)
        })
    }

    fn from_settings(settings: &Metadata) -> Result<Option<ChatTemplates>, LoadError> {
        let expected = "a string, or a list of objects with a string `name` and a string `template`";
        let wrong = || settings.error("chat_template", expected);
        let list = match settings.get("chat_template") {
            None => return Ok(None),
            Some(Value::String(source)) => return ChatTemplates::single(settings.path(), source).map(Some),
            Some(Value::Array(list)) => list,
            Some(_) => return Err(wrong()),
        };
        let mut templates = Vec::new();
        for item in list.iter().take(MAX_TEMPLATES) {
            let text = |key: &str| item.get(key).and_then(Value::as_str).ok_or_else(wrong);
            templates.push((text("name")?.to_owned(), ChatTemplate::new(settings.path(), text("template")?.to_owned())?));
        }
        if templates.is_empty() { Err(wrong()) } else { Ok(Some(ChatTemplates { templates, is_named: true })) }
    }
}

impl ChatTemplate {
    /// The file that it stands in.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The template as it is written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders a chat.
    ///
    /// # Errors
    /// If the template is no template, or does not accept the messages, or takes too many steps, too much time or too long a text.
    pub fn render(&self, request: &ChatRequest, tokenizer: &Tokenizer) -> Result<RenderedChat, LoadError> {
        if request.messages.is_empty() {
            return Err(self.error("messages", "at least one message", "none"));
        }
        if request.continue_final_message && request.add_generation_prompt {
            let found = "the beginning of a new one asked for, too";
            return Err(self.error("messages", "either a last message to continue or a new one", found));
        }
        // As Jinja2 reads a template, whatever ended its lines.
        let source = generation_tag::replaced(&self.source.replace("\r\n", "\n").replace('\r', "\n"));
        let text = self.pass(&source, request, tokenizer, None)?;
        let tokens = ControlTokens::new(tokenizer.control_tokens(&self.source));
        let special = ControlTokens::new(tokenizer.control_tokens(""));
        let input = [&request.messages.clone().into(), request.tools.as_ref().unwrap_or(&Value::Null)].map(Value::to_string);
        let more = [request.documents.as_ref().unwrap_or(&Value::Null), &request.variables.clone().into()].map(Value::to_string);
        let marks = Marks::absent_in(&[&self.source, &text, &input[0], &input[1], &more[0], &more[1]])
            .ok_or_else(|| self.error("messages", "text with some private-use characters unused", "all of them"))?;

        let same_key = |key: &str| key.to_owned();
        let marked_key = |key: &str| marks.around_tokens(key, &tokens, true);
        let in_words = |text: &str, is_role: bool| marks.around_tokens(text, &tokens, is_role);
        // What a model said has tokens such as <think> by right, and templates look for them.
        let in_answers = |text: &str, is_role: bool| marks.around_tokens(text, &special, is_role);
        let followed = request.with_strings(&marked_key, &in_words, &in_answers);
        let followed = marks.read(&self.pass(&source, &followed, tokenizer, Some(marks))?);
        // A template may look at what is marked and then do something else. What it does with text that is no token is then what
        // counts: transformers' choice, too.
        let is_altered = followed.text != text;

        let around = |text: &str, is_role: bool| if is_role { text.to_owned() } else { marks.around(text) };
        let inserted = self.pass(&source, &request.with_strings(&same_key, &around, &around), tokenizer, Some(marks));
        let inserted = inserted.ok().map(|text| marks.read(&text));
        let inserted = inserted.filter(|unmarked| unmarked.text == followed.text && unmarked.breaks.is_empty());

        let is_foreign = |token: &Range<usize>| {
            followed.marked.iter().any(|marked| marked.start < token.end && token.start < marked.end)
                || followed.breaks.iter().any(|&at| token.start < at && at < token.end)
        };
        let foreign = tokens.find(&followed.text).into_iter().filter(is_foreign).collect();
        Ok(RenderedChat {
            foreign,
            inserted: inserted.map(|unmarked| merged(unmarked.marked)),
            is_altered,
            text: followed.text,
            tokens,
        })
    }

    fn new(path: &Path, source: String) -> Result<ChatTemplate, LoadError> {
        if source.len() as u64 > MAX_TEMPLATE_BYTES {
            let expected = format_args!("at most {MAX_TEMPLATE_BYTES} bytes").to_string();
            return Err(LoadError::field(path, "chat_template", expected, source.len()));
        }
        Ok(ChatTemplate { path: path.into(), source })
    }

    fn read(folder: &Location, file: &str) -> Result<ChatTemplate, LoadError> {
        let path = folder.join(file);
        let text = String::from_utf8(folder.read(file, MAX_TEMPLATE_BYTES)?.into_owned());
        let source = text.map_err(|error| LoadError::file(&path, "UTF-8 text", error.utf8_error()))?;
        ChatTemplate::new(&path, source)
    }

    /// One rendering of the template as it stands in `source`.
    fn pass(
        &self,
        source: &str,
        request: &ChatRequest,
        tokenizer: &Tokenizer,
        marks: Option<Marks>,
    ) -> Result<String, LoadError> {
        let mut messages: Vec<Value> = Vec::with_capacity(request.messages.len());
        for message in &request.messages {
            let Value::Object(fields) = message else {
                return Err(self.error("messages", "objects", message));
            };
            messages.push(Value::Object(with_reasoning(fields)));
        }
        let end = match request.continue_final_message {
            true => Some(
                tag_last(&mut messages)
                    .ok_or_else(|| self.error("messages", "a last message with text to go on with", "none"))?,
            ),
            false => None,
        };
        let mut context = Map::new();
        context.extend(tokenizer.named_tokens().map(|(name, token)| (name.to_owned(), token.into())));
        context.extend(request.variables.clone());
        context.insert("messages".into(), messages.into());
        context.insert("tools".into(), request.tools.clone().unwrap_or_default());
        context.insert("documents".into(), request.documents.clone().unwrap_or_default());
        context.insert("add_generation_prompt".into(), request.add_generation_prompt.into());
        let context = minijinja::Value::from(minijinja::value::Serde(&context));
        let expected = "a chat template that renders these messages";
        let text = environment::render(source, context, marks).map_err(|found| self.error("chat_template", expected, found))?;
        match end {
            None => Ok(text),
            Some(last) => {
                let lost = || self.error("messages", "a last message that the template keeps whole", "one that it changes");
                cut_at_tag(&text, &last, marks).ok_or_else(lost)
            }
        }
    }

    fn error(&self, field: &str, expected: impl std::fmt::Display, found: impl std::fmt::Display) -> LoadError {
        LoadError::field(&self.path, field, expected, found)
    }
}

impl ChatRequest {
    /// The request with every string in it changed, those of the assistant's messages by `answers`; and the keys within tools and
    /// documents, while those of messages and variables are the template's.
    fn with_strings(&self, keys: &dyn Fn(&str) -> String, words: &StringChange, answers: &StringChange) -> ChatRequest {
        let value = |value: &Value| mapped(value, keys, words);
        let fields = |fields: &Map<String, Value>, change: &StringChange| -> Map<String, Value> {
            fields.iter().map(|(key, item)| (key.clone(), mapped_field(key, item, keys, change))).collect()
        };
        let message = |message: &Value| match message {
            Value::Object(message) if message.get("role").is_some_and(|role| role == "assistant") => {
                fields(message, answers).into()
            }
            Value::Object(message) => fields(message, words).into(),
            other => other.clone(),
        };
        ChatRequest {
            messages: self.messages.iter().map(message).collect(),
            tools: self.tools.as_ref().map(value),
            documents: self.documents.as_ref().map(value),
            variables: fields(&self.variables, words),
            ..*self
        }
    }
}

impl RenderedChat {
    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The control tokens in the text that are not the template's; they are encoded as plain text.
    pub fn foreign_tokens(&self) -> impl Iterator<Item = &str> {
        self.foreign.iter().map(|range| &self.text[range.clone()])
    }

    /// Whether the template treats control tokens in a user's words in a way of its own, so that the text differs from the one
    /// that it would have made of them.
    pub fn is_altered(&self) -> bool {
        self.is_altered
    }
}

/// (name, file) of the further templates of a model on disk, by name; nothing where it has none.
fn further_files(folder: &Location) -> Result<Vec<(String, String)>, LoadError> {
    let path = folder.join(FURTHER);
    if !folder.has(FURTHER) {
        return Ok(Vec::new());
    }
    let failed = |error| LoadError::os(&path, "list the folder", error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&path).map_err(failed)? {
        let file = entry.map_err(failed)?.file_name();
        if let Some((file, name)) = file.to_str().and_then(|file| Some((file, file.strip_suffix(".jinja")?))) {
            files.push((name.to_owned(), format!("{FURTHER}/{file}")));
        }
        if files.len() > MAX_TEMPLATES {
            return Err(LoadError::file(&path, format_args!("at most {MAX_TEMPLATES} templates"), "more"));
        }
    }
    files.sort();
    Ok(files)
}

/// A message without its null fields, and with its reasoning under the names that templates know it by.
fn with_reasoning(message: &Map<String, Value>) -> Map<String, Value> {
    let fields = || message.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.clone(), value.clone()));
    let Some(reasoning) = REASONING.iter().find_map(|&key| message.get(key).filter(|value| !value.is_null())) else {
        return fields().collect();
    };
    let mut named = Map::from_iter([("thinking".to_owned(), reasoning.clone())]);
    named.extend(fields());
    named.insert("reasoning_content".to_owned(), reasoning.clone());
    named
}

/// Puts the tag at the end of the last message's text; returns the text without it. `None` if it has no text.
fn tag_last(messages: &mut [Value]) -> Option<String> {
    let text = match messages.last_mut()?.get_mut("content")? {
        Value::Array(blocks) => blocks.iter_mut().rev().find_map(|block| block.get_mut("text"))?,
        content => content,
    };
    let Value::String(text) = text else { return None };
    let untagged = text.clone();
    text.push_str(CONTINUE_TAG);
    Some(untagged)
}

/// The text up to the tag; `None` if the last message or the tag is not in it.
fn cut_at_tag(text: &str, last: &str, marks: Option<Marks>) -> Option<String> {
    let trimmed = last.trim_matches(|c: char| c.is_whitespace() || marks.is_some_and(|marks| marks.contains(c)));
    if !text.contains(trimmed) {
        return None;
    }
    let at = text.rfind(CONTINUE_TAG.trim_end())?;
    let before = &text[..at];
    // Where the template trims, the space that ends the tag is gone, and so must be that before it.
    let is_kept = text[at..].starts_with(CONTINUE_TAG);
    Some(if is_kept { before } else { before.trim_end() }.to_owned())
}
