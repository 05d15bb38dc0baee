//! A reference file: tokens, the logits that another implementation computed for them, and optionally its greedy continuation.
//!
//! The format is a safetensors file with `input_ids` int64 (n,), `logits` float32 (n, vocabulary) and where given `greedy_ids` int64
//! (n + m,). The logits stay in the map: a large vocabulary times a long text is many times what is compared at once. Not here: the
//! comparison (`compare.rs`).

use std::path::Path;

use infer_kernels::DType;
use infer_loaders::{LoadError, OpenOptions, Tensor, TensorFile, TensorType, open_safetensors};

/// An open reference file whose tensors fit each other and the model.
#[derive(Debug)]
pub struct Reference {
    /// The input; at least one token, each below the vocabulary's size.
    pub input_ids: Vec<u32>,
    /// The tokens that greedy choice continues the input with; at least one where given.
    pub continuation: Option<Vec<u32>>,
    logits: Tensor,
    vocab_size: usize,
}

impl Reference {
    /// Opens the file for a model with logits of `vocab_size` tokens.
    pub fn open(path: &Path, vocab_size: usize) -> Result<Reference, LoadError> {
        let file = open_safetensors(path, &OpenOptions::default())?;
        let input_ids = ids(required(&file, "input_ids")?, vocab_size)?;
        let logits = required(&file, "logits")?.clone();
        if logits.dtype() != TensorType::Weights(DType::F32) {
            return Err(logits.error("dtype F32", logits.dtype()));
        }
        let expected = [input_ids.len(), vocab_size];
        if logits.shape() != expected {
            let found = format_args!("{:?}", logits.shape()).to_string();
            return Err(logits.error(format_args!("shape {expected:?} (input_ids, the model's vocabulary)"), found));
        }
        let continuation = file.tensor("greedy_ids").map(|tensor| continuation(tensor, &input_ids, vocab_size)).transpose()?;
        Ok(Reference { input_ids, continuation, logits, vocab_size })
    }

    /// Reads the logits of one position into `row`, (vocabulary,). A number that is not finite is an error.
    pub fn read_row(&self, position: usize, row: &mut Vec<f32>) -> Result<(), LoadError> {
        let begin = position * self.vocab_size;
        let (elements, _) = self.logits.bytes().as_chunks::<4>();
        row.clear();
        row.extend(elements.iter().skip(begin).take(self.vocab_size).map(|&bytes| f32::from_le_bytes(bytes)));
        match row.iter().position(|logit| !logit.is_finite()) {
            Some(token) => {
                let found = format_args!("{} at [{position}, {token}]", row[token]).to_string();
                Err(self.logits.error("finite numbers", found))
            }
            None => Ok(()),
        }
    }
}

fn required<'a>(file: &'a TensorFile, name: &str) -> Result<&'a Tensor, LoadError> {
    file.tensor(name).ok_or_else(|| file.missing_tensor(name))
}

/// The token ids of a tensor, (n,) with n >= 1.
fn ids(tensor: &Tensor, vocab_size: usize) -> Result<Vec<u32>, LoadError> {
    if tensor.shape().len() != 1 || tensor.shape() == [0] {
        return Err(tensor.error("shape [n], n at least 1", format_args!("{:?}", tensor.shape())));
    }
    let id = |(index, value): (usize, i64)| match u32::try_from(value) {
        Ok(id) if (id as usize) < vocab_size => Ok(id),
        _ => Err(tensor.error(format_args!("token ids from 0 to {}", vocab_size - 1), format_args!("{value} at index {index}"))),
    };
    tensor.to_i64()?.into_iter().enumerate().map(id).collect()
}

/// What `greedy_ids` has after the input.
fn continuation(tensor: &Tensor, input_ids: &[u32], vocab_size: usize) -> Result<Vec<u32>, LoadError> {
    let all = ids(tensor, vocab_size)?;
    match all.strip_prefix(input_ids) {
        Some([]) => Err(tensor.error("the input_ids and a continuation", format_args!("{} ids and no more", all.len()))),
        Some(continuation) => Ok(continuation.to_vec()),
        None => {
            let same = all.iter().zip(input_ids).take_while(|(a, b)| a == b).count();
            Err(tensor
                .error(format_args!("the {} input_ids first", input_ids.len()), format_args!("others from index {same} on")))
        }
    }
}
