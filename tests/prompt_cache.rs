//! `--prompt-cache`: the same text with the file as without, whatever is in the file; and `--truncate`.
//!
//! Not here: the syntax of safetensors files (`hostile`), and sessions within a process (`determinism.rs`).

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::util::{Dir, TestCommand, infer, safetensors, text};

/// The demonstration model: its texts depend on all of the prompt, and it holds 1,024 tokens.
fn stories() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/stories")
}

/// A text of `n` sentences, about ten tokens each.
fn prompt(n: usize) -> String {
    let names = ["Mia", "Ben", "the fox", "the old miller", "a small bear"];
    (0..n).map(|i| format!("{} found a lantern by the river on day {i}. ", names[i * i % 5])).collect()
}

/// `infer` on the demonstration model, with all that may differ in the output.
fn run(prompt: &str, args: &[&str]) -> TestCommand {
    infer(["--model"]).args([stories()]).args(["--json", "--logprobs", "3", "-n", "24", "--prompt", prompt]).args(args)
}

/// What a run says but for times; how many tokens were taken from the cache; what it warned of.
fn said(command: TestCommand) -> (Value, u64, String) {
    let output = command.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let object = value.as_object_mut().unwrap();
    object.retain(|key, _| !key.ends_with("seconds"));
    let cached = object.remove("cached_tokens").unwrap().as_u64().unwrap();
    (value, cached, text(&output.stderr))
}

/// A file that holds `prompt`, in a folder of its own.
fn cached(prompt: &str) -> (Dir, PathBuf) {
    let dir = Dir::new();
    let file = dir.path("cache");
    let (_, n, warnings) = said(run(prompt, &["--prompt-cache"]).args([&file]));
    assert_eq!((n, warnings.as_str()), (0, ""));
    (dir, file)
}

#[test]
fn a_restored_prompt_gives_the_text_of_a_fresh_one() {
    for settings in [&["--temperature", "0"][..], &["--temperature", "0.8", "--top-p", "0.9", "--seed", "3"]] {
        let dir = Dir::new();
        let file = dir.path("cache");
        // Shorter, longer, of another end: the file follows.
        let mut held = String::new();
        for (n, end) in [(5, "Then"), (5, "Then"), (20, "Then"), (20, "But one day"), (8, "And"), (8, ""), (0, "x"), (40, "So")] {
            let prompt = prompt(n) + end;
            let (fresh, _, _) = said(run(&prompt, settings));
            let threads = (1 + n % 3).to_string();
            let with_file = || run(&prompt, settings).args(["--threads", &threads, "--prompt-cache"]).args([&file]);
            let (found, n_cached, warnings) = said(with_file());
            assert_eq!((&found, warnings.as_str()), (&fresh, ""), "{n} sentences");
            let common = prompt.bytes().zip(held.bytes()).take_while(|(a, b)| a == b).count();
            assert!(n_cached as usize * 8 >= common.saturating_sub(40), "{n_cached} tokens of {common} bytes");
            // Once more: all but the last token is there.
            let (again, n_cached, _) = said(with_file());
            assert_eq!(again, fresh);
            assert_eq!(Some(n_cached + 1), fresh["prompt_tokens"].as_u64(), "{n} sentences");
            held = prompt;
        }
    }
}

#[test]
fn a_file_that_holds_more_is_used_and_kept() {
    let (_dir, file) = cached(&prompt(20));
    let before = fs::read(&file).unwrap();
    // Without the space at the end, its tokens are the first of the longer prompt.
    let shorter = prompt(10).trim_end().to_string();
    let (found, n_cached, _) = said(run(&shorter, &["--prompt-cache"]).args([&file]));
    assert_eq!(found, said(run(&shorter, &[])).0);
    assert_eq!(Some(n_cached + 1), found["prompt_tokens"].as_u64());
    assert!(before == fs::read(&file).unwrap());
}

#[test]
fn the_file_is_whole_and_its_owners_alone() {
    let (dir, file) = cached(&prompt(9));
    let names: Vec<_> = fs::read_dir(dir.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["cache"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(file.is_file());
}

#[test]
fn a_file_of_another_kind_is_refused_and_left_alone() {
    let dir = Dir::new();
    let other = safetensors(&[]);
    for content in
        [&b"my notes\n"[..], b"x", &[0; 4096], &other, b"GGUF\x03\0\0\0 and so on, for more than sixty bytes, which it takes"]
    {
        let file = dir.write("notes", content);
        let line = run("Once", &["--prompt-cache"]).args([&file]).fails(2);
        assert!(line.ends_with("notes: expected a prompt cache, found a file of another kind, which is left alone"), "{line}");
        assert_eq!(fs::read(&file).unwrap(), content);
    }
    let line = run("Once", &["--prompt-cache"]).args([dir.root()]).fails(2);
    assert!(line.ends_with("expected a prompt cache, found a directory"), "{line}");
    let line = run("Once", &["--prompt-cache"]).args([dir.path("no/cache")]).fails(2);
    assert!(line.contains("expected a prompt cache, found no folder"), "{line}");
    // As mktemp makes one.
    let empty = dir.write("empty", "");
    assert_eq!(said(run(&prompt(3), &["--prompt-cache"]).args([&empty])).2, "");
    assert!(said(run(&prompt(3), &["--prompt-cache"]).args([&empty])).1 > 10);
}

#[test]
fn a_file_of_another_model_or_arithmetic_is_told_and_replaced() {
    let text = prompt(9);
    let (dir, file) = cached(&text);
    for (args, what) in [
        (&["--isa", "scalar"][..], "instruction set, arithmetic or layout"),
        (&["--isa", "portable"], "instruction set, arithmetic or layout"),
        (&["--isa", "portable", "--compute", "bf16"], "instruction set, arithmetic or layout"),
    ] {
        let (fresh, _, _) = said(run(&text, args));
        let (found, n_cached, warnings) = said(run(&text, args).args(["--prompt-cache"]).args([&file]));
        assert_eq!((found, n_cached), (fresh, 0));
        assert!(warnings.ends_with(&format!("cache: made with another {what}: reading the prompt anew\n")), "{warnings}");
        assert!(said(run(&text, args).args(["--prompt-cache"]).args([&file])).1 > 0);
    }
    // One weight of the last layer is another.
    for entry in fs::read_dir(stories()).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), dir.path(entry.file_name().to_str().unwrap())).unwrap();
    }
    let mut weights = fs::read(dir.path("model.safetensors")).unwrap();
    let low_byte = weights.len() - 2;
    weights[low_byte] ^= 1;
    dir.write("model.safetensors", weights);
    let other =
        || infer(["--model"]).args([dir.root()]).args(["--isa", "portable", "--compute", "bf16", "--json", "--prompt", &text]);
    let (_, n_cached, warnings) = said(other().args(["-n", "4", "--prompt-cache"]).args([&file]));
    assert!(n_cached == 0 && warnings.contains("made with another model"), "{warnings}");
}

#[test]
fn a_damaged_file_is_told_and_replaced() {
    let text = prompt(15);
    let (fresh, _, _) = said(run(&text, &[]));
    let (_dir, file) = cached(&text);
    let good = fs::read(&file).unwrap();
    let header = 8 + u64::from_le_bytes(*good.first_chunk().unwrap()) as usize;
    // Bytes of the header but for its first words, of each tensor, and of pages; and ends everywhere.
    let flips =
        [60, 150, 250, header - 40, header, header + 9, header + 30, header + 200, header + 1200, good.len() / 2, good.len() - 1];
    let cuts = [60, 100, header, header + 100, good.len() / 2, good.len() - 1];
    let flipped = flips.map(|at| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x08;
        (format!("byte {at} of {}", good.len()), bytes)
    });
    let cut = cuts.map(|end| (format!("{end} bytes of {}", good.len()), good[..end].to_vec()));
    let mut n_warned = 0;
    for (what, bytes) in flipped.into_iter().chain(cut).chain([("two files".to_string(), [&good[..], &good].concat())]) {
        fs::write(&file, bytes).unwrap();
        let (found, n_cached, warnings) = said(run(&text, &["--prompt-cache"]).args([&file]));
        assert_eq!(found, fresh, "{what}");
        let warned = warnings.starts_with("warning: ") && warnings.ends_with("reading the prompt anew\n");
        assert!(warnings.lines().count() <= 1 && warned == (n_cached == 0), "{what}: {n_cached}, {warnings:?}");
        n_warned += usize::from(warned);
        assert!(said(run(&text, &["--prompt-cache"]).args([&file])).1 > 0, "{what}");
    }
    // What stands in the header for people to read may change.
    assert!(n_warned >= 16, "{n_warned}");
}

#[test]
fn dynamic_rope_scaling_has_no_use_for_the_file() {
    let dir = Dir::of_checkpoint("text-bpe");
    dir.edit_json("config.json", |config| config["rope_scaling"] = serde_json::json!({ "rope_type": "dynamic", "factor": 2.0 }));
    let run = || infer(["--model"]).args([dir.root()]).args(["--json", "-n", "4", "--prompt", "Once upon a time"]);
    let (found, n_cached, warnings) = said(run().args(["--prompt-cache"]).args([dir.path("cache")]));
    assert_eq!((found, n_cached), (said(run()).0, 0));
    assert!(warnings.contains("no effect with dynamic rope scaling") && !dir.path("cache").exists(), "{warnings}");
}

#[test]
fn a_prompt_that_does_not_fit_is_refused_with_both_counts() {
    let n = said(run(&prompt(30), &[])).0["prompt_tokens"].as_u64().unwrap();
    let line = run(&prompt(30), &["-c", "100"]).fails(2);
    let expected = "prompt: expected fewer tokens than the context's 100 (or --truncate left, right or middle), found ";
    assert_eq!(line, format!("{expected}{n}"));
    let line = run("x", &["--truncate", "up"]).fails(2);
    assert!(line.contains("--truncate: expected left, right or middle, found \"up\""), "{line}");
}

#[test]
fn a_cut_prompt_is_continued_as_what_is_left_of_it() {
    let long = prompt(30);
    let ids = |text: &str| -> Vec<u64> {
        let value = infer(["tokenize", "--json", "--model"]).args([stories()]).args(["--text", text]).json();
        value["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
    };
    let all = ids(&long);
    for (side, kept) in [
        ("left", [&all[..1], &all[all.len() - 75..]].concat()),
        ("right", all[..76].to_vec()),
        ("middle", [&all[..38], &all[all.len() - 38..]].concat()),
    ] {
        let (found, _, warnings) = said(run(&long, &["-c", "100", "--truncate", side]));
        let told = format!("warning: prompt: {} tokens, cut to 76 ({side}) for a context of 100\n", all.len());
        assert_eq!((warnings, found["prompt_tokens"].as_u64()), (told, Some(76)));
        let kept: Vec<String> = kept.iter().skip(1).map(u64::to_string).collect();
        let left = infer(["detokenize", "--model"]).args([stories()]).args(&kept).succeeds();
        let left = left.strip_suffix('\n').unwrap_or(&left);
        let again = ids(left);
        // Where a cut goes through a word, its text may have other tokens.
        if again[1..].iter().map(u64::to_string).eq(kept.iter().cloned()) {
            assert_eq!(found["tokens"], said(run(left, &["-c", "100"])).0["tokens"], "{side}");
        } else {
            assert_ne!(side, "right", "{left:?}");
        }
    }
    let (whole, _, warnings) = said(run(&prompt(3), &["-c", "100", "--truncate", "left"]));
    assert_eq!((whole, warnings.as_str()), (said(run(&prompt(3), &["-c", "100"])).0, ""));
}

#[test]
fn a_conversation_is_cut_in_the_middle_alone() {
    let with = |side: &str| {
        infer(["--model"]).args([stories()]).args([
            "--chat",
            "-n",
            "8",
            "-c",
            "128",
            "--json",
            "--prompt",
            &prompt(40),
            "--truncate",
            side,
        ])
    };
    for side in ["left", "right"] {
        let line = with(side).fails(2);
        assert_eq!(line, format!("--truncate: expected middle with a conversation that does not fit, found {side}"));
    }
    let (found, _, warnings) = said(with("middle"));
    assert_eq!(found["prompt_tokens"].as_u64(), Some(120));
    assert!(warnings.contains("cut to 120 (middle)"), "{warnings}");
}
