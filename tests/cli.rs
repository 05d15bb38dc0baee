//! The command line as a user meets it: flags, outputs, exit codes, pipes, signals and limits.
//!
//! Not here: whether the numbers are right (`golden.rs`, `check.rs`), and broken checkpoints (`hostile.rs`).

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::util::{Dir, TestCommand, assert_same_text, checkpoint, infer, text};

/// The checkpoint with a tokenizer: random weights, sampling by default.
const MODEL: &str = "text-bpe";

/// What was recorded with it.
fn recorded() -> Value {
    serde_json::from_slice(&fs::read(checkpoint(MODEL).join("expected.json")).unwrap()).unwrap()
}

/// A recorded greedy generation: (prompt, text, number of tokens).
fn recorded_generation() -> (String, String, usize) {
    let generation = &recorded()["generations"][0];
    let part = |key: &str| generation[key].as_str().unwrap().to_string();
    (part("prompt"), part("text"), generation["generated_ids"].as_array().unwrap().len())
}

/// `infer` on the checkpoint.
fn run(args: &[&str]) -> TestCommand {
    infer(["--model"]).args([checkpoint(MODEL)]).args(args)
}

/// `infer` on the checkpoint, greedily and in f32.
fn greedy(args: &[&str]) -> TestCommand {
    run(&["--temperature", "0", "--compute", "f32"]).args(args)
}

#[test]
fn greedy_text_is_the_recorded_one() {
    for generation in recorded()["generations"].as_array().unwrap() {
        let n = generation["generated_ids"].as_array().unwrap().len().to_string();
        let found = greedy(&["--prompt", generation["prompt"].as_str().unwrap(), "-n", &n]).succeeds();
        assert_same_text(generation["text"].as_str().unwrap(), &found);
    }
}

#[test]
fn a_prompt_may_come_from_a_file_or_from_standard_input() {
    let (prompt, expected, n) = recorded_generation();
    let dir = Dir::new();
    let file = dir.write("prompt.txt", &prompt);
    let n = n.to_string();
    assert_same_text(&expected, &greedy(&["-n", &n, "--prompt-file"]).args([&file]).succeeds());
    assert_same_text(&expected, &greedy(&["-n", &n, "--prompt-file", "-"]).stdin(&prompt).succeeds());
    assert_same_text(&expected, &greedy(&["-n", &n, "-f", "-"]).stdin(&prompt).succeeds());
}

#[test]
fn echo_puts_the_prompt_before_the_text() {
    let (prompt, expected, n) = recorded_generation();
    let found = greedy(&["--prompt", &prompt, "-n", &n.to_string(), "--echo"]).succeeds();
    assert_same_text(&format!("{prompt}{expected}"), &found);
}

#[test]
fn no_tokens_are_no_text() {
    assert_eq!(greedy(&["--prompt", "The sea", "-n", "0"]).succeeds(), "");
    assert_eq!(greedy(&["--prompt", "The sea", "-n", "0", "--echo"]).succeeds(), "The sea");
}

#[test]
fn an_absurd_number_of_tokens_ends_with_the_context() {
    let output = greedy(&["--prompt", "The sea", "-n", "9223372036854775808", "-c", "20", "--stats", "--ignore-eos"]).run();
    assert!(output.status.success());
    let stderr = text(&output.stderr);
    // 4 prompt tokens leave 16 positions; the token after the last needs none.
    assert!(stderr.contains("text:    17 tokens in") && stderr.contains("ended by the end of the context"), "{stderr}");
}

#[test]
fn an_empty_prompt_is_the_beginning_of_text_or_an_error() {
    let output = greedy(&["--prompt", "", "-n", "3", "--stats"]).run();
    assert!(output.status.success());
    assert!(text(&output.stderr).contains("prompt:  1 tokens"), "{}", text(&output.stderr));

    let dir = Dir::of_checkpoint(MODEL);
    dir.edit_json("tokenizer.json", |tokenizer| tokenizer["post_processor"] = Value::Null);
    // The tokenizer adds nothing to a text by itself, but it names a beginning-of-text token.
    assert!(infer(["--model"]).args([dir.root()]).args(["--prompt", "", "-n", "3"]).run().status.success());
    dir.edit_json("tokenizer_config.json", |config| config["bos_token"] = Value::Null);
    let line = infer(["--model"]).args([dir.root()]).args(["--prompt", "", "-n", "3"]).fails(2);
    assert_eq!(
        line,
        "prompt: expected at least one token, found none: the prompt is empty and the tokenizer has no beginning-of-text token"
    );
}

#[test]
fn prompts_are_text() {
    let dir = Dir::new();
    let bad = dir.write("bad.txt", b"sea \xff");
    let line = greedy(&["--prompt-file"]).args([&bad]).fails(2);
    assert!(line.ends_with("bad.txt: expected UTF-8 text, found byte 0xff at offset 4"), "{line}");
    let line = greedy(&["--prompt-file", "-"]).stdin(b"\x80").fails(2);
    assert_eq!(line, "standard input: expected UTF-8 text, found byte 0x80 at offset 0");
    greedy(&["-n", "2", "--prompt-file", "-"]).stdin(b"sea\0sand").succeeds();
    let line = greedy(&["--prompt-file"]).args([dir.root()]).fails(2);
    assert!(line.contains(": expected to read a text, found: "), "{line}");
    let line = greedy(&["--prompt-file"]).args([dir.path("none.txt")]).fails(2);
    assert!(line.contains("none.txt: expected to read a text, found: "), "{line}");
    assert_eq!(greedy(&[]).fails(2), "--prompt: expected a text (or --prompt-file FILE, - for standard input), found nothing");
}

#[test]
fn a_prompt_must_fit_the_context_whole() {
    let (prompt, _, _) = recorded_generation();
    let n = recorded()["generations"][0]["prompt_ids"].as_array().unwrap().len();
    for ctx_size in [n - 1, n] {
        let line = greedy(&["--prompt", &prompt, "-c", &ctx_size.to_string()]).fails(2);
        assert!(line.contains(&ctx_size.to_string()) && line.ends_with(&format!("found {n}")), "{line}");
    }
    assert_eq!(
        greedy(&["--prompt", &prompt, "-c", "5", "--echo"]).run().stdout,
        b"",
        "nothing is shown of a prompt that is refused"
    );
    greedy(&["--prompt", &prompt, "-c", &(n + 1).to_string()]).succeeds();
    // The model's own context is 256, given or not.
    for args in [&["-c", "0"][..], &[]] {
        let line = greedy(args).args(["--prompt", &"sea ".repeat(500)]).fails(2);
        assert!(line.contains("256"), "{line}");
    }
}

#[test]
fn sampling_is_by_seed_and_by_the_models_defaults() {
    let prompt = ["--prompt", "The sea", "-n", "24", "--ignore-eos"];
    let sample = |args: &[&str]| run(&prompt).args(args).succeeds();
    let first = sample(&["--seed", "1"]);
    assert_same_text(&first, &sample(&["--seed", "1"]));
    assert_ne!(first, sample(&["--seed", "2"]), "generation_config.json asks for sampling");
    assert_same_text(&sample(&[]), &sample(&["--seed", "0"]));
    let given =
        ["--seed", "1", "--temperature", "0.6", "--top-k", "50", "--top-p", "0.9", "--min-p", "0", "--repeat-penalty", "1"];
    assert_same_text(&first, &sample(&given));
    assert_ne!(first, sample(&["--seed", "1", "--temperature", "5", "--top-k", "0", "--top-p", "1"]));
    assert_same_text(&sample(&["--temperature", "0"]), &sample(&["--top-k", "1"]));
    assert_same_text(&sample(&["--temperature", "0"]), &sample(&["--top-p", "0"]));
    assert_ne!(sample(&["--temperature", "0"]), sample(&["--temperature", "0", "--presence-penalty", "100"]));
    assert_ne!(sample(&["--temperature", "0"]), sample(&["--temperature", "0", "--frequency-penalty", "100"]));

    let dir = Dir::of_checkpoint(MODEL);
    fs::remove_file(dir.path("generation_config.json")).unwrap();
    let without = |args: &[&str]| infer(["--model"]).args([dir.root()]).args(prompt).args(args).succeeds();
    assert_same_text(&sample(&["--temperature", "0"]), &without(&[]));
    let output = infer(["--model"]).args([dir.root()]).args(prompt).args(["--top-p", "0.5", "--seed", "3"]).run();
    let expected = "warning: --top-p, --seed: no effect at temperature 0 (greedy), give --temperature as well\n";
    assert_eq!(text(&output.stderr), expected);
}

#[test]
fn threads_and_chunks_do_not_change_the_text() {
    let (prompt, _, _) = recorded_generation();
    let sample = |args: &[&str]| run(&["--prompt", &prompt, "-n", "40", "--seed", "5", "--ignore-eos"]).args(args).succeeds();
    let expected = sample(&["-t", "1"]);
    for args in [["-t", "2"], ["-t", "3"], ["--prefill-chunk", "1"], ["--prefill-chunk", "7"], ["--prefill-chunk", "100000"]] {
        assert_same_text(&expected, &sample(&args));
    }
    assert_same_text(&expected, &sample(&["--no-mmap"]));
}

#[test]
fn bad_values_are_refused_by_flag() {
    for (args, line) in [
        (["--temperature", "-1"], "--temperature: expected a finite number >= 0, found -1"),
        (["--temperature", "NaN"], "--temperature: expected a finite number >= 0, found NaN"),
        (["--temperature", "inf"], "--temperature: expected a finite number >= 0, found inf"),
        (["--top-p", "1.1"], "--top-p: expected a number from 0 to 1, found 1.1"),
        (["--top-p", "nan"], "--top-p: expected a number from 0 to 1, found NaN"),
        (["--min-p", "-0.1"], "--min-p: expected a number from 0 to 1, found -0.1"),
        (["--repeat-penalty", "0"], "--repeat-penalty: expected a finite number > 0, found 0"),
        (["--presence-penalty", "inf"], "--presence-penalty: expected a finite number, found inf"),
        (["--top-k", "-1"], "--top-k: expected a whole number, 0 or more, found \"-1\""),
        (["--seed", "-1"], "--seed: expected a whole number from 0 to 18446744073709551615, found \"-1\""),
        (["--threads", "0"], "--threads: expected a whole number, 1 or more, found \"0\""),
        (["--prefill-chunk", "0"], "--prefill-chunk: expected a whole number, 1 or more, found \"0\""),
        (["--max-tokens", "-5"], "--max-tokens: expected a whole number, 0 or more, found \"-5\""),
        (["--stop", ""], "--stop: expected at least one character, found an empty string"),
        (["--compute", "f64"], "--compute: expected auto, f32, bf16 or int8, found \"f64\""),
    ] {
        assert_eq!(run(&["--prompt", "x"]).args(args).fails(2), line);
    }
    for args in [&["--prompt", "x", "--temperature", "1e-45"][..], &["--prompt", "x", "--top-k", "99999999999999999999"]] {
        run(&["-n", "2"]).args(args).succeeds();
    }
    assert!(infer(["--model", "/nonexistent\nfolder", "--prompt", "x"]).fails(2).contains("/nonexistent\\nfolder"));
    assert!(infer(["--promt", "x"]).fails(2).contains("--prompt"), "a typing error gets a hint");
    infer([&"x".repeat(5000)]).fails(2);
}

#[test]
fn isa_can_be_chosen_where_the_processor_has_it() {
    let output = greedy(&["--prompt", "The sea", "-n", "2", "--isa", "scalar", "--stats"]).run();
    assert!(
        text(&output.stderr).contains("engine:  isa scalar, compute f32, keys and values f32, threads "),
        "{}",
        text(&output.stderr)
    );
    assert!(run(&["--prompt", "x", "--isa", "sse9"]).fails(2).starts_with("--isa: expected one of scalar, portable,"));
}

#[test]
fn stop_strings_end_the_text_before_them() {
    let (prompt, expected, n) = recorded_generation();
    let n = n.to_string();
    let stopped = |stops: &[&str]| {
        let stops = stops.iter().flat_map(|stop| ["--stop", stop]);
        greedy(&["--prompt", &prompt, "-n", &n]).args(stops).succeeds()
    };
    // Every string of three characters in the text, across tokens and inside them.
    let characters: Vec<char> = expected.chars().collect();
    for window in characters.windows(3).step_by(4) {
        let stop: String = window.iter().collect();
        assert_same_text(expected.split(&stop).next().unwrap(), &stopped(&[&stop]));
    }
    assert_same_text(&expected, &stopped(&["not in the text", &format!("{expected}!")]));
    let many: Vec<String> = (0..10_000).map(|i| format!("stop{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).chain([" as"]).collect();
    assert_same_text(expected.split(" as").next().unwrap(), &stopped(&many));
    let output = greedy(&["--prompt", &prompt, "-n", &n, "--stop", " as", "--stats"]).run();
    assert!(text(&output.stderr).contains("ended by stop string \" as\""), "{}", text(&output.stderr));
}

#[test]
fn every_end_of_text_id_ends_the_text_unless_ignored() {
    let generation = &recorded()["generations"][0];
    let (prompt, expected, n) = recorded_generation();
    let ids: Vec<u64> = generation["generated_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
    let last_of_list = ids[5];
    let end = ids.iter().position(|&id| id == last_of_list).unwrap();
    let dir = Dir::of_checkpoint(MODEL);
    dir.edit_json("generation_config.json", |config| config["eos_token_id"] = json!([361, last_of_list]));
    let run = |args: &[&str]| {
        infer(["--model"])
            .args([dir.root()])
            .args(["--temperature", "0", "--compute", "f32", "--prompt", &prompt])
            .args(args)
            .run()
    };
    let output = run(&["--stats"]);
    let stderr = text(&output.stderr);
    assert!(stderr.contains(&format!("text:    {} tokens", end + 1)), "{stderr}");
    assert!(stderr.contains(&format!("ended by end-of-text token {last_of_list}")), "{stderr}");
    assert!(expected.starts_with(&text(&output.stdout)) && output.stdout.len() < expected.len());
    let output = run(&["--stats", "--ignore-eos", "-n", &n.to_string()]);
    let stderr = text(&output.stderr);
    assert!(stderr.contains(&format!("text:    {n} tokens")) && stderr.contains("ended by --max-tokens"), "{stderr}");

    dir.edit_json("generation_config.json", |config| config["eos_token_id"] = json!(375));
    let line = text(&run(&[]).stderr);
    assert!(
        line.contains("generation_config.json: field 'eos_token_id': expected ids below the vocabulary's size 375, found 375"),
        "{line}"
    );
}

#[test]
fn stats_go_to_standard_error_and_nothing_escapes_to_a_pipe() {
    let (prompt, expected, n) = recorded_generation();
    let output = greedy(&["--prompt", &prompt, "-n", &n.to_string(), "--stats", "-t", "1"]).run();
    assert_same_text(&expected, &text(&output.stdout));
    let stderr = text(&output.stderr);
    for part in [
        "load:    ",
        "prompt:  46 tokens in ",
        "text:    24 tokens in ",
        " tok/s",
        ", compute f32, keys and values f32, threads 1",
        "memory:  weights ",
    ] {
        assert!(stderr.contains(part), "{part:?} is missing:\n{stderr}");
    }
    assert!(!stderr.contains('\x1b') && !stderr.contains('\r'), "{stderr:?}");
}

#[test]
fn weights_that_are_not_numbers_are_named_when_asked_for() {
    let dir = Dir::of_checkpoint(MODEL);
    greedy(&["--prompt", "x", "-n", "1", "--check-tensors"]).succeeds();
    // The last number of the file belongs to the last tensor.
    let mut file = fs::read(dir.path("model.safetensors")).unwrap();
    let end = file.len();
    file[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    dir.write("model.safetensors", &file);
    let run = |args: &[&str]| infer(["--model"]).args([dir.root()]).args(["--prompt", "x", "-n", "1"]).args(args).fails(2);
    let line = run(&["--check-tensors"]);
    assert!(
        line.contains("model.safetensors: tensor '") && line.contains("expected finite numbers, found NaN at index"),
        "{line}"
    );
    // Without the scan it is the logits that are not finite; never token 0.
    let line = run(&[]);
    assert!(line.contains("NaN"), "{line}");
}

#[test]
fn tokens_and_back() {
    for encoding in recorded()["encodings"].as_array().unwrap() {
        let prompt = encoding["text"].as_str().unwrap();
        let tokenized =
            infer(["tokenize", "--json", "--prompt-file", "-", "--model"]).args([checkpoint(MODEL)]).stdin(prompt).json();
        assert_eq!(tokenized["ids"], encoding["ids"], "{prompt:?}");
        assert_eq!(tokenized["pieces"].as_array().unwrap().len(), encoding["ids"].as_array().unwrap().len());
        let ids = encoding["ids"].to_string();
        let text = infer(["detokenize", "--model"]).args([checkpoint(MODEL)]).stdin(ids).succeeds();
        assert_same_text(encoding["decoded"].as_str().unwrap(), &text);
    }
    let text = infer(["tokenize", "--text", "The sea", "--model"]).args([checkpoint(MODEL)]).succeeds();
    assert!(text.starts_with("    360  \"<|begin_of_text|>\"\n"), "{text}");
    let text = infer(["tokenize", "--text", "The sea", "--no-special", "--model"]).args([checkpoint(MODEL)]).succeeds();
    assert!(!text.contains("begin_of_text"), "{text}");
    let detokenize = |args: &[&str]| infer(["detokenize", "--model"]).args([checkpoint(MODEL)]).args(args);
    assert_eq!(detokenize(&["360", "--skip-special"]).succeeds(), "");
    assert_eq!(detokenize(&["360", "--json"]).json(), json!({ "text": "<|begin_of_text|>" }));
    assert_eq!(detokenize(&["1", "x"]).fails(2), "ID: expected a token id, a whole number below 2^32, found \"x\"");
    assert_eq!(detokenize(&["368"]).fails(2), "token ids: expected ids of the tokenizer, all below 368, found 368");
}

#[test]
fn inspect_says_what_is_there() {
    let report = infer(["inspect", "--json", "-c", "100", "--model"]).args([checkpoint(MODEL)]).json();
    assert_eq!(report["architecture"], json!("LlamaForCausalLM"));
    assert_eq!(
        (&report["n_layers"], &report["dim"], &report["vocab_size"], &report["max_seq_len"]),
        (&json!(2), &json!(24), &json!(375), &json!(256))
    );
    let tensors = report["tensors"].as_array().unwrap();
    let sizes: u64 = tensors.iter().map(|tensor| tensor["bytes"].as_u64().unwrap()).sum();
    assert_eq!((report["memory"]["weights"].as_u64(), report["parameters"].as_u64()), (Some(sizes), Some(sizes / 4)));
    // 2 layers, 1 head of 12 numbers, 4 bytes each; values fill whole vectors of 16.
    assert_eq!((&report["memory"]["kv_per_token"], &report["memory"]["ctx_size"]), (&json!(2 * (12 + 16) * 4), &json!(100)));
    assert_eq!(report["tokenizer"], json!({ "vocab_size": 368, "bos_id": 360, "eos_ids": [364] }));
    assert_eq!((&report["tied_embeddings"], &report["warnings"]), (&json!(true), &json!([])));

    let text = infer(["inspect", "--model"]).args([checkpoint(MODEL)]).succeeds();
    for part in ["LlamaForCausalLM", "memory for a context of 256 tokens", "model.layers.*.mlp.up_proj.weight", "KV cache"] {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
    let text = infer(["inspect", "--all", "--model"]).args([checkpoint(MODEL)]).succeeds();
    assert!(text.contains("model.layers.1.mlp.up_proj.weight") && !text.contains('*'), "{text}");
    // One without a tokenizer, in shards.
    let report = infer(["inspect", "--json", "--model"]).args([checkpoint("llama-sharded")]).json();
    assert_eq!((&report["tokenizer"], report["files"].as_array().unwrap().len()), (&Value::Null, 3));
}

#[test]
fn a_single_file_is_a_model_too() {
    let (prompt, expected, n) = recorded_generation();
    let file = checkpoint(MODEL).join("model.safetensors");
    let found =
        infer(["--temperature", "0", "--compute", "f32", "-n", &n.to_string(), "-p", &prompt, "-m"]).args([&file]).succeeds();
    assert_same_text(&expected, &found);
    assert!(infer(["tokenize", "--text", "x", "-m"]).args([&file]).succeeds().contains("begin_of_text"));
}

#[test]
fn help_and_version_are_for_standard_output() {
    for command in [&[][..], &["check"], &["inspect"], &["tokenize"], &["detokenize"]] {
        let help = infer(command.iter().chain(&["--help"])).succeeds();
        assert!(help.contains("Usage: infer") && help.contains("Examples:") && help.contains("--model"), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
    assert_eq!(infer(["--version"]).succeeds(), format!("infer {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn too_long_a_context_is_refused_before_it_is_taken() {
    let line = greedy(&["--prompt", "x", "-c", "1000000000000"]).fails(3);
    assert!(line.starts_with("memory: expected ") && line.contains(" for a context of 1000000000000 tokens"), "{line}");
    assert!(line.contains(", found ") && line.contains(" left of "), "{line}");
}

/// What only Unix has: signals, /dev/full, limits of the shell.
#[cfg(unix)]
mod unix {
    use std::io::Read;
    use std::process::{Child, Command};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::util::{collect, least_address_space, shell, wait};

    /// A generation that goes on for much longer than a test waits.
    const ENDLESS: [&str; 6] = ["--prompt", "The sea", "--ignore-eos", "-c", "10000000", "--temperature=2"];

    fn model_args(args: &[&str]) -> Vec<PathBuf> {
        [PathBuf::from("--model"), checkpoint(MODEL)].into_iter().chain(args.iter().map(PathBuf::from)).collect()
    }

    fn signal(child: &Child, name: &str) {
        assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
    }

    #[test]
    fn text_arrives_while_it_is_generated() {
        let mut child = run(&ENDLESS).spawn();
        let mut first = [0; 1];
        child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "the first byte came before the end");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_reader_that_leaves_ends_it_quietly() {
        let mut child = run(&ENDLESS).spawn();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 1]).unwrap();
        drop(stdout);
        let stderr = collect(child.stderr.take().unwrap());
        assert_eq!(wait(&mut child).unwrap().code(), Some(0));
        let warnings = text(&stderr.join().unwrap());
        assert!(warnings.lines().all(|line| line.starts_with("warning: --ctx-size")), "{warnings}");
        // Other commands, too.
        let output =
            shell("\"$0\" \"$@\" | head -n 1", ["inspect".into(), "--all".into()].into_iter().chain(model_args(&[]))).run();
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
        assert_eq!(text(&output.stdout).lines().count(), 1);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_a_lack_of_resources() {
        for args in [&["--prompt", "x", "-n", "3"][..], &["--help"]] {
            let line = shell("exec \"$0\" \"$@\" > /dev/full", model_args(args)).fails(3);
            assert!(line.starts_with("standard output: "), "{line}");
        }
        let line = shell("exec \"$0\" inspect \"$@\" > /dev/full", model_args(&[])).fails(3);
        assert!(line.starts_with("standard output: "), "{line}");
    }

    #[test]
    fn closed_streams_are_no_reason_to_fail() {
        for redirection in [">&-", "2>&-", "<&-", ">&- 2>&- <&-"] {
            let script = format!("exec \"$0\" \"$@\" {redirection}");
            let output = shell(&script, model_args(&["--prompt", "x", "-n", "3", "--stats"])).run();
            assert_eq!(output.status.code(), Some(0), "{redirection}");
        }
    }

    #[test]
    fn signals_end_it_at_once() {
        for name in ["-INT", "-TERM"] {
            let mut child = run(&ENDLESS).spawn();
            // It runs, and soon it waits for a pipe that nobody reads.
            child.stdout.as_mut().unwrap().read_exact(&mut [0; 1]).unwrap();
            thread::sleep(Duration::from_millis(100));
            let started = Instant::now();
            signal(&child, name);
            assert_eq!(wait(&mut child).unwrap().code(), Some(130), "{name}");
            // Half a second is promised; the rest is for a machine that runs all tests at once.
            assert!(started.elapsed() < Duration::from_secs(2), "{name}: {:?}", started.elapsed());
        }
    }

    #[test]
    fn what_was_generated_before_a_signal_is_whole() {
        let mut child = run(&ENDLESS).spawn();
        let mut stdout = child.stdout.take().unwrap();
        let mut begin = vec![0; 2000];
        stdout.read_exact(&mut begin).unwrap();
        let rest = collect(stdout);
        signal(&child, "-INT");
        wait(&mut child).unwrap();
        begin.extend(rest.join().unwrap());
        // Only whole characters are ever written.
        assert!(std::str::from_utf8(&begin).is_ok());
    }

    #[test]
    fn too_many_threads_are_cut_back_with_a_warning() {
        let output = run(&["--prompt", "x", "-n", "2", "-t", "1000000"]).run();
        assert!(output.status.success());
        let stderr = text(&output.stderr);
        assert!(stderr.starts_with("warning: --threads: 1000000 is more than") && stderr.lines().count() == 1, "{stderr}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn threads_default_to_the_processors_allowed() {
        let output = shell(
            "exec taskset -c \"$(taskset -cp $$ | sed 's/.*[: ]\\([0-9]*\\).*/\\1/')\" \"$0\" \"$@\"",
            model_args(&["--prompt", "x", "-n", "2", "--stats"]),
        )
        .run();
        let stderr = text(&output.stderr);
        assert!(output.status.success() && stderr.contains(", threads 1\n"), "{stderr}");
    }

    #[test]
    fn a_limit_on_the_size_of_files_is_a_lack_of_room() {
        let dir = Dir::new();
        let out = dir.path("out").display().to_string();
        let limited = |script: &str, args: &[&str]| shell(&format!("ulimit -f 1; {script}"), model_args(args));
        let long = ["--ignore-eos", "-c", "3000", "-n", "2000", "--temperature", "1", "--prompt", "x"];
        let line = limited(&format!("exec \"$0\" \"$@\" > '{out}'"), &long).fails(3);
        assert!(line.starts_with("standard output: expected room for the text, found: File too large"), "{line}");
        assert!((512..=1024).contains(&fs::metadata(&out).unwrap().len()));
        // A cache that cannot be written is told, and the text comes; a conversation that cannot be saved ends a script.
        let cache = dir.path("cache").display().to_string();
        let output = limited("exec \"$0\" \"$@\"", &["--prompt", "once", "-n", "2", "--prompt-cache", &cache]).run();
        let warned = text(&output.stderr);
        assert!(output.status.success() && warned.contains(": expected to write the file, found: File too large"), "{warned}");
        assert_eq!(fs::read_dir(dir.root()).unwrap().count(), 1, "what could not be written is gone");
    }

    #[test]
    fn tight_limits_are_met_or_told() {
        let (prompt, expected, n) = recorded_generation();
        let n = n.to_string();
        let args = model_args(&["--temperature", "0", "--compute", "f32", "--prompt", &prompt, "-n", &n, "-t", "2"]);
        // Few file descriptors and a small stack are enough.
        for limit in ["-n 16", "-s 256"] {
            assert_same_text(&expected, &shell(&format!("ulimit {limit}; exec \"$0\" \"$@\""), &args).succeeds());
        }
        // However little address space there is beside that in which the program begins: the text, or a clean lack of resources.
        let space = least_address_space().into_iter().flat_map(|least| [1, 8, 28, 78, 378].map(|mib| least + 1024 * mib));
        for kib in space {
            let output = shell(&format!("ulimit -v {kib}; exec \"$0\" \"$@\""), &args).run();
            let stderr = text(&output.stderr);
            match output.status.code() {
                Some(0) => assert_same_text(&expected, &text(&output.stdout)),
                Some(3) => assert!(stderr.starts_with("error: ") && stderr.lines().count() == 1, "{kib}: {stderr}"),
                _ => panic!("{kib}: {}\n{stderr}", output.status),
            }
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn weights_that_exceed_the_address_space_are_refused_with_both_sizes() {
        // 8 GiB of weights that take no disk: a sparse file.
        let dir = Dir::of_checkpoint(MODEL);
        let size: u64 = 8 << 30;
        let header = json!({ "model.embed_tokens.weight": { "dtype": "F32", "shape": [size / 4], "data_offsets": [0, size] } })
            .to_string();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        let path = dir.write("model.safetensors", &file);
        fs::OpenOptions::new().write(true).open(path).unwrap().set_len(file.len() as u64 + size).unwrap();
        let args = [PathBuf::from("--prompt"), PathBuf::from("x"), PathBuf::from("--model"), dir.root().to_path_buf()];
        let line = shell("ulimit -v 1000000; exec \"$0\" \"$@\"", &args).fails(3);
        assert!(line.contains("model.safetensors: ") && line.contains(&(size + file.len() as u64).to_string()), "{line}");
        assert!(line.ends_with(" left of the address space limit (ulimit -v)"), "{line}");
        let line = shell("ulimit -v 1000000; exec \"$0\" \"$@\" --no-mmap", &args).fails(3);
        assert!(line.contains("expected 8.00 GiB for the weights, found ") && line.contains("address space"), "{line}");
    }
}
