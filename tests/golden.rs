//! Logits and greedy continuations of every recorded checkpoint against transformers', on every rung of the ladder.
//!
//! Not here: the command that does the same for a user's files (`check.rs`), texts (`tokenizers.rs`), and kernels by themselves.

use std::path::Path;

use infer_engine::{Compute, Finish, Generation, GenerationOptions, KvDType, Model, Sampling, Speculation};
use infer_kernels::{DType, Isa};
use infer_loaders::OpenOptions;

use crate::fixtures::{Reference, Text, checkpoints, isas, logits, multiplies_bf16_faster, open, open_with_kv, references};
use crate::util::checkpoint;

/// The largest difference that f32 rounding in another order explains. The worst seen on the recorded checkpoints, on all rungs of a
/// Zen 4, is 4.9e-5.
const MAX_ABS_ERR: f32 = 1e-3;

/// Normalised mean squared error that activations rounded to bf16 may cause. The worst seen is 4.6e-4, in `llama-gqa`, and 2.3e-4 among
/// the checkpoints stored in bf16, in `llama-mixed-dtypes`: an f64 model of the same rounding has these errors to two digits. Random
/// weights, whose logits were made to span far, amplify rounding more than trained ones do.
const MAX_NMSE: f64 = 1e-3;

/// Fewer than this many files would mean that they are not found: a test of nothing passes.
const MIN_REFERENCES: usize = 55;

/// Compares logits and greedy continuation; describes what is not as it should be.
fn differences(model: &Model, reference: &Reference, stop_ids: &[u32]) -> Vec<String> {
    let vocab_size = model.config().vocab_size;
    let text = Text { ids: reference.prompt.clone(), n_prompt: reference.prompt.len() };
    let ours = logits(model, &text, usize::MAX);
    assert_eq!(ours.len(), reference.logits.len(), "{}", reference.name());
    let mut found = Vec::new();
    let (worst, at) = worst(&ours, &reference.logits);
    if worst.is_nan() || worst > MAX_ABS_ERR {
        found.push(format!("a logit of position {} differs by {worst:e}", at / vocab_size));
    }
    let tops = ours.chunks_exact(vocab_size).zip(reference.logits.chunks_exact(vocab_size));
    if let Some(position) = tops.into_iter().position(|(a, b)| top1(a) != top1(b)) {
        found.push(format!("another top-1 at position {position}"));
    }
    let (ids, finish) = continue_greedily(model, reference, stop_ids);
    let expected = match reference.continuation() {
        [ids @ .., last] if stop_ids.contains(last) => (ids.to_vec(), Some(Finish::Eos(*last))),
        ids => (ids.to_vec(), Some(Finish::MaxTokens)),
    };
    if (&ids, finish) != (&expected.0, expected.1) {
        found.push(format!("continued by {ids:?} {finish:?} and not by {expected:?}"));
    }
    found
}

/// The largest difference and its index.
fn worst(ours: &[f32], theirs: &[f32]) -> (f32, usize) {
    let differences = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs());
    // A NaN is the largest of all.
    let (at, worst) = differences.enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap();
    (worst, at)
}

/// The likeliest token; ties go to the lowest id.
fn top1(logits: &[f32]) -> usize {
    let by_value = |&(i, a): &(usize, &f32), &(j, b): &(usize, &f32)| a.total_cmp(b).then(j.cmp(&i));
    logits.iter().enumerate().max_by(by_value).unwrap().0
}

fn nmse(ours: &[f32], theirs: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let error: f64 = ours.iter().zip(theirs).map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
    error / theirs.iter().map(|&b| square(b.into())).sum::<f64>()
}

fn continue_greedily(model: &Model, reference: &Reference, stop_ids: &[u32]) -> (Vec<u32>, Option<Finish>) {
    let options = GenerationOptions {
        sampling: Sampling::greedy(),
        n_tokens: model.config().vocab_size,
        stop_ids: stop_ids.to_vec(),
        banned_ids: Vec::new(),
        n_logprobs: None,
        max_tokens: Some(reference.continuation().len()),
        ctx_size: reference.greedy.len() + 1,
        speculation: Speculation::Off,
    };
    let mut generation = Generation::new(model, &reference.prompt, options).unwrap();
    let ids = std::iter::from_fn(|| generation.next_token().unwrap()).collect();
    (ids, generation.finish())
}

/// The end-of-text ids of both files.
fn stop_ids(folder: &Path) -> Vec<u32> {
    let checkpoint = infer_loaders::open(folder, &OpenOptions::default()).unwrap();
    let files = checkpoint.generation_config().into_iter().chain([checkpoint.config()]);
    files.flat_map(|file| file.ids("eos_token_id").unwrap().unwrap_or_default()).collect()
}

/// The storage format of a checkpoint's matrices.
fn storage(folder: &Path) -> DType {
    let checkpoint = infer_loaders::open(folder, &OpenOptions::default()).unwrap();
    let infer_loaders::TensorType::Weights(dtype) = checkpoint.tensor("model.layers.0.mlp.up_proj.weight").unwrap().dtype()
    else {
        panic!("{}: weights of no float format", folder.display())
    };
    dtype
}

fn all_logits(model: &Model, references: &[Reference]) -> Vec<Vec<f32>> {
    let text = |r: &Reference| Text { ids: r.prompt.clone(), n_prompt: r.prompt.len() };
    references.iter().map(|reference| logits(model, &text(reference), usize::MAX)).collect()
}

#[test]
fn every_reference_is_met_in_f32_on_every_rung() {
    let (mut n_references, mut n_ended, mut failures) = (0, 0, Vec::new());
    for folder in checkpoints() {
        let (references, stop_ids) = (references(&folder), stop_ids(&folder));
        assert!(!references.is_empty(), "{}: no reference", folder.display());
        n_references += references.len();
        n_ended += references.iter().filter(|r| stop_ids.contains(r.greedy.last().unwrap())).count();
        for isa in isas() {
            let model = open(&folder, 2, isa, Compute::F32);
            for reference in &references {
                let found = differences(&model, reference, &stop_ids);
                failures.extend(found.into_iter().map(|what| format!("{} on {isa}: {what}", reference.name())));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(n_references >= MIN_REFERENCES, "only {n_references} references found");
    assert!(n_ended >= 1, "no continuation ends with an end-of-text id");
}

#[test]
fn a_difference_is_found() {
    let folder = checkpoint("llama-gqa");
    let (model, stop_ids) = (open(&folder, 1, Isa::Scalar, Compute::F32), stop_ids(&folder));
    let recorded = || Reference::open(&folder.join("reference.safetensors"));
    let vocab_size = model.config().vocab_size;
    let found = |change: &dyn Fn(&mut Reference)| {
        let mut reference = recorded();
        change(&mut reference);
        differences(&model, &reference, &stop_ids).join("; ")
    };
    assert_eq!(found(&|_| ()), "");
    assert!(found(&|r| r.logits[5 * vocab_size + 7] += 0.002).starts_with("a logit of position 5 differs by "));
    assert!(found(&|r| r.logits[2 * vocab_size] = f32::NAN).starts_with("a logit of position 2 differs by NaN"));
    assert!(found(&|r| r.logits[9 * vocab_size] += 100.0).ends_with("another top-1 at position 9"));
    assert!(found(&|r| *r.greedy.last_mut().unwrap() ^= 1).starts_with("continued by "));
}

#[test]
fn activations_in_bf16_cost_what_their_rounding_costs_on_every_rung() {
    let mut n_stored = 0;
    for folder in checkpoints() {
        let references = references(&folder);
        n_stored += usize::from(storage(&folder) == DType::BF16);
        for isa in isas() {
            let ours = all_logits(&open(&folder, 2, isa, Compute::Bf16), &references);
            for (reference, ours) in references.iter().zip(&ours) {
                let nmse = nmse(ours, &reference.logits);
                assert!(nmse <= MAX_NMSE, "{} on {isa}: NMSE {nmse:e}", reference.name());
                assert!(nmse > 1e-9, "{} on {isa}: NMSE {nmse:e}, nothing was rounded", reference.name());
            }
        }
    }
    assert!(n_stored >= 5, "only {n_stored} checkpoints stored in bf16");
}

#[test]
fn auto_is_bf16_for_bf16_weights_where_the_cpu_multiplies_them_faster_and_f32_elsewhere() {
    for name in ["llama-f16", "llama-mha", "llama-bf16", "qwen2-bf16", "qwen3-bf16", "llama-mixed-dtypes"] {
        let (folder, references) = (checkpoint(name), references(&checkpoint(name)));
        for isa in isas() {
            let storage = storage(&folder);
            let is_faster = storage == DType::BF16 && multiplies_bf16_faster(isa);
            let expected = if is_faster { Compute::Bf16 } else { Compute::F32 };
            let kv_dtype = if storage == DType::F32 { KvDType::F32 } else { KvDType::BF16 };
            let auto = open(&folder, 2, isa, Compute::Auto);
            let resolved = open_with_kv(&folder, 2, isa, expected, kv_dtype);
            assert_eq!((auto.compute(), auto.kv_dtype()), (expected, kv_dtype), "{name} ({storage}) on {isa}");
            assert_eq!(open(&folder, 2, isa, Compute::F32).kv_dtype(), KvDType::F32, "{name} on {isa}");
            assert_eq!(auto.is_exact(), storage == DType::F32, "{name} on {isa}");
            assert!(all_logits(&auto, &references) == all_logits(&resolved, &references), "{name} ({storage}) on {isa}");
        }
    }
}
