//! `infer score` and `--logprobs`, against what transformers makes of the same texts.
//!
//! Not here: the arithmetic of log-probabilities, whose tests stand beside it.

use std::fs;

use serde_json::Value;

use crate::util::{Dir, TestCommand, checkpoint, data, infer, text};

/// How far a value may lie from transformers': both sum in other orders, we in f64.
const TOLERANCE: f64 = 1e-4;

fn recorded() -> Value {
    serde_json::from_slice(&fs::read(data("scores/transformers.json")).unwrap()).unwrap()
}

fn score(args: &[&str]) -> TestCommand {
    let model = recorded()["model"].as_str().unwrap().to_string();
    infer(["score", "--compute", "f32", "--model"]).args([checkpoint(&model)]).args(args)
}

#[track_caller]
fn assert_close(found: &Value, expected: &Value) {
    let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
    assert!((found - expected).abs() <= TOLERANCE * expected.abs().max(1.0), "found {found}, expected {expected}");
}

#[test]
fn log_probabilities_of_a_text_are_transformers() {
    let short = &recorded()["short"];
    let found = score(&["--json", "--top", "3", "--prompt", short["text"].as_str().unwrap()]).json();
    let (tokens, expected) = (found["tokens"].as_array().unwrap(), short["tokens"].as_array().unwrap());
    let ids: Vec<&Value> = tokens.iter().map(|token| &token["id"]).collect();
    assert_eq!(ids, short["ids"].as_array().unwrap().iter().collect::<Vec<_>>());
    assert!(tokens[0]["logprob"].is_null() && expected.len() == tokens.len() - 1 && expected.len() > 50);
    let mut sum = 0.0;
    for (token, expected) in tokens[1..].iter().zip(expected) {
        assert_close(&token["logprob"], &expected[0]);
        for place in 0..3 {
            assert_eq!(token["top"][place]["id"], expected[1][place]);
            assert_close(&token["top"][place]["logprob"], &expected[2][place]);
        }
        sum += expected[0].as_f64().unwrap();
    }
    assert_close(&found["logprob"], &sum.into());
    assert_close(&found["perplexity"], &(-sum / expected.len() as f64).exp().into());
    // How the text is cut into passes changes no bit.
    let again =
        score(&["--json", "--top", "3", "--prefill-chunk", "7", "-t", "1", "--prompt", short["text"].as_str().unwrap()]).json();
    assert_eq!(found, again);
    let table = score(&["--top", "2", "--prompt", short["text"].as_str().unwrap()]).succeeds();
    assert!(table.lines().count() == tokens.len() + 2 && table.contains("59 of 60 tokens scored"), "{table}");
}

#[test]
fn perplexity_over_a_window_is_transformers() {
    let recorded = recorded();
    let dir = Dir::new();
    let file = dir.write("text.txt", recorded["text"].as_str().unwrap());
    for expected in recorded["perplexity"].as_array().unwrap() {
        let (window, stride) = (expected["window"].to_string(), expected["stride"].to_string());
        let args = ["--json", "--prompt-file", file.to_str().unwrap(), "-c", &window, "--stride", &stride];
        let found = score(&args).json();
        assert_eq!(found["n_scored"], expected["n_scored"], "{window} {stride}");
        assert_close(&found["perplexity"], &expected["perplexity"]);
    }
    let line = score(&["--prompt-file", file.to_str().unwrap(), "-c", "100"]).fails(2);
    assert_eq!(line, "text: expected at most the context's 100 tokens, found 157 (--stride N moves a window over it)");
}

#[test]
fn multiple_choice_takes_the_likeliest_ending() {
    let recorded = recorded();
    let questions = recorded["questions"].as_array().unwrap();
    let dir = Dir::new();
    let lines: Vec<String> = questions.iter().map(Value::to_string).collect();
    let file = dir.write("questions.jsonl", lines.join("\n\n"));
    let found = score(&["--json", "--choices", file.to_str().unwrap()]).json();
    let (mut n_right, mut n_right_by_length) = (0, 0);
    for (question, found) in questions.iter().zip(found["questions"].as_array().unwrap()) {
        let expected: Vec<f64> = question["logprobs"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        let lengths: Vec<f64> =
            question["choices"].as_array().unwrap().iter().map(|v| v.as_str().unwrap().chars().count() as f64).collect();
        for (place, logprob) in question["logprobs"].as_array().unwrap().iter().enumerate() {
            assert_close(&found["logprobs"][place], logprob);
        }
        let best = |value: &dyn Fn(usize) -> f64| (0..expected.len()).max_by(|&a, &b| value(a).total_cmp(&value(b))).unwrap();
        let (plain, by_length) = (best(&|i| expected[i]), best(&|i| expected[i] / lengths[i]));
        assert_eq!((found["best"].as_u64(), found["best_by_length"].as_u64()), (Some(plain as u64), Some(by_length as u64)));
        n_right += u32::from(question["answer"] == plain);
        n_right_by_length += u32::from(question["answer"] == by_length);
    }
    assert_close(&found["acc"], &(f64::from(n_right) / questions.len() as f64).into());
    assert_close(&found["acc_norm"], &(f64::from(n_right_by_length) / questions.len() as f64).into());
    assert!(score(&["--choices", file.to_str().unwrap()]).succeeds().contains("4 questions: acc "));
}

#[test]
fn a_generation_tells_log_probabilities() {
    let model = recorded()["model"].as_str().unwrap().to_string();
    let args = [
        "--prompt",
        "The sea",
        "-n",
        "6",
        "--temperature",
        "0",
        "--compute",
        "f32",
        "--ignore-eos",
        "--logprobs",
        "2",
        "--model",
    ];
    let output = infer(args).args([checkpoint(&model)]).run();
    let lines: Vec<String> = text(&output.stderr).lines().map(str::to_string).collect();
    assert_eq!(lines.len(), 6, "{lines:?}");
    for line in &lines {
        // The greedy token is the first of the likeliest.
        let parts: Vec<&str> =
            line.strip_prefix("logprob: ").unwrap().split("  ").map(str::trim).filter(|p| !p.is_empty()).collect();
        let [logprob, piece, first, _] = parts[..] else { panic!("{line}") };
        let logprob: f64 = logprob.parse().unwrap();
        assert!(first.starts_with(piece) && (first.rsplit(' ').next().unwrap().parse::<f64>().unwrap() - logprob).abs() < 1e-3);
    }
}

#[test]
fn a_generation_is_one_json_object_where_that_is_asked_for() {
    let model = checkpoint(recorded()["model"].as_str().unwrap());
    let run = |args: &[&str]| {
        infer(["--prompt", "The sea", "--temperature", "0", "--compute", "f32", "--model"]).args([&model]).args(args)
    };
    let plain = run(&["-n", "12", "--ignore-eos"]).succeeds();
    let found = run(&["-n", "12", "--ignore-eos", "--json", "--logprobs", "2"]).json();
    assert_eq!(
        (found["text"].as_str(), &found["finish"], &found["whole"]),
        (Some(plain.as_str()), &"max_tokens".into(), &true.into())
    );
    let tokens = found["tokens"].as_array().unwrap();
    assert_eq!((tokens.len(), found["generated_tokens"].as_u64()), (12, Some(12)));
    assert!(
        tokens.iter().all(|token| token["logprob"] == token["top"][0]["logprob"] && token["top"].as_array().unwrap().len() == 2)
    );
    let stop: String = plain.chars().skip(4).take(2).collect();
    let found = run(&["-n", "12", "--ignore-eos", "--json", "--stop", &stop]).json();
    assert_eq!((&found["finish"], &found["stop"], found.get("tokens")), (&"stop".into(), &stop.as_str().into(), None));
    let output = run(&["-n", "3", "--json", "--regex", "[a-z]{30}"]).run();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &found["whole"]), (Some(1), &false.into()));
    assert_eq!(run(&["--json", "--regex", "abc"]).json()["finish"], "complete");
}

#[test]
fn bad_input_is_refused_in_one_line() {
    let dir = Dir::new();
    for (content, expected) in [
        ("", "expected a JSON object on each line, found no line"),
        ("{\"context\": \"a\", \"choices\": [\"b\", \"c\"]}\n{", ":2: expected a JSON object, found EOF"),
        ("[]", ":1: context: expected a text"),
        ("{\"context\": \"a\", \"choices\": [\"b\"]}", ":1: choices: expected a list of two or more texts"),
        ("{\"context\": \"a\", \"choices\": [\"b\", \"\"]}", ":1: choices: expected"),
        ("{\"context\": \"a\", \"choices\": [\"b\", 1]}", ":1: choices: expected"),
        ("{\"context\": \"a\", \"choices\": [\"b\", \"c\"], \"answer\": 2}", ":1: answer: expected an index below 2, found 2"),
    ] {
        let line = score(&["--choices", dir.write("q.jsonl", content).to_str().unwrap()]).fails(2);
        assert!(line.contains(expected), "{line}");
    }
    let long = format!("{{\"context\": \"{}\", \"choices\": [\"b\", \"c\"]}}", "a b ".repeat(400));
    let line = score(&["--choices", dir.write("q.jsonl", long).to_str().unwrap()]).fails(2);
    assert!(line.starts_with("context and ending: expected at most the context's 256 tokens, found "), "{line}");
    assert!(score(&["--prompt", ""]).fails(2).starts_with("text: expected at least two tokens, found 1"));
    assert!(score(&[]).fails(2).starts_with("--prompt: expected a text"));
    assert!(score(&["--stride", "0", "--prompt", "x"]).fails(2).starts_with("--stride: expected a whole number, 1 or more"));
    assert!(score(&["--choices", "/nonexistent"]).fails(2).starts_with("/nonexistent: expected to read a text"));
}
