//! One fault in `config.json` or `generation_config.json`.
//!
//! Not here: tensors that do not fit a good config (`safetensors.rs`).

use std::fs::{self, File};

use serde_json::{Value, json};

use super::case::{Args, Suite, all_commands, generate, inspect, output_of};
use super::weights::Parts;
use crate::util::{Dir, checkpoint};

/// A Llama with a tokenizer, and the other architectures without one.
const MODEL: &str = "text-bpe";
const FILE: &str = "config.json";

/// Sizes without which there is no model, and sizes that have a default.
const REQUIRED: [&str; 5] = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"];
const OPTIONAL: [&str; 3] = ["num_key_value_heads", "head_dim", "max_position_embeddings"];

/// The text of the good config with `key` at the end, spelled as `value`.
fn config_with(model: &str, key: &str, value: &str) -> String {
    let config = fs::read(checkpoint(model).join(FILE)).unwrap();
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    config.as_object_mut().unwrap().remove(key);
    let text = config.to_string();
    format!("{},\"{key}\":{value}}}", text.strip_suffix('}').unwrap())
}

fn with_config(model: &str, text: impl AsRef<[u8]>) -> Dir {
    let dir = Dir::of_checkpoint(model);
    dir.write(FILE, text);
    dir
}

/// The commands that read the config; only one checkpoint has the tokenizer that generating needs.
fn commands(model: &str, dir: &Dir) -> Vec<Args> {
    all_commands(dir.root()).split_off(usize::from(model != MODEL))
}

#[test]
fn a_size_that_is_none_is_refused_with_what_was_found() {
    let mut suite = Suite::default();
    let wrong = [
        ("0", "0"),
        ("-0", "-0"),
        ("-1", "-1"),
        ("1.5", "1.5"),
        ("24.0", "24.0"),
        ("1e308", "found 1e"),
        ("1e999", "number out of range"),
        ("\"8\"", "\"8\""),
        ("true", "true"),
        ("[24]", "an array of 1 items"),
        ("{}", "an object of 0 fields"),
        ("2147483648", "2147483648"),
        ("9223372036854775808", "9223372036854775808"),
        ("18446744073709551616", "found 1.8446744073709552e"),
        ("-9223372036854775809", "found -9.223372036854776e"),
        ("NaN", "expected value"),
    ];
    for key in REQUIRED.iter().chain(&OPTIONAL) {
        for (value, found) in wrong {
            let dir = with_config(MODEL, config_with(MODEL, key, value));
            let subject = if ["1e999", "NaN"].contains(&value) { "valid JSON".to_string() } else { format!("field '{key}'") };
            suite.refused(&format!("{key} {value}"), &commands(MODEL, &dir), 2, &[FILE, &subject, found]);
        }
    }
    for key in REQUIRED {
        let absent = || {
            let dir = Dir::of_checkpoint(MODEL);
            dir.edit_json(FILE, |config| drop(config.as_object_mut().unwrap().remove(key)));
            dir
        };
        for dir in [absent(), with_config(MODEL, config_with(MODEL, key, "null"))] {
            suite.refused(&format!("no {key}"), &commands(MODEL, &dir), 2, &[FILE, &format!("field '{key}'"), "found nothing"]);
        }
        // As large as an integer may be: refused by a limit or because no tensor is so large.
        let dir = with_config(MODEL, config_with(MODEL, key, "2147483647"));
        suite.refused(&format!("{key} 2^31 - 1"), &commands(MODEL, &dir), 2, &["2147483647"]);
        let dir = with_config(MODEL, config_with(MODEL, key, "16384"));
        suite.refused(&format!("{key} 2^14"), &commands(MODEL, &dir), 2, &[]);
    }
    suite.close();
}

/// A row: the base checkpoint, a key, its value, and what the line says beside the file and the key.
type Row = (&'static str, &'static str, &'static str, &'static [&'static str]);

fn refuse_fields(rows: &[Row]) {
    let mut suite = Suite::default();
    for (model, key, value, needles) in rows {
        let dir = with_config(model, config_with(model, key, value));
        suite.refused(&format!("{model}: {key}: {value}"), &commands(model, &dir), 2, &[&[FILE, key], *needles].concat());
    }
    suite.close();
}

#[test]
fn sizes_that_do_not_fit_each_other_are_refused() {
    refuse_fields(&[
        (MODEL, "num_attention_heads", "5", &["a divisor of hidden_size, 24", "5"]),
        (MODEL, "num_attention_heads", "24", &["even", "24"]),
        (MODEL, "num_attention_heads", "16777216", &["a divisor of hidden_size"]),
        (MODEL, "num_key_value_heads", "3", &["a divisor of num_attention_heads, 2", "3"]),
        (MODEL, "num_key_value_heads", "4", &["a divisor of num_attention_heads, 2", "4"]),
        (MODEL, "head_dim", "11", &["even", "11"]),
        (MODEL, "head_dim", "1", &["even", "1"]),
        (MODEL, "head_dim", "16777216", &["at most 16777216 in all heads"]),
        (MODEL, "hidden_size", "25", &["num_attention_heads"]),
        (MODEL, "hidden_size", "16777217", &["at most 16777216", "16777217"]),
        (MODEL, "num_hidden_layers", "16385", &["at most 16384", "16385"]),
    ]);
}

#[test]
fn a_number_that_makes_no_sense_is_refused() {
    refuse_fields(&[
        (MODEL, "rms_norm_eps", "0", &["greater than 0", "found 0"]),
        (MODEL, "rms_norm_eps", "-0.5", &["greater than 0", "-0.5"]),
        (MODEL, "rms_norm_eps", "\"1e-5\"", &["\"1e-5\""]),
        (MODEL, "rms_norm_eps", "1e308", &["found 1e"]),
        (MODEL, "rms_norm_eps", "1e-60", &["1e-60"]),
        (MODEL, "rms_norm_eps", "true", &["true"]),
        (MODEL, "rope_theta", "0", &["greater than 0", "found 0"]),
        (MODEL, "rope_theta", "-10000", &["greater than 0", "-10000"]),
        (MODEL, "rope_theta", "\"1e4\"", &["\"1e4\""]),
        (MODEL, "rope_theta", "[]", &["an array of 0 items"]),
        (MODEL, "partial_rotary_factor", "0.5", &["1", "0.5"]),
        (MODEL, "partial_rotary_factor", "0", &["0"]),
        (MODEL, "hidden_act", "\"gelu\"", &["silu", "gelu"]),
        (MODEL, "hidden_act", "1", &["1"]),
        (MODEL, "tie_word_embeddings", "\"yes\"", &["true or false", "yes"]),
        (MODEL, "tie_word_embeddings", "1", &["true or false", "1"]),
        (MODEL, "attention_bias", "1", &["true or false"]),
        (MODEL, "mlp_bias", "\"\"", &["true or false"]),
        (MODEL, "quantization_config", "{\"quant_method\":\"gptq\"}", &["without quantization"]),
        (MODEL, "quantization_config", "{}", &["without quantization"]),
        (MODEL, "architectures", "[\"GPT2LMHeadModel\"]", &["LlamaForCausalLM", "GPT2LMHeadModel"]),
        (MODEL, "architectures", "[\"llamaforcausallm\"]", &["LlamaForCausalLM"]),
        (MODEL, "architectures", "\"LlamaForCausalLM\"", &["array of strings"]),
        (MODEL, "architectures", "[null]", &["array of strings"]),
        ("mistral-sliding-window", "sliding_window", "0", &["found 0"]),
        ("mistral-sliding-window", "sliding_window", "-1", &["found -1"]),
        ("mistral-sliding-window", "sliding_window", "\"12\"", &["\"12\""]),
        ("mistral-sliding-window", "layer_types", "[\"sliding_attention\"]", &["a list of", "1 items"]),
        (
            "qwen2-sliding-window",
            "layer_types",
            "[\"linear_attention\",\"full_attention\",\"full_attention\"]",
            &["full_attention or sliding_attention"],
        ),
        ("qwen2-sliding-window", "max_window_layers", "-1", &["found -1"]),
        ("qwen2-sliding-window", "use_sliding_window", "0", &["true or false"]),
        ("qwen3", "attention_bias", "\"true\"", &["true or false"]),
    ]);
}

#[test]
fn rope_parameters_that_make_no_sense_are_refused() {
    let llama3 = |change: &str| {
        let mut dict = json!({ "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32 });
        let (key, value) = change.split_once(' ').unwrap();
        match value {
            "absent" => drop(dict.as_object_mut().unwrap().remove(key)),
            _ => dict[key] = serde_json::from_str(value).unwrap(),
        }
        (key.to_string(), dict.to_string())
    };
    let mut suite = Suite::default();
    let mut refuse = |case: &str, dict: &str, needles: &[&str]| {
        for key in ["rope_scaling", "rope_parameters"] {
            let dir = with_config(MODEL, config_with(MODEL, key, dict));
            suite.refused(&format!("{key} {case}"), &commands(MODEL, &dir), 2, &[&[FILE, key], needles].concat());
        }
    };
    for (change, found) in [
        ("factor 0", "found 0"),
        ("factor -8", "found -8"),
        ("factor \"8\"", "\"8\""),
        ("factor absent", "nothing"),
        ("factor null", "nothing"),
        ("low_freq_factor 0", "found 0"),
        ("low_freq_factor -1", "found -1"),
        ("low_freq_factor absent", "nothing"),
        ("high_freq_factor 0", "found 0"),
        ("high_freq_factor 1.0", "more than low_freq_factor, 1.0, found 1.0"),
        ("high_freq_factor 0.5", "more than low_freq_factor, 1.0, found 0.5"),
        ("high_freq_factor absent", "nothing"),
        ("original_max_position_embeddings 0", "found 0"),
        ("original_max_position_embeddings 1.5", "found 1.5"),
        ("original_max_position_embeddings -32", "found -32"),
        ("rope_type \"mrope\"", "mrope"),
        ("rope_type \"longrope\"", "longrope"),
        ("rope_type \"LLAMA3\"", "LLAMA3"),
        ("rope_type 3", "a string"),
        ("rope_theta 0", "found 0"),
        ("rope_theta -1", "found -1"),
        ("partial_rotary_factor 0.25", "0.25"),
    ] {
        let (key, dict) = llama3(change);
        refuse(change, &dict, &[&key, found]);
    }
    for (dict, needles) in [
        ("7", &["an object", "7"][..]),
        ("\"linear\"", &["an object"]),
        ("[]", &["an object"]),
        (r#"{"type":"linear"}"#, &["factor", "nothing"]),
        (r#"{"type":"linear","factor":0}"#, &["factor", "found 0"]),
        (r#"{"type":"linear","factor":-2}"#, &["factor", "found -2"]),
        (r#"{"type":"linear","factor":"2"}"#, &["factor", "\"2\""]),
        (r#"{"type":"dynamic"}"#, &["factor", "nothing"]),
        (r#"{"type":"dynamic","factor":0}"#, &["factor", "found 0"]),
        (r#"{"rope_type":"su","factor":2}"#, &["rope_type", "su"]),
        (r#"{"type":"yarn","factor":0}"#, &["factor", "found 0"]),
        (r#"{"type":"yarn","factor":4,"beta_fast":-32}"#, &["beta_fast", "-32"]),
        (r#"{"type":"yarn","factor":4,"beta_slow":-1}"#, &["beta_slow", "-1"]),
        (r#"{"type":"yarn","factor":4,"beta_slow":"1"}"#, &["beta_slow", "\"1\""]),
        (r#"{"type":"yarn","factor":4,"attention_factor":"x"}"#, &["attention_factor", "\"x\""]),
        (r#"{"type":"yarn","factor":4,"mscale":[1]}"#, &["mscale", "an array of 1 items"]),
        (r#"{"type":"yarn","factor":4,"truncate":"no"}"#, &["truncate", "\"no\""]),
        (r#"{"type":"yarn","factor":4,"original_max_position_embeddings":0}"#, &["original_max_position_embeddings", "found 0"]),
        (r#"{"type":"yarn","factor":4,"rope_theta":1}"#, &["rope_theta"]),
    ] {
        refuse(dict, dict, needles);
    }
    suite.close();
}

#[test]
fn numbers_beyond_single_precision_never_become_logits() {
    // Each is a number that JSON can write and a double can hold; what comes of it must be finite or refused, if only by its logits.
    let mut suite = Suite::default();
    let huge = ["1e38", "1e39", "1e300", "1.7976931348623157e308", "1e-38", "1e-46", "1e-300", "5e-324"];
    for value in huge {
        let mut texts = Vec::new();
        for key in ["rms_norm_eps", "rope_theta"] {
            texts.push((key, config_with(MODEL, key, value)));
        }
        for (key, dict) in [
            ("linear.factor", format!(r#"{{"type":"linear","factor":{value}}}"#)),
            ("dynamic.factor", format!(r#"{{"type":"dynamic","factor":{value}}}"#)),
            ("yarn.factor", format!(r#"{{"type":"yarn","factor":{value}}}"#)),
            ("yarn.attention_factor", format!(r#"{{"type":"yarn","factor":4,"attention_factor":{value}}}"#)),
            ("yarn.mscale", format!(r#"{{"type":"yarn","factor":4,"mscale":{value},"mscale_all_dim":1}}"#)),
            ("yarn.mscale_all_dim", format!(r#"{{"type":"yarn","factor":4,"mscale":1,"mscale_all_dim":{value}}}"#)),
            ("yarn.beta_fast", format!(r#"{{"type":"yarn","factor":4,"beta_fast":{value}}}"#)),
            ("yarn.beta_slow", format!(r#"{{"type":"yarn","factor":4,"beta_slow":{value}}}"#)),
            ("llama3.factor", format!(r#"{{"type":"llama3","factor":{value},"low_freq_factor":1,"high_freq_factor":4}}"#)),
            (
                "llama3.low_freq_factor",
                format!(r#"{{"type":"llama3","factor":8,"low_freq_factor":{value},"high_freq_factor":1e308}}"#),
            ),
            (
                "llama3.high_freq_factor",
                format!(r#"{{"type":"llama3","factor":8,"low_freq_factor":1e-320,"high_freq_factor":{value}}}"#),
            ),
        ] {
            texts.push((key, config_with(MODEL, "rope_scaling", &dict)));
        }
        for (key, text) in texts {
            let dir = with_config(MODEL, text);
            let case = format!("{key} {value}");
            suite.either(&case, &generate(dir.root()), 2, &[dir.root().to_str().unwrap()]);
        }
    }
    suite.close();
}

#[test]
fn a_config_that_is_none_is_refused() {
    let good = fs::read(checkpoint(MODEL).join(FILE)).unwrap();
    let good = String::from_utf8(good).unwrap().trim_end().to_string();
    let mut suite = Suite::default();
    let rows: &[(&str, Vec<u8>, &[&str])] = &[
        ("nothing", vec![], &["valid JSON", "EOF"]),
        ("null", b"null".to_vec(), &["a JSON object", "null"]),
        ("a list", b"[]".to_vec(), &["a JSON object", "an array of 0 items"]),
        ("a string", b"\"config\"".to_vec(), &["a JSON object", "\"config\""]),
        ("an empty object", b"{}".to_vec(), &["architectures", "nothing"]),
        ("half of it", good.as_bytes()[..good.len() / 2].to_vec(), &["valid JSON", "EOF"]),
        ("all but the brace", good.as_bytes()[..good.len() - 1].to_vec(), &["valid JSON", "EOF"]),
        ("text behind", format!("{good}x").into_bytes(), &["valid JSON", "trailing"]),
        ("a byte order mark", format!("\u{feff}{good}").into_bytes(), &["valid JSON"]),
        ("UTF-16", good.encode_utf16().flat_map(u16::to_le_bytes).collect(), &["valid JSON"]),
        ("invalid UTF-8", [good.as_bytes(), b"\xff"].concat(), &["valid JSON"]),
        (
            "invalid UTF-8 in a string",
            good.replace("silu", "sil\u{fffd}").into_bytes().iter().map(|&b| if b == 0xef { 0xff } else { b }).collect(),
            &["valid JSON"],
        ),
        ("a comment", good.replacen('{', "{ // sizes\n", 1).into_bytes(), &["valid JSON"]),
        ("a comma too many", good.replace("\"float32\"", "\"float32\",").into_bytes(), &["valid JSON"]),
        ("single quotes", good.replace('"', "'").into_bytes(), &["valid JSON"]),
        ("zeros", vec![0; 4096], &["valid JSON"]),
        ("10^5 nested arrays", config_with(MODEL, "deep", &"[".repeat(100_000)).into_bytes(), &["valid JSON", "recursion"]),
        (
            "10^5 nested objects",
            config_with(MODEL, "deep", &"{\"a\":".repeat(100_000)).into_bytes(),
            &["valid JSON", "recursion"],
        ),
        (
            "10^5 arrays, closed",
            config_with(MODEL, "deep", &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))).into_bytes(),
            &["valid JSON", "recursion"],
        ),
        ("an HTML page", b"<!doctype html><title>404</title>".to_vec(), &["valid JSON"]),
        ("a pointer of git-lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n".to_vec(), &["valid JSON"]),
    ];
    for (case, text, needles) in rows {
        let dir = with_config(MODEL, text);
        suite.refused(case, &commands(MODEL, &dir), 2, &[&[FILE], *needles].concat());
    }
    let dir = Dir::of_checkpoint(MODEL);
    File::options().write(true).open(dir.path(FILE)).unwrap().set_len(1 << 40).unwrap();
    suite.refused("a terabyte of zeros", &commands(MODEL, &dir), 2, &[FILE, "at most 4194304 bytes", "1099511627776 bytes"]);
    fs::remove_file(dir.path(FILE)).unwrap();
    suite.refused("no config", &commands(MODEL, &dir), 2, &[FILE]);
    fs::create_dir(dir.path(FILE)).unwrap();
    suite.refused("a folder", &commands(MODEL, &dir), 2, &[FILE, "a regular file", "a directory"]);
    suite.close();
}

#[test]
fn a_vocabulary_that_fits_neither_weights_nor_tokenizer_is_refused() {
    let mut suite = Suite::default();
    for size in ["374", "376", "1", "16777216"] {
        let dir = with_config(MODEL, config_with(MODEL, "vocab_size", size));
        let shape = format!("expected shape [{size}, 24], found [375, 24]");
        suite.refused(size, &commands(MODEL, &dir), 2, &["model.safetensors", "model.embed_tokens.weight", &shape]);
    }
    // A checkpoint with fewer rows than the tokenizer has ids.
    let dir = with_config(MODEL, config_with(MODEL, "vocab_size", "367"));
    let mut parts = Parts::read(&dir.path("model.safetensors"));
    parts.replace("\"model.embed_tokens.weight\":{\"dtype\":\"F32\",\"shape\":[375,24]", "\"x\":{\"dtype\":\"F32\",\"shape\":[8,24],\"data_offsets\":[35232,36000]},\"model.embed_tokens.weight\":{\"dtype\":\"F32\",\"shape\":[367,24]");
    parts.replace("[0,36000]", "[0,35232]");
    parts.write(&dir.path("model.safetensors"));
    suite.refused("an id beyond the rows", &[generate(dir.root())], 2, &[FILE, "vocab_size", "at least 368", "found 367"]);
    for (file, key, value, found) in [
        (FILE, "eos_token_id", "375", "found 375"),
        (FILE, "eos_token_id", "[361,375]", "found"),
        (FILE, "eos_token_id", "-1", "found -1"),
        (FILE, "eos_token_id", "\"361\"", "\"361\""),
        (FILE, "eos_token_id", "361.5", "361.5"),
        (FILE, "eos_token_id", "[[361]]", "an array of 1 items"),
        (FILE, "eos_token_id", "4294967296", "4294967296"),
    ] {
        let dir = with_config(MODEL, config_with(MODEL, key, value));
        suite.refused(&format!("{key} {value}"), &[generate(dir.root())], 2, &[file, key, found]);
    }
    suite.close();
}

#[test]
fn rows_beyond_the_tokenizer_are_never_chosen() {
    let good = output_of(&generate(&checkpoint(MODEL)));
    let dir = Dir::of_checkpoint(MODEL);
    let mut parts = Parts::read(&dir.path("model.safetensors"));
    // The embedding is the output head, too. Whatever the state, one of two opposite rows has the largest logit by far.
    for (row, value) in [(368, 1e6_f32), (369, -1e6), (370, 1e6), (374, -1e6)] {
        for column in 0..24 {
            let value = if row < 370 || column % 2 == 0 { value } else { -value };
            parts.data[(row * 24 + column) * 4..][..4].copy_from_slice(&value.to_le_bytes());
        }
    }
    parts.write(&dir.path("model.safetensors"));
    let mut suite = Suite::default();
    suite.accepted("large logits", &generate(dir.root()), Some(&good), &[]);
    suite.close();
}

#[test]
fn generation_settings_that_make_no_sense_are_refused() {
    let mut suite = Suite::default();
    let file = "generation_config.json";
    for (key, value, needle) in [
        ("temperature", "-1", "found -1"),
        ("temperature", "\"hot\"", "\"hot\""),
        ("temperature", "1e308", "found 1e"),
        ("top_k", "-1", "found -1"),
        ("top_k", "1.5", "found 1.5"),
        ("top_k", "\"50\"", "\"50\""),
        ("top_p", "1.1", "found 1.1"),
        ("top_p", "-0.1", "found -0.1"),
        ("top_p", "\"x\"", "\"x\""),
        ("min_p", "2", "found 2"),
        ("min_p", "[]", "an array of 0 items"),
        ("repetition_penalty", "0", "found 0"),
        ("repetition_penalty", "-1", "found -1"),
        ("repetition_penalty", "1e39", "found 1e"),
        ("do_sample", "\"true\"", "true or false"),
        ("eos_token_id", "375", "found 375"),
        ("eos_token_id", "[375,361]", "below the vocabulary's size 375"),
        ("eos_token_id", "-1", "found -1"),
        ("eos_token_id", "{}", "an object of 0 fields"),
    ] {
        let dir = Dir::of_checkpoint(MODEL);
        let text = fs::read_to_string(dir.path(file)).unwrap();
        let mut settings: Value = serde_json::from_str(&text).unwrap();
        settings.as_object_mut().unwrap().remove(key);
        let text = settings.to_string();
        dir.write(file, format!("{},\"{key}\":{value}}}", text.strip_suffix('}').unwrap()));
        suite.refused(&format!("{key} {value}"), &[generate(dir.root())], 2, &[file, &format!("field '{key}'"), needle]);
    }
    for (case, text) in [
        ("nothing", ""),
        ("a list", "[]"),
        ("half", "{\"do_sample\":"),
        ("NaN", "{\"temperature\":NaN}"),
        ("1e999", "{\"temperature\":1e999}"),
    ] {
        let dir = Dir::of_checkpoint(MODEL);
        dir.write(file, text);
        suite.refused(case, &all_commands(dir.root()), 2, &[file, "JSON"]);
    }
    let dir = Dir::of_checkpoint(MODEL);
    fs::remove_file(dir.path(file)).unwrap();
    fs::create_dir(dir.path(file)).unwrap();
    suite.refused("a folder", &all_commands(dir.root()), 2, &[file, "a regular file", "a directory"]);
    suite.close();
}

#[test]
fn optional_settings_may_be_absent_or_null() {
    let mut suite = Suite::default();
    let good = output_of(&generate(&checkpoint(MODEL)));
    for key in [
        "rms_norm_eps",
        "rope_theta",
        "max_position_embeddings",
        "hidden_act",
        "tie_word_embeddings",
        "rope_scaling",
        "eos_token_id",
        "torch_dtype",
        "quantization_config",
    ] {
        let dir = with_config(MODEL, config_with(MODEL, key, "null"));
        // The default eps differs from this model's, so its text may, too.
        let expected = (key != "rms_norm_eps").then_some(&good[..]);
        suite.accepted(&format!("{key} null"), &generate(dir.root()), expected, &[]);
    }
    let dir = with_config(MODEL, config_with(MODEL, "architectures", "[]"));
    suite.accepted("no architecture but a model type", &generate(dir.root()), Some(&good), &[]);
    let dir = with_config(MODEL, config_with(MODEL, "head_dim", "12"));
    suite.accepted("head_dim given", &generate(dir.root()), Some(&good), &[]);
    suite.close();
}

#[test]
#[cfg(target_os = "linux")]
fn a_context_beyond_memory_is_refused_before_it_is_taken() {
    let mut suite = Suite::default();
    let dir = with_config(MODEL, config_with(MODEL, "max_position_embeddings", "2147483647"));
    let mut args = generate(dir.root());
    suite.accepted("a context of 2^31 that nobody asked for", &args, None, &[]);
    suite.accepted("the plan for it", &inspect(dir.root()), None, &[]);
    args.extend(["-c".into(), "0".into()]);
    suite.refused("a context of 2^31 that was asked for", &[args], 3, &["memory", "2147483647 tokens", "left of"]);
    suite.close();
}
