//! The subcommands, one file each, and what they share: opening the model that the flags name.
//!
//! Not here: syntax (`args.rs`) and messages (`report.rs`).

pub mod bench;
mod chat;
mod check;
mod detokenize;
mod generate;
mod grammar;
mod inspect;
mod prompt;
pub mod quantize;
mod sampling;
mod score;
mod tokenize;

use std::num::NonZeroUsize;

use infer::TextModel;
use infer_engine::{Model, ModelOptions, Speculation};
use infer_loaders::{ChatTemplates, Checkpoint, Location, OpenOptions, Tokenizer};

use crate::args::{Cli, Command, EngineArgs, ModelArgs, QuantArgs, SpeculationArgs};
use crate::quantised::{self, quantised};
use crate::report::{self, Failure, STATUS_RESOURCES};
use crate::resources::{self, Memory};
use crate::scan;

/// Runs what the command line asks for.
pub fn run(cli: &Cli) -> Result<(), Failure> {
    match &cli.command {
        None => generate::run(&cli.generate),
        Some(Command::Bench(args)) => bench::run(args),
        Some(Command::Check(args)) => check::run(args),
        Some(Command::Chat(args)) => chat::run(args),
        Some(Command::Prompt(args)) => prompt::run(args),
        Some(Command::Inspect(args)) => inspect::run(args),
        Some(Command::Quantize(args)) => quantize::run(args),
        Some(Command::Score(args)) => score::run(args),
        Some(Command::Tokenize(args)) => tokenize::run(args),
        Some(Command::Detokenize(args)) => detokenize::run(args),
    }
}

/// Where the model is: what `--model` names, else the one that is part of the program.
fn model_location(args: &ModelArgs) -> Result<Location, Failure> {
    let missing = || Failure::input("--model: expected a model folder or .safetensors file, found nothing (try 'infer --help')");
    args.model.as_deref().map(Location::from).or_else(infer::built_in_model).ok_or_else(missing)
}

/// Opens the checkpoint that `--model` names.
fn open_checkpoint(args: &ModelArgs) -> Result<Checkpoint, Failure> {
    let location = model_location(args)?;
    let path = location.path().to_owned();
    let needed = resources::weight_file_bytes(&path);
    let short_of = |memory: Memory| memory.available().filter(|&(left, _)| left < needed);
    // What is mapped need not be in memory, what is read must.
    if args.no_mmap
        && let Some((left, name)) = short_of(Memory::now())
    {
        let (needed, left) = (report::bytes(needed), report::bytes(left));
        return Err(Failure::resources(format!(
            "{}: expected {needed} for the weights, found {left} left of {name}",
            path.display()
        )));
    }
    infer_loaders::open(location, &OpenOptions { mmap: !args.no_mmap }).map_err(|error| {
        let failure = Failure::from(error);
        match short_of(Memory::now()) {
            // A map that was refused: say what the limit left.
            Some((left, name)) if failure.status() == STATUS_RESOURCES => {
                Failure::resources(format!("{}: {} left of {name}", failure.line(), report::bytes(left)))
            }
            _ => failure,
        }
    })
}

/// Opens the checkpoint that `--model` names, its matrices quantised where `--quant` asks for it.
fn open_weights(args: &ModelArgs, quant: &QuantArgs, n_threads: NonZeroUsize) -> Result<Checkpoint, Failure> {
    let Some(kind) = quant.quant else { return open_checkpoint(args) };
    // Of the original little is left: reading it whole into memory would be for nothing.
    let checkpoint = open_checkpoint(&ModelArgs { no_mmap: false, ..args.clone() })?;
    let options = quantised::Options { quant: kind, is_cached: !quant.no_cache, mmap: !args.no_mmap, n_threads: n_threads.get() };
    quantised(checkpoint, &options)
}

/// Opens the model that `--model` names, with its weights and tokenizer, and the one that `--draft` names to draft for it.
///
/// `--quant` is for the model alone: what drafts stays as it is.
fn open_text_model(
    files: &ModelArgs,
    quant: &QuantArgs,
    engine: &EngineArgs,
    speculation: &SpeculationArgs,
) -> Result<TextModel, Failure> {
    let options = model_options(engine);
    let open = |checkpoint: Checkpoint| {
        check_tensors(engine, &checkpoint)?;
        let model = TextModel::new(checkpoint, &options)?;
        print_warnings(model.checkpoint(), model.model());
        Ok::<TextModel, Failure>(model)
    };
    let mut model = open(open_weights(files, quant, options.threads)?)?;
    match &speculation.draft {
        Some(_) if speculation.speculate == Speculation::Off => report::warn("--draft: no effect with --speculate off"),
        Some(path) => {
            let draft = open_checkpoint(&ModelArgs { model: Some(path.clone()), ..files.clone() })?;
            model.set_draft(open(draft)?)?;
        }
        None => {}
    }
    Ok(model)
}

/// Opens the tokenizer of the model that `--model` names, without its weights.
fn open_tokenizer(args: &ModelArgs) -> Result<Tokenizer, Failure> {
    Ok(infer_loaders::open_tokenizer(model_location(args)?)?)
}

/// Opens the chat templates of the model that `--model` names, without its weights.
fn open_chat_templates(args: &ModelArgs) -> Result<ChatTemplates, Failure> {
    Ok(infer_loaders::open_chat_templates(model_location(args)?)?)
}

/// The engine's options from the flags.
fn model_options(args: &EngineArgs) -> ModelOptions {
    ModelOptions {
        threads: resources::threads(args.threads),
        isa: args.isa,
        compute: args.compute,
        kv_dtype: args.kv_dtype,
        prefill_chunk: args.prefill_chunk,
    }
}

/// Scans the weights where `--check-tensors` asks for it.
fn check_tensors(args: &EngineArgs, checkpoint: &Checkpoint) -> Result<(), Failure> {
    if args.check_tensors {
        scan::check_tensors(checkpoint)?;
    }
    Ok(())
}

/// What computes, and in which types: what a report's numbers depend on.
fn describe_engine(model: &Model) -> String {
    let (isa, compute, kv, n_threads) = (model.isa(), model.compute(), model.kv_dtype().name(), model.n_threads());
    format!("isa {isa}, compute {compute}, keys and values {kv}, threads {n_threads}")
}

/// Tells what is odd about the checkpoint but no error.
fn print_warnings(checkpoint: &Checkpoint, model: &Model) {
    for warning in model.warnings() {
        report::warn(&format!("{}: {warning}", checkpoint.path().display()));
    }
}
