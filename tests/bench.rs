//! `infer bench`: formats, keys, combinations, the arithmetic of the roofline, and what is refused.
//!
//! Not here: how fast anything is. Rates are only compared with each other within one run, where they must agree by arithmetic.

use std::fs;

use serde_json::Value;

use crate::fixtures::multiplies_bf16_faster;
use crate::util::{Dir, TestCommand, checkpoint, infer, text};

/// A checkpoint without a tokenizer: a benchmark needs none.
const MODEL: &str = "llama-bf16";

/// llama-bench's keys, as far as they mean something here, and the roofline's.
const KEYS: &[&str] = &[
    "model_filename",
    "model_type",
    "model_size",
    "model_n_params",
    "n_threads",
    "n_prompt",
    "n_gen",
    "n_depth",
    "avg_ts",
    "stddev_ts",
    "samples_ts",
    "avg_ns",
    "stddev_ns",
    "samples_ns",
    "test_time",
    "build_version",
    "cpu_info",
    "bytes_per_token",
    "achieved_gbps",
    "stream_gbps",
    "bandwidth_fraction",
    "achieved_gmacs",
    "peak_gmacs",
    "compute_fraction",
    "ceiling_ts",
    "isa",
    "compute",
    "kv_dtype",
];

/// The command on a model, with a probe that takes little time and memory.
fn bench_of(model: &str, args: &[&str]) -> TestCommand {
    infer(["bench", "--probe-seconds", "0.01", "--model"]).args([checkpoint(model)]).args(args)
}

fn bench(args: &[&str]) -> TestCommand {
    bench_of(MODEL, args)
}

/// The records of a run.
fn records(command: TestCommand) -> Vec<Value> {
    command.args(["-o", "json"]).json().as_array().expect("an array").clone()
}

fn float(record: &Value, key: &str) -> f64 {
    record[key].as_f64().unwrap_or_else(|| panic!("{key}: expected a number, found {}", record[key]))
}

fn int(record: &Value, key: &str) -> u64 {
    record[key].as_u64().unwrap_or_else(|| panic!("{key}: expected a whole number, found {}", record[key]))
}

#[track_caller]
fn assert_near(a: f64, b: f64) {
    assert!(a.is_finite() && (a - b).abs() <= 1e-6 * b.abs(), "{a} and {b}");
}

/// A number of `config.json`.
fn config(model: &str, key: &str) -> u64 {
    let config: Value = serde_json::from_slice(&fs::read(checkpoint(model).join("config.json")).unwrap()).unwrap();
    config[key].as_u64().unwrap_or_else(|| panic!("{key} of {model}"))
}

#[test]
fn json_has_the_keys_and_its_numbers_agree() {
    for record in records(bench(&["-p", "20", "-n", "3", "-r", "3", "-t", "2"])) {
        for key in KEYS {
            assert!(record.get(key).is_some(), "{key} is missing");
        }
        let n_tokens = (int(&record, "n_prompt") + int(&record, "n_gen")) as f64;
        let samples = record["samples_ns"].as_array().unwrap();
        assert_eq!((samples.len(), int(&record, "n_threads")), (3, 2));
        let mean = samples.iter().map(|ns| ns.as_f64().unwrap()).sum::<f64>() / 3.0;
        assert!((float(&record, "avg_ns") - mean).abs() <= 1.0);
        for (ns, rate) in samples.iter().zip(record["samples_ts"].as_array().unwrap()) {
            assert_near(rate.as_f64().unwrap(), n_tokens / ns.as_f64().unwrap() * 1e9);
        }
        let seconds = float(&record, "avg_ns") / 1e9;
        let near = |key: &str, expected: f64| {
            let found = float(&record, key);
            assert!((found / expected - 1.0).abs() < 1e-3, "{key}: expected about {expected}, found {found}");
        };
        near("achieved_gbps", float(&record, "bytes_per_token") * n_tokens / seconds / 1e9);
        near("achieved_gmacs", float(&record, "macs_per_token") * n_tokens / seconds / 1e9);
        near("bandwidth_fraction", float(&record, "achieved_gbps") / float(&record, "stream_gbps"));
        near("compute_fraction", float(&record, "achieved_gmacs") / float(&record, "peak_gmacs"));
        assert!(float(&record, "ceiling_ts") > 0.0 && float(&record, "avg_ts") > 0.0);
        // By itself f32 where nothing else is rounded.
        let is_exact = record["compute"] == "f32" && record["model_type"].as_str().unwrap().ends_with("F32");
        let expected = if is_exact { "f32" } else { "bf16" };
        assert_eq!(record["kv_dtype"], expected);
        assert_eq!(record["test_time"].as_str().unwrap().len(), "2026-01-31T23:59:59Z".len());
    }
}

/// Bytes and multiply-adds by hand, from the config: weights of the layers, of the final norm and of the head, then keys and values.
#[test]
fn costs_are_those_of_the_config() {
    // Keys and values: bytes of an element, and of a scale for each key and each value.
    for (model, kv_dtype, kv_bytes, scale) in
        [("llama-bf16", "bf16", 2, 0), ("llama-gqa", "f32", 4, 0), ("llama-tied", "q8", 1, 4), ("llama-gqa", "f16", 2, 0)]
    {
        let get = |key| config(model, key);
        let (dim, hidden, layers, vocab) =
            (get("hidden_size"), get("intermediate_size"), get("num_hidden_layers"), get("vocab_size"));
        let (heads, kv_heads) = (get("num_attention_heads"), get("num_key_value_heads"));
        let head_dim = dim / heads;
        let matrices = 2 * dim * heads * head_dim + 2 * dim * kv_heads * head_dim + 3 * dim * hidden;
        let [tg, deep] = &records(bench_of(model, &["-p", "0", "-n", "1", "-d", "0,9", "-r", "1", "--kv-dtype", kv_dtype]))[..]
        else {
            panic!("two tests")
        };
        let inspected = infer(["inspect", "--json", "--model"]).args([checkpoint(model)]).json();
        let sizes = inspected["tensors"].as_array().unwrap();
        let width = |name: &str| {
            let tensor = sizes.iter().find(|t| t["name"].as_str().unwrap().contains(name)).unwrap();
            if tensor["dtype"] == "F32" { 4 } else { 2 }
        };
        // Norms are kept as f32.
        let norms = 4 * (2 * layers + 1) * dim;
        let weights = layers * matrices * width("q_proj") + vocab * dim * width("embed_tokens") + norms;
        // A value fills whole vectors.
        let elements = head_dim + head_dim.next_multiple_of(16);
        let kv = |positions: u64| positions * layers * kv_heads * (elements * kv_bytes + 2 * scale);
        assert_near(float(tg, "bytes_per_token"), (weights + kv(1)) as f64);
        assert_near(float(deep, "bytes_per_token"), (weights + kv(10)) as f64);
        let macs = |positions: u64| layers * (matrices + positions * 2 * heads * head_dim) + vocab * dim;
        assert_near(float(tg, "macs_per_token"), macs(1) as f64);
        assert_near(float(deep, "macs_per_token"), macs(10) as f64);
        // A prompt reads the weights once in each pass, and one row asks for logits.
        let [pp] =
            &records(bench_of(model, &["-p", "10", "-n", "0", "-r", "1", "--prefill-chunk", "5", "--kv-dtype", kv_dtype]))[..]
        else {
            panic!("one")
        };
        let head = vocab * dim * width("embed_tokens") + 4 * dim;
        assert_near(float(pp, "bytes_per_token"), (2 * weights - head + kv(5) + kv(10)) as f64 / 10.0);
        let rows: u64 = (1..=10).sum();
        let total = layers * (10 * matrices + rows * 2 * heads * head_dim) + vocab * dim;
        assert_near(float(pp, "macs_per_token"), total as f64 / 10.0);
    }
}

#[test]
fn every_combination_is_run_in_order() {
    let found = records(bench(&["-p", "4,2-8*2", "-n", "0,2", "-d", "0-6+3", "-t", "1,2", "-r", "1"]));
    let names = |record: &Value| ["n_threads", "n_depth", "n_prompt", "n_gen"].map(|key| int(record, key));
    let mut expected = Vec::new();
    for threads in [1, 2] {
        for depth in [0, 3, 6] {
            expected.extend([[4, 0], [2, 0], [4, 0], [8, 0], [0, 2]].map(|[pp, tg]| [threads, depth, pp, tg]));
        }
    }
    assert_eq!(found.iter().map(names).collect::<Vec<_>>(), expected);
    // A flag may be repeated, too.
    assert_eq!(records(bench(&["-p", "1", "-p", "2", "-n", "0", "-r", "1"])).len(), 2);
}

#[test]
fn the_table_is_markdown_and_nothing_else_is_on_standard_output() {
    let output = bench(&["-p", "3", "-n", "2", "-d", "0,5", "-r", "2"]).run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| {
            let cells = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")).unwrap_or_else(|| panic!("{line}"));
            cells.split(" | ").map(str::trim).collect()
        })
        .collect();
    let header =
        ["model", "size", "params", "backend", "threads", "isa", "compute", "test", "t/s", "GB/s", "of memory", "GMAC/s"];
    assert_eq!(rows[0][..12], header);
    assert!(rows[1].iter().all(|cell| cell.len() >= 3 && cell.trim_matches(['-', ':']).is_empty()), "{:?}", rows[1]);
    assert!(rows.iter().all(|row| row.len() == rows[0].len()));
    let tests: Vec<&str> = rows[2..].iter().map(|row| row[7]).collect();
    assert_eq!(tests, ["pp3", "tg2", "pp3 @ d5", "tg2 @ d5"]);
    assert!(rows[2][8].contains(" ± ") && rows[2][10].ends_with(" %"), "{:?}", rows[2]);
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("machine: ") && stderr.contains(" GB/s (") && stderr.contains(" GMAC/s\n"), "{stderr}");
}

#[test]
fn lines_and_commas_hold_the_same_fields() {
    let lines = bench(&["-p", "2", "-n", "1", "-r", "2", "-o", "jsonl"]).succeeds();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|record| int(record, "n_prompt")).collect::<Vec<_>>(), [2, 0]);

    let csv = bench(&["-p", "2", "-n", "1", "-r", "2", "-o", "csv"]).succeeds();
    let csv: Vec<&str> = csv.lines().collect();
    let [header, rows @ ..] = &csv[..] else { panic!("a header") };
    let header: Vec<&str> = header.split(',').collect();
    let plain: Vec<&String> =
        lines[0].as_object().unwrap().iter().filter(|(_, value)| !value.is_array()).map(|(key, _)| key).collect();
    assert_eq!(header, plain);
    assert_eq!(rows.len(), 2);
    for row in rows {
        // No field of this model has a comma or a quote but the path, which is last split off from the left.
        let cells: Vec<&str> = row.strip_prefix('"').unwrap().strip_suffix('"').unwrap().split("\",\"").collect();
        assert_eq!(cells.len(), header.len(), "{row}");
    }
}

#[test]
fn the_arithmetic_is_what_was_asked_for() {
    let run = |args: &[&str]| records(bench(&[&["-p", "2", "-n", "0", "-r", "1"], args].concat())).remove(0);
    let portable = run(&["--isa", "portable"]);
    assert_eq!((portable["isa"].as_str(), portable["compute"].as_str()), (Some("portable"), Some("f32")));
    assert_eq!(portable["peak_gmacs"], portable["peak_f32_gmacs"]);
    assert_eq!((&portable["peak_bf16_gmacs"], portable["peak_int8_gmacs"].is_f64()), (&Value::Null, true));
    // Without an instruction for it, rounded activations are multiplied in f32.
    let rounded = run(&["--isa", "portable", "--compute", "bf16"]);
    assert_eq!((rounded["compute"].as_str(), &rounded["peak_gmacs"]), (Some("bf16"), &rounded["peak_f32_gmacs"]));
    let best = run(&[]);
    let is_faster = multiplies_bf16_faster(best["isa"].as_str().unwrap().parse().unwrap());
    let (compute, peak) = if is_faster { ("bf16", "peak_bf16_gmacs") } else { ("f32", "peak_f32_gmacs") };
    assert_eq!((best["compute"].as_str(), &best["peak_gmacs"]), (Some(compute), &best[peak]));
    assert_eq!(run(&["--compute", "f32"])["compute"], "f32");
}

#[test]
fn fractions_come_with_what_they_are_worth() {
    let record = records(bench(&["-p", "2", "-n", "0", "-r", "1"])).remove(0);
    let notes = record["notes"].to_string();
    match record["last_cache_bytes"].as_u64() {
        // The fixture is smaller than any processor's last cache.
        Some(_) => assert!(notes.contains("fit in the last cache"), "{notes}"),
        None => assert!(!notes.contains("cache"), "{notes}"),
    }
}

#[test]
fn bad_flags_are_refused_in_a_line() {
    let series = "expected whole numbers such as 1,2,4 or a range such as 0-64+16 or 128-1024*2";
    for (args, line) in [
        (["-p", "x"], format!("--n-prompt: {series}, found \"x\"")),
        (["-p", "-1"], format!("--n-prompt: {series}, found \"-1\"")),
        (["-n", "1,,2"], format!("--n-gen: {series}, found \"1,,2\"")),
        (["-d", "4-1"], "--n-depth: expected a range whose steps go up, found \"4-1\"".to_string()),
        (["-d", "0-9+0"], "--n-depth: expected a range whose steps go up, found \"0-9+0\"".to_string()),
        (["-p", "0-9999999999"], "--n-prompt: expected at most 1000 numbers, found \"0-9999999999\"".to_string()),
        (["-t", "0"], "--threads: expected whole numbers, 1 or more, found \"0\"".to_string()),
        (["-t", "1,0"], "--threads: expected whole numbers, 1 or more, found \"1,0\"".to_string()),
        (["-r", "0"], "--repetitions: expected a whole number, 1 or more, found \"0\"".to_string()),
        (["-o", "xml"], "--output: expected md, json, jsonl or csv, found \"xml\"".to_string()),
        (
            ["--probe-seconds", "0"],
            "--probe-seconds: expected a number of seconds, more than 0 and at most 60, found \"0\"".to_string(),
        ),
        (
            ["--probe-seconds", "nan"],
            "--probe-seconds: expected a number of seconds, more than 0 and at most 60, found \"nan\"".to_string(),
        ),
    ] {
        assert_eq!(infer(["bench", "--model"]).args([checkpoint(MODEL)]).args(args).fails(2), line);
    }
    let line = bench(&["-p", "0", "-n", "0"]).fails(2);
    assert_eq!(line, "--n-prompt, --n-gen: expected some tokens to read or to generate, found 0 in all");
    let dir = Dir::new();
    infer(["bench", "--model"]).args([dir.root()]).fails(2);
}

/// Elsewhere no limit is known beforehand.
#[cfg(target_os = "linux")]
#[test]
fn a_test_that_memory_cannot_hold_is_refused_beforehand() {
    for n in ["1000000000000", "18446744073709551615"] {
        for flag in ["-p", "-n", "-d"] {
            let line = bench(&[flag, n]).fails(3);
            assert!(line.contains("memory"), "{line}");
        }
    }
}

#[test]
fn a_test_beyond_the_models_positions_is_a_warning() {
    let n = config(MODEL, "max_position_embeddings") + 1;
    let output = bench(&["-p", &n.to_string(), "-n", "0", "-r", "1"]).run();
    assert!(output.status.success());
    let warning = format!("warning: pp{n}: beyond the {} positions that the model was made for\n", n - 1);
    assert!(text(&output.stderr).contains(&warning), "{}", text(&output.stderr));
}
