//! `infer score`: the log-probability of each token of a text, the perplexity of a long one, and multiple choice from a file.
//!
//! Not here: how scores are computed (the library).

use std::path::Path;

use infer::{Likelihood, Logprobs, ScoredToken, TextModel};
use serde_json::{Value, json};

use crate::args::ScoreArgs;
use crate::progress::Progress;
use crate::report::{self, Failure};
use crate::{commands, prompt};

use super::generate;

/// Runs the command.
pub fn run(args: &ScoreArgs) -> Result<(), Failure> {
    commands::model_location(&args.model)?;
    let questions = args.choices.as_deref().map(Question::read_file).transpose()?;
    let text = match questions {
        Some(_) => String::new(),
        None => prompt::read("--prompt", args.prompt.as_deref(), args.prompt_file.as_deref())?,
    };
    let options = commands::model_options(&args.engine);
    let checkpoint = commands::open_weights(&args.model, &args.quant, options.threads)?;
    commands::check_tensors(&args.engine, &checkpoint)?;
    let model = TextModel::new(checkpoint, &options)?;
    commands::print_warnings(model.checkpoint(), model.model());
    let ids = if questions.is_some() { Vec::new() } else { model.tokenize(&text)? };
    // The rows of the largest pass; the text itself may be longer than the context.
    let most = args.ctx_size.filter(|&n| n > 0).unwrap_or(model.model().config().max_seq_len);
    let n_rows = if questions.is_some() { args.engine.prefill_chunk.get() } else { ids.len() };
    let plan = generate::plan_memory(&args.engine, args.ctx_size, &model, n_rows.min(most.saturating_sub(1)))?;
    if let Some(questions) = questions {
        return choose(args, &model, &questions, plan.ctx_size);
    }
    if ids.len() < 2 {
        return Err(Failure::input(format!("text: expected at least two tokens, found {}", ids.len())));
    }
    match args.stride {
        Some(stride) => perplexity(args, &model, (&ids, text.len()), (plan.ctx_size, stride.get())),
        None if ids.len() > plan.ctx_size => Err(Failure::input(format!(
            "text: expected at most the context's {} tokens, found {} (--stride N moves a window over it)",
            plan.ctx_size,
            ids.len()
        ))),
        None => tokens(args, &model, &ids, text.len()),
    }
}

/// Every token.
fn tokens(args: &ScoreArgs, model: &TextModel, ids: &[u32], n_bytes: usize) -> Result<(), Failure> {
    let scored = model.score_ids(ids, args.top)?;
    let mut total = Likelihood::default();
    scored.iter().filter_map(|token| token.logprobs.as_ref()).for_each(|logprobs| total.push(logprobs.logprob));
    if args.json {
        let mut object = summary(&total, ids.len(), n_bytes);
        object["tokens"] = scored.iter().map(|token| token_json(model, token.id, token.logprobs.as_ref())).collect();
        return report::print_json(&object);
    }
    let rows: Vec<Vec<String>> = scored.iter().enumerate().map(|(index, token)| row(model, index, token)).collect();
    report::print(&report::table(&["", "token", "likeliest", "id", "logprob", "probability"], &rows, 3))?;
    print_summary(&total, ids.len(), n_bytes)
}

/// A text that may be longer than the context.
fn perplexity(
    args: &ScoreArgs,
    model: &TextModel,
    (ids, n_bytes): (&[u32], usize),
    (window, stride): (usize, usize),
) -> Result<(), Failure> {
    let mut progress = Progress::new("scoring");
    let total = model.likelihood(ids, window, stride, &mut |done| progress.update(done, ids.len()));
    progress.finish();
    let total = total?;
    if args.json {
        let mut object = summary(&total, ids.len(), n_bytes);
        object["window"] = window.into();
        object["stride"] = stride.min(window).into();
        return report::print_json(&object);
    }
    print_summary(&total, ids.len(), n_bytes)
}

fn summary(total: &Likelihood, n_tokens: usize, n_bytes: usize) -> Value {
    json!({
        "n_tokens": n_tokens,
        "n_scored": total.n,
        "logprob": total.logprob,
        "mean_nll": total.mean_nll(),
        "perplexity": total.perplexity(),
        "bits_per_byte": bits_per_byte(total, n_bytes),
    })
}

fn print_summary(total: &Likelihood, n_tokens: usize, n_bytes: usize) -> Result<(), Failure> {
    report::print(&format!(
        "{} of {n_tokens} tokens scored: log-probability {:.4}, {:.4} a token; perplexity {:.4}; {:.4} bits per byte\n",
        total.n,
        total.logprob,
        -total.mean_nll(),
        total.perplexity(),
        bits_per_byte(total, n_bytes)
    ))
}

fn bits_per_byte(total: &Likelihood, n_bytes: usize) -> f64 {
    -total.logprob / std::f64::consts::LN_2 / n_bytes.max(1) as f64
}

fn piece(model: &TextModel, id: u32) -> String {
    model.tokenizer().piece(id).unwrap_or_default()
}

/// A token with its log-probability and alternatives.
pub(super) fn token_json(model: &TextModel, id: u32, logprobs: Option<&Logprobs>) -> Value {
    let one = |id: u32, logprob: f64| json!({ "id": id, "piece": piece(model, id), "logprob": logprob });
    match logprobs {
        None => json!({ "id": id, "piece": piece(model, id), "logprob": null }),
        Some(logprobs) => {
            let mut object = one(id, logprobs.logprob);
            object["top"] = logprobs.top.iter().map(|&(id, logprob)| one(id, logprob)).collect();
            object
        }
    }
}

fn row(model: &TextModel, index: usize, token: &ScoredToken) -> Vec<String> {
    let (top, logprob, probability) = match &token.logprobs {
        None => (String::new(), String::new(), String::new()),
        Some(logprobs) => {
            (top(model, &logprobs.top), format!("{:.4}", logprobs.logprob), format!("{:.2} %", 100.0 * logprobs.logprob.exp()))
        }
    };
    vec![index.to_string(), format!("{:?}", piece(model, token.id)), top, token.id.to_string(), logprob, probability]
}

/// Alternatives on one line.
pub(super) fn top(model: &TextModel, top: &[(u32, f64)]) -> String {
    let one = |&(id, logprob): &(u32, f64)| format!("{:?} {logprob:.3}", piece(model, id));
    top.iter().map(one).collect::<Vec<_>>().join("  ")
}

/// A line of a multiple-choice file.
struct Question {
    context: String,
    choices: Vec<String>,
    answer: Option<usize>,
}

impl Question {
    fn read_file(file: &Path) -> Result<Vec<Question>, Failure> {
        Question::read_all(&file.display().to_string(), &prompt::read("--choices", None, Some(file))?)
    }

    /// One JSON object a line: `context`, `choices` and, where known, `answer`, the index of the right one.
    fn read_all(file: &str, text: &str) -> Result<Vec<Question>, Failure> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let all: Vec<Question> = lines
            .map(|(n, line)| Question::read(line).map_err(|fault| Failure::input(format!("{file}:{}: {fault}", n + 1))))
            .collect::<Result<_, _>>()?;
        match all.is_empty() {
            true => Err(Failure::input(format!("{file}: expected a JSON object on each line, found no line"))),
            false => Ok(all),
        }
    }

    fn read(line: &str) -> Result<Question, String> {
        let value: Value = serde_json::from_str(line).map_err(|error| format!("expected a JSON object, found {error}"))?;
        let context = value["context"].as_str().ok_or("context: expected a text")?.to_string();
        let strings = |list: &Vec<Value>| list.iter().map(|v| v.as_str().map(str::to_string)).collect::<Option<Vec<_>>>();
        let choices = value["choices"].as_array().and_then(strings).filter(|list| list.len() >= 2);
        let choices = choices.filter(|list| list.iter().all(|choice| !choice.is_empty()));
        let choices = choices.ok_or("choices: expected a list of two or more texts, none of them empty")?;
        let answer = match &value["answer"] {
            Value::Null => None,
            given => {
                let index = given.as_u64().filter(|&index| index < choices.len() as u64);
                Some(index.ok_or_else(|| format!("answer: expected an index below {}, found {given}", choices.len()))? as usize)
            }
        };
        Ok(Question { context, choices, answer })
    }
}

/// Multiple choice.
fn choose(args: &ScoreArgs, model: &TextModel, questions: &[Question], ctx_size: usize) -> Result<(), Failure> {
    let mut progress = Progress::new("scoring");
    let (mut results, mut n_answers, mut n_right, mut n_right_by_length) = (Vec::new(), 0, 0, 0);
    for (n, question) in questions.iter().enumerate() {
        let endings = model.score_endings(&question.context, &question.choices, ctx_size);
        let endings = endings.inspect_err(|_| progress.finish())?;
        if let Some(answer) = question.answer {
            n_answers += 1;
            n_right += usize::from(endings.best == answer);
            n_right_by_length += usize::from(endings.best_by_length == answer);
        }
        results.push((endings, question.answer));
        progress.update(n + 1, questions.len());
    }
    progress.finish();
    let share = |n: usize| if n_answers > 0 { Some(n as f64 / f64::from(n_answers)) } else { None };
    let (acc, acc_norm) = (share(n_right), share(n_right_by_length));
    if args.json {
        let one = |(e, answer): &(infer::Endings, Option<usize>)| json!({ "logprobs": e.logprobs, "best": e.best, "best_by_length": e.best_by_length, "answer": answer });
        let all: Vec<Value> = results.iter().map(one).collect();
        return report::print_json(&json!({ "n": questions.len(), "acc": acc, "acc_norm": acc_norm, "questions": all }));
    }
    let cells = |(n, (e, answer)): (usize, &(infer::Endings, Option<usize>))| {
        let logprobs: Vec<String> = e.logprobs.iter().map(|logprob| format!("{logprob:.3}")).collect();
        let answer = answer.map_or("-".to_string(), |answer| answer.to_string());
        vec![(n + 1).to_string(), logprobs.join("  "), e.best.to_string(), e.best_by_length.to_string(), answer]
    };
    let rows: Vec<Vec<String>> = results.iter().enumerate().map(cells).collect();
    report::print(&report::table(&["", "log-probabilities", "best", "by length", "answer"], &rows, 2))?;
    match (acc, acc_norm) {
        (Some(acc), Some(acc_norm)) => report::print(&format!("{n_answers} questions: acc {acc:.4}, by length {acc_norm:.4}\n")),
        _ => Ok(()),
    }
}
