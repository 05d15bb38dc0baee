//! `--draft`: a smaller model drafts, and the text stays the same, to the bit; vocabularies that do not match, memory, chat, caches.
//!
//! Not here: drafts from the text itself (`speculation.rs`, whose runs are used here), and how many tokens are tried (the engine).

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use infer::{GenerateOptions, Grammar, ModelOptions, Sampling, Speculation, TextModel};
use serde_json::Value;

use crate::speculation::{always, greedy, model, prompt, run, sampled, two_hundred_prompts};
use crate::util::{Dir, checkpoint, infer, text};

/// The demonstration model.
fn stories() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/stories")
}

/// The demonstration model in fewer bits: often of the same mind, and sometimes of another.
fn quantised(dir: &Dir) -> PathBuf {
    let file = dir.path("q4_0.gguf");
    infer(["quantize", "--to", "q4_0", "--model"]).args([stories(), file.clone()]).succeeds();
    file
}

/// The demonstration model on so many threads, with the same in fewer bits to draft for it.
fn pair(n_threads: usize, draft: &Path) -> TextModel {
    let mut pair = model(n_threads);
    let one = ModelOptions { threads: NonZeroUsize::MIN, ..ModelOptions::default() };
    pair.set_draft(TextModel::open(draft, &one).unwrap()).unwrap();
    pair
}

#[test]
fn two_hundred_prompts_give_the_same_bits_with_and_without() {
    let dir = Dir::new();
    let (plain, pairs) = (model(2), [1, 2].map(|n| pair(n, &quantised(&dir))));
    let (n_drafted, n_accepted) = two_hundred_prompts(&plain, [&pairs[0], &pairs[1]], 12, 6);
    assert!(n_accepted > 1000 && n_drafted - n_accepted > 200, "{n_accepted} of {n_drafted}");
}

/// The draft draws with the target's numbers, under its penalties and its grammar: all that it says is right.
#[test]
fn a_model_that_drafts_for_itself_is_always_right() {
    let mut own = model(2);
    own.set_draft(model(1)).unwrap();
    let base = || GenerateOptions { max_tokens: Some(41), n_logprobs: Some(1), ..GenerateOptions::default() };
    let penalised = Sampling { repetition_penalty: 1.2, frequency_penalty: 0.3, ..sampled(5) };
    let words = Grammar::Regex("( [a-z]+){60}".into());
    let settings = [
        ("greedy", GenerateOptions { sampling: Some(greedy()), ignore_eos: true, ..base() }),
        ("temperature 0.8", GenerateOptions { sampling: Some(sampled(1)), ignore_eos: true, ..base() }),
        ("penalties", GenerateOptions { sampling: Some(penalised), ignore_eos: true, ..base() }),
        ("a grammar", GenerateOptions { grammar: Some(words), sampling: Some(sampled(2)), ..base() }),
    ];
    for (what, options) in &settings {
        let (plain, _) = run(&own, &prompt(2), options, Speculation::Off);
        for n in [1, 4, 9] {
            let (found, timings) = run(&own, &prompt(2), options, always(n));
            assert_eq!(found, plain, "{what}");
            // 40 tokens after the first.
            let n_passes = 40_usize.div_ceil(n + 1);
            assert_eq!((timings.decode_passes, timings.accepted_tokens), (n_passes, 40 - n_passes), "{what}, {n} at a time");
            assert_eq!(timings.drafted_tokens, timings.accepted_tokens, "{what}, {n} at a time");
        }
    }
}

#[test]
fn whatever_stops_bends_or_takes_back_a_text_does_so_at_the_same_token() {
    let base = || GenerateOptions { max_tokens: Some(48), n_logprobs: Some(1), ..GenerateOptions::default() };
    let settings = [
        ("a stop string", GenerateOptions { stop: vec!["river".into(), "happy.".into()], sampling: Some(greedy()), ..base() }),
        (
            "banned strings",
            GenerateOptions { banned: vec![" the ".into(), "happy".into()], sampling: Some(sampled(2)), ..base() },
        ),
        (
            "banned strings within a grammar",
            GenerateOptions {
                banned: vec!["was".into(), " a".into()],
                grammar: Some(Grammar::Regex("( ?[a-z]+[.,]?){12}".into())),
                sampling: Some(sampled(9)),
                ..base()
            },
        ),
        (
            "a full context",
            GenerateOptions { max_tokens: None, ctx_size: Some(128), ignore_eos: true, sampling: Some(greedy()), ..base() },
        ),
        ("its end", GenerateOptions { max_tokens: None, sampling: Some(greedy()), ..base() }),
        ("one token", GenerateOptions { max_tokens: Some(1), sampling: Some(greedy()), ..base() }),
    ];
    let dir = Dir::new();
    let (plain_model, pair) = (model(2), pair(2, &quantised(&dir)));
    for (what, options) in &settings {
        let mut n_accepted = 0;
        for (i, lengths) in [(0, [1, 8]), (1, [3, 15]), (5, [2, 5])] {
            let (plain, _) = run(&plain_model, &prompt(i), options, Speculation::Off);
            for n in lengths {
                let (found, timings) = run(&pair, &prompt(i), options, always(n));
                assert_eq!(found, plain, "{what}, prompt {i}, {n} at a time");
                n_accepted += timings.accepted_tokens;
            }
            assert_eq!(run(&pair, &prompt(i), options, Speculation::Auto).0, plain, "{what}, prompt {i}");
        }
        assert!(n_accepted > 20 || *what == "one token", "{what}: {n_accepted} drafts were right");
    }
}

#[test]
fn a_draft_of_another_vocabulary_is_refused_with_both() {
    let target = checkpoint("text-bpe");
    let with = |draft: &Path| infer(["--prompt", "x", "--model"]).args([&target]).args(["--draft"]).args([draft]);
    let (target, other) = (target.display().to_string(), stories());
    let expected = |draft: &Path, found: &str| {
        format!("{}: expected the vocabulary of {target} (368 tokens), found {found}", draft.display())
    };
    assert_eq!(with(&other).fails(2), expected(&other, "one of 2048 tokens"));
    // As many tokens, but others.
    let dir = Dir::of_checkpoint("text-bpe");
    let text = fs::read_to_string(dir.path("tokenizer.json")).unwrap();
    let tokenizer: Value = serde_json::from_str(&text).unwrap();
    let ids = tokenizer["model"]["vocab"].as_object().unwrap();
    let (piece, id) = ids.iter().find(|(piece, _)| **piece == "!").unwrap();
    dir.edit_json("tokenizer.json", |tokenizer| {
        let ids = tokenizer["model"]["vocab"].as_object_mut().unwrap();
        let id = ids.remove(piece).unwrap();
        ids.insert("☃".to_string(), id);
    });
    assert_eq!(with(dir.root()).fails(2), expected(dir.root(), &format!("one whose token {id} is \"☃\" and not \"!\"")));
    assert!(with(&dir.path("nothing")).fails(2).starts_with(&format!("{}: expected", dir.path("nothing").display())));
}

#[test]
fn the_command_line_counts_both_models_and_keeps_the_text() {
    let dir = Dir::new();
    let (stories, draft) = (stories().display().to_string(), quantised(&dir).display().to_string());
    let prompt = prompt(0);
    let run = |args: &[&str]| {
        let all = ["--model", &stories, "--prompt", &prompt, "-n", "60", "--ignore-eos", "--stats"];
        let output = infer(all).args(args).run();
        assert!(output.status.success(), "{}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    };
    let line = |stats: &str, name: &str| stats.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    let (plain, alone) = run(&["--speculate", "off"]);
    let (found, stats) = run(&["--speculate", "4", "--draft", &draft]);
    assert_eq!(found, plain);
    assert!(line(&stats, "drafts:").contains(" accepted ("), "{stats}");
    let weights = |stats: &str| -> f64 {
        let line = line(stats, "memory:");
        line.strip_prefix("memory:  weights ").unwrap().split_once(" MiB").unwrap().0.parse().unwrap()
    };
    let more = weights(&stats) - weights(&alone);
    assert!((1.5..4.0).contains(&more), "{alone}{stats}");
    // The cache of both: a refusal tells what one token takes.
    let kv = |args: &[&str]| {
        let line = infer(["--model", &stories, "--prompt", "x", "-c", "2000000000"]).args(args).fails(3);
        let (_, rest) = line.split_once("(KV cache ").unwrap();
        rest.split_once(" TiB").map(|(n, _)| n.parse::<f64>().unwrap()).unwrap_or_else(|| panic!("{line}"))
    };
    assert!(kv(&["--draft", &draft, "--kv-dtype", "f32"]) > 1.99 * kv(&["--kv-dtype", "f32"]));
    // A cache of the prompt holds what the target has read; the draft reads anew.
    let cache = dir.path("cache").display().to_string();
    for _ in 0..2 {
        assert_eq!(run(&["--speculate", "4", "--draft", &draft, "--prompt-cache", &cache]).0, plain);
    }
    assert_eq!(run(&["--draft", &draft]).0, plain);
    let (found, warned) = run(&["--draft", &draft, "--speculate", "off"]);
    assert!(found == plain && warned.contains("warning: --draft: no effect with --speculate off\n"), "{warned}");
}

#[test]
fn a_conversation_is_the_same_with_a_draft() {
    let dir = Dir::new();
    let draft = quantised(&dir).display().to_string();
    let script = "Tell me a story about a fox.\nWho was in it?\n/undo\n/regen\nAnd then?\n/stats\n";
    let chat = |args: &[&str]| {
        let output = infer(["chat", "--model"]).args([stories()]).args(["-n", "40", "--temperature", "0.7"]).args(args);
        let output = output.stdin(script).run();
        assert!(output.status.success(), "{}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    };
    let (plain, _) = chat(&["--speculate", "off"]);
    let (found, notes) = chat(&["--speculate", "5", "--draft", &draft]);
    assert_eq!(found, plain);
    assert!(notes.contains(" tokens drafted, "), "{notes}");
    assert_eq!(chat(&["--draft", &draft]).0, plain);
}
