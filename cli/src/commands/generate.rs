//! `infer`: continues a prompt; the text goes to standard output as it is generated, and nothing else does.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use infer::{Choice, Completion, FinishReason, GenerateOptions, Observer, Session, StopStrings, TextModel, Timings};
use infer_engine::MemoryPlan;
use serde_json::{Value, json};

use crate::args::{EngineArgs, GenerateArgs};
use crate::budget::Needs;
use crate::conversation::Conversation;
use crate::progress::Progress;
use crate::prompt_cache::PromptCache;
use crate::report::{self, Failure};
use crate::resources::{self, Memory};
use crate::truncate::Truncate;
use crate::{commands, prompt};

use super::{grammar, sampling, score};

/// Runs the command.
pub fn run(args: &GenerateArgs) -> Result<(), Failure> {
    // What is wrong with the flags themselves is said before a model is opened.
    commands::model_location(&args.model)?;
    sampling::check(&args.sampling)?;
    StopStrings::new(&args.stop).map_err(|_| Failure::input("--stop: expected at least one character, found an empty string"))?;
    StopStrings::new(&args.ban).map_err(|_| Failure::input("--ban: expected at least one character, found an empty string"))?;
    args.prompt_cache.as_deref().map_or(Ok(()), PromptCache::check)?;
    let grammar = grammar::read(&args.grammar)?;
    let conversation = Conversation::from_args(&args.conversation)?;
    let text = match conversation.as_ref().is_some_and(Conversation::is_complete) {
        true => prompt::read_optional("--prompt", args.prompt.as_deref(), args.prompt_file.as_deref())?,
        false => Some(prompt::read("--prompt", args.prompt.as_deref(), args.prompt_file.as_deref())?),
    };

    let started = Instant::now();
    let model = commands::open_text_model(&args.model, &args.quant, &args.engine, &args.speculation)?;
    let load_time = started.elapsed();

    let is_conversation = conversation.is_some();
    let (text, ids) = match conversation {
        None => {
            let text = text.unwrap_or_default();
            let ids = model.tokenize(&text)?;
            (text, ids)
        }
        Some(conversation) => {
            let rendered = conversation.with_prompt(text).render(&model.checkpoint().chat_templates()?, model.tokenizer())?;
            let ids = model.tokenizer().encode_chat(&rendered)?.iter().map(|token| token.id).collect();
            (rendered.text().to_string(), ids)
        }
    };
    let sampling = sampling::resolve(&args.sampling, model.sampling(), model.tokenizer())?;
    sampling::warn_of_no_effect(&args.sampling, &sampling);
    // A prompt that may be cut need not fit whole.
    let n_wanted = if args.truncate.is_some() { ids.len().min(args.engine.prefill_chunk.get()) } else { ids.len() };
    let plan = plan_memory(&args.engine, args.ctx_size, &model, n_wanted)?;
    let (text, ids) = fit(args, is_conversation, &model, text, ids, plan.ctx_size)?;
    let options = GenerateOptions {
        max_tokens: args.max_tokens,
        ctx_size: Some(plan.ctx_size),
        sampling: Some(sampling),
        stop: args.stop.clone(),
        banned: args.ban.clone(),
        grammar,
        n_logprobs: args.logprobs,
        ignore_eos: args.ignore_eos,
        speculation: args.speculation.speculate,
    };

    let mut screen = Screen::new(args.echo.then_some(text), args.json);
    let (mut session, read) = match &args.prompt_cache {
        Some(path) => read_through(path, &model, &ids, plan.ctx_size, &mut screen)?,
        None => (None, Read::default()),
    };
    let completion = model.generate_in(&mut session, &ids, &options, &mut screen);
    screen.finish()?;
    let mut completion = completion?;
    completion.timings.prompt_tokens += read.timings.prompt_tokens;
    completion.timings.prompt_time += read.timings.prompt_time;
    if args.json {
        print_json(&model, &completion, read.n_restored, &screen)?;
    } else {
        for Choice { token, logprobs } in &screen.choices {
            if let Some(logprobs) = logprobs {
                let piece = model.tokenizer().piece(*token).unwrap_or_default();
                report::note(&format!("logprob: {:>9.4}  {piece:?}  {}", logprobs.logprob, score::top(&model, &logprobs.top)));
            }
        }
    }
    let max_seq_len = model.model().config().max_seq_len;
    if completion.finish == FinishReason::Context && plan.ctx_size < max_seq_len && args.ctx_size.is_none() {
        report::warn(&format!("the text fills the {} tokens that memory allows of the model's {max_seq_len}", plan.ctx_size));
    }
    if args.stats {
        print_stats(&model, &completion, &plan, &read, load_time);
    }
    if completion.is_whole { Ok(()) } else { Err(grammar::unfinished(&completion.finish)) }
}

/// The prompt as it fits the context: whole, or cut as `--truncate` says, with the text that is then left.
fn fit(
    args: &GenerateArgs,
    is_conversation: bool,
    model: &TextModel,
    text: String,
    ids: Vec<u32>,
    ctx_size: usize,
) -> Result<(String, Vec<u32>), Failure> {
    let Some(side) = args.truncate else {
        if ids.len() < ctx_size {
            return Ok((text, ids));
        }
        let (expected, found) = (format_args!("fewer tokens than the context's {ctx_size}"), ids.len());
        return Err(Failure::input(format!("prompt: expected {expected} (or --truncate left, right or middle), found {found}")));
    };
    let kept = side.apply(&ids, model.tokenizer().bos_id(), ctx_size, args.max_tokens);
    if kept.len() == ids.len() {
        return Ok((text, ids));
    }
    if is_conversation && side != Truncate::Middle {
        // What a template puts at the beginning and the end is what makes it a conversation.
        return Err(Failure::input(format!("--truncate: expected middle with a conversation that does not fit, found {side}")));
    }
    report::warn(&format!("prompt: {} tokens, cut to {} ({side}) for a context of {ctx_size}", ids.len(), kept.len()));
    Ok((model.tokenizer().decode(&kept, !is_conversation)?, kept))
}

/// What was read before the text is generated.
#[derive(Default)]
struct Read {
    /// Tokens that the prompt cache gave.
    n_restored: usize,
    /// Time for that; `None` where there is no cache.
    restore_time: Option<Duration>,
    timings: Timings,
}

/// Reads the prompt but for its last token, as far as the cache does not hold it, and keeps that in the cache. A cache that cannot be
/// written is told: the text can be had without.
fn read_through<'m>(
    path: &Path,
    model: &'m TextModel,
    ids: &[u32],
    ctx_size: usize,
    screen: &mut Screen,
) -> Result<(Option<Session<'m>>, Read), Failure> {
    if model.model().reads_anew() {
        report::warn("--prompt-cache: no effect with dynamic rope scaling, where every key depends on the whole prompt");
        return Ok((None, Read::default()));
    }
    let started = Instant::now();
    let mut cache = PromptCache::new(path, model);
    let mut session = cache.restore(ids);
    let n_restored = session.as_ref().map_or(0, |session| session.tokens().len());
    let mut read = Read { n_restored, restore_time: Some(started.elapsed()), timings: Timings::default() };
    if !cache.holds(ids)
        && let Some((_, rest)) = ids.split_last().filter(|(_, rest)| !rest.is_empty())
    {
        let mut progress = |done, _| screen.progress.update(done, ids.len());
        read.timings = model.read_in(&mut session, rest, ctx_size, &mut progress)?;
        if let Some(Err(failure)) = session.as_ref().map(|session| cache.save(session)) {
            screen.progress.finish();
            report::warn(&format!("{} (the prompt cache is not saved)", failure.line()));
        }
    }
    Ok((session, read))
}

/// What will be in memory.
pub(super) struct Plan {
    pub(super) ctx_size: usize,
    needs: Needs,
    /// Bytes of all weights.
    weights: u64,
}

pub(super) fn plan_memory(
    engine: &EngineArgs,
    ctx_size: Option<usize>,
    model: &TextModel,
    n_prompt: usize,
) -> Result<Plan, Failure> {
    let config = model.model().config();
    let model_ctx = config.max_seq_len;
    let n_rows = engine.prefill_chunk.get().min(n_prompt);
    let plan_of = |model: &TextModel| MemoryPlan::new(model.model(), model.checkpoint(), model_ctx, n_rows);
    // What drafts takes as much of the context.
    let plan = model.draft().map(plan_of).into_iter().fold(plan_of(model), MemoryPlan::and);
    let needs = Needs {
        mapped_weights: model.draft().into_iter().chain([model]).map(|model| model.checkpoint().mapped_bytes()).sum(),
        kv_per_token: plan.kv_per_token,
        scratch: plan.scratch,
    };
    let memory = Memory::now();
    needs.warn_of_paging(&memory);
    let ctx_size = needs.ctx_size(ctx_size, model_ctx, n_prompt, &memory)?;
    if ctx_size > model_ctx {
        report::warn(&format!("--ctx-size: {ctx_size} is beyond the {model_ctx} positions that the model was made for"));
    }
    Ok(Plan { ctx_size, needs, weights: plan.weights })
}

fn print_stats(model: &TextModel, completion: &Completion, plan: &Plan, read: &Read, load_time: Duration) {
    let (engine, timings) = (model.model(), &completion.timings);
    let seconds = |time: Duration| format!("{:.3} s", time.as_secs_f64());
    report::note(&format!("load:    {}", seconds(load_time)));
    if let Some(time) = read.restore_time {
        report::note(&format!("cache:   {} tokens in {}", read.n_restored, seconds(time)));
    }
    report::note(&format!(
        "prompt:  {} tokens in {}, {}",
        timings.prompt_tokens,
        seconds(timings.prompt_time),
        report::rate(timings.prompt_tokens, timings.prompt_time)
    ));
    report::note(&format!(
        "text:    {} tokens in {}, {}; ended by {}",
        timings.generated_tokens,
        seconds(timings.decode_time),
        report::rate(timings.decode_tokens, timings.decode_time),
        match &completion.finish {
            FinishReason::Eos(id) => format!("end-of-text token {id}"),
            FinishReason::Complete => "the end of the grammar".to_string(),
            FinishReason::Stop(stop) => format!("stop string {stop:?}"),
            FinishReason::MaxTokens => "--max-tokens".to_string(),
            FinishReason::Context => "the end of the context".to_string(),
            FinishReason::Cancelled => "the reader".to_string(),
        }
    ));
    if timings.drafted_tokens > 0 {
        report::note(&format!("drafts:  {}", drafts(timings)));
    }
    report::note(&format!("engine:  {}", commands::describe_engine(engine)));
    report::note(&format!(
        "memory:  weights {}, KV cache {} of context {}, scratch {}{}",
        report::bytes(plan.weights),
        report::bytes(completion.kv_bytes as u64),
        plan.ctx_size,
        report::bytes(plan.needs.scratch),
        resources::peak_resident().map_or(String::new(), |peak| format!(", peak resident {}", report::bytes(peak)))
    ));
}

fn print_json(model: &TextModel, completion: &Completion, n_restored: usize, screen: &Screen) -> Result<(), Failure> {
    let (finish, stop) = match &completion.finish {
        FinishReason::Eos(id) => ("eos", json!(id)),
        FinishReason::Complete => ("complete", Value::Null),
        FinishReason::Stop(stop) => ("stop", json!(stop)),
        FinishReason::MaxTokens => ("max_tokens", Value::Null),
        FinishReason::Context => ("context", Value::Null),
        FinishReason::Cancelled => ("cancelled", Value::Null),
    };
    let timings = &completion.timings;
    let mut object = json!({
        "text": screen.collected,
        "finish": finish,
        "stop": stop,
        "whole": completion.is_whole,
        "prompt_tokens": timings.prompt_tokens + n_restored,
        "cached_tokens": n_restored,
        "generated_tokens": timings.generated_tokens,
        "prompt_seconds": timings.prompt_time.as_secs_f64(),
        "decode_seconds": timings.decode_time.as_secs_f64(),
    });
    if !screen.choices.is_empty() {
        object["tokens"] = screen.choices.iter().map(|c| score::token_json(model, c.token, c.logprobs.as_ref())).collect();
    }
    report::print_json(&object)
}

/// What speculation brought, in a line.
pub(super) fn drafts(timings: &Timings) -> String {
    let Timings { drafted_tokens, accepted_tokens, decode_passes, decode_tokens, decode_time, plain_time, .. } = *timings;
    let share = 100.0 * accepted_tokens as f64 / drafted_tokens.max(1) as f64;
    let gain = plain_time.filter(|_| !decode_time.is_zero()).map_or(String::new(), |plain| {
        format!("; about {:.2} x the speed without", plain.as_secs_f64() / decode_time.as_secs_f64())
    });
    format!(
        "{drafted_tokens} tokens drafted, {accepted_tokens} accepted ({share:.0} %), {decode_tokens} tokens in {decode_passes} passes{gain}"
    )
}

/// Standard output, and the progress bar that is there until the first text.
struct Screen {
    progress: Progress,
    // The prompt, where it is to be shown. It waits until it has been read: the bar may be on its line.
    echo: Option<String>,
    is_terminal: bool,
    // Whether the last line of the text is still open.
    open_line: bool,
    // The text, where it is not to be shown as it comes.
    collected: Option<String>,
    // Tokens with their log-probabilities, where these are asked for.
    choices: Vec<Choice>,
    failure: Option<Failure>,
}

impl Screen {
    fn new(echo: Option<String>, collects: bool) -> Screen {
        Screen {
            echo,
            progress: Progress::new("reading the prompt"),
            is_terminal: io::stdout().is_terminal(),
            open_line: false,
            collected: collects.then(String::new),
            choices: Vec::new(),
            failure: None,
        }
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        self.progress.finish();
        if let Some(collected) = &mut self.collected {
            collected.push_str(text);
            return Ok(());
        }
        if let Some(last) = text.chars().next_back() {
            self.open_line = last != '\n';
        }
        match self.is_terminal {
            true => report::print(&harmless(text)),
            false => report::print(text),
        }
    }

    /// Ends the last line of a terminal, so that the shell's prompt or an error starts on its own; reports what went wrong before.
    fn finish(&mut self) -> Result<(), Failure> {
        self.progress.finish();
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if self.open_line && self.is_terminal { self.write("\n") } else { Ok(()) }
    }
}

/// Text for a terminal: a model's words must not move the cursor, change a title or worse. Elsewhere the text is left as it is.
pub(super) fn harmless(text: &str) -> String {
    text.replace(|c: char| c.is_control() && !matches!(c, '\n' | '\t'), "\u{fffd}")
}

impl Observer for Screen {
    fn text(&mut self, piece: &str) -> ControlFlow<()> {
        match self.write(piece) {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                self.failure = Some(failure);
                ControlFlow::Break(())
            }
        }
    }

    fn token(&mut self, choice: &Choice) {
        if choice.logprobs.is_some() {
            self.choices.push(choice.clone());
        }
    }

    fn prefill(&mut self, done: usize, total: usize) -> ControlFlow<()> {
        self.progress.update(done, total);
        match self.echo.take_if(|_| done == total) {
            Some(prompt) => self.text(&prompt),
            None => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_no_control_characters_but_line_ends_and_tabs() {
        assert_eq!(harmless("a\tb\n\u{1b}[2Jé\u{7}\u{9b}"), "a\tb\n\u{fffd}[2Jé\u{fffd}\u{fffd}");
    }
}
