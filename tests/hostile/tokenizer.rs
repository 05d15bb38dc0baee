//! One fault in `tokenizer.json` or the files that name its special tokens, and texts that make tokenizers slow.
//!
//! Not here: what a good tokenizer makes of a text.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::case::{Args, Suite, generate, inspect, tokenize};
use crate::util::{Dir, checkpoint, data, infer};

const MODEL: &str = "text-bpe";
const FILE: &str = "tokenizer.json";

/// The commands that read the tokenizer.
fn commands(dir: &Dir) -> Vec<Args> {
    vec![tokenize(dir.root()), generate(dir.root()), inspect(dir.root())]
}

/// Name, change of the parsed file, and what the line says beside the file's name.
type Row = (&'static str, fn(&mut Value), &'static [&'static str]);

#[track_caller]
fn refuse(rows: &[Row]) {
    let mut suite = Suite::default();
    for (case, change, needles) in rows {
        let dir = Dir::of_checkpoint(MODEL);
        dir.edit_json(FILE, change);
        suite.refused(case, &commands(&dir), 2, &[&[FILE], *needles].concat());
    }
    suite.close();
}

/// A splitting by this regular expression.
fn split(pattern: &str) -> Value {
    json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false })
}

/// `inner` in so many sequences.
fn nested(inner: Value, list: &str, depth: usize) -> Value {
    (0..depth).fold(inner, |inner, _| json!({ "type": "Sequence", list: [inner] }))
}

#[test]
fn a_file_that_is_no_tokenizer_is_refused() {
    let good = fs::read_to_string(checkpoint(MODEL).join(FILE)).unwrap();
    let mut suite = Suite::default();
    let half = good.len() / 2;
    for (case, text, needles) in [
        ("nothing", Vec::new(), &["EOF"][..]),
        ("null", b"null".to_vec(), &[]),
        ("a list", b"[]".to_vec(), &[]),
        ("a string", b"\"x\"".to_vec(), &[]),
        ("an empty object", b"{}".to_vec(), &["model"]),
        ("half of it", good.as_bytes()[..half].to_vec(), &["EOF"]),
        ("all but the brace", good.trim_end().as_bytes()[..good.trim_end().len() - 1].to_vec(), &["EOF"]),
        ("text behind", format!("{good}x").into_bytes(), &["trailing"]),
        ("a byte order mark", format!("\u{feff}{good}").into_bytes(), &[]),
        (
            "invalid UTF-8",
            good.replacen("Ġ", "\u{fffd}", 1).into_bytes().iter().map(|&b| if b == 0xef { 0xff } else { b }).collect(),
            &[],
        ),
        ("zeros", vec![0; 4096], &[]),
        ("the proto of sentencepiece", b"\x0a\x0e\x0a\x05<unk>\x15\0\0\0\0\x18\x02".to_vec(), &[]),
        ("10^5 nested arrays", "[".repeat(100_000).into_bytes(), &[]),
        ("10^5 nested arrays in a field that means nothing", format!("{{\"x\":{}", "[".repeat(100_000)).into_bytes(), &[]),
        ("10^5 nested arrays in the model", format!("{{\"model\":{}", "[".repeat(100_000)).into_bytes(), &[]),
        (
            "10^5 nested arrays in the model, closed",
            format!("{{\"model\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)).into_bytes(),
            &[],
        ),
    ] {
        let dir = Dir::of_checkpoint(MODEL);
        dir.write(FILE, text);
        suite.refused(case, &commands(&dir), 2, &[&[FILE], needles].concat());
    }
    // Every sixteenth of the file.
    for n in 1..16 {
        let dir = Dir::of_checkpoint(MODEL);
        dir.write(FILE, &good.as_bytes()[..good.len() * n / 16]);
        suite.refused(&format!("{n}/16 of it"), &commands(&dir), 2, &[FILE]);
    }
    let dir = Dir::of_checkpoint(MODEL);
    File::options().write(true).open(dir.path(FILE)).unwrap().set_len(1 << 40).unwrap();
    suite.refused("a terabyte of zeros", &commands(&dir), 2, &[FILE, "at most 67108864 bytes", "1099511627776 bytes"]);
    fs::remove_file(dir.path(FILE)).unwrap();
    suite.refused("no tokenizer", &commands(&dir)[..2], 2, &[FILE]);
    fs::create_dir(dir.path(FILE)).unwrap();
    suite.refused("a folder", &commands(&dir), 2, &[FILE, "a regular file", "a directory"]);
    suite.close();
}

#[test]
fn a_model_that_contradicts_itself_is_refused() {
    refuse(&[
        ("an unknown version", |t| t["version"] = json!("2.0"), &["version", "\"1.0\"", "\"2.0\""]),
        ("a version that is a number", |t| t["version"] = json!(1), &["integer `1`"]),
        ("no model", |t| drop(t.as_object_mut().unwrap().remove("model")), &["model"]),
        ("model null", |t| t["model"] = Value::Null, &["model"]),
        ("an unknown model", |t| t["model"]["type"] = json!("Mamba"), &["model", "Mamba"]),
        ("no vocabulary", |t| drop(t["model"].as_object_mut().unwrap().remove("vocab")), &["model", "vocab"]),
        ("an empty vocabulary", |t| t["model"]["vocab"] = json!({}), &["model"]),
        ("a vocabulary that is a list", |t| t["model"]["vocab"] = json!(["a", "b"]), &["model"]),
        ("no merges", |t| drop(t["model"].as_object_mut().unwrap().remove("merges")), &["merges"]),
        ("merges that are an object", |t| t["model"]["merges"] = json!({}), &["merges"]),
        ("a merge of one token", |t| t["model"]["merges"][0] = json!("a"), &["a"]),
        ("a merge of three tokens", |t| t["model"]["merges"][0] = json!(["a", "b", "c"]), &["model"]),
        ("a merge of numbers", |t| t["model"]["merges"][0] = json!([1, 2]), &["model"]),
        ("a merge of an unknown token", |t| t["model"]["merges"][7] = json!(["a", "qqq"]), &["merges", "merge 7", "'qqq'"]),
        ("a merge into an unknown token", |t| t["model"]["merges"][7] = json!(["a", "Q"]), &["merges", "merge 7", "'aQ'"]),
        (
            "a merge longer than any token",
            |t| {
                let long = "a".repeat(100);
                t["model"]["vocab"][&long] = json!(368);
                t["model"]["merges"].as_array_mut().unwrap().push(json!([long, long]));
            },
            &["merges", "merge 104", "aaaa"],
        ),
        ("an id of 4·10^9", |t| t["model"]["vocab"]["a"] = json!(4_000_000_000u32), &["vocab", "4000000000"]),
        ("an id of 2^32", |t| t["model"]["vocab"]["a"] = json!(1u64 << 32), &["model", "4294967296"]),
        ("a negative id", |t| t["model"]["vocab"]["a"] = json!(-1), &["model", "-1"]),
        ("half an id", |t| t["model"]["vocab"]["a"] = json!(64.5), &["model", "64.5"]),
        ("an id in words", |t| t["model"]["vocab"]["a"] = json!("64"), &["model", "64"]),
        ("an id twice", |t| t["model"]["vocab"]["a"] = json!(65), &["vocab", "id 65"]),
        ("dropout", |t| t["model"]["dropout"] = json!(0.1), &["dropout", "0.1"]),
        ("an unknown token for unknown words", |t| t["model"]["unk_token"] = json!("<none>"), &["unk_token", "<none>"]),
        ("a token for unknown words that is a number", |t| t["model"]["unk_token"] = json!(0), &["unk_token"]),
        ("byte_fallback in words", |t| t["model"]["byte_fallback"] = json!("yes"), &["model", "yes"]),
        ("added tokens that are an object", |t| t["added_tokens"] = json!({}), &[]),
        (
            "an added token without a text",
            |t| drop(t["added_tokens"][0].as_object_mut().unwrap().remove("content")),
            &["content"],
        ),
        ("an added token without an id", |t| drop(t["added_tokens"][0].as_object_mut().unwrap().remove("id")), &["id"]),
        (
            "an added token of id 4·10^9",
            |t| t["added_tokens"][0]["id"] = json!(4_000_000_000u32),
            &["added_tokens", "4000000000"],
        ),
        ("an added token of id -1", |t| t["added_tokens"][0]["id"] = json!(-1), &["-1"]),
    ]);
}

#[test]
fn a_part_that_makes_no_sense_is_refused() {
    refuse(&[
        ("an unknown normalizer", |t| t["normalizer"] = json!({ "type": "Rot13" }), &["normalizer"]),
        ("a normalizer that is a string", |t| t["normalizer"] = json!("NFC"), &["normalizer"]),
        (
            "a normalizer of 10^4 levels",
            |t| t["normalizer"] = nested(json!({ "type": "NFC" }), "normalizers", 40),
            &["normalizer", "nesting"],
        ),
        (
            "a normalizer with a bad regex",
            |t| t["normalizer"] = json!({ "type": "Replace", "pattern": { "Regex": "(" }, "content": "" }),
            &["normalizer"],
        ),
        (
            "a normalizer with a slow regex",
            |t| t["normalizer"] = json!({ "type": "Replace", "pattern": { "Regex": "(a+)+(?!b)" }, "content": "" }),
            &["normalizer", "look-around"],
        ),
        (
            "a normalizer of rubbish",
            |t| t["normalizer"] = json!({ "type": "Precompiled", "precompiled_charsmap": "AAAA////" }),
            &["normalizer"],
        ),
        (
            "a normalizer of bad base64",
            |t| t["normalizer"] = json!({ "type": "Precompiled", "precompiled_charsmap": "!!!" }),
            &["normalizer"],
        ),
        ("an unknown pre-tokenizer", |t| t["pre_tokenizer"] = json!({ "type": "Spaces" }), &["pre_tokenizer"]),
        (
            "a pre-tokenizer of 40 levels",
            |t| t["pre_tokenizer"] = nested(split("a"), "pretokenizers", 40),
            &["pre_tokenizer", "nesting"],
        ),
        ("a pre-tokenizer with a bad regex", |t| t["pre_tokenizer"] = split("(?<"), &[]),
        ("a regex of 10^5 parentheses", |t| t["pre_tokenizer"] = split(&"(".repeat(100_000)), &[]),
        (
            "a regex of 10^5 groups",
            |t| t["pre_tokenizer"] = split(&format!("{}{}", "(".repeat(100_000), ")".repeat(100_000))),
            &[],
        ),
        ("a regex as large as memory", |t| t["pre_tokenizer"] = split("((((a{1000}){1000}){1000}){1000}){1000}"), &[]),
        (
            "a Metaspace of two letters",
            |t| t["pre_tokenizer"] = json!({ "type": "Metaspace", "replacement": "ab", "prepend_scheme": "always" }),
            &["pre_tokenizer"],
        ),
        (
            "a Metaspace of none",
            |t| t["pre_tokenizer"] = json!({ "type": "Metaspace", "replacement": "", "prepend_scheme": "always" }),
            &["pre_tokenizer"],
        ),
        (
            "a splitting that is unknown",
            |t| t["pre_tokenizer"]["pretokenizers"][0]["behavior"] = json!("Sideways"),
            &["pre_tokenizer"],
        ),
        ("an unknown post-processor", |t| t["post_processor"] = json!({ "type": "Wrap" }), &["post_processor"]),
        (
            "a template with an id that the tokenizer does not have",
            |t| t["post_processor"]["processors"][1]["special_tokens"]["<|begin_of_text|>"]["ids"] = json!([4_000_000_000u32]),
            &["post_processor", "4000000000"],
        ),
        (
            "a template with an unknown token",
            |t| t["post_processor"]["processors"][1]["special_tokens"] = json!({}),
            &["post_processor"],
        ),
        (
            "a template with an unknown sequence",
            |t| t["post_processor"]["processors"][1]["single"][1]["Sequence"]["id"] = json!("Q"),
            &["post_processor"],
        ),
        ("an unknown decoder", |t| t["decoder"] = json!({ "type": "Morse" }), &["decoder"]),
        ("a decoder of 40 levels", |t| t["decoder"] = nested(json!({ "type": "Fuse" }), "decoders", 40), &["decoder", "nesting"]),
        (
            "a decoder that strips a string",
            |t| t["decoder"] = json!({ "type": "Strip", "content": "ab", "start": 1, "stop": 0 }),
            &["decoder"],
        ),
        (
            "a decoder that strips -1",
            |t| t["decoder"] = json!({ "type": "Strip", "content": "a", "start": -1, "stop": 0 }),
            &["decoder"],
        ),
    ]);
    let mut suite = Suite::default();
    // Twice as long, forty times: more than any machine holds of one letter.
    let twice = || json!({ "type": "Replace", "pattern": { "String": "a" }, "content": "aa" });
    let bytes = || json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false });
    for (field, list, part) in [
        ("normalizer", "normalizers", twice()),
        ("normalizer", "normalizers", bytes()),
        ("pre_tokenizer", "pretokenizers", bytes()),
        ("decoder", "decoders", twice()),
    ] {
        let dir = Dir::of_checkpoint(MODEL);
        dir.edit_json(FILE, |tokenizer| tokenizer[field] = json!({ "type": "Sequence", list: vec![part; 40] }));
        suite.refused(&format!("{field} of 40 doublings"), &commands(&dir), 2, &[FILE, field, "at most 1024 times as long"]);
    }
    // Deeper than JSON may be read, and wider than anyone needs.
    for (field, list, inner) in [
        ("normalizer", "normalizers", "{\"type\":\"NFC\"}"),
        ("pre_tokenizer", "pretokenizers", "{\"type\":\"Whitespace\"}"),
        ("post_processor", "processors", "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":false}"),
        ("decoder", "decoders", "{\"type\":\"Fuse\"}"),
    ] {
        let dir = Dir::of_checkpoint(MODEL);
        let mut tokenizer: Value = serde_json::from_slice(&fs::read(dir.path(FILE)).unwrap()).unwrap();
        tokenizer.as_object_mut().unwrap().remove(field);
        let deep = format!("{}{inner}{}", format!("{{\"type\":\"Sequence\",\"{list}\":[").repeat(10_000), "]}".repeat(10_000));
        let text = tokenizer.to_string();
        dir.write(FILE, format!("{},\"{field}\":{deep}}}", text.strip_suffix('}').unwrap()));
        suite.refused(&format!("{field} of 10^4 levels"), &commands(&dir), 2, &[FILE]);
    }
    suite.close();
}

#[test]
fn an_id_that_the_model_has_no_row_for_is_refused() {
    let mut suite = Suite::default();
    type Change = fn(&mut Value);
    let rows: [(&str, Change); 2] = [
        ("a token", |t| {
            t["model"]["vocab"]["qqq"] = json!(375);
            t["added_tokens"] = json!([]);
            t["post_processor"] = Value::Null;
        }),
        ("an added token", |t| {
            let tokens = t["added_tokens"].as_array_mut().unwrap();
            for n in 368..=375 {
                tokens.push(json!({ "id": n, "content": format!("<{n}>"), "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true }));
            }
        }),
    ];
    for (case, change) in rows {
        let dir = Dir::of_checkpoint(MODEL);
        dir.edit_json(FILE, change);
        suite.refused(case, &[generate(dir.root())], 2, &["config.json", "vocab_size", "at least 376", "found 375"]);
    }
    suite.close();
}

#[test]
fn files_that_name_special_tokens_are_checked() {
    let mut suite = Suite::default();
    let file = "tokenizer_config.json";
    for (case, text, needles) in [
        ("nothing", String::new(), &["a JSON object", "EOF"][..]),
        ("a list", "[]".into(), &["a JSON object"]),
        ("half", "{\"bos_token\":".into(), &["a JSON object", "EOF"]),
        ("a number", "{\"bos_token\":7}".into(), &["bos_token", "7"]),
        ("a list of tokens", "{\"eos_token\":[\"<|eot_id|>\"]}".into(), &["eos_token", "an array of 1 items"]),
        ("an object without a text", "{\"eos_token\":{\"id\":1}}".into(), &["eos_token"]),
        ("a text that is a number", "{\"eos_token\":{\"content\":1}}".into(), &["eos_token"]),
        ("10^5 nested arrays", format!("{{\"x\":{}", "[".repeat(100_000)), &["a JSON object"]),
    ] {
        for file in [file, "special_tokens_map.json"] {
            let dir = Dir::of_checkpoint(MODEL);
            fs::remove_file(dir.path("tokenizer_config.json")).unwrap();
            dir.write(file, &text);
            suite.refused(&format!("{file}: {case}"), &commands(&dir), 2, &[&[file], needles].concat());
        }
    }
    let dir = Dir::of_checkpoint(MODEL);
    dir.edit_json(file, |settings| settings["bos_token"] = json!("<not a token>"));
    suite.accepted("an unknown token", &generate(dir.root()), None, &[]);
    suite.close();
}

#[test]
fn a_regular_expression_ends_in_time() {
    let mut suite = Suite::default();
    let text = format!("{}b", "a".repeat(30));
    for (pattern, is_linear) in [
        ("(a+)+", true),
        ("(a+)+$", true),
        ("(a|aa)+$", true),
        ("(a*)*b", true),
        ("(x+x+)+y", true),
        (r"(a+)+(?=b)", false),
        (r"(a+)+(?!b)$", false),
        (r"(a+)+\1c", false),
        (r"(?>a+)+b", false),
        (r"(?<=a)(a+)+c", false),
    ] {
        let dir = Dir::of_checkpoint(MODEL);
        dir.edit_json(FILE, |tokenizer| tokenizer["pre_tokenizer"]["pretokenizers"][0] = split(pattern));
        let mut args = tokenize(dir.root());
        args[2] = text.clone().into();
        match is_linear {
            true => suite.accepted(pattern, &args, None, &[]),
            false => suite.either(pattern, &args, 2, &[FILE, "regular expression"]),
        }
    }
    suite.close();
}

#[test]
fn long_runs_take_two_seconds_for_a_megabyte_at_most() {
    let dir = Dir::new();
    let models: Vec<PathBuf> = [checkpoint(MODEL), data("tokenizers/spm-prepend"), data("tokenizers/spm-metaspace")].into();
    let mut suite = Suite::default();
    for unit in ["a", " ", "\n", "^", "\u{4e2d}"] {
        let text = unit.repeat(1_000_000);
        let file = dir.write("text", &text);
        let allowed = Duration::from_secs_f64(2.0 * text.len() as f64 / 1e6);
        for model in &models {
            let attempt = || {
                let started = Instant::now();
                let output = infer(["tokenize", "--json", "--model"]).args([model]).args(["--prompt-file"]).args([&file]).run();
                (started.elapsed(), output)
            };
            // Other tests run beside it.
            let (time, output) = (0..4).map(|_| attempt()).find(|(time, _)| *time <= allowed).unwrap_or_else(attempt);
            let case = format!("{unit:?} by {}", model.display());
            suite.require(&case, output.status.success(), || String::from_utf8_lossy(&output.stderr).into_owned());
            suite.require(&case, time <= allowed, || format!("expected at most {allowed:?}, found {time:?}"));
        }
    }
    suite.close();
}
