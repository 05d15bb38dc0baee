//! The house rules as tests: what architecture and style demand of every file, checked on the files as they lie here.
//!
//! Each rule is a function from a source to complaints, and each has a test that shows it a bad example. Not here: what the compiler and
//! clippy check (missing documentation, `unsafe` without a reason), and formatting.

mod code;
mod crates;
mod files;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

/// What a rule found, a line each. None is a pass.
type Complaints = Vec<String>;

/// The repository's top folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every file of the repository that git does not ignore, as a path from the top with `/` between its parts, in order.
fn all_files() -> Vec<String> {
    let mut files = Vec::new();
    walk(&root(), "", &[".git".to_owned()], &mut files);
    files.sort();
    assert!(files.len() > 100 && files.iter().any(|file| file == "tests/tidy.rs"), "only {} files found", files.len());
    files
}

/// Adds the files below `folder`, whose path from the top is `path`, without those that `.gitignore` files name, by whole names or as
/// `*` and an ending.
fn walk(folder: &Path, path: &str, ignored: &[String], files: &mut Vec<String>) {
    let mut ignored = ignored.to_vec();
    let lines = fs::read_to_string(folder.join(".gitignore")).unwrap_or_default();
    let patterns = lines.lines().map(|line| line.trim().trim_matches('/'));
    ignored.extend(patterns.filter(|pattern| !pattern.is_empty() && !pattern.starts_with('#')).map(str::to_owned));
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let is_ignored = |pattern: &String| pattern.strip_prefix('*').map_or(*pattern == name, |end| name.ends_with(end));
        if ignored.iter().any(is_ignored) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), &format!("{path}{name}/"), &ignored, files);
        } else {
            files.push(format!("{path}{name}"));
        }
    }
}

/// Asserts that there is nothing to complain about.
#[track_caller]
fn assert_tidy(complaints: Complaints) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn ignored_files_are_left_out() {
    let dir = crate::util::Dir::new();
    fs::create_dir_all(dir.path("a/target")).unwrap();
    fs::create_dir_all(dir.path("b/corpus")).unwrap();
    fs::create_dir_all(dir.path("cache/c")).unwrap();
    dir.write(".gitignore", "# built\n\n/target\n*.pyc\n");
    dir.write("b/.gitignore", "corpus/\n");
    dir.write("cache/.gitignore", "*\n");
    for file in ["a/x.rs", "a/x.pyc", "a/target/y.rs", "b/corpus/z", "cache/c/d"] {
        dir.write(file, "");
    }
    let mut files = Vec::new();
    walk(dir.root(), "", &[], &mut files);
    files.sort();
    assert_eq!(files, [".gitignore", "a/x.rs", "b/.gitignore"]);
}
