//! `infer check`: logits against a reference file, published values or another model. Exit code 0 within the thresholds, 1 beyond.
//!
//! References give token ids, so no tokenizer is needed but to compare two models on a text.

mod against;
mod published;
mod reference;

use infer_engine::{Batch, MemoryPlan, Model, Row};
use infer_loaders::Checkpoint;

use crate::args::CheckArgs;
use crate::budget::Needs;
use crate::commands;
use crate::progress::Progress;
use crate::report::Failure;
use crate::resources::Memory;

/// The most logits that are held at once, in bytes: a text of any length is compared in small memory.
const MAX_LOGITS: usize = 64 << 20;

/// Runs the command.
pub fn run(args: &CheckArgs) -> Result<(), Failure> {
    if let Some(original) = &args.against {
        return against::run(args, original);
    }
    match (&args.reference, &args.published) {
        (Some(file), _) => reference::run(args, file),
        (None, Some(name)) if name == "list" => published::list(args.json),
        (None, Some(name)) => published::run(args, name),
        (None, None) => Err(Failure::input("infer check: expected --reference FILE, --published or --against MODEL, found none")),
    }
}

/// Opens checkpoint and model as the flags say.
fn open(args: &CheckArgs) -> Result<(Checkpoint, Model), Failure> {
    let options = commands::model_options(&args.engine);
    let checkpoint = commands::open_weights(&args.model, &args.quant, options.threads)?;
    commands::check_tensors(&args.engine, &checkpoint)?;
    let model = Model::open(&checkpoint, &options)?;
    commands::print_warnings(&checkpoint, &model);
    Ok((checkpoint, model))
}

/// Runs the model over `ids` and hands each position's logits, (vocabulary,), to `take`, in order.
fn for_each_row(
    args: &CheckArgs,
    (checkpoint, model): (&Checkpoint, &Model),
    ids: &[u32],
    mut take: impl FnMut(usize, &[f32]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let vocab_size = model.config().vocab_size;
    let n_rows = args.engine.prefill_chunk.get().min((MAX_LOGITS / size_of::<f32>() / vocab_size).max(1)).min(ids.len());
    let plan = MemoryPlan::new(model, checkpoint, ids.len(), n_rows);
    let logits = (n_rows * vocab_size * size_of::<f32>()) as u64;
    let needs = Needs {
        mapped_weights: checkpoint.mapped_bytes(),
        kv_per_token: plan.kv_per_token,
        scratch: plan.scratch.saturating_add(logits),
    };
    needs.require(ids.len(), &Memory::now())?;

    let (mut cache, mut state, mut batch) = (model.new_cache(), model.new_state(), Batch::new());
    let sequence = cache.create();
    let mut progress = Progress::new("comparing");
    let mut begin = 0;
    for chunk in ids.chunks(n_rows) {
        batch.clear();
        for (offset, &token) in chunk.iter().enumerate() {
            batch.push(Row { sequence, position: begin + offset, token, rope_len: ids.len(), wants_logits: true });
        }
        model.forward(&batch, &mut cache, &mut state)?;
        for row in 0..chunk.len() {
            let (position, logits) = (begin + row, state.logits(row));
            if let Some(token) = logits.iter().position(|logit| !logit.is_finite()) {
                let path = checkpoint.path().display();
                let found = logits[token];
                return Err(Failure::input(format!(
                    "{path}: logits: expected finite numbers, found {found} at [{position}, {token}]"
                )));
            }
            take(position, logits)?;
        }
        begin += chunk.len();
        progress.update(begin, ids.len());
    }
    Ok(())
}
