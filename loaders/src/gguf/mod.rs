//! GGUF files, whole or split, as a checkpoint: header, settings, tensors under Hugging Face's names, vocabulary.
//!
//! Not here: the header's syntax (`header.rs`) and block formats (`infer_kernels`). Tensors are read in place, except queries and keys of
//! `llama` files, whose rows are put in another order once (`names.rs`).

mod config;
mod export;
mod header;
mod names;
mod vocabulary;
mod writer;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::checkpoint::Checkpoint;
use crate::error::LoadError;
use crate::file::open_regular;
use crate::safetensors::Entry;
use crate::tensor::Tensor;
use crate::tensor_file::{OpenOptions, TensorFile};
use config::Facts;
use header::{Header, Value, Values};
pub use names::{gguf_row_of_pairs, gguf_tensor_name};
pub(crate) use vocabulary::{Vocabulary, missing as missing_vocabulary};
pub use writer::{GGUF_ALIGNMENT, GgufHeader, GgufValue};

/// The tensor of divisors of the rotary frequencies.
const ROPE_FACTORS: &str = "rope_freqs.weight";
/// What keys begin with that say where a model is from, under which licence, and the like.
const ABOUT: &str = "general.";
/// The most files that a model is split into.
const MAX_FILES: u64 = 1000;

const SPLIT_NUMBER: &str = "split.no";
const SPLIT_COUNT: &str = "split.count";
const SPLIT_TENSORS: &str = "split.tensors.count";

/// Whether a file begins as GGUF files do. What cannot be read is reported by whoever reads it next.
pub(crate) fn is_gguf(path: &Path) -> Result<bool, LoadError> {
    let (mut file, _) = open_regular(path)?;
    let mut magic = [0; header::MAGIC.len()];
    Ok(file.read_exact(&mut magic).is_ok() && magic == header::MAGIC)
}

/// Opens a GGUF file, or all files of a split model by its first.
///
/// # Errors
/// Those of [`crate::open`], naming the key or the tensor where there is one.
pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Checkpoint, LoadError> {
    let (values, first) = open_one(path, options)?;
    let mut files = vec![first];
    let n_files = split_of(path, &values, 0)?.unwrap_or(1);
    for number in 1..n_files {
        let part = part_path(path, &values, number, n_files)?;
        let (part_values, file) = open_one(&part, options)?;
        if split_of(&part, &part_values, number)? != Some(n_files) {
            return Err(wrong_split(&part, &part_values, SPLIT_COUNT, n_files));
        }
        files.push(file);
    }
    if let Some(value) = values.get(SPLIT_TENSORS) {
        let n_tensors: usize = files.iter().map(|file| file.tensors().count()).sum();
        if value.clone().integer().and_then(|n| usize::try_from(n).ok()) != Some(n_tensors) {
            return Err(wrong_split(path, &values, SPLIT_TENSORS, n_tensors as u64));
        }
    }
    assemble(path, values, files)
}

/// Reads what a GGUF file (of a split model, the first) says of its tokenizer, whatever else is in it.
///
/// # Errors
/// If the header is malformed, or there is no vocabulary or a wrong one.
pub(crate) fn open_vocabulary(path: &Path) -> Result<Vocabulary, LoadError> {
    let (file, metadata) = open_regular(path)?;
    let Header { mut values, .. } = header::parse(path, BufReader::new(&file), metadata.len())?;
    Vocabulary::take(path, &mut values, None)?.ok_or_else(|| missing_vocabulary(path))
}

/// Reads a whole GGUF file that is in memory; `path` stands for it in messages.
///
/// # Errors
/// Those of [`crate::open`] that concern the content.
pub fn gguf_in_memory(path: &Path, bytes: Vec<u8>) -> Result<Checkpoint, LoadError> {
    let Header { values, tensors, data_begin } = header::parse(path, &bytes[..], bytes.len() as u64)?;
    if split_of(path, &values, 0)?.is_some_and(|n| n > 1) {
        return Err(wrong_split(path, &values, SPLIT_COUNT, 1));
    }
    let entries = translated(path, tensors)?;
    let file = TensorFile::in_memory(path, Cow::Owned(bytes), entries, data_begin)?;
    assemble(path, values, vec![file])
}

/// Opens one GGUF file for its tensors alone, as they lie, under Hugging Face's names; with the keys whose values are texts.
///
/// # Errors
/// Those of [`crate::open`] that concern the file and its header.
pub fn open_gguf_tensors(path: &Path, options: &OpenOptions) -> Result<(BTreeMap<String, String>, TensorFile), LoadError> {
    let (values, file) = open_one(path, options)?;
    let text = |(key, value)| match value {
        Value::Text(text) => Some((key, text)),
        _ => None,
    };
    Ok((values.into_iter().filter_map(text).collect(), file))
}

fn open_one(path: &Path, options: &OpenOptions) -> Result<(Values, TensorFile), LoadError> {
    let (mut file, metadata) = open_regular(path)?;
    let Header { values, tensors, data_begin } = header::parse(path, BufReader::new(&file), metadata.len())?;
    let entries = translated(path, tensors)?;
    seek(path, &mut file, data_begin)?;
    let file = TensorFile::load(path, file, &metadata, entries, data_begin, options)?;
    Ok((values, file))
}

fn seek(path: &Path, file: &mut File, to: u64) -> Result<(), LoadError> {
    file.seek(SeekFrom::Start(to)).map(drop).map_err(|error| LoadError::os(path, "read the file", error))
}

/// The entries under Hugging Face's names, in the order of these.
fn translated(path: &Path, mut entries: Vec<Entry>) -> Result<Vec<Entry>, LoadError> {
    for entry in &mut entries {
        entry.name = names::translate(&entry.name).into();
    }
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    match entries.iter().zip(entries.iter().skip(1)).find(|(a, b)| a.name == b.name) {
        Some((repeated, _)) => Err(LoadError::tensor(path, &repeated.name, "one tensor of this name", "several")),
        None => Ok(entries),
    }
}

/// The number of files that the model is split into, if it is; `number` is which of them this one must be.
fn split_of(path: &Path, values: &Values, number: u64) -> Result<Option<u64>, LoadError> {
    let get = |key: &str| values.get(key).map(|value| value.clone().integer().and_then(|n| u64::try_from(n).ok()));
    let Some(count) = get(SPLIT_COUNT) else { return Ok(None) };
    let Some(count) = count.filter(|n| (1..=MAX_FILES).contains(n)) else {
        let expected = format_args!("1 to {MAX_FILES} files");
        return Err(LoadError::field(path, SPLIT_COUNT, expected, values.get(SPLIT_COUNT).unwrap_or(&Value::Unsigned(0))));
    };
    if count > 1 && get(SPLIT_NUMBER).flatten() != Some(number) {
        return Err(wrong_split(path, values, SPLIT_NUMBER, number));
    }
    Ok(Some(count))
}

fn wrong_split(path: &Path, values: &Values, key: &str, expected: u64) -> LoadError {
    match values.get(key) {
        Some(value) => LoadError::field(path, key, expected, value),
        None => LoadError::field(path, key, expected, "nothing"),
    }
}

/// The path of another file of a split model: `NAME-00001-of-00003.gguf` is the first of three.
fn part_path(first: &Path, values: &Values, number: u64, n_files: u64) -> Result<PathBuf, LoadError> {
    let end = format!("-00001-of-{n_files:05}.gguf");
    let name = first.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name.strip_suffix(&end) {
        Some(stem) => Ok(first.with_file_name(format!("{stem}-{:05}-of-{n_files:05}.gguf", number + 1))),
        None => {
            let found = values.get(SPLIT_COUNT).map_or_else(String::new, Value::to_string);
            let expected = format_args!("1 in a file whose name does not end in '{end}'");
            Err(LoadError::field(first, SPLIT_COUNT, expected, found))
        }
    }
}

fn assemble(path: &Path, mut values: Values, files: Vec<TensorFile>) -> Result<Checkpoint, LoadError> {
    let architecture = config::architecture(path, &values)?.to_owned();
    let mut rope_factors = None;
    let mut named = |tensor: Tensor| -> Result<Option<Tensor>, LoadError> {
        if tensor.name() == ROPE_FACTORS {
            rope_factors = Some(factors(&tensor)?);
            return Ok(None);
        }
        names::in_halves(tensor, &architecture, &values).map(Some)
    };
    let files = files.into_iter().map(|file| file.rewritten(&mut named)).collect::<Result<Vec<_>, _>>()?;
    let find = |name: &str| files.iter().find_map(|file| file.tensor(name));
    let n_rows = find("model.embed_tokens.weight").and_then(|tensor| tensor.shape().first().copied());
    let has_attention_bias = find("model.layers.0.self_attn.q_proj.bias").is_some();
    let has_mlp_bias = find("model.layers.0.mlp.gate_proj.bias").is_some();
    let vocabulary = Vocabulary::take(path, &mut values, n_rows)?;
    let eos_ids = vocabulary.as_ref().map(Vocabulary::eos_ids).unwrap_or_default();
    let bos_id = vocabulary.as_ref().and_then(Vocabulary::bos_id);
    let facts = Facts { n_rows, has_attention_bias, has_mlp_bias, rope_factors, eos_ids, bos_id };
    let config = config::config(path, &values, facts)?;
    let text = |(key, value): (String, Value)| match value {
        Value::Text(text) if key.starts_with(ABOUT) && key != config::ARCHITECTURE_KEY => Some((key, text)),
        _ => None,
    };
    let about = values.into_iter().filter_map(text).collect();
    Checkpoint::of_gguf(path, config, files, (vocabulary, about))
}

/// The divisors of the rotary frequencies, all positive.
fn factors(tensor: &Tensor) -> Result<Vec<f32>, LoadError> {
    let factors = tensor.to_f32()?;
    match factors.iter().find(|&&x| !(x.is_finite() && x > 0.0)) {
        None => Ok(factors),
        Some(x) => Err(tensor.error("positive numbers", format_args!("{x:?}"))),
    }
}
