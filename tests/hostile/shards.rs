//! One fault in a sharded checkpoint: its index, the names in it, the files behind them.
//!
//! Not here: what may be wrong inside a shard, which is a file like any other (`safetensors.rs`).

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::case::{Args, Suite, check, inspect};
use super::weights::Parts;
use crate::util::{Dir, checkpoint};

const MODEL: &str = "llama-sharded";
const INDEX: &str = "model.safetensors.index.json";

/// The shards, and the first tensor of the first.
const SHARDS: [&str; 3] =
    ["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"];
const TENSOR: &str = "model.embed_tokens.weight";

/// The commands that need no tokenizer, which this checkpoint does not have.
fn commands(model: &Path) -> Vec<Args> {
    vec![inspect(model), check(model)]
}

/// The text of a good index in which `TENSOR`'s file is written as `value`.
fn index_with(value: &str) -> String {
    let index = fs::read_to_string(checkpoint(MODEL).join(INDEX)).unwrap();
    let index: Value = serde_json::from_str(&index).unwrap();
    let file = index["weight_map"][TENSOR].as_str().unwrap();
    let text = index.to_string();
    let entry = format!("\"{TENSOR}\":\"{file}\"");
    assert_eq!(text.matches(&entry).count(), 1);
    text.replace(&entry, &format!("\"{TENSOR}\":{value}"))
}

#[test]
fn a_file_name_that_is_not_bare_is_refused() {
    let mut suite = Suite::default();
    for name in [
        "../x",
        "../../../../../../etc/passwd",
        "/etc/passwd",
        "a/../../x",
        "a/b.safetensors",
        "./model-00001-of-00003.safetensors",
        "model-00001-of-00003.safetensors/",
        "",
        ".",
        "..",
        "a\0b",
        "\0",
        "..\\x",
        "C:\\x",
        "C:x",
        "file:///etc/passwd",
        "\\\\server\\x",
    ] {
        let dir = Dir::of_checkpoint(MODEL);
        dir.write(INDEX, index_with(&Value::from(name).to_string()));
        suite.refused(&format!("{name:?}"), &commands(dir.root()), 2, &[INDEX, TENSOR, "the bare name of a file in the folder"]);
    }
    // Bare, but no such file; the name must not break the line.
    for (name, shown) in
        [("x", "'x'"), ("x\nerror", "'x\\nerror'"), ("%2e%2e%2fx", "'%2e%2e%2fx'"), ("~", "'~'"), ("\u{202e}x", "x'")]
    {
        let dir = Dir::of_checkpoint(MODEL);
        dir.write(INDEX, index_with(&Value::from(name).to_string()));
        suite.refused(&format!("{name:?}"), &commands(dir.root()), 2, &[INDEX, TENSOR, shown, "no such file"]);
    }
    let dir = Dir::of_checkpoint(MODEL);
    dir.write(INDEX, index_with(&Value::from("x".repeat(100_000)).to_string()));
    suite.refused("a name of 10^5 letters", &commands(dir.root()), 2, &[INDEX, "xxx"]);
    suite.close();
}

#[test]
fn what_is_no_file_name_is_refused() {
    let mut suite = Suite::default();
    for value in ["1", "null", "true", "[\"model-00001-of-00003.safetensors\"]", "{}", "1e999", "\"\\ud800\""] {
        let dir = Dir::of_checkpoint(MODEL);
        dir.write(INDEX, index_with(value));
        suite.refused(value, &commands(dir.root()), 2, &[INDEX, TENSOR, "file name"]);
    }
    let dir = Dir::of_checkpoint(MODEL);
    dir.write(INDEX, index_with(&"[".repeat(100_000)));
    suite.refused("10^5 nested arrays", &commands(dir.root()), 2, &[INDEX]);
    suite.close();
}

#[test]
fn an_index_that_is_none_is_refused() {
    let good = fs::read_to_string(checkpoint(MODEL).join(INDEX)).unwrap();
    let map = |map: &str| format!("{{\"metadata\":{{}},\"weight_map\":{map}}}");
    let rows: &[(&str, Vec<u8>, &[&str])] = &[
        ("nothing", vec![], &["EOF"]),
        ("null", b"null".to_vec(), &["null"]),
        ("a list", b"[]".to_vec(), &["sequence"]),
        ("an empty object", b"{}".to_vec(), &["field 'weight_map'", "nothing"]),
        ("half of it", good.as_bytes()[..good.len() / 2].to_vec(), &["EOF"]),
        ("a byte less", good.trim_end().as_bytes()[..good.trim_end().len() - 1].to_vec(), &["EOF"]),
        ("text behind", format!("{good}x").into_bytes(), &["trailing"]),
        (
            "invalid UTF-8",
            index_with("\"\u{0}\"")
                .replace('\u{0}', "\u{fffd}")
                .into_bytes()
                .iter()
                .map(|&b| if b == 0xef { 0xff } else { b })
                .collect(),
            &[TENSOR],
        ),
        ("weight_map null", map("null").into_bytes(), &["weight_map", "null"]),
        ("weight_map a list", map("[]").into_bytes(), &["weight_map", "sequence"]),
        ("weight_map a string", map("\"x\"").into_bytes(), &["weight_map", "string"]),
        ("weight_map empty", map("{}").into_bytes(), &["weight_map", "none"]),
        (
            "weight_map twice",
            format!("{},\"weight_map\":{{}}}}", good.trim_end().strip_suffix('}').unwrap()).into_bytes(),
            &["weight_map"],
        ),
        (
            "a tensor twice",
            good.replacen("\"weight_map\": {", &format!("\"weight_map\": {{\"{TENSOR}\": \"{}\",", SHARDS[0]), 1).into_bytes(),
            &[TENSOR, "one file", "several"],
        ),
        ("deep metadata", format!("{{\"metadata\":{}", "[".repeat(100_000)).into_bytes(), &["index"]),
        ("zeros", vec![0; 4096], &["index"]),
    ];
    let mut suite = Suite::default();
    for (case, text, needles) in rows {
        let dir = Dir::of_checkpoint(MODEL);
        dir.write(INDEX, text);
        suite.refused(case, &commands(dir.root()), 2, &[&[INDEX], *needles].concat());
    }
    let dir = Dir::of_checkpoint(MODEL);
    fs::File::options().write(true).open(dir.path(INDEX)).unwrap().set_len(1 << 40).unwrap();
    suite.refused("a terabyte of zeros", &commands(dir.root()), 2, &[INDEX, "at most 100000000 bytes", "1099511627776 bytes"]);
    suite.close();
}

#[test]
fn shards_that_are_not_as_the_index_says_are_refused() {
    let mut suite = Suite::default();
    for shard in SHARDS {
        let dir = Dir::of_checkpoint(MODEL);
        fs::remove_file(dir.path(shard)).unwrap();
        suite.refused("a missing shard", &commands(dir.root()), 2, &[INDEX, shard, "no such file"]);
        fs::create_dir(dir.path(shard)).unwrap();
        suite.refused("a folder as a shard", &commands(dir.root()), 2, &[shard, "a regular file", "a directory"]);
        fs::remove_dir(dir.path(shard)).unwrap();
        dir.write(shard, b"");
        suite.refused("an empty shard", &commands(dir.root()), 2, &[shard, "0 bytes"]);
    }
    let dir = Dir::of_checkpoint(MODEL);
    dir.write(INDEX, index_with(&format!("\"{}\"", SHARDS[2])));
    suite.refused("another shard named", &commands(dir.root()), 2, &[SHARDS[2], TENSOR, "as the index says", "nothing"]);

    let dir = Dir::of_checkpoint(MODEL);
    dir.edit_json(INDEX, |index| index["weight_map"]["ghost"] = json!(SHARDS[1]));
    suite.refused("a tensor that no shard has", &commands(dir.root()), 2, &[SHARDS[1], "'ghost'", "nothing"]);

    let dir = Dir::of_checkpoint(MODEL);
    fs::copy(dir.path(SHARDS[0]), dir.path(SHARDS[1])).unwrap();
    suite.refused("a shard twice", &commands(dir.root()), 2, &[SHARDS[1], "as the index says", "nothing"]);

    let dir = Dir::of_checkpoint(MODEL);
    let mut parts = Parts::read(&dir.path(SHARDS[2]));
    parts.append(&format!(",\"{TENSOR}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}"));
    parts.write(&dir.path(SHARDS[2]));
    suite.refused("a tensor in two shards", &commands(dir.root()), 2, &[TENSOR, "in one file", SHARDS[2]]);

    let dir = Dir::of_checkpoint(MODEL);
    dir.edit_json(INDEX, |index| drop(index["weight_map"].as_object_mut().unwrap().remove(TENSOR)));
    suite.accepted("a tensor that the index forgets, in a shard that it names", &check(dir.root()), None, &[]);
    suite.close();
}

#[test]
fn a_million_entries_open_their_file_once() {
    let mut suite = Suite::default();
    let dir = Dir::of_checkpoint(MODEL);
    let mut text = String::from("{\"weight_map\":{\"ghost\":\"model-00001-of-00003.safetensors\"");
    for n in 0..1_000_000 {
        text.push_str(&format!(",\"t{n}\":\"model-00001-of-00003.safetensors\""));
    }
    text.push_str("}}");
    dir.write(INDEX, text);
    suite.refused("10^6 entries", &[inspect(dir.root())], 2, &[SHARDS[0], "'ghost'"]);

    let files: Vec<String> = (0..1_000_000).map(|n| format!("\"t{n}\":\"f{n}\"")).collect();
    dir.write(INDEX, format!("{{\"weight_map\":{{{}}}}}", files.join(",")));
    suite.refused("10^6 files", &[inspect(dir.root())], 2, &[INDEX, "weight_map", "at most 10000 files"]);
    suite.close();
}

/// Links, which only Unix has for everyone.
#[cfg(unix)]
mod links {
    use std::os::unix::fs::symlink;

    use super::*;

    /// The folder with a shard moved elsewhere and a link `target` in its place.
    fn linked(target: &Path) -> Dir {
        let dir = Dir::of_checkpoint(MODEL);
        fs::remove_file(dir.path(SHARDS[1])).unwrap();
        symlink(target, dir.path(SHARDS[1])).unwrap();
        dir
    }

    #[test]
    fn a_link_that_leads_out_of_the_folder_is_refused() {
        let outside = Dir::of_checkpoint(MODEL);
        let mut suite = Suite::default();
        let needles = &[INDEX, SHARDS[1], "in the folder", "leads out"][..];
        let dir = linked(&outside.path(SHARDS[1]));
        suite.refused("an absolute link", &commands(dir.root()), 2, needles);
        let relative = Path::new("..").join(outside.root().file_name().unwrap()).join(SHARDS[1]);
        suite.refused("a relative link", &commands(linked(&relative).root()), 2, needles);
        suite.refused("a system file", &commands(linked(Path::new("/etc/passwd")).root()), 2, needles);
        suite.refused("a device", &commands(linked(Path::new("/dev/zero")).root()), 2, needles);
        suite.refused("nowhere", &commands(linked(Path::new("nowhere")).root()), 2, &[SHARDS[1], "No such file"]);
        suite.refused("itself", &commands(linked(Path::new(SHARDS[1])).root()), 2, &[SHARDS[1]]);
        // A link to a link.
        let dir = linked(Path::new("hop"));
        symlink(outside.path(SHARDS[1]), dir.path("hop")).unwrap();
        suite.refused("a link to a link", &commands(dir.root()), 2, needles);
        // A folder of the name that the cache uses, where the cache has none.
        let dir = linked(Path::new("../blobs/shard"));
        suite.refused("blobs beside the folder", &commands(dir.root()), 2, &[SHARDS[1]]);
        suite.close();
    }

    #[test]
    fn links_within_the_folder_and_into_the_cache_are_followed() {
        let mut suite = Suite::default();
        let dir = linked(Path::new("moved.safetensors"));
        fs::copy(checkpoint(MODEL).join(SHARDS[1]), dir.path("moved.safetensors")).unwrap();
        suite.accepted("a link in the folder", &check(dir.root()), None, &[]);

        // The cache: snapshots/<revision>/<name> -> ../../blobs/<hash>, for every file.
        let cache = Dir::new();
        let snapshot = cache.path("snapshots/0123abcd");
        fs::create_dir_all(&snapshot).unwrap();
        fs::create_dir(cache.path("blobs")).unwrap();
        for (n, entry) in fs::read_dir(checkpoint(MODEL)).unwrap().enumerate() {
            let path = entry.unwrap().path();
            fs::copy(&path, cache.path(&format!("blobs/hash{n}"))).unwrap();
            symlink(format!("../../blobs/hash{n}"), snapshot.join(path.file_name().unwrap())).unwrap();
        }
        suite.accepted("the cache", &check(&snapshot), None, &[]);
        // The snapshot folder itself through a link.
        symlink(&snapshot, cache.path("link")).unwrap();
        suite.accepted("a link to a snapshot", &check(&cache.path("link")), None, &[]);
        // Out of the cache, from a snapshot.
        let outside = Dir::of_checkpoint(MODEL);
        fs::remove_file(snapshot.join(SHARDS[1])).unwrap();
        symlink(outside.path(SHARDS[1]), snapshot.join(SHARDS[1])).unwrap();
        suite.refused("out of the cache", &commands(&snapshot), 2, &[INDEX, SHARDS[1], "leads out"]);
        // Into the cache, and out of it from there.
        fs::remove_file(snapshot.join(SHARDS[1])).unwrap();
        symlink("../../blobs/hop", snapshot.join(SHARDS[1])).unwrap();
        symlink(outside.path(SHARDS[1]), cache.path("blobs/hop")).unwrap();
        suite.refused("out of the cache by way of the blobs", &commands(&snapshot), 2, &[INDEX, SHARDS[1], "leads out"]);
        suite.close();
    }
}
