//! Every truncation and every flipped bit of a tiny checkpoint's files: no panic, and an error in one line or a model that works.
//!
//! Most of it runs inside the test, by the same libraries as the binary; a sample runs through the binary. Not here: flipped weights,
//! all of which are numbers or are found by their logits (`safetensors.rs`).

use std::fs;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;

use infer_engine::{Batch, Model, ModelError, ModelOptions, Row};
use infer_loaders::{Checkpoint, Fault, OpenOptions, Tokenizer};
use serde_json::json;

use super::case::{Suite, inspect};
use crate::util::{Dir, TensorData, safetensors};

/// Of the mutations, one in so many runs through the binary, too.
const SAMPLE: usize = 211;

const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = "config.json";
const INDEX: &str = "model.safetensors.index.json";
const TOKENIZER: &str = "tokenizer.json";

/// The logits of a few tokens, all positions.
pub fn logits(checkpoint: &Checkpoint) -> Result<Vec<f32>, ModelError> {
    let options = ModelOptions { threads: NonZeroUsize::MIN, ..ModelOptions::default() };
    let model = Model::open(checkpoint, &options)?;
    let (mut cache, mut state, mut batch) = (model.new_cache(), model.new_state(), Batch::new());
    let sequence = cache.create();
    for (position, token) in [1, 0, 3, 2].into_iter().enumerate() {
        batch.push(Row { sequence, position, token, rope_len: 4, wants_logits: true });
    }
    model.forward(&batch, &mut cache, &mut state)?;
    Ok((0..4).flat_map(|row| state.logits(row).to_vec()).collect())
}

/// The tensors of a Llama of one layer, width 4, two heads, and four tokens.
fn tensors() -> Vec<TensorData> {
    let shapes: [(&str, &[usize]); 11] = [
        ("model.embed_tokens.weight", &[4, 4]),
        ("model.layers.0.input_layernorm.weight", &[4]),
        ("model.layers.0.mlp.down_proj.weight", &[4, 6]),
        ("model.layers.0.mlp.gate_proj.weight", &[6, 4]),
        ("model.layers.0.mlp.up_proj.weight", &[6, 4]),
        ("model.layers.0.post_attention_layernorm.weight", &[4]),
        ("model.layers.0.self_attn.k_proj.weight", &[2, 4]),
        ("model.layers.0.self_attn.o_proj.weight", &[4, 4]),
        ("model.layers.0.self_attn.q_proj.weight", &[4, 4]),
        ("model.layers.0.self_attn.v_proj.weight", &[2, 4]),
        ("model.norm.weight", &[4]),
    ];
    let mut n = 0_u32;
    let mut tensor = |&(name, shape): &(&'static str, &[usize])| {
        let mut number = || {
            n += 1;
            ((n * 37 % 101) as f32 / 50.0 - 1.0).to_le_bytes()
        };
        let bytes = (0..shape.iter().product()).flat_map(|_| number()).collect();
        TensorData { name: name.to_string(), dtype: "F32", shape: shape.to_vec(), bytes }
    };
    shapes.iter().map(&mut tensor).collect()
}

/// A folder with that model.
fn tiny() -> Dir {
    let dir = Dir::new();
    dir.write(WEIGHTS, safetensors(&tensors()));
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "hidden_size": 4, "intermediate_size": 6, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 4, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
        "rope_scaling": { "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1, "high_freq_factor": 4.0,
                          "original_max_position_embeddings": 16 },
        "tie_word_embeddings": true, "eos_token_id": [2, 3],
    });
    dir.write(CONFIG, config.to_string());
    dir
}

/// The same in two shards.
fn tiny_sharded() -> Dir {
    let dir = tiny();
    fs::remove_file(dir.path(WEIGHTS)).unwrap();
    let (mut first, mut map) = (tensors(), serde_json::Map::new());
    let second = first.split_off(6);
    for (file, tensors) in [("a.safetensors", first), ("b.safetensors", second)] {
        dir.write(file, safetensors(&tensors));
        map.extend(tensors.iter().map(|tensor| (tensor.name.to_string(), json!(file))));
    }
    dir.write(INDEX, json!({ "metadata": { "total_size": 504 }, "weight_map": map }).to_string());
    dir
}

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
enum Mutation {
    /// Its first so many bytes are left.
    Cut(usize),
    /// One bit of one byte is turned over.
    Flip(usize, u8),
}

impl Mutation {
    /// All truncations, and all flips within the first `n_flipped` bytes.
    fn all(n_bytes: usize, n_flipped: usize) -> Vec<Mutation> {
        let flips = (0..n_flipped).flat_map(|at| (0..8).map(move |bit| Mutation::Flip(at, bit)));
        (0..n_bytes).map(Mutation::Cut).chain(flips).collect()
    }

    fn apply(self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        match self {
            Mutation::Cut(length) => bytes.truncate(length),
            Mutation::Flip(at, bit) => bytes[at] ^= 1 << bit,
        }
        bytes
    }
}

/// Applies every mutation to `file` of copies of the folder that `make` makes, and lets `judge` look at each; runs a sample through the
/// binary.
#[track_caller]
fn mutate(file: &str, n_flipped: Option<usize>, make: fn() -> Dir, judge: impl Fn(&Path) -> Result<(), String> + Sync) {
    let good = fs::read(make().path(file)).unwrap();
    let all = Mutation::all(good.len(), n_flipped.unwrap_or(good.len()));
    let n_threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let judge_part = |part: &[Mutation]| -> Vec<String> {
        let dir = make();
        let complain = |mutation: &Mutation| {
            dir.write(file, mutation.apply(&good));
            let result = catch_unwind(AssertUnwindSafe(|| judge(dir.root())));
            let complaint = result.unwrap_or_else(|_| Err("a panic".to_string())).err()?;
            Some(format!("{file}: {mutation:?}: {complaint}"))
        };
        part.iter().filter_map(complain).collect()
    };
    let failures: Vec<String> = thread::scope(|scope| {
        let parts = all.chunks(all.len().div_ceil(n_threads)).map(|part| scope.spawn(|| judge_part(part)));
        let parts: Vec<_> = parts.collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));

    let (dir, mut suite) = (make(), Suite::default());
    for mutation in all.iter().skip(SAMPLE / 2).step_by(SAMPLE) {
        dir.write(file, mutation.apply(&good));
        suite.either(&format!("{mutation:?}"), &inspect(dir.root()), 2, &[dir.root().to_str().unwrap()]);
    }
    suite.close();
}

/// Applies all truncations, and all flips within the first `n_flipped` bytes, to a file that is a checkpoint by itself. Each must be refused,
/// or `run` with success or a good error.
#[track_caller]
pub fn mutate_file(name: &str, good: &[u8], n_flipped: usize, run: impl Fn(&Checkpoint) -> Result<(), ModelError>) {
    let (dir, mut suite, mut failures) = (Dir::new(), Suite::default(), Vec::new());
    for (n, mutation) in Mutation::all(good.len(), n_flipped).into_iter().enumerate() {
        let path = dir.write(name, mutation.apply(good));
        let judge = || match infer_loaders::open(&path, &OpenOptions::default()) {
            Ok(checkpoint) => run(&checkpoint).or_else(|error| judge_error(&error, error.fault(), dir.root())),
            Err(error) => judge_error(&error, error.fault(), dir.root()),
        };
        let result = catch_unwind(AssertUnwindSafe(judge)).unwrap_or_else(|_| Err("a panic".to_string()));
        failures.extend(result.err().map(|complaint| format!("{mutation:?}: {complaint}")));
        if n % SAMPLE == SAMPLE / 2 {
            suite.either(&format!("{mutation:?}"), &inspect(&path), 2, &[dir.root().to_str().unwrap()]);
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    suite.close();
}

/// An error must be about the input, and one plain line of bounded length that names a file of the folder.
fn judge_error(error: &dyn std::fmt::Display, fault: Fault, folder: &Path) -> Result<(), String> {
    let line = error.to_string();
    let is_plain = !line.chars().any(char::is_control) && line.chars().count() <= 500;
    match fault == Fault::Input && is_plain && line.starts_with(folder.to_str().unwrap()) && line.contains(": expected ") {
        true => Ok(()),
        false => Err(format!("{fault:?}: {line}")),
    }
}

/// The logits, or a good error.
fn judged_logits(folder: &Path) -> Result<Option<Vec<f32>>, String> {
    let checkpoint = match infer_loaders::open(folder, &OpenOptions::default()) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return judge_error(&error, error.fault(), folder).map(|()| None),
    };
    match logits(&checkpoint) {
        Ok(logits) => Ok(Some(logits)),
        Err(error) => judge_error(&error, error.fault(), folder).map(|()| None),
    }
}

/// What a mutation may not change where the result still is a model: every logit, to the bit.
fn same_or_refused(good: &[f32], folder: &Path) -> Result<(), String> {
    match judged_logits(folder)? {
        Some(logits) if logits != good => Err(format!("expected the same logits or an error, found {logits:?}")),
        _ => Ok(()),
    }
}

fn good_logits(dir: &Dir) -> Vec<f32> {
    let logits = judged_logits(dir.root()).unwrap().unwrap();
    assert!(logits.iter().all(|logit| logit.is_finite()) && logits.iter().any(|logit| *logit != logits[0]));
    logits
}

#[test]
fn a_mutated_header_is_refused_or_means_the_same() {
    let dir = tiny();
    let good = good_logits(&dir);
    let file = fs::read(dir.path(WEIGHTS)).unwrap();
    let header = u64::from_le_bytes(*file.first_chunk().unwrap());
    mutate(WEIGHTS, Some(8 + usize::try_from(header).unwrap()), tiny, |folder| same_or_refused(&good, folder));
}

#[test]
fn a_mutated_index_is_refused_or_means_the_same() {
    let good = good_logits(&tiny_sharded());
    assert_eq!(good, good_logits(&tiny()));
    mutate(INDEX, None, tiny_sharded, |folder| same_or_refused(&good, folder));
}

#[test]
fn a_mutated_config_is_refused_or_is_a_model() {
    mutate(CONFIG, None, tiny, |folder| judged_logits(folder).map(drop));
}

/// A tokenizer with a part of every kind, as short as it can be.
fn tiny_tokenizer() -> Dir {
    let dir = tiny();
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": [{ "id": 3, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true }],
        "normalizer": { "type": "Replace", "pattern": { "String": " " }, "content": "a" },
        "pre_tokenizer": { "type": "Split", "pattern": { "Regex": "a+|b(?!a)" }, "behavior": "Isolated", "invert": false },
        "post_processor": { "type": "TemplateProcessing", "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }], "pair": [], "special_tokens": { "<s>": { "id": "<s>", "ids": [3], "tokens": ["<s>"] } } },
        "decoder": { "type": "Strip", "content": "a", "start": 1, "stop": 0 },
        "model": { "type": "BPE", "vocab": { "a": 0, "b": 1, "ab": 2 }, "merges": [["a", "b"]] },
    });
    dir.write(TOKENIZER, tokenizer.to_string());
    dir
}

#[test]
fn a_mutated_tokenizer_is_refused_or_tokenises() {
    let judge = |folder: &Path| -> Result<(), String> {
        let error = |error: infer_loaders::LoadError| judge_error(&error, error.fault(), folder);
        let tokenizer = match Tokenizer::open(folder) {
            Ok(tokenizer) => tokenizer,
            Err(refused) => return error(refused),
        };
        let ids = match tokenizer.encode("ab aab ba<s> b\u{e9}", true) {
            Ok(ids) => ids,
            Err(refused) => return error(refused),
        };
        if let Some(id) = ids.iter().find(|&&id| id as usize >= tokenizer.vocab_size()) {
            return Err(format!("id {id} of {}", tokenizer.vocab_size()));
        }
        tokenizer.decode(&ids, false).map(drop).or_else(error)
    };
    assert_eq!(Tokenizer::open(tiny_tokenizer().root()).unwrap().encode("ab b", true).unwrap()[0], 3);
    mutate(TOKENIZER, None, tiny_tokenizer, judge);
}
