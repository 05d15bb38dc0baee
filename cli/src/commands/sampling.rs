//! The sampling flags: their ranges, over the model's defaults, and what they mean to its tokenizer.
//!
//! Not here: the defaults of the model's files (the library), and the sampler (the engine).

use infer_engine::{Dry, Sampling};
use infer_loaders::Tokenizer;

use crate::args::SamplingArgs;
use crate::breakers::breakers;
use crate::report::{self, Failure};

/// The sampling flags by themselves, checked against the sampler's ranges.
pub fn check(args: &SamplingArgs) -> Result<(), Failure> {
    merge(args, &Sampling::greedy()).validate().map_err(|error| {
        let flag = match error.parameter() {
            "repetition_penalty" => "repeat-penalty".to_string(),
            parameter => parameter.replace('_', "-"),
        };
        Failure::input(format!("--{flag}: expected {}, found {}", error.expected(), error.found()))
    })?;
    match args.dry_sequence_breaker.iter().any(String::is_empty) {
        true => Err(Failure::input("--dry-sequence-breaker: expected at least one character, found an empty string")),
        false => Ok(()),
    }
}

/// Flags over the model's defaults, with the tokens that texts among them mean to `tokenizer`.
pub fn resolve(args: &SamplingArgs, defaults: &Sampling, tokenizer: &Tokenizer) -> Result<Sampling, Failure> {
    let mut sampling = merge(args, defaults);
    if sampling.dry.multiplier > 0.0 || !args.dry_sequence_breaker.is_empty() {
        sampling.dry.breakers = breakers(&args.dry_sequence_breaker, tokenizer)?;
    }
    for (token, bias) in &args.logit_bias {
        sampling.logit_bias.extend(tokens(token, tokenizer)?.into_iter().map(|id| (id, *bias)));
    }
    Ok(sampling)
}

/// Flags over the model's defaults, as far as no tokenizer is needed.
fn merge(args: &SamplingArgs, defaults: &Sampling) -> Sampling {
    Sampling {
        temperature: args.temperature.unwrap_or(defaults.temperature),
        top_k: args.top_k.unwrap_or(defaults.top_k),
        top_p: args.top_p.unwrap_or(defaults.top_p),
        min_p: args.min_p.unwrap_or(defaults.min_p),
        typical_p: args.typical_p.unwrap_or(defaults.typical_p),
        top_n_sigma: args.top_n_sigma.unwrap_or(defaults.top_n_sigma),
        xtc_probability: args.xtc_probability.unwrap_or(defaults.xtc_probability),
        xtc_threshold: args.xtc_threshold.unwrap_or(defaults.xtc_threshold),
        dry: Dry {
            multiplier: args.dry_multiplier.unwrap_or(defaults.dry.multiplier),
            base: args.dry_base.unwrap_or(defaults.dry.base),
            allowed_length: args.dry_allowed_length.unwrap_or(defaults.dry.allowed_length),
            last_n: args.dry_penalty_last_n.unwrap_or(defaults.dry.last_n),
            breakers: defaults.dry.breakers.clone(),
        },
        repetition_penalty: args.repeat_penalty.unwrap_or(defaults.repetition_penalty),
        presence_penalty: args.presence_penalty.unwrap_or(defaults.presence_penalty),
        frequency_penalty: args.frequency_penalty.unwrap_or(defaults.frequency_penalty),
        logit_bias: defaults.logit_bias.clone(),
        steps: args.samplers.unwrap_or(defaults.steps),
        seed: args.seed.unwrap_or(defaults.seed),
    }
}

/// The token of an id, or those that a text consists of.
fn tokens(given: &str, tokenizer: &Tokenizer) -> Result<Vec<u32>, Failure> {
    if !given.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(tokenizer.encode(given, false)?);
    }
    let id = given.parse().ok().filter(|&id| (id as usize) < tokenizer.vocab_size());
    let wrong = || format!("--logit-bias: expected a token id below {}, found {given}", tokenizer.vocab_size());
    id.map(|id| vec![id]).ok_or_else(|| Failure::input(wrong()))
}

/// Flags that only matter to sampling do nothing where the choice is greedy: better said than wondered about.
pub fn warn_of_no_effect(args: &SamplingArgs, sampling: &Sampling) {
    let given = [
        ("--top-k", args.top_k.is_some()),
        ("--top-p", args.top_p.is_some()),
        ("--min-p", args.min_p.is_some()),
        ("--typical-p", args.typical_p.is_some()),
        ("--top-n-sigma", args.top_n_sigma.is_some()),
        ("--xtc-probability", args.xtc_probability.is_some()),
        ("--seed", args.seed.is_some()),
    ];
    let given: Vec<&str> = given.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag).collect();
    if sampling.is_greedy() && !given.is_empty() {
        report::warn(&format!("{}: no effect at temperature 0 (greedy), give --temperature as well", given.join(", ")));
    }
}
