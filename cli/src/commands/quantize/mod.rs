//! `infer quantize`: a checkpoint as one GGUF file, in a storage format of the user's choice.
//!
//! The file is what llama.cpp's converter and `llama-quantize` together would make of the checkpoint, and loads there: keys, tokenizer, order of
//! rows, mix of formats. Weights stream from the map through the encoders to the file. Not here: how good the file is (`infer check --against`).

mod keys;

use std::path::Path;

use infer_engine::{Config, Model};
use infer_kernels::DType;
use infer_loaders::{Checkpoint, GGUF_ALIGNMENT, GgufHeader, GgufValue, gguf_tensor_name};

use crate::args::QuantizeArgs;
use crate::commands;
use crate::output_file::{OutputFile, is_same_file};
use crate::progress::Progress;
use crate::quantised::encode::{self, Source};
use crate::quantised::mix::{self, FileType};
use crate::report::{self, Failure};
use crate::resources;

/// A tensor of the file.
struct Part<'c> {
    name: String,
    shape: Vec<usize>,
    dtype: DType,
    source: Source<'c>,
}

/// Runs the command.
pub fn run(args: &QuantizeArgs) -> Result<(), Failure> {
    let checkpoint = commands::open_checkpoint(&args.model)?;
    let threads = resources::threads(args.threads);
    let model = Model::open(&checkpoint, &infer_engine::ModelOptions { threads, ..Default::default() })?;
    commands::print_warnings(&checkpoint, &model);
    let config = model.config();
    refuse_to_overwrite(&checkpoint, &args.output)?;

    let mut header = GgufHeader::default();
    keys::add(&mut header, &checkpoint, config, args.to)?;
    if let Some(loss) = keys::losses(config) {
        report::warn(&format!("{}: {loss}", checkpoint.path().display()));
    }
    add_vocabulary(&mut header, &checkpoint, config)?;
    let factors = keys::rope_factors(config);
    let parts = parts(&checkpoint, config, factors.as_deref(), args.to)?;
    let mut n_bytes = Vec::new();
    for part in &parts {
        // Rows are whole blocks of the format that was chosen for them, and the tensor is in memory already, in some format.
        let too_large =
            || Failure::input(format!("{}: tensor '{}': expected a size that a file can have", args.output.display(), part.name));
        n_bytes.push(header.tensor(&part.name, &part.shape, part.dtype).ok_or_else(too_large)?);
    }

    let begin = header.to_bytes();
    let total = begin.len() as u64 + header.data_bytes();
    let mut output = OutputFile::create(&args.output)?;
    output.write(&begin)?;
    let mut progress = Progress::of_bytes("quantising");
    let mut done = 0;
    for (part, n_bytes) in parts.iter().zip(n_bytes) {
        let mut take = |bytes: &[u8]| -> Result<(), Failure> {
            output.write(bytes)?;
            done += bytes.len() as u64;
            progress
                .update(usize::try_from(done).unwrap_or(usize::MAX), usize::try_from(header.data_bytes()).unwrap_or(usize::MAX));
            Ok(())
        };
        encode::each_batch(&part.source, part.dtype, threads.get(), &mut take)?;
        let padding = n_bytes.next_multiple_of(GGUF_ALIGNMENT) - n_bytes;
        output.write(&vec![0; usize::try_from(padding).unwrap_or_default()])?;
    }
    checkpoint.verify_unchanged()?;
    output.finish()?;
    progress.finish();
    report::note(&summary(args, &checkpoint, &parts, total));
    Ok(())
}

/// The input is mapped: a file that took its place would still be read right, but the original would be gone.
fn refuse_to_overwrite(checkpoint: &Checkpoint, output: &Path) -> Result<(), Failure> {
    for file in checkpoint.weight_files() {
        if is_same_file(file, output).map_err(|error| Failure::write(output.display(), &error))? {
            return Err(Failure::input(format!("{}: expected another file than the model itself, found it", output.display())));
        }
    }
    Ok(())
}

fn add_vocabulary(header: &mut GgufHeader, checkpoint: &Checkpoint, config: &Config) -> Result<(), Failure> {
    let id = |key: &str| Ok::<_, Failure>(checkpoint.config().ids(key)?.and_then(|ids| ids.first().copied()));
    match checkpoint.gguf_vocabulary(config.vocab_size, id("bos_token_id")?, id("eos_token_id")?)? {
        Some(keys) => keys.into_iter().for_each(|(key, value)| header.key(key, value)),
        None => {
            report::warn(&format!("{}: no tokenizer, so the file will have none", checkpoint.path().display()));
            header.key("tokenizer.ggml.model", GgufValue::Text("none".to_owned()));
        }
    }
    Ok(())
}

/// The tensors of the file in their order: embedding, layers, what comes after.
fn parts<'c>(
    checkpoint: &'c Checkpoint,
    config: &Config,
    factors: Option<&'c [f32]>,
    kind: FileType,
) -> Result<Vec<Part<'c>>, Failure> {
    let model = mix::Shape {
        n_layers: config.n_layers,
        group_size: config.group_size(),
        is_tied: checkpoint.tensor("lm_head.weight").is_none(),
    };
    let in_pairs = keys::architecture(config) == "llama";
    let mut parts = Vec::new();
    for tensor in checkpoint.tensors() {
        let Some(name) = gguf_tensor_name(tensor.name()) else { continue };
        let rotated = [".attn_q.", ".attn_k."].iter().any(|part| name.contains(part));
        let source = Source::new(tensor, (in_pairs && rotated).then_some(config.head_dim))?;
        let dtype = kind.of_tensor(&name, tensor.shape(), model);
        parts.push(Part { name, shape: tensor.shape().to_vec(), dtype, source });
    }
    if let Some(factors) = factors {
        let (name, shape) = (keys::ROPE_FACTORS.to_owned(), vec![factors.len()]);
        parts.push(Part { name, shape, dtype: DType::F32, source: Source::Values(factors) });
    }
    parts.sort_by_key(|part| order(&part.name));
    Ok(parts)
}

/// Where a tensor stands: (before, in or after the layers; the layer; the name).
fn order(name: &str) -> (u8, usize, String) {
    let layer = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')?.0.parse().ok());
    match (layer, name) {
        (Some(layer), _) => (1, layer, name.to_owned()),
        (None, "token_embd.weight" | keys::ROPE_FACTORS) => (0, 0, name.to_owned()),
        (None, _) => (2, 0, name.to_owned()),
    }
}

/// One line: size against the original's, bits of a weight, and what formats there are.
fn summary(args: &QuantizeArgs, checkpoint: &Checkpoint, parts: &[Part], total: u64) -> String {
    let elements = |part: &Part| part.shape.iter().map(|&n| n as u64).product::<u64>();
    let n_weights: u64 = parts.iter().map(elements).sum();
    let mut formats: Vec<(DType, usize)> = Vec::new();
    for part in parts {
        match formats.iter_mut().find(|(dtype, _)| *dtype == part.dtype) {
            Some((_, n)) => *n += 1,
            None => formats.push((part.dtype, 1)),
        }
    }
    formats.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let formats: Vec<String> = formats.iter().map(|(dtype, n)| format!("{n} {dtype}")).collect();
    format!(
        "{}: {} from {}, {:.2} bits for each weight; tensors: {}",
        report::escape(&args.output.display().to_string()),
        report::bytes(total),
        report::bytes(checkpoint.weight_bytes()),
        8.0 * total as f64 / n_weights.max(1) as f64,
        formats.join(", ")
    )
}
