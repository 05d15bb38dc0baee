//! `infer check`: what it measures, when it passes, and which references it refuses.

use std::path::Path;

use infer_loaders::{OpenOptions, open_safetensors};
use serde_json::{Value, json};

use crate::util::{Dir, TensorData, checkpoint, infer, safetensors};

const MODEL: &str = "llama-gqa";

/// The content of a recorded reference, to be changed.
struct Recorded {
    input_ids: Vec<i64>,
    logits: Vec<f32>,
    vocab_size: usize,
    greedy_ids: Vec<i64>,
}

impl Recorded {
    fn read() -> Recorded {
        let file = open_safetensors(&checkpoint(MODEL).join("reference.safetensors"), &OpenOptions::default()).unwrap();
        let tensor = |name| file.tensor(name).unwrap();
        Recorded {
            input_ids: tensor("input_ids").to_i64().unwrap(),
            logits: tensor("logits").to_f32().unwrap(),
            vocab_size: tensor("logits").shape()[1],
            greedy_ids: tensor("greedy_ids").to_i64().unwrap(),
        }
    }

    fn tensors(&self) -> Vec<TensorData> {
        let shape = [self.input_ids.len(), self.vocab_size];
        vec![
            TensorData::i64s("input_ids", &self.input_ids),
            TensorData::f32s("logits", shape, &self.logits),
            TensorData::i64s("greedy_ids", &self.greedy_ids),
        ]
    }
}

fn check(model: &Path, reference: &Path) -> crate::util::TestCommand {
    infer(["check", "--compute", "f32", "--model"]).args([model]).args([Path::new("--reference"), reference])
}

/// Checks the fixture against a reference file with these tensors.
fn check_tensors(tensors: &[TensorData]) -> (Dir, crate::util::TestCommand) {
    let dir = Dir::new();
    let file = dir.write("changed.safetensors", safetensors(tensors));
    let command = check(&checkpoint(MODEL), &file);
    (dir, command)
}

#[test]
fn json_has_the_promised_keys() {
    let report = check(&checkpoint(MODEL), &checkpoint(MODEL).join("reference.safetensors")).args(["--json", "-t", "1"]).json();
    let keys: Vec<&str> = report.as_object().unwrap().keys().map(String::as_str).collect();
    let promised = "positions max_abs_err mean_abs_err nmse mean_kl max_kl top1_agreement first_mismatch greedy_match compute kv_dtype isa threads pass";
    assert_eq!(keys, promised.split(' ').collect::<Vec<_>>());
    assert_eq!(report["positions"], Recorded::read().input_ids.len());
    assert!(report["max_abs_err"].as_f64().unwrap() <= 1e-3 && report["max_abs_err"].as_f64() >= report["mean_abs_err"].as_f64());
    assert_eq!(
        (&report["top1_agreement"], &report["first_mismatch"], &report["greedy_match"]),
        (&json!(1.0), &Value::Null, &json!(true))
    );
    assert_eq!((&report["compute"], &report["threads"], &report["pass"]), (&json!("f32"), &json!(1), &json!(true)));
}

#[test]
fn the_report_says_the_same_in_words() {
    let text = check(&checkpoint(MODEL), &checkpoint(MODEL).join("reference.safetensors")).succeeds();
    for part in ["all positions", "max |diff|", "100.00 %", "NMSE:    <= 1e-6", "greedy:  the same", "compute f32"] {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
}

#[test]
fn one_changed_logit_is_found_where_it_is() {
    let mut recorded = Recorded::read();
    // The least likely token of position 3 becomes the likeliest, by 1.
    let row = &mut recorded.logits[3 * recorded.vocab_size..][..recorded.vocab_size];
    let (top, max) = row.iter().copied().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap();
    let (low, min) = row.iter().copied().enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap();
    row[low] = max + 1.0;
    let (_dir, command) = check_tensors(&recorded.tensors());
    let output = command.args(["--json"]).run();
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["pass"], json!(false));
    let expected = f64::from(max + 1.0) - f64::from(min);
    assert!((report["max_abs_err"].as_f64().unwrap() - expected).abs() < 1e-3, "{report}");
    let mismatch = &report["first_mismatch"];
    assert_eq!((&mismatch["position"], &mismatch["reference"], &mismatch["ours"]), (&json!(3), &json!(low), &json!(top)));
    assert!((mismatch["margin"].as_f64().unwrap() - 1.0).abs() < 1e-5, "{report}");
    let n = recorded.input_ids.len() as f64;
    assert!((report["top1_agreement"].as_f64().unwrap() - (n - 1.0) / n).abs() < 1e-12);
    assert_eq!(report["greedy_match"], json!(true));

    let (_dir, command) = check_tensors(&recorded.tensors());
    let line = command.fails(1);
    assert!(line.contains("changed.safetensors: check failed: max_abs_err") && line.contains("position 3"), "{line}");
}

#[test]
fn another_greedy_continuation_is_found() {
    let mut recorded = Recorded::read();
    let last = recorded.greedy_ids.len() - 1;
    recorded.greedy_ids[last] = (recorded.greedy_ids[last] + 1) % recorded.vocab_size as i64;
    let (_dir, command) = check_tensors(&recorded.tensors());
    let index = last - recorded.input_ids.len();
    assert!(command.fails(1).ends_with(&format!("the greedy continuation differs from its token {index} on")));
}

#[test]
fn without_greedy_ids_the_match_is_null_and_no_reason_to_fail() {
    let (_dir, command) = check_tensors(&Recorded::read().tensors()[..2]);
    let report = command.args(["--json"]).json();
    assert_eq!((&report["greedy_match"], &report["pass"]), (&Value::Null, &json!(true)));
}

#[test]
fn bf16_arithmetic_is_judged_by_nmse() {
    let reference = checkpoint(MODEL).join("reference.safetensors");
    let command = infer(["check", "--compute", "bf16", "--json", "--model"]).args([checkpoint(MODEL)]);
    let output = command.args([Path::new("--reference"), &reference]).run();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["compute"], &report["kv_dtype"]), (&json!("bf16"), &json!("bf16")));
    let nmse = report["nmse"].as_f64().unwrap();
    assert!(nmse > 1e-9, "bf16 rounds: {report}");
    assert_eq!(report["pass"], json!(nmse <= 1e-4), "{report}");
    assert_eq!(output.status.code(), Some(if nmse <= 1e-4 { 0 } else { 1 }));
}

#[test]
fn references_that_do_not_fit_are_refused_by_tensor() {
    let refused = |tensors: &[TensorData], expected: &str| {
        let (_dir, command) = check_tensors(tensors);
        let line = command.fails(2);
        assert!(line.ends_with(expected), "expected ... {expected}\nfound {line}");
    };
    let good = Recorded::read();
    let (n, vocab) = (good.input_ids.len(), good.vocab_size);
    refused(&good.tensors()[1..], "tensor 'input_ids': expected a tensor of this name, found nothing");
    refused(&good.tensors()[..1], "tensor 'logits': expected a tensor of this name, found nothing");

    let mut tensors = good.tensors();
    tensors[0] = TensorData { dtype: "F32", shape: vec![2 * n], ..TensorData::i64s("input_ids", &good.input_ids) };
    refused(&tensors, "tensor 'input_ids': expected dtype I64, found F32");
    tensors[0] = TensorData { shape: vec![1, n], ..TensorData::i64s("input_ids", &good.input_ids) };
    refused(&tensors, &format!("tensor 'input_ids': expected shape [n], n at least 1, found [1, {n}]"));
    tensors[0] = TensorData::i64s("input_ids", &[]);
    refused(&tensors, "tensor 'input_ids': expected shape [n], n at least 1, found [0]");
    tensors[0] = TensorData::i64s("input_ids", &good.input_ids[1..]);
    refused(
        &tensors,
        &format!(
            "tensor 'logits': expected shape [{}, {vocab}] (input_ids, the model's vocabulary), found [{n}, {vocab}]",
            n - 1
        ),
    );
    for bad in [-1, vocab as i64, i64::MAX] {
        let mut ids = good.input_ids.clone();
        ids[1] = bad;
        tensors[0] = TensorData::i64s("input_ids", &ids);
        refused(&tensors, &format!("tensor 'input_ids': expected token ids from 0 to {}, found {bad} at index 1", vocab - 1));
    }

    let mut tensors = good.tensors();
    tensors[1] = TensorData::f32s("logits", [n, vocab - 1], &good.logits[n..]);
    refused(
        &tensors,
        &format!(
            "tensor 'logits': expected shape [{n}, {vocab}] (input_ids, the model's vocabulary), found [{n}, {}]",
            vocab - 1
        ),
    );
    tensors[1] = TensorData { dtype: "I32", ..TensorData::f32s("logits", [n, vocab], &good.logits) };
    refused(&tensors, "tensor 'logits': expected dtype F32, found I32");
    for bad in [f32::NAN, f32::INFINITY] {
        let mut logits = good.logits.clone();
        logits[2 * vocab + 5] = bad;
        tensors[1] = TensorData::f32s("logits", [n, vocab], &logits);
        refused(&tensors, &format!("tensor 'logits': expected finite numbers, found {bad} at [2, 5]"));
    }

    let mut tensors = good.tensors();
    tensors[2] = TensorData::i64s("greedy_ids", &good.input_ids);
    refused(&tensors, &format!("tensor 'greedy_ids': expected the input_ids and a continuation, found {n} ids and no more"));
    tensors[2] = TensorData::i64s("greedy_ids", &good.greedy_ids[1..]);
    refused(&tensors, &format!("tensor 'greedy_ids': expected the {n} input_ids first, found others from index 0 on"));

    let dir = Dir::new();
    let line = check(&checkpoint(MODEL), &dir.write("short.safetensors", b"1234567")).fails(2);
    assert!(line.contains("short.safetensors: "), "{line}");
    let line = check(&checkpoint(MODEL), &dir.path("missing.safetensors")).fails(2);
    assert!(line.contains("missing.safetensors: "), "{line}");
}

/// A published file that says what the recorded reference says, with the given changes.
fn published(dir: &Dir, change: impl FnOnce(&mut Value)) -> String {
    let recorded = Recorded::read();
    let rows = recorded.logits.chunks(recorded.vocab_size);
    let means: Vec<f64> = rows.map(|row| row.iter().map(|&x| f64::from(x)).sum::<f64>() / row.len() as f64).collect();
    let config: Value = serde_json::from_slice(&std::fs::read(checkpoint(MODEL).join("config.json")).unwrap()).unwrap();
    let mut value = json!({
        "hub_id": "somebody/tiny",
        "architecture": { "model_type": config["model_type"], "hidden_size": config["hidden_size"] },
        "input_ids": recorded.input_ids,
        "note": "A note on the checkpoint.",
        "variants": { "float32": {
            "source": "the recorded reference",
            "means": means, "means_tolerance": { "rtol": 0.01, "atol": 0.001 },
            "first_logits": recorded.logits[..10], "first_logits_tolerance": { "rtol": 0.0, "atol": 0.001 },
        } },
    });
    change(&mut value);
    dir.write("tiny.json", value.to_string()).to_str().unwrap().to_string()
}

fn check_published(change: impl FnOnce(&mut Value)) -> (Dir, crate::util::TestCommand) {
    let dir = Dir::new();
    let file = published(&dir, change);
    let command = infer(["check", "--compute", "f32", "--published", &file, "--model"]).args([checkpoint(MODEL)]);
    (dir, command)
}

#[test]
fn published_values_are_compared_within_their_tolerance() {
    let (_dir, command) = check_published(|_| ());
    let report = command.args(["--json"]).json();
    let variant = &report["published"][0];
    assert_eq!(
        (&variant["name"], &variant["checkpoint"], &variant["variant"]),
        (&json!("tiny"), &json!("somebody/tiny"), &json!("float32"))
    );
    assert_eq!(
        (&variant["means"]["values"], &variant["means"]["within"]),
        (&json!(Recorded::read().input_ids.len()), &json!(Recorded::read().input_ids.len()))
    );
    assert_eq!((&variant["first_logits"]["within"], &report["pass"]), (&json!(10), &json!(true)));

    let (_dir, command) = check_published(|_| ());
    let text = command.succeeds();
    for part in ["tiny (somebody/tiny)", "float32: met", "source: the recorded reference", "note: A note on the checkpoint."] {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
}

#[test]
fn a_published_value_that_is_not_met_fails_the_check() {
    let shift = |value: &mut Value, key: &str, index: usize| {
        let number = &mut value["variants"]["float32"][key][index];
        *number = json!(number.as_f64().unwrap() + 0.5);
    };
    for key in ["means", "first_logits"] {
        let (_dir, command) = check_published(|value| shift(value, key, 4));
        let output = command.args(["--json"]).run();
        assert_eq!(output.status.code(), Some(1));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let (values, within) = (&report["published"][0][key]["values"], &report["published"][0][key]["within"]);
        assert_eq!(values.as_u64().unwrap() - 1, within.as_u64().unwrap(), "{report}");
        assert_eq!(report["published"][0][key]["worst"], json!(4));
        assert_eq!(report["pass"], json!(false));
    }
    // One variant that is met is enough: base and fine-tuned checkpoints have the same sizes.
    let (_dir, command) = check_published(|value| {
        value["variants"]["other"] = value["variants"]["float32"].clone();
        shift(value, "means", 0);
    });
    let report = command.args(["--json"]).json();
    assert_eq!((&report["published"][0]["pass"], &report["published"][1]["pass"]), (&json!(false), &json!(true)));
}

#[test]
fn published_references_are_picked_by_sizes() {
    let line = infer(["check", "--published", "--model"]).args([checkpoint(MODEL)]).fails(2);
    assert!(line.contains("config.json: expected a model that logits are published for"), "{line}");
    let line = infer(["check", "--published", "llama-2-7b", "--model"]).args([checkpoint(MODEL)]).fails(2);
    assert!(line.contains("config.json: field 'hidden_size': expected 4096 as in meta-llama/Llama-2-7b-hf, found"), "{line}");
    let line = infer(["check", "--published", "llama-9", "--model"]).args([checkpoint(MODEL)]).fails(2);
    assert!(line.starts_with("--published: expected list, a .json file, or one of llama-2-7b,"), "{line}");
    let (_dir, command) = check_published(|value| value["architecture"]["hidden_size"] = json!(1));
    assert!(command.fails(2).contains("field 'hidden_size': expected 1 as in somebody/tiny, found"));
    let (_dir, command) = check_published(|value| value["input_ids"][0] = json!(1_000_000));
    assert!(command.fails(2).contains("tiny: field 'input_ids': expected token ids below the model's vocabulary"));
    let (_dir, command) = check_published(|value| drop(value["variants"]["float32"].as_object_mut().unwrap().remove("source")));
    assert!(command.fails(2).ends_with("tiny.json: field 'variants.float32.source': expected a string, found nothing"));
}

#[test]
fn published_references_can_be_listed() {
    let text = infer(["check", "--published", "list"]).succeeds();
    for part in ["llama-2-7b", "mistralai/Mistral-7B-v0.1", "Qwen/Qwen2-0.5B", "Qwen/Qwen3-0.6B-Base"] {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
    let list = infer(["check", "--published", "list", "--json"]).json();
    assert!(list["published"].as_array().unwrap().iter().all(|entry| !entry["variants"].as_array().unwrap().is_empty()));
}

#[test]
fn something_must_be_compared_with() {
    let line = infer(["check", "--model"]).args([checkpoint(MODEL)]).fails(2);
    assert_eq!(line, "infer check: expected --reference FILE, --published or --against MODEL, found none");
}
