//! The demonstration model that is part of the program, by the real binary and without `--model`.
//!
//! Not here: how well it tells stories, which `models/train/evaluate.py` measures over hundreds of them.

use std::fs;

use serde_json::Value;

use crate::fixtures::isas;
use crate::util::{Dir, data, infer, shell};

/// What transformers made of a recorded prompt.
fn recorded(name: &str) -> String {
    fs::read_to_string(data("stories").join(name)).unwrap()
}

#[test]
fn a_story_is_told_from_an_empty_folder() {
    let dir = Dir::new();
    let script = r#"cd "$1" && "$0" --prompt "Once upon a time" --max-tokens 200 --compute f32"#;
    assert_eq!(shell(script, [dir.root()]).succeeds(), recorded("story.txt"));
    // The model ended it, not the limit.
    let done: Value = serde_json::from_str(&infer(["--prompt", "Once upon a time", "-n", "200", "--json"]).succeeds()).unwrap();
    assert_eq!(done["finish"], "eos", "{done}");
}

#[test]
fn logits_are_those_of_transformers_on_every_rung() {
    let reference = data("stories").join("reference.safetensors");
    let args = ["check", "--reference", reference.to_str().unwrap(), "--json", "--isa"];
    for isa in isas() {
        let exact: Value = serde_json::from_str(&infer(args).args([isa.name(), "--compute", "f32"]).succeeds()).unwrap();
        assert_eq!((&exact["greedy_match"], &exact["top1_agreement"]), (&true.into(), &1.0.into()), "{isa}: {exact}");
        // Trained weights bear activations in bf16 better than random ones do.
        let auto: Value = serde_json::from_str(&infer(args).args([isa.name()]).succeeds()).unwrap();
        assert!(auto["nmse"].as_f64().unwrap() <= 1e-4 && auto["pass"] == true, "{isa}: {auto}");
    }
}

#[test]
fn questions_about_a_story_are_answered() {
    let dir = Dir::new();
    let messages = r#"[
        {"role": "user", "content": "Tell me a story about a fox and a lantern."},
        {"role": "assistant", "content": "Once upon a time, a clever fox named Maple lived in a green hollow. One night Maple found an old lantern under an oak."},
        {"role": "user", "content": "Who found the lantern?"}
    ]"#;
    let file = dir.write("messages.json", messages);
    let answer = infer(["--messages", file.to_str().unwrap(), "--compute", "f32"]).succeeds();
    assert_eq!(answer, recorded("chat.txt"));
    assert_eq!(answer, "Maple found the lantern.");
}

#[test]
fn inspect_names_it_and_model_overrides_it() {
    let text = infer(["inspect"]).succeeds();
    assert!(text.contains("built-in stories") && text.contains("4.1 million"), "{text}");
    let facts: Value = serde_json::from_str(&infer(["inspect", "--json"]).succeeds()).unwrap();
    assert_eq!((&facts["path"], &facts["parameters"]), (&"built-in stories".into(), &4_066_560.into()));
    assert!(infer(["--model", "/nowhere", "--prompt", "x"]).fails(2).contains("/nowhere"));
}

#[test]
fn every_command_that_takes_a_model_takes_it() {
    let ids = infer(["tokenize", "--text", "Once upon a time", "--json"]).succeeds();
    assert!(ids.contains("426") && ids.contains("2032"), "{ids}");
    assert_eq!(infer(["detokenize", "426", "455"]).succeeds().trim_end(), "Once upon");
    assert!(infer(["prompt", "--chat", "--prompt", "Hello"]).succeeds().contains("<|start_header_id|>"));
    assert!(infer(["score", "--prompt", "Once upon a time"]).succeeds().contains("upon"));
    assert!(infer(["chat"]).stdin("Who are you?\n").succeeds().contains("storyteller"));
    let dir = Dir::new();
    let file = dir.path("stories.gguf");
    infer(["quantize", "--to", "q8_0", file.to_str().unwrap()]).succeeds();
    let again = infer(["--model", file.to_str().unwrap(), "--prompt", "Once upon a time", "-n", "40"]).succeeds();
    assert!(again.starts_with(", there "), "{again}");
}
