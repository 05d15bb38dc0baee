//! Encoding, decoding and streaming against what transformers makes of the same tokenizer files.
//!
//! Not here: files that are broken (`hostile.rs`), and the commands that print tokens (`cli.rs`).

use std::fs;
use std::path::PathBuf;

use infer_loaders::{OpenOptions, Tokenizer};
use serde_json::Value;

use crate::util::{assert_same_text, checkpoint, data};

/// A recorded case: a text, its ids with and without special tokens, and the text of the ids. Cases of ids alone have no text.
struct Case {
    text: Option<String>,
    ids: Vec<u32>,
    ids_without_special: Vec<u32>,
    decoded: String,
    decoded_without_special: String,
}

impl Case {
    fn new(value: &Value) -> Case {
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        let ids = |key: &str| value[key].as_array().map(|ids| ids.iter().map(id).collect()).unwrap_or_default();
        Case {
            text: text("text"),
            ids: ids("ids"),
            ids_without_special: ids("ids_without_special"),
            decoded: text("decoded").unwrap(),
            decoded_without_special: text("decoded_without_special").unwrap(),
        }
    }
}

fn id(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

/// A tokenizer and what was recorded of it.
struct Recorded {
    name: String,
    tokenizer: Tokenizer,
    expected: Value,
}

impl Recorded {
    fn open(folder: PathBuf) -> Recorded {
        let expected = serde_json::from_slice(&fs::read(folder.join("expected.json")).unwrap()).unwrap();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        Recorded { name, tokenizer: Tokenizer::open(&folder).unwrap(), expected }
    }

    /// All of them.
    fn all() -> Vec<Recorded> {
        let folders = fs::read_dir(data("tokenizers")).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
        let all: Vec<Recorded> = folders.chain([checkpoint("text-bpe")]).map(Recorded::open).collect();
        assert!(all.len() >= 4, "only {} tokenizers found", all.len());
        all
    }

    /// The cases of these kinds; there must be some of each.
    fn cases(&self, kinds: &[&str]) -> Vec<Case> {
        let of_kind = |kind: &&str| {
            let cases: Vec<Case> = self.expected[*kind].as_array().unwrap().iter().map(Case::new).collect();
            assert!(cases.len() >= 5, "{}: only {} {kind}", self.name, cases.len());
            cases
        };
        kinds.iter().flat_map(of_kind).collect()
    }
}

const TEXTS: &[&str] = &["encodings", "encodings_with_special_text"];
const ALL: &[&str] = &["encodings", "encodings_with_special_text", "decodings"];

#[test]
fn texts_become_the_recorded_ids() {
    for recorded in Recorded::all() {
        for case in recorded.cases(TEXTS) {
            let (name, text) = (&recorded.name, case.text.unwrap());
            assert_eq!(recorded.tokenizer.encode(&text, true).unwrap(), case.ids, "{name}: {text:?}");
            assert_eq!(recorded.tokenizer.encode(&text, false).unwrap(), case.ids_without_special, "{name}: {text:?}");
        }
    }
}

#[test]
fn ids_become_the_recorded_texts() {
    for recorded in Recorded::all() {
        for case in recorded.cases(ALL) {
            assert_same_text(&case.decoded, &recorded.tokenizer.decode(&case.ids, false).unwrap());
            assert_same_text(&case.decoded_without_special, &recorded.tokenizer.decode(&case.ids, true).unwrap());
        }
    }
}

#[test]
fn a_stream_gives_the_same_text_as_early_as_it_can() {
    for recorded in Recorded::all() {
        let mut n_early = 0;
        for case in recorded.cases(ALL) {
            for (skip_special, expected) in [(false, &case.decoded), (true, &case.decoded_without_special)] {
                let mut stream = recorded.tokenizer.stream(skip_special);
                let mut text = String::new();
                for &id in &case.ids {
                    text.push_str(&stream.push(id).unwrap());
                    assert!(expected.starts_with(&text), "{}: {text:?} is given too early in {expected:?}", recorded.name);
                }
                n_early += usize::from(!text.is_empty());
                text.push_str(&stream.finish().unwrap());
                assert_same_text(expected, &text);
            }
        }
        assert!(n_early >= 20, "{}: the text comes at the end alone", recorded.name);
    }
}

#[test]
fn special_tokens_and_the_size_are_the_recorded_ones() {
    for Recorded { name, tokenizer, expected } in Recorded::all() {
        assert_eq!(tokenizer.vocab_size(), id(&expected["vocab_size"]) as usize, "{name}");
        assert_eq!(tokenizer.bos_id(), Some(id(&expected["bos_id"])), "{name}");
        assert_eq!(tokenizer.eos_ids(), [id(&expected["eos_id"])], "{name}");
        let special: Vec<u32> = expected["special_ids"].as_array().unwrap().iter().map(id).collect();
        assert!(!special.is_empty(), "{name}");
        for id in special {
            assert!(tokenizer.is_special(id), "{name}: {id}");
        }
    }
}

#[test]
fn generated_ids_become_the_recorded_text() {
    let recorded = Recorded::open(checkpoint("text-bpe"));
    let checkpoint = infer_loaders::open(&checkpoint("text-bpe"), &OpenOptions::default()).unwrap();
    let generations = recorded.expected["generations"].as_array().unwrap();
    assert!(generations.len() >= 3, "only {} generations", generations.len());
    for generation in generations {
        let ids = |key: &str| generation[key].as_array().unwrap().iter().map(id).collect::<Vec<u32>>();
        let prompt = generation["prompt"].as_str().unwrap();
        assert_eq!(checkpoint.tokenizer().unwrap().encode(prompt, true).unwrap(), ids("prompt_ids"));
        assert_same_text(generation["text"].as_str().unwrap(), &recorded.tokenizer.decode(&ids("generated_ids"), true).unwrap());
    }
}
