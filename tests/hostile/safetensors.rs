//! One fault in `model.safetensors`: its header, its layout, its tensors.
//!
//! Not here: several files and their index (`shards.rs`), and faults that are no one's idea (`mutation.rs`).

use std::fs;

use serde_json::{Value, json};

use super::case::{Args, Suite, all_commands, check, generate, in_memory, inspect, output_of};
use super::weights::Parts;
use crate::util::Dir;

/// A checkpoint of all kinds of files, with tensors in float32.
const MODEL: &str = "text-bpe";
const FILE: &str = "model.safetensors";

/// The first tensor of the file, in float32: [375, 24] in the bytes 0 to 36000.
const FIRST: &str = "model.embed_tokens.weight";
/// The last: [24] in the bytes 73248 to 73344.
const LAST: &str = "model.norm.weight";
/// One between: [24, 40] in the bytes 36096 to 39936.
const DOWN: &str = "model.layers.0.mlp.down_proj.weight";

/// Name, change, and what the line says beside the file's name.
type Row = (&'static str, fn(&mut Parts), &'static [&'static str]);

/// The copied checkpoint with a changed file.
fn broken(change: impl FnOnce(&mut Parts)) -> Dir {
    let dir = Dir::of_checkpoint(MODEL);
    let mut parts = Parts::read(&dir.path(FILE));
    change(&mut parts);
    parts.write(&dir.path(FILE));
    dir
}

#[track_caller]
fn refuse(rows: &[Row]) {
    let mut suite = Suite::default();
    for (case, change, needles) in rows {
        let dir = broken(change);
        let needles: Vec<&str> = [FILE].iter().chain(*needles).copied().collect();
        suite.refused(case, &all_commands(dir.root()), 2, &needles);
    }
    suite.close();
}

/// Replaces a tensor's field.
fn set(parts: &mut Parts, tensor: &str, field: &str, value: Value) {
    parts.edit(tensor, |description| description[field] = value);
}

/// A tensor of no use to the model, behind the last one, with this type, shape and number of bytes.
fn extra(parts: &mut Parts, name: &str, dtype: &str, shape: Value, bytes: usize) {
    let begin = parts.data.len();
    parts.data.resize(begin + bytes, 0);
    let description = json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, begin + bytes] });
    parts.append(&format!(",{}:{description}", Value::from(name)));
}

#[test]
fn the_length_of_the_header_is_refused() {
    refuse(&[
        ("0 bytes", |p| p.file_length = Some(0), &["found 0 bytes"]),
        ("1 byte", |p| p.file_length = Some(1), &["found 1 bytes"]),
        ("7 bytes", |p| p.file_length = Some(7), &["found 7 bytes"]),
        ("8 bytes", |p| p.file_length = Some(8), &["within the file's 8 bytes", "2016"]),
        ("no header", |p| p.length = 0, &["empty header"]),
        ("one byte of header", |p| p.length = 1, &["valid JSON"]),
        ("a byte less", |p| p.length -= 1009, &["valid"]),
        ("all of the file", |p| p.length = 75360, &[FIRST, "the 0 bytes of data"]),
        ("a byte more than the file", |p| p.length = 75361, &["within the file's 75368 bytes", "75361"]),
        ("2^63", |p| p.length = 1 << 63, &["at most 100000000 bytes", "9223372036854775808"]),
        ("2^64 - 1", |p| p.length = u64::MAX, &["at most 100000000 bytes", "18446744073709551615"]),
        ("2^64 - 8", |p| p.length = u64::MAX - 7, &["at most 100000000 bytes", "18446744073709551608"]),
        (
            "more than the format allows, in a file that has it",
            |p| (p.length, p.file_length) = (100_000_001, Some(400_000_000)),
            &["at most 100000000 bytes", "100000001"],
        ),
        (
            "the most that the format allows, of zeros",
            |p| {
                p.set_header([0]);
                (p.length, p.file_length) = (100_000_000, Some(200_000_000));
            },
            &["begins with '{'", "0x00"],
        ),
        ("big-endian", |p| p.length = p.length.swap_bytes(), &["header length of"]),
    ]);
}

#[test]
fn the_syntax_of_the_header_is_refused() {
    refuse(&[
        ("0xff", |p| p.set_header(b"\xff"), &["begins with '{'", "0xff"]),
        ("a brace", |p| p.set_header("{"), &["valid JSON"]),
        ("an array", |p| p.set_header("[]"), &["begins with '{'", "0x5b"]),
        ("a space in front", |p| p.set_header([b" ", &p.header[..]].concat()), &["begins with '{'", "0x20"]),
        ("a byte order mark", |p| p.set_header([&b"\xef\xbb\xbf"[..], &p.header].concat()), &["begins with '{'", "0xef"]),
        ("text behind", |p| p.set_header([&p.header[..], b"x"].concat()), &["valid JSON"]),
        ("another object behind", |p| p.set_header([&p.header[..], b"{}"].concat()), &["valid JSON"]),
        ("a NUL behind", |p| p.set_header([&p.header[..], b"\0"].concat()), &["valid JSON"]),
        ("a comma too many", |p| p.append(","), &["JSON"]),
        ("invalid UTF-8 in a name", |p| p.set_header(b"{\"\xff\xfe\":{}}"), &["JSON"]),
        ("half a surrogate in a name", |p| p.append(",\"\\ud800\":{}"), &["JSON"]),
        ("a control character in a name", |p| p.append(",\"\n\":{}"), &["JSON"]),
        ("10^5 nested arrays", |p| p.append(&format!(",\"deep\":{}", "[".repeat(100_000))), &["tensor 'deep'"]),
        ("10^5 nested objects", |p| p.append(&format!(",\"deep\":{}", "{\"a\":".repeat(100_000))), &["tensor 'deep'"]),
        (
            "10^5 nested arrays as a field that means nothing",
            |p| p.append(&format!(",\"deep\":{{\"dtype\":\"F32\",\"x\":{}", "[".repeat(100_000))),
            &["tensor 'deep'"],
        ),
        (
            "10^5 nested arrays as a shape",
            |p| p.append(&format!(",\"deep\":{{\"dtype\":\"F32\",\"shape\":{}", "[".repeat(100_000))),
            &["tensor 'deep'"],
        ),
        (
            "10^5 nested arrays as metadata",
            |p| p.set_header(format!("{{\"__metadata__\":{}", "[".repeat(100_000))),
            &["__metadata__"],
        ),
        ("metadata that is no string", |p| p.replace("\"pt\"", "1"), &["string"]),
        ("metadata that is null", |p| p.replace("\"pt\"", "null"), &["string"]),
        ("metadata that is nested", |p| p.replace("\"pt\"", "{\"a\":\"b\"}"), &["string"]),
        ("metadata that is a list", |p| p.replace("{\"format\":\"pt\"}", "[\"pt\"]"), &["__metadata__"]),
        ("metadata that is a string", |p| p.replace("{\"format\":\"pt\"}", "\"pt\""), &["__metadata__"]),
        ("metadata with a key twice", |p| p.replace("\"pt\"", "\"pt\",\"format\":\"tf\""), &["__metadata__"]),
        ("metadata twice", |p| p.append(",\"__metadata__\":{}"), &["__metadata__"]),
        ("a description that is a string", |p| p.append(",\"x\":\"F32\""), &["tensor 'x'"]),
        ("a description that is null", |p| p.append(",\"x\":null"), &["tensor 'x'"]),
        ("a description that is empty", |p| p.append(",\"x\":{}"), &["tensor 'x'", "dtype"]),
        ("a description that is a list", |p| p.append(",\"x\":[\"F32\",[0],[0,0]]"), &["tensor 'x'"]),
    ]);
}

#[test]
fn the_fields_of_a_tensor_are_refused() {
    refuse(&[
        ("no dtype", |p| p.replace("\"dtype\":\"F32\",\"shape\":[375,24]", "\"shape\":[375,24]"), &[FIRST, "dtype"]),
        ("no shape", |p| p.replace("\"shape\":[375,24],", ""), &[FIRST, "shape"]),
        ("no offsets", |p| p.replace(",\"data_offsets\":[0,36000]", ""), &[FIRST, "data_offsets"]),
        ("a field twice", |p| p.replace("[0,36000]", "[0,36000],\"shape\":[375,24]"), &[FIRST, "shape"]),
        ("dtype null", |p| set(p, FIRST, "dtype", Value::Null), &[FIRST, "null"]),
        ("dtype 4", |p| set(p, FIRST, "dtype", json!(4)), &[FIRST, "4"]),
        ("dtype of another format", |p| set(p, FIRST, "dtype", json!("Q4_K")), &[FIRST, "dtype", "Q4_K"]),
        ("dtype in small letters", |p| set(p, FIRST, "dtype", json!("f32")), &[FIRST, "dtype", "f32"]),
        ("dtype with a line break", |p| set(p, FIRST, "dtype", json!("F\n32\u{1b}[2J")), &[FIRST, "F\\n32\\u{1b}[2J"]),
        ("dtype of 10^5 letters", |p| set(p, FIRST, "dtype", json!("F".repeat(100_000))), &[FIRST, "FFFF"]),
        ("shape null", |p| set(p, FIRST, "shape", Value::Null), &[FIRST, "dimensions", "null"]),
        ("shape a number", |p| set(p, FIRST, "shape", json!(9000)), &[FIRST, "dimensions"]),
        ("a negative dimension", |p| set(p, FIRST, "shape", json!([-375, -24])), &[FIRST, "-375"]),
        ("half a dimension", |p| set(p, FIRST, "shape", json!([37.5, 240])), &[FIRST, "37.5"]),
        ("a dimension in words", |p| set(p, FIRST, "shape", json!(["375", 24])), &[FIRST, "\"375\""]),
        ("a dimension of 2^64", |p| p.replace("[375,24]", "[18446744073709551616,24]"), &[FIRST]),
        ("a dimension of 1e999", |p| p.replace("[375,24]", "[1e999,24]"), &[FIRST]),
        ("a thousand dimensions", |p| set(p, FIRST, "shape", json!(vec![1; 1000])), &[FIRST, "dimensions"]),
        ("2 · (2^64 - 2) overflows", |p| p.replace("[375,24]", "[2,18446744073709551614]"), &[FIRST, "18446744073709551614"]),
        (
            "2 · (2^63 - 1) fits, times 4 overflows",
            |p| p.replace("[375,24]", "[2,9223372036854775807]"),
            &[FIRST, "9223372036854775807"],
        ),
        ("2^32 · 2^32 overflows to 0", |p| p.replace("[375,24]", "[4294967296,4294967296]"), &[FIRST, "4294967296"]),
        (
            "2^62 elements of 4 bytes overflow to 0",
            |p| p.replace("[375,24]", "[4611686018427387904]"),
            &[FIRST, "4611686018427387904"],
        ),
        (
            "2^64 / 32 elements of 32 bits overflow to 0",
            |p| p.replace("[375,24]", "[576460752303423488]"),
            &[FIRST, "576460752303423488"],
        ),
        ("0 · 2^63 · 2^63 is 0", |p| p.replace("[375,24]", "[0,9223372036854775808,9223372036854775808]"), &[FIRST, "0 bytes"]),
        ("an element more", |p| set(p, FIRST, "shape", json!([375, 25])), &[FIRST, "37500 bytes", "36000 bytes"]),
        ("an element less", |p| set(p, FIRST, "shape", json!([374, 24])), &[FIRST, "35904 bytes", "36000 bytes"]),
        ("a wider dtype", |p| set(p, FIRST, "dtype", json!("F64")), &[FIRST, "72000 bytes", "36000 bytes"]),
        ("a narrower dtype", |p| set(p, FIRST, "dtype", json!("BF16")), &[FIRST, "18000 bytes", "36000 bytes"]),
        (
            "an odd number of halves of bytes",
            |p| extra(p, "odd", "F4", json!([3]), 1),
            &["tensor 'odd'", "whole number of bytes", "12 bits"],
        ),
        ("6 bits once", |p| extra(p, "odd", "F6_E2M3", json!([1]), 1), &["tensor 'odd'", "whole number of bytes", "6 bits"]),
    ]);
}

#[test]
fn the_layout_of_the_data_is_refused() {
    refuse(&[
        ("offsets null", |p| set(p, FIRST, "data_offsets", Value::Null), &[FIRST, "null"]),
        ("one offset", |p| set(p, FIRST, "data_offsets", json!([0])), &[FIRST]),
        ("three offsets", |p| set(p, FIRST, "data_offsets", json!([0, 36000, 36000])), &[FIRST]),
        ("a negative offset", |p| set(p, FIRST, "data_offsets", json!([-36000, 0])), &[FIRST, "-36000"]),
        ("an offset in words", |p| set(p, FIRST, "data_offsets", json!(["0", "36000"])), &[FIRST, "\"0\""]),
        ("half an offset", |p| set(p, FIRST, "data_offsets", json!([0.5, 36000.5])), &[FIRST, "0.5"]),
        ("begin after end", |p| set(p, FIRST, "data_offsets", json!([36000, 0])), &[FIRST, "begin 36000 after end 0"]),
        ("end behind the data", |p| set(p, LAST, "data_offsets", json!([73248, 73345])), &[LAST, "73344 bytes", "73345"]),
        (
            "all behind the data",
            |p| set(p, LAST, "data_offsets", json!([1u64 << 40, (1u64 << 40) + 96])),
            &[LAST, "73344 bytes", "1099511627872"],
        ),
        (
            "end 2^64 - 1",
            |p| set(p, LAST, "data_offsets", json!([u64::MAX - 96, u64::MAX])),
            &[LAST, "73344 bytes", "18446744073709551615"],
        ),
        ("an offset of 2^64", |p| p.replace("[73248,73344]", "[73248,18446744073709551616]"), &[LAST]),
        (
            "a hole before the first tensor",
            |p| {
                p.data.splice(0..0, [0; 96]);
                let from: Value = serde_json::from_slice(&p.header).unwrap();
                for (name, description) in from.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__") {
                    let ends: Vec<u64> =
                        description["data_offsets"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() + 96).collect();
                    set(p, name, "data_offsets", json!(ends));
                }
            },
            &[FIRST, "offset 0", "a hole"],
        ),
        (
            "a hole before the last tensor",
            |p| {
                p.data.extend([0; 96]);
                set(p, LAST, "data_offsets", json!([73344, 73440]));
            },
            &[LAST, "offset 73248", "offset 73344: a hole"],
        ),
        (
            "a hole where a tensor was",
            |p| {
                p.replace("\"model.layers.0.mlp.down_proj.weight\":{\"dtype\":\"F32\",\"shape\":[24,40],\"data_offsets\":[36096,39936]},", "")
            },
            &["gate_proj", "offset 36096", "offset 39936: a hole"],
        ),
        (
            "two tensors in one place",
            |p| p.replace("[39936,43776]", "[36096,39936]"),
            &["offset 39936", "offset 36096: an overlap"],
        ),
        (
            "a tensor that begins in another",
            |p| p.replace("[39936,43776]", "[39932,43772]"),
            &["gate_proj", "offset 39936", "offset 39932: an overlap"],
        ),
        (
            "a tensor inside another",
            |p| p.append(",\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}"),
            &["overlap"],
        ),
        (
            "the whole file once more",
            |p| p.append(",\"x\":{\"dtype\":\"U8\",\"shape\":[73344],\"data_offsets\":[0,73344]}"),
            &["overlap"],
        ),
        ("a byte behind the last tensor", |p| p.data.push(0), &[LAST, "73344 bytes", "73345 bytes"]),
        ("4096 bytes behind the last tensor", |p| p.data.extend([0; 4096]), &[LAST, "73344 bytes", "77440 bytes"]),
        ("a gigabyte of nothing behind the last tensor", |p| p.file_length = Some(1_000_000_000), &[LAST, "after 73344 bytes"]),
        ("a byte too few", |p| p.data.truncate(73343), &[LAST, "73343 bytes", "73344"]),
        ("half of the data", |p| p.data.truncate(36672), &["36672 bytes"]),
        ("no data", |p| p.data.clear(), &[FIRST, "the 0 bytes"]),
        ("no tensors", |p| p.set_header("{}"), &["without tensors", "73344 bytes"]),
        (
            "nothing",
            |p| {
                p.set_header("{}");
                p.data.clear();
            },
            &[FIRST, "nothing"],
        ),
        (
            "a name twice, in one place",
            |p| {
                p.replace("gate_proj.weight\":{\"dtype\":\"F32\",\"shape\":[40,24],\"data_offsets\":[39936,43776]}", "gate_proj.weight\":{\"dtype\":\"F32\",\"shape\":[40,24],\"data_offsets\":[39936,43776]},\"model.layers.0.mlp.gate_proj.weight\":{\"dtype\":\"F32\",\"shape\":[40,24],\"data_offsets\":[39936,43776]}")
            },
            &["gate_proj"],
        ),
        ("a name twice, in two places", |p| extra(p, LAST, "F32", json!([24]), 96), &[LAST, "one tensor of this name"]),
        (
            "an empty tensor twice",
            |p| p.append(&format!(",\"x\":{0},\"x\":{0}", "{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}")),
            &["'x'"],
        ),
    ]);
}

#[test]
fn a_tensor_that_the_model_needs_is_missed_by_name() {
    let mut suite = Suite::default();
    let names = names();
    for name in &names {
        let dir = broken(|p| p.replace(&format!("\"{name}\""), "\"renamed\""));
        suite.refused(name, &all_commands(dir.root()), 2, &[FILE, &format!("tensor '{name}'"), "found nothing"]);
    }
    assert_eq!(names.len(), 20);
    suite.close();
}

#[test]
fn a_tensor_of_another_shape_or_type_is_refused_with_both() {
    let mut suite = Suite::default();
    for name in names() {
        let mut shape = Vec::new();
        let dir = broken(|p| {
            p.edit(&name, |description| {
                shape = description["shape"].as_array().unwrap().clone();
                description["shape"] = match &shape[..] {
                    [n, k] if n != k => json!([k, n]),
                    [n, k] => json!([n.as_u64().unwrap() / 2, k.as_u64().unwrap() * 2]),
                    _ => json!([1, shape[0]]),
                };
            });
        });
        let expected = format!("expected shape {}", Value::from(shape).to_string().replace(',', ", "));
        suite.refused(&format!("{name} transposed"), &all_commands(dir.root()), 2, &[FILE, &format!("'{name}'"), &expected]);
    }
    for dtype in ["I32", "U32", "F8_E4M3", "F64", "I8", "BOOL", "C64", "F4", "I64"] {
        let dir = broken(|p| {
            // The tensor with as many elements of the other type, behind the others, and its old bytes as something unused.
            let bits = match dtype {
                "F4" => 4,
                "F8_E4M3" | "I8" | "BOOL" => 8,
                "F64" | "C64" | "I64" => 64,
                _ => 32,
            };
            p.replace(&format!("\"{LAST}\""), "\"unused\"");
            extra(p, LAST, dtype, json!([24]), 24 * bits / 8);
        });
        suite.refused(dtype, &all_commands(dir.root()), 2, &[FILE, LAST, "dtype", &format!("found {dtype}")]);
    }
    for shape in [json!([0]), json!([]), json!([24, 0]), json!([0, 24])] {
        let dir = broken(|p| {
            p.replace(&format!("\"{LAST}\""), "\"unused\"");
            extra(p, LAST, "F32", shape.clone(), if shape == json!([]) { 4 } else { 0 });
        });
        suite.refused(&shape.to_string(), &all_commands(dir.root()), 2, &[FILE, LAST, "expected shape [24], found"]);
    }
    suite.close();
}

/// The names of all tensors of the checkpoint.
fn names() -> Vec<String> {
    let parts = Parts::read(&crate::util::checkpoint(MODEL).join(FILE));
    let header: Value = serde_json::from_slice(&parts.header).unwrap();
    header.as_object().unwrap().keys().filter(|name| *name != "__metadata__").cloned().collect()
}

#[test]
fn a_weight_that_is_no_number_is_named_when_asked_for_and_never_becomes_a_token() {
    let mut suite = Suite::default();
    for (value, spelled) in [(f32::NAN, "NaN"), (-f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        for (tensor, index) in [(FIRST, 0), (DOWN, 17), (LAST, 23)] {
            let dir = broken(|p| {
                let begin = p.offset(tensor) + 4 * index;
                p.data[begin..begin + 4].copy_from_slice(&value.to_le_bytes());
            });
            let case = format!("{value} in {tensor}");
            let mut asked = generate(dir.root());
            asked.push("--check-tensors".into());
            suite.refused(&case, &[asked], 2, &[FILE, tensor, &format!("found {spelled} at index {index}")]);
            if tensor != FIRST {
                suite.refused(&case, &[generate(dir.root()), check(dir.root())], 2, &["logits", "finite"]);
            }
        }
    }
    suite.close();
}

#[test]
fn what_is_odd_but_legal_is_read() {
    let good = output_of(&generate(&crate::util::checkpoint(MODEL)));
    let rows: &[Row] = &[
        ("spaces behind the header", |p| p.set_header([&p.header[..], &[b' '; 1000]].concat()), &[]),
        ("line breaks in the header", |p| p.set_header(String::from_utf8(p.header.clone()).unwrap().replace(',', ",\n\t")), &[]),
        ("no metadata", |p| p.replace("\"__metadata__\":{\"format\":\"pt\"},", ""), &[]),
        ("metadata null", |p| p.replace("{\"format\":\"pt\"}", "null"), &[]),
        ("empty metadata", |p| p.replace("\"format\":\"pt\"", ""), &[]),
        ("an unknown field", |p| p.replace("[0,36000]", "[0,36000],\"comment\":{\"by\":[1,null]}"), &[]),
        ("escapes in a name", |p| p.replace("model.norm.weight", "\\u006dodel.norm.w\\u0065ight"), &[]),
        ("an extra tensor", |p| extra(p, "extra", "F32", json!([2, 3]), 24), &["tensor 'extra'"]),
        (
            "two extra tensors",
            |p| {
                extra(p, "extra", "F32", json!([1]), 4);
                extra(p, "extra2", "F32", json!([1]), 4);
            },
            &["tensor 'extra' and 1 more"],
        ),
        ("an extra tensor that is empty", |p| extra(p, "empty", "F32", json!([2, 0]), 0), &["tensor 'empty'"]),
        ("an extra tensor that is a number", |p| extra(p, "number", "F32", json!([]), 4), &["tensor 'number'"]),
        ("an extra tensor without a name", |p| extra(p, "", "F32", json!([1]), 4), &["tensor ''"]),
        (
            "empty tensors in one place",
            |p| {
                for name in ["a", "b", "c"] {
                    p.append(&format!(",\"{name}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[36000,36000]}}"));
                }
            },
            &["tensor 'a' and 2 more"],
        ),
        ("an extra tensor of 8-bit floats", |p| extra(p, "scale", "F8_E5M2", json!([3]), 3), &["tensor 'scale'"]),
        ("an extra tensor of 4-bit floats", |p| extra(p, "half", "F4", json!([2]), 1), &["tensor 'half'"]),
        ("an extra tensor of integers", |p| extra(p, "ids", "I64", json!([2]), 16), &["tensor 'ids'"]),
        (
            "an extra tensor that is no number",
            |p| {
                extra(p, "nan", "F32", json!([1]), 4);
                p.data.splice(73344.., f32::NAN.to_le_bytes());
            },
            &["tensor 'nan'"],
        ),
        (
            "a name that would clear the screen",
            |p| extra(p, "x\nerror: y\u{1b}[2J", "F32", json!([1]), 4),
            &["x\\nerror: y\\u{1b}[2J"],
        ),
        ("a name of 10^5 letters", |p| extra(p, &"x".repeat(100_000), "F32", json!([1]), 4), &["xxx"]),
        (
            "the rotary frequencies of old files",
            |p| extra(p, "model.layers.0.self_attn.rotary_emb.inv_freq", "F32", json!([6]), 24),
            &[],
        ),
        (
            "50000 empty tensors",
            |p| {
                let mut text = String::new();
                for n in 0..50_000 {
                    text.push_str(&format!(",\"e{n}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[36000,36000]}}"));
                }
                p.append(&text);
            },
            &["and 49999 more"],
        ),
    ];
    let mut suite = Suite::default();
    for (case, change, warnings) in rows {
        let dir = broken(change);
        suite.accepted(case, &generate(dir.root()), Some(&good), warnings);
        suite.accepted(case, &inspect(dir.root()), None, &[]);
    }
    suite.close();
}

/// Reading a header takes at most 16 MiB and eight times its size, whatever is in it.
#[test]
fn a_large_header_takes_memory_in_proportion() {
    // What the program and its threads take for the smallest of models.
    let plain = generate(&crate::util::checkpoint(MODEL));
    // One heap for all threads: glibc reserves 64 MiB of addresses for a heap of each, or not, as the threads happen to meet.
    let run = |limit: usize, args: &Args| in_memory(limit >> 10, args).env("MALLOC_ARENA_MAX", "1");
    let takes = |limit: &usize| run(*limit, &plain).run().status.success();
    let base = (16..256).step_by(4).map(|mib| mib << 20).find(takes).expect("256 MiB is enough for 36 kB of weights");
    type Item = fn(usize) -> String;
    let rows: [(&str, Item); 4] = [
        ("tensors", |n| format!(",\"{n}\":{{\"dtype\":\"I8\",\"shape\":[0],\"data_offsets\":[0,0]}}")),
        ("metadata", |n| format!(",\"{n}\":\"\"")),
        ("fields that mean nothing", |n| format!(",\"{n}\":[]")),
        ("spaces", |_| " ".repeat(16)),
    ];
    let good = output_of(&plain);
    for (case, item) in rows {
        let items: String = (0..300_000).map(item).collect();
        let dir = broken(|p| match case {
            "metadata" => p.replace("\"pt\"", &format!("\"pt\"{items}")),
            "fields that mean nothing" => p.replace("[0,36000]", &format!("[0,36000]{items}")),
            _ => p.append(&items),
        });
        let header = Parts::read(&dir.path(FILE)).header.len();
        let limit = base + (16 << 20) + 8 * header + header;
        assert_eq!(run(limit, &generate(dir.root())).succeeds(), good, "{case}");
    }
}

#[test]
fn a_misaligned_file_gives_the_same_logits_to_the_bit() {
    for model in [MODEL, "llama-bf16", "llama-f16"] {
        let good = logits(&Dir::of_checkpoint(model));
        for padding in 1..=8 {
            let dir = Dir::of_checkpoint(model);
            let mut parts = Parts::read(&dir.path(FILE));
            parts.set_header([&parts.header[..], &vec![b' '; padding]].concat());
            parts.write(&dir.path(FILE));
            assert_eq!(good, logits(&dir), "{model}: {padding}");
        }
    }
}

/// The bits of the logits of a few tokens.
fn logits(dir: &Dir) -> Vec<u32> {
    let checkpoint = infer_loaders::open(dir.root(), &infer_loaders::OpenOptions::default()).unwrap();
    super::mutation::logits(&checkpoint).unwrap().iter().map(|logit| logit.to_bits()).collect()
}

#[test]
fn other_formats_are_refused_by_name() {
    let mut suite = Suite::default();
    let dir = Dir::of_checkpoint(MODEL);
    fs::remove_file(dir.path(FILE)).unwrap();
    suite.refused("no weights", &all_commands(dir.root()), 2, &["model.safetensors.index.json", "neither"]);
    dir.write("pytorch_model.bin", b"PK\x03\x04");
    suite.refused("pickled weights", &all_commands(dir.root()), 2, &["pytorch_model.bin", "safetensors"]);
    let gguf = dir.write("model.gguf", b"GGUF\x03\0\0\0");
    suite.refused("GGUF", &[generate(&gguf), inspect(&gguf)], 2, &["model.gguf", "GGUF"]);
    for (name, content) in [
        ("model.bin", &b"PK\x03\x04\x14\0\0\0"[..]),
        ("model.txt", b"Hello, world"),
        ("model.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
    ] {
        let file = dir.write(name, content);
        suite.refused(name, &[generate(&file), inspect(&file)], 2, &[name, "safetensors header"]);
    }
    suite.refused("nothing", &all_commands(&dir.path("absent"))[..2], 2, &["absent"]);
    suite.close();
}
