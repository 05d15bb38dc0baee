//! Rules on all files: sizes, paths of one machine, and that the README, the CI and the fixtures' list say what is there.
//!
//! Not here: rules on Rust code.

use std::collections::BTreeSet;
use std::fs;

use super::{Complaints, all_files, assert_tidy, root};

/// The most bytes of a source: what a reader takes in at once is far less.
const MAX_SOURCE: u64 = 40 << 10;

/// The most bytes of all that lies in `tests/data`.
const MAX_FIXTURES: u64 = 5_000_000;

/// Beginnings of paths that exist on one machine alone.
const LOCAL: &[&str] = &["/home/", "/root/", "/work/", "/Users/", "C:\\Users\\"];

/// Ends of names of files that are written by hand.
const WRITTEN: &[&str] = &[".rs", ".py", ".md", ".toml", ".yml", ".sh", ".ci/run"];

fn is_small(path: &str, size: u64) -> Complaints {
    if !WRITTEN.iter().any(|end| path.ends_with(end)) || size <= MAX_SOURCE {
        return Vec::new();
    }
    vec![format!("{path}: expected at most {MAX_SOURCE} bytes, found {size}")]
}

/// Looks for paths that begin on this machine; `/home/` within a longer path or an address is none.
fn no_local_paths(path: &str, content: &[u8]) -> Complaints {
    let text = String::from_utf8_lossy(content);
    let is_begin = |before: &str| !before.ends_with(|c: char| c.is_alphanumeric() || "._-~$}".contains(c));
    let mut complaints = Vec::new();
    for local in LOCAL {
        let found = text.match_indices(local).filter(|(at, _)| is_begin(&text[..*at]));
        let line = |at: usize| 1 + text[..at].matches('\n').count();
        complaints.extend(found.map(|(at, _)| format!("{path}:{}: {local}", line(at))));
    }
    complaints
}

/// The folders in the README's table of the layout: rows that begin with `` | `name/` | ``.
fn layout(readme: &str) -> BTreeSet<String> {
    let folder = |line: &str| Some(line.strip_prefix("| `")?.split_once("/` |")?.0.to_owned());
    readme.lines().filter_map(folder).collect()
}

/// The commands in the README's block that begins after a line with `heading`.
fn command_after<'a>(readme: &'a str, heading: &str) -> Option<&'a str> {
    let (_, rest) = readme.split_once(heading)?;
    rest.split_once("```sh\n")?.1.split_once("\n```").map(|(command, _)| command)
}

#[test]
fn sources_are_small() {
    let size = |path: &str| fs::metadata(root().join(path)).unwrap().len();
    assert_tidy(all_files().iter().flat_map(|path| is_small(path, size(path))).collect());
    assert_eq!(is_small("a/src/b.rs", MAX_SOURCE + 1).len(), 1);
    assert_eq!(is_small("a/src/b.rs", MAX_SOURCE).len() + is_small("weights.safetensors", 1 << 20).len(), 0);
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let own = "tests/tidy/files.rs";
    let files = all_files();
    let others = files.iter().filter(|path| *path != own);
    assert_tidy(others.flat_map(|path| no_local_paths(path, &fs::read(root().join(path)).unwrap())).collect());
    assert_eq!(no_local_paths("a", b"x = '/home/me/x'\n\nsee /root/y"), ["a:1: /home/", "a:3: /root/"]);
    assert_eq!(no_local_paths("a", b"https://example.org/home/ and ../work/ and $HOME/work/"), Complaints::new());
}

#[test]
fn the_readme_lists_the_folders_that_are_there() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let files = all_files();
    let folders = files.iter().filter_map(|path| path.split_once('/')).map(|(folder, _)| folder.to_owned());
    let folders: BTreeSet<String> = folders.filter(|folder| !folder.starts_with('.')).collect();
    assert_eq!(layout(&readme), folders, "the README's layout (left) and the folders with files in them (right)");
    assert_eq!(layout("| Folder | x |\n| `a/` | b |\n| `c` | d |\n"), BTreeSet::from(["a".to_owned()]));
}

#[test]
fn the_readmes_test_command_is_what_ci_runs() {
    let read = |path| fs::read_to_string(root().join(path)).unwrap();
    let (readme, run) = (read("README.md"), read(".ci/run"));
    let command = command_after(&readme, "Run the tests:").expect("a test command in the README");
    assert!(command.starts_with("cargo test") && run.lines().any(|line| line == command), "{command:?} is not in .ci/run");
    for step in ["cargo fmt --all --check", "cargo clippy --workspace --all-targets -- -D warnings"] {
        assert!(run.lines().any(|line| line == step), "{step:?} is not in .ci/run");
    }
    assert!(read(".github/workflows/ci.yml").contains("- run: .ci/run"), "the workflow does not call .ci/run");
    assert_eq!(command_after("Run:\n\n```sh\na b\n```\n", "Run:"), Some("a b"));
}

#[test]
fn fixtures_are_small_and_listed() {
    let files = all_files();
    let fixtures: Vec<&String> = files.iter().filter(|path| path.starts_with("tests/data/")).collect();
    let total: u64 = fixtures.iter().map(|path| fs::metadata(root().join(path)).unwrap().len()).sum();
    assert!(total <= MAX_FIXTURES, "expected at most {MAX_FIXTURES} bytes in tests/data, found {total}");
    let readme = fs::read_to_string(root().join("tests/data/README.md")).unwrap();
    let name = |path: &&String| path.split('/').nth(3).map(str::to_owned);
    let folders = |kind: &str| fixtures.iter().filter(|path| path.starts_with(kind)).filter_map(name).collect::<BTreeSet<_>>();
    let (checkpoints, tokenizers) = (folders("tests/data/checkpoints/"), folders("tests/data/tokenizers/"));
    assert!(checkpoints.len() >= 39 && tokenizers.len() >= 3, "only {} and {}", checkpoints.len(), tokenizers.len());
    for name in checkpoints.union(&tokenizers) {
        assert!(readme.contains(&format!("| `{name}` |")), "tests/data/README.md: {name} is not listed");
    }
}
