//! `infer chat`: a conversation. Answers go to standard output as they are generated; each turn reads only what is new.
//!
//! Not here: editing lines (`input.rs`), the syntax of commands (`command.rs`), and the template (the loaders).

mod command;
mod input;

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use infer::{Completion, FinishReason, GenerateOptions, Observer, Session, TextModel};
use infer_engine::Sampling;
use infer_loaders::ChatTemplates;
use serde_json::Value;

use crate::args::ChatArgs;
use crate::breakers::breakers;
use crate::conversation::Conversation;
use crate::progress::Progress;
use crate::report::{self, Failure};
use crate::{commands, interrupt};
use command::{HELP, Line};
use input::Input;

use super::{generate, grammar, sampling};

/// Runs the command.
pub fn run(args: &ChatArgs) -> Result<(), Failure> {
    commands::model_location(&args.model)?;
    sampling::check(&args.sampling)?;
    let grammar = grammar::read(&args.grammar)?;
    let mut conversation = args.messages.as_deref().map(Conversation::read).transpose()?.unwrap_or_default();
    if let Some(system) = &args.system {
        conversation.set_system(system);
    }
    let templates = commands::open_chat_templates(&args.model)?;
    let model = commands::open_text_model(&args.model, &args.quant, &args.engine, &args.speculation)?;
    let plan = generate::plan_memory(&args.engine, args.ctx_size, &model, args.engine.prefill_chunk.get())?;
    let options = GenerateOptions {
        max_tokens: args.max_tokens,
        ctx_size: Some(plan.ctx_size),
        sampling: Some(sampling::resolve(&args.sampling, model.sampling(), model.tokenizer())?),
        grammar,
        speculation: args.speculation.speculate,
        ..GenerateOptions::default()
    };
    if let Some(grammar) = &options.grammar {
        model.check_grammar(grammar)?;
    }
    let mut input = Input::open()?;
    let is_terminal = input.is_terminal();
    if is_terminal {
        report::note(&format!("{}; /help lists the commands, Ctrl-D leaves", model.checkpoint().path().display()));
    }
    let mut chat = Chat { model: &model, templates, conversation, options, session: None, last: None, is_terminal };
    while let Some(line) = input.next()? {
        let done = match Line::parse(&line) {
            Line::Empty => Ok(ControlFlow::Continue(())),
            Line::Message(text) => chat.say(text).map(ControlFlow::Continue),
            Line::Command(name, argument) => chat.obey(name, argument),
        };
        match done {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => break,
            // A person can do better in the next line; a script cannot.
            Err(failure) if is_terminal && !failure.line().is_empty() => report::say("error", failure.line()),
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

/// A conversation going on.
struct Chat<'m> {
    model: &'m TextModel,
    templates: ChatTemplates,
    conversation: Conversation,
    options: GenerateOptions,
    session: Option<Session<'m>>,
    last: Option<Completion>,
    is_terminal: bool,
}

impl Chat<'_> {
    /// A message of the user, and the answer. A message that cannot be answered is taken back.
    fn say(&mut self, text: &str) -> Result<(), Failure> {
        self.conversation.push("user", text);
        self.answer().inspect_err(|_| {
            self.conversation.messages.pop();
        })
    }

    fn answer(&mut self) -> Result<(), Failure> {
        let tokenizer = self.model.tokenizer();
        let rendered = self.conversation.render(&self.templates, tokenizer)?;
        let ids: Vec<u32> = tokenizer.encode_chat(&rendered)?.into_iter().map(|token| token.id).collect();
        let mut screen = Screen::new(self.is_terminal);
        let completion =
            interrupt::while_answering(|| self.model.generate_in(&mut self.session, &ids, &self.options, &mut screen));
        screen.finish()?;
        let completion = completion?;
        if completion.finish == FinishReason::Context {
            report::warn("the conversation fills the context: /clear or /undo make room");
        }
        if !completion.is_whole {
            report::warn(grammar::unfinished(&completion.finish).line());
        }
        self.last = Some(completion);
        self.conversation.push("assistant", &screen.text);
        Ok(())
    }

    fn obey(&mut self, name: &str, argument: &str) -> Result<ControlFlow<()>, Failure> {
        match (name, argument) {
            ("exit" | "quit" | "bye", _) => return Ok(ControlFlow::Break(())),
            ("help" | "?", _) => report::note(HELP.trim_end()),
            ("system", "") => report::note(self.system().unwrap_or("no system message")),
            ("system", text) => self.conversation.set_system(text),
            ("clear", _) => self.conversation.messages.retain(|message| message["role"] == "system"),
            ("regen", _) => self.regenerate()?,
            ("undo", _) => self.undo()?,
            ("save" | "load", "") => return Err(Failure::input(format!("/{name}: expected a file, found nothing"))),
            ("save", file) => self.save(Path::new(file))?,
            ("load", file) => self.conversation = Conversation::read(Path::new(file))?,
            ("stats", _) => report::note(&self.stats()),
            ("set", "") => report::note(&self.settings()),
            ("set", setting) => self.set(setting)?,
            _ => return Err(Failure::input(format!("/{name}: expected a command, found none of that name (try /help)"))),
        }
        Ok(ControlFlow::Continue(()))
    }

    fn system(&self) -> Option<&str> {
        let first = self.conversation.messages.first().filter(|message| message["role"] == "system")?;
        first["content"].as_str()
    }

    /// Takes back the last answer and answers again; where the choice is random, with the next seed.
    fn regenerate(&mut self) -> Result<(), Failure> {
        let messages = &mut self.conversation.messages;
        let Some(answer) = messages.pop_if(|message| message["role"] == "assistant") else {
            return Err(Failure::input("/regen: expected an answer to give again, found none"));
        };
        if let Some(sampling) = &mut self.options.sampling {
            sampling.seed = sampling.seed.wrapping_add(1);
        }
        self.answer().inspect_err(|_| self.conversation.messages.push(answer))
    }

    fn undo(&mut self) -> Result<(), Failure> {
        let messages = &mut self.conversation.messages;
        match messages.iter().rposition(|message| message["role"] == "user") {
            Some(last) => messages.truncate(last),
            None => return Err(Failure::input("/undo: expected a message to take back, found none")),
        }
        Ok(())
    }

    /// Writes the messages; a file that is there is replaced only by a whole one.
    fn save(&self, file: &Path) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::write(file.display(), &error);
        let name = file.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
        let mut part = name.to_os_string();
        part.push(format!(".{}.part", std::process::id()));
        let part = file.with_file_name(part);
        let text = format!("{:#}\n", Value::from(self.conversation.messages.clone()));
        std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, file)).map_err(|error| {
            let _ = std::fs::remove_file(&part);
            failed(error)
        })
    }

    fn stats(&self) -> String {
        let Some(last) = &self.last else { return "no answer yet".to_string() };
        let times = &last.timings;
        let n_read = self.session.as_ref().map_or(0, |session| session.tokens().len());
        let drafts = match times.drafted_tokens {
            0 => String::new(),
            _ => format!("; {}", generate::drafts(times)),
        };
        format!(
            "prompt: {} new tokens, {}; answer: {} tokens, {}; {n_read} of {} tokens of the context, KV cache {}{drafts}",
            times.prompt_tokens,
            report::rate(times.prompt_tokens, times.prompt_time),
            times.generated_tokens,
            report::rate(times.decode_tokens, times.decode_time),
            self.options.ctx_size.unwrap_or_default(),
            report::bytes(last.kv_bytes as u64)
        )
    }

    fn sampling(&self) -> Sampling {
        self.options.sampling.clone().unwrap_or_else(|| self.model.sampling().clone())
    }

    fn settings(&self) -> String {
        let s = self.sampling();
        let max = self.options.max_tokens.map_or("none".to_string(), |max| max.to_string());
        format!(
            "temperature {}  top-k {}  top-p {}  min-p {}  typical-p {}  repeat-penalty {}  dry-multiplier {}  seed {}  max-tokens {max}",
            s.temperature, s.top_k, s.top_p, s.min_p, s.typical_p, s.repetition_penalty, s.dry.multiplier, s.seed
        )
    }

    fn set(&mut self, setting: &str) -> Result<(), Failure> {
        let (name, value) = setting.split_once(char::is_whitespace).map_or((setting, ""), |(name, value)| (name, value.trim()));
        let wrong = |expected: &str| Failure::input(format!("/set {name}: expected {expected}, found {value:?}"));
        let number = || value.parse::<f32>().map_err(|_| wrong("a number"));
        let count = || value.parse::<usize>().map_err(|_| wrong("a whole number"));
        let mut sampling = self.sampling();
        match name {
            "temperature" => sampling.temperature = number()?,
            "top-k" => sampling.top_k = count()?,
            "top-p" => sampling.top_p = number()?,
            "min-p" => sampling.min_p = number()?,
            "typical-p" => sampling.typical_p = number()?,
            "dry-multiplier" => {
                sampling.dry.multiplier = number()?;
                // Not looked for at the start unless they were wanted then: it takes a pass over the vocabulary.
                if sampling.dry.breakers.is_empty() {
                    sampling.dry.breakers = breakers(&[], self.model.tokenizer())?;
                }
            }
            "repeat-penalty" => sampling.repetition_penalty = number()?,
            "seed" => sampling.seed = value.parse().map_err(|_| wrong("a whole number"))?,
            "max-tokens" => self.options.max_tokens = Some(count()?),
            _ => return Err(Failure::input(format!("/set: expected a setting that /set alone lists, found {name:?}"))),
        }
        sampling.validate().map_err(|error| wrong(error.expected()))?;
        self.options.sampling = Some(sampling);
        Ok(())
    }
}

/// Standard output while an answer comes, and the answer.
struct Screen {
    progress: Progress,
    text: String,
    is_terminal: bool,
    failure: Option<Failure>,
}

impl Screen {
    fn new(is_terminal: bool) -> Screen {
        Screen { progress: Progress::new("reading"), text: String::new(), is_terminal, failure: None }
    }

    /// Ends the answer's line.
    fn finish(&mut self) -> Result<(), Failure> {
        self.progress.finish();
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => report::print("\n"),
        }
    }
}

impl Observer for Screen {
    fn text(&mut self, piece: &str) -> ControlFlow<()> {
        self.progress.finish();
        self.text.push_str(piece);
        let printed = if self.is_terminal { report::print(&generate::harmless(piece)) } else { report::print(piece) };
        if let Err(failure) = printed {
            self.failure = Some(failure);
            return ControlFlow::Break(());
        }
        if interrupt::is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn prefill(&mut self, done: usize, total: usize) -> ControlFlow<()> {
        self.progress.update(done, total);
        if interrupt::is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
