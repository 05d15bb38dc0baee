//! `infer check --reference FILE`: the comparison of all logits, its verdict and its report.

use std::path::Path;

use infer_engine::{Compute, Generation, GenerationOptions, Model, Sampling, Speculation};
use serde_json::json;

use crate::args::CheckArgs;
use crate::commands;
use crate::compare::{Comparison, Position, nmse_class};
use crate::reference::Reference;
use crate::report::{self, Failure};

/// In exact arithmetic, the largest difference that rounding in another order explains (formats.md section 7).
const MAX_ABS_ERR: f64 = 1e-3;

/// With products in bf16, or keys and values of 16 bits, the largest error that this rounding explains (formats.md section 7).
const MAX_NMSE_BF16: f64 = 1e-4;

/// With products in bytes: three times what a trained model of 4 million parameters shows (`benches/QUALITY.md`).
const MAX_NMSE_INT8: f64 = 5e-4;

/// How many of the worst positions are listed.
const N_WORST: usize = 5;

/// Runs the command.
pub fn run(args: &CheckArgs, file: &Path) -> Result<(), Failure> {
    let (checkpoint, model) = super::open(args)?;
    let reference = Reference::open(file, model.config().vocab_size)?;
    let mut comparison = Comparison::default();
    let mut expected = Vec::new();
    super::for_each_row(args, (&checkpoint, &model), &reference.input_ids, |position, ours| {
        reference.read_row(position, &mut expected)?;
        comparison.positions.push(Position::new(&expected, ours));
        Ok(())
    })?;
    let greedy = reference.continuation.as_deref().map(|expected| continue_greedily(&model, &reference.input_ids, expected));
    let greedy = greedy.transpose()?;
    let reasons = reasons_to_fail(&model, &comparison, greedy);
    match args.json {
        true => print_json(&model, &comparison, greedy, reasons.is_empty())?,
        false => print_report(args, file, &model, &comparison, (greedy, reference.continuation.map_or(0, |ids| ids.len())))?,
    }
    match reasons.is_empty() {
        true => Ok(()),
        false => Err(Failure::check(format!("{}: check failed: {}", file.display(), reasons.join("; ")))),
    }
}

/// The outcome of the greedy continuation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Greedy {
    Same,
    /// (index in the continuation, reference's token, ours)
    Differs(usize, u32, Option<u32>),
}

fn continue_greedily(model: &Model, prompt: &[u32], expected: &[u32]) -> Result<Greedy, Failure> {
    let options = GenerationOptions {
        sampling: Sampling::greedy(),
        stop_ids: Vec::new(),
        banned_ids: Vec::new(),
        n_logprobs: None,
        n_tokens: model.config().vocab_size,
        max_tokens: Some(expected.len()),
        ctx_size: prompt.len() + expected.len(),
        speculation: Speculation::Off,
    };
    let mut generation = Generation::new(model, prompt, options)?;
    let _ = generation.prefill(&mut |_, _| std::ops::ControlFlow::Continue(()))?;
    for (index, &token) in expected.iter().enumerate() {
        let ours = generation.next_token()?;
        if ours != Some(token) {
            return Ok(Greedy::Differs(index, token, ours));
        }
    }
    Ok(Greedy::Same)
}

/// Which thresholds are exceeded, in words; none is a pass.
fn reasons_to_fail(model: &Model, comparison: &Comparison, greedy: Option<Greedy>) -> Vec<String> {
    let mut reasons = Vec::new();
    let max_nmse = match model.compute() {
        _ if model.is_exact() => None,
        Compute::Int8 => Some(MAX_NMSE_INT8),
        Compute::F32 | Compute::Auto | Compute::Bf16 => Some(MAX_NMSE_BF16),
    };
    if let Some(max_nmse) = max_nmse {
        let nmse = comparison.nmse();
        if nmse > max_nmse {
            reasons.push(format!("nmse {nmse:.3e} exceeds {max_nmse:e}"));
        }
        return reasons;
    }
    let max_abs_err = comparison.max_abs_err();
    if max_abs_err > MAX_ABS_ERR {
        reasons.push(format!("max_abs_err {max_abs_err:.3e} exceeds {MAX_ABS_ERR:e}"));
    }
    if let Some((position, _)) = comparison.first_mismatch() {
        reasons.push(format!("top-1 differs first at position {position}"));
    }
    if let Some(Greedy::Differs(index, ..)) = greedy {
        reasons.push(format!("the greedy continuation differs from its token {index} on"));
    }
    reasons
}

fn print_json(model: &Model, comparison: &Comparison, greedy: Option<Greedy>, pass: bool) -> Result<(), Failure> {
    let first_mismatch = comparison
        .first_mismatch()
        .map(|(position, p)| json!({ "position": position, "reference": p.top1_ref, "ours": p.top1_ours, "margin": p.margin }));
    report::print_json(&json!({
        "positions": comparison.positions.len(),
        "max_abs_err": comparison.max_abs_err(),
        "mean_abs_err": comparison.mean_abs_err(),
        "nmse": comparison.nmse(),
        "mean_kl": comparison.mean_kl(),
        "max_kl": comparison.max_kl(),
        "top1_agreement": comparison.top1_agreement(),
        "first_mismatch": first_mismatch,
        "greedy_match": greedy.map(|greedy| greedy == Greedy::Same),
        "compute": model.compute().to_string(),
        "kv_dtype": model.kv_dtype().name(),
        "isa": model.isa().to_string(),
        "threads": model.n_threads(),
        "pass": pass,
    }))
}

fn print_report(
    args: &CheckArgs,
    file: &Path,
    model: &Model,
    comparison: &Comparison,
    (greedy, n_greedy): (Option<Greedy>, usize),
) -> Result<(), Failure> {
    let n = comparison.positions.len();
    let model_path = commands::model_location(&args.model)?.path().display().to_string();
    let mut text = format!(
        "model:      {}\nreference:  {}: {n} positions of {} logits\nengine:     {}\n\n",
        report::escape(&model_path),
        report::escape(&file.display().to_string()),
        model.config().vocab_size,
        commands::describe_engine(model)
    );
    let number = |value: f64| if value == 0.0 { "0".to_string() } else { format!("{value:.3e}") };
    let mut rows = vec![vec![
        "all positions".to_string(),
        number(comparison.max_abs_err()),
        number(comparison.mean_abs_err()),
        number(comparison.nmse()),
        number(comparison.mean_kl()),
        format!("{:.2} %", 100.0 * comparison.top1_agreement()),
    ]];
    let mut worst: Vec<(usize, &Position)> = comparison.positions.iter().enumerate().collect();
    worst.sort_by(|(_, a), (_, b)| b.max_abs_err.total_cmp(&a.max_abs_err));
    for (position, p) in worst.into_iter().take(N_WORST) {
        rows.push(vec![
            format!("position {position}"),
            number(p.max_abs_err),
            number(p.mean_abs_err),
            number(p.nmse()),
            number(p.kl),
            if p.top1_agrees() { "same".to_string() } else { format!("{} not {}", p.top1_ours, p.top1_ref) },
        ]);
    }
    text.push_str(&report::table(&["", "max |diff|", "mean |diff|", "NMSE", "KL", "top-1"], &rows, 1));
    text.push_str(&format!("\nNMSE:    {}\n", nmse_class(comparison.nmse())));
    if let Some((position, p)) = comparison.first_mismatch() {
        text.push_str(&format!(
            "top-1:   differs first at position {position}: reference {} (ahead by {}), ours {}\n",
            p.top1_ref,
            number(p.margin),
            p.top1_ours
        ));
    }
    match greedy {
        None => text.push_str("greedy:  not in the reference file\n"),
        Some(Greedy::Same) => text.push_str(&format!("greedy:  the same {n_greedy} tokens\n")),
        Some(Greedy::Differs(index, reference, ours)) => {
            let ours = ours.map_or("the end".to_string(), |id| id.to_string());
            text.push_str(&format!(
                "greedy:  differs first at token {index} of {n_greedy}: reference {reference}, ours {ours}\n"
            ));
        }
    }
    report::print(&text)
}
