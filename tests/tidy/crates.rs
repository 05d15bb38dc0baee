//! Rules on dependencies: the arrows between the crates never turn back, and each foreign crate has a room of its own.
//!
//! Not here: versions, which are Cargo's business.

use std::fs;

use super::source::{Source, words};
use super::{Complaints, assert_tidy, root};

/// The crates of the workspace, each of which may know only those before it: (folder, name in code).
const LAYERS: &[(&str, &str)] =
    &[("kernels", "infer_kernels"), ("loaders", "infer_loaders"), ("engine", "infer_engine"), ("cli", "infer")];

/// Every foreign crate, and where product code may name it.
const FOREIGN: &[(&str, &[&str])] = &[
    ("half", &["kernels/src/"]),
    ("wide", &["kernels/src/arch/portable.rs", "kernels/src/arch/portable_int8.rs", "kernels/src/arch/portable_int8_panels.rs"]),
    // Functions that have the same bits on every machine: the scalar oracle's, and the engine's angles and probabilities.
    ("libm", &["kernels/src/", "engine/src/"]),
    ("memmap2", &["loaders/src/mmap.rs"]),
    // The bus error handler, and what an error number means.
    ("libc", &["loaders/src/"]),
    ("safetensors", &["loaders/src/"]),
    ("serde", &["loaders/src/"]),
    // JSON as it is read, and as reports are written.
    ("serde_json", &["loaders/src/", "cli/src/"]),
    ("tokenizers", &["loaders/src/"]),
    // Chat templates, and the local time that they print.
    ("minijinja", &["loaders/src/chat_template/"]),
    ("minijinja_contrib", &["loaders/src/chat_template/"]),
    ("jiff", &["loaders/src/chat_template/"]),
    ("regex_automata", &["loaders/src/"]),
    ("fancy_regex", &["loaders/src/"]),
    ("rayon", &["engine/src/team.rs"]),
    ("clap", &["cli/src/"]),
    // Signals, by system.
    ("nix", &["cli/src/interrupt.rs"]),
    ("ctrlc", &["cli/src/interrupt.rs"]),
    ("indicatif", &["cli/src/"]),
    // What a grammar allows next; its token trie comes with it.
    ("llguidance", &["cli/src/grammar.rs"]),
    ("rustix", &["cli/src/interrupt.rs"]),
    ("rustyline", &["cli/src/commands/chat/"]),
    // For tests, benches and fuzzing alone.
    ("criterion", &[]),
    ("proptest", &[]),
    ("tempfile", &[]),
    ("libfuzzer_sys", &["tests/fuzz/"]),
];

/// Packages that would bring a C or C++ build or a network client: (package, what it would bring).
const UNWANTED: &[(&str, &str)] = &[
    ("onig_sys", "C"),
    ("openssl-sys", "C"),
    ("ring", "C"),
    ("cmake", "C++"),
    ("hf-hub", "network"),
    ("hyper", "network"),
    ("reqwest", "network"),
    ("ureq", "network"),
];

/// A dependency as a manifest lists it.
struct Dependency {
    /// As code names it.
    name: String,
    is_product: bool,
}

/// The dependencies of a manifest: the keys of its tables whose names end with `dependencies`.
fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut section = "";
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            continue;
        }
        let Some((key, _)) = line.split_once('=').filter(|_| !line.starts_with('#') && section.ends_with("dependencies")) else {
            continue;
        };
        let name = key.trim().trim_end_matches(".workspace").replace('-', "_");
        found.push(Dependency { name, is_product: !section.ends_with("dev-dependencies") });
    }
    found
}

/// Whether `code` names a crate: as the head of a path, or in a `use`.
fn names(code: &str, krate: &str) -> Option<usize> {
    words(code, krate).into_iter().find(|&at| {
        let (before, after) = (code[..at].trim_end(), &code[at + krate.len()..]);
        let is_head = !before.ends_with("::") || before.ends_with(" ::");
        let is_used = before.ends_with("use") && after.trim_start().starts_with([';', 'a']);
        is_head && (after.starts_with("::") || is_used)
    })
}

/// The layer that a file belongs to; the workspace's tests belong to the last.
fn layer(path: &str) -> Option<usize> {
    let (folder, rest) = path.split_once('/')?;
    let folder = if folder == "tests" { "cli" } else { folder };
    LAYERS.iter().position(|(name, _)| *name == folder).filter(|_| !rest.starts_with("fuzz/"))
}

fn arrows_in_manifest(folder: &str, manifest: &str) -> Complaints {
    let own = LAYERS.iter().position(|(name, _)| *name == folder).expect("a crate of the workspace");
    let turns_back = |d: &&Dependency| LAYERS[own..].iter().any(|(_, name)| *name == d.name);
    let complaint = |d: &Dependency| format!("{folder}/Cargo.toml: {} depends on {folder}, or is it", d.name);
    dependencies(manifest).iter().filter(turns_back).map(complaint).collect()
}

fn arrows_in_code(source: &Source) -> Complaints {
    let Some(own) = layer(&source.path) else { return Vec::new() };
    // A package's binary and tests may name its library.
    let others = LAYERS[own..].iter().filter(|(folder, _)| *folder != LAYERS[own].0 || source.path.ends_with("/src/lib.rs"));
    let complaint = |(_, name): &(&str, &str)| {
        let at = names(&source.code, name)?;
        Some(format!("{}:{}: {name} is not below this crate", source.path, source.line(at)))
    };
    others.filter_map(complaint).collect()
}

fn foreign_in_manifest(folder: &str, manifest: &str) -> Complaints {
    let complaint = |d: &Dependency| {
        if LAYERS.iter().any(|(_, name)| *name == d.name) {
            return None;
        }
        let Some((_, places)) = FOREIGN.iter().find(|(name, _)| *name == d.name) else {
            return Some(format!("{folder}/Cargo.toml: {} has no room in tests/tidy/crates.rs", d.name));
        };
        let has_room = !d.is_product || places.iter().any(|place| place.starts_with(&format!("{folder}/")));
        (!has_room).then(|| format!("{folder}/Cargo.toml: {} belongs to {places:?}", d.name))
    };
    dependencies(manifest).iter().filter_map(complaint).collect()
}

fn foreign_in_code(source: &Source) -> Complaints {
    let complaint = |(name, places): &(&str, &[&str])| {
        let at = names(&source.product, name).filter(|_| !source.is_in(places))?;
        Some(format!("{}:{}: {name} belongs to {places:?}", source.path, source.line(at)))
    };
    FOREIGN.iter().filter_map(complaint).collect()
}

/// A dependency that no product code names is a weight without a use.
fn unused(folder: &str, manifest: &str, sources: &[Source]) -> Complaints {
    let in_folder = |source: &&Source| source.path.starts_with(&format!("{folder}/"));
    // Fuzz targets share files with the tests that they lie beside, each by its path.
    let is_shared = |source: &&Source| {
        let path = source.path.strip_prefix("tests/").map(|rest| format!("#[path = \"../../{rest}\"]"));
        path.is_some_and(|path| sources.iter().filter(in_folder).any(|target| target.text.contains(&path)))
    };
    let is_named = |d: &Dependency| {
        let mut own = sources.iter().filter(|source| in_folder(source) || is_shared(source));
        own.any(|source| names(if source.product.trim().is_empty() { &source.code } else { &source.product }, &d.name).is_some())
    };
    let complaint = |d: &Dependency| format!("{folder}/Cargo.toml: {} is used nowhere", d.name);
    dependencies(manifest).iter().filter(|d| d.is_product && !is_named(d)).map(complaint).collect()
}

fn unwanted_in_lock(lock: &str) -> Complaints {
    let is_there = |(name, _): &&(&str, &str)| lock.lines().any(|line| line == format!("name = \"{name}\""));
    UNWANTED.iter().filter(is_there).map(|(name, brings)| format!("Cargo.lock: {name} brings {brings}")).collect()
}

/// (folder, manifest) of every package.
fn manifests() -> Vec<(&'static str, String)> {
    let folders = LAYERS.iter().map(|(folder, _)| *folder).chain(["tests/fuzz"]);
    folders.map(|folder| (folder, fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap())).collect()
}

#[test]
fn arrows_never_turn_back() {
    let manifests = manifests();
    let in_workspace = manifests.iter().filter(|(folder, _)| !folder.contains('/'));
    assert_tidy(in_workspace.flat_map(|(folder, manifest)| arrows_in_manifest(folder, manifest)).collect());
    assert_tidy(Source::all().iter().flat_map(arrows_in_code).collect());

    let rule = |folder, manifest| arrows_in_manifest(folder, manifest).len();
    assert_eq!(rule("loaders", "[dependencies]\ninfer-kernels.workspace = true\n"), 0);
    assert_eq!(rule("kernels", "[dependencies]\ninfer-loaders.workspace = true\n"), 1);
    assert_eq!(rule("loaders", "[dev-dependencies]\ninfer-engine = { path = \"../engine\" }\n"), 1);
    let rule = |path, text| arrows_in_code(&Source::new(path, text)).len();
    assert_eq!(rule("engine/src/a.rs", "use infer_kernels::DType;\nuse infer_loaders::Tensor;"), 0);
    assert_eq!(rule("kernels/src/a.rs", "fn f(x: infer_engine::Model) {}"), 1);
    assert_eq!(rule("loaders/tests/a.rs", "use infer::TextModel;"), 1);
    assert_eq!(rule("tests/a.rs", "use infer_engine::Model;"), 0);
}

#[test]
fn foreign_crates_stay_in_their_rooms() {
    assert_tidy(manifests().iter().flat_map(|(folder, manifest)| foreign_in_manifest(folder, manifest)).collect());
    assert_tidy(Source::all().iter().flat_map(foreign_in_code).collect());
    for place in FOREIGN.iter().flat_map(|(_, places)| *places) {
        assert!(root().join(place).exists(), "{place} is gone");
    }

    let rule = |folder, manifest| foreign_in_manifest(folder, manifest).len();
    assert_eq!(rule("kernels", "[package]\nserde = \"no dependency\"\n[dependencies]\nhalf = \"2\"\n# clap = \"4\"\n"), 0);
    assert_eq!(rule("engine", "[dependencies]\nhalf = \"2\"\nsome-new-crate = \"1\"\n"), 2);
    assert_eq!(rule("engine", "[dev-dependencies]\nproptest = \"1\"\n[target.'cfg(unix)'.dependencies]\nlibc = \"0.2\"\n"), 1);
    let rule = |path, text| foreign_in_code(&Source::new(path, text)).len();
    assert_eq!(rule("kernels/src/arch/portable.rs", "use wide::f32x8;"), 0);
    assert_eq!(rule("kernels/src/arch/avx2.rs", "// wide::f32x8\nfn f(wide: u8) { my::wide::g() }"), 0);
    assert_eq!(rule("kernels/src/arch/avx2.rs", "use wide::f32x8;"), 1);
    assert_eq!(rule("engine/src/forward.rs", "fn f() { ::rayon::join(a, b); use wide as w; }"), 2);
    assert_eq!(rule("cli/src/a.rs", "use memmap2;\nfn f() { safetensors::load() }"), 2);
    assert_eq!(rule("engine/src/a.rs", "#[cfg(test)]\nmod tests { use serde_json::json; }"), 0);
}

#[test]
fn every_dependency_is_used() {
    let sources = Source::all();
    assert_tidy(manifests().iter().flat_map(|(folder, manifest)| unused(folder, manifest, &sources)).collect());
    let sources = [Source::new("a/src/lib.rs", "use half::bf16;\n#[cfg(test)]\nmod tests { use libm::exp; }")];
    let found = unused("a", "[dependencies]\nhalf = \"2\"\nlibm = \"1\"\n[dev-dependencies]\nproptest = \"1\"\n", &sources);
    assert_eq!(found, ["a/Cargo.toml: libm is used nowhere"]);
}

#[test]
fn no_dependency_brings_a_foreign_build_or_the_network() {
    assert_tidy(unwanted_in_lock(&fs::read_to_string(root().join("Cargo.lock")).unwrap()));
    assert_eq!(unwanted_in_lock("[[package]]\nname = \"onig_sys\"\nversion = \"69\"\n"), ["Cargo.lock: onig_sys brings C"]);
}

#[test]
fn every_crate_takes_the_workspaces_lints() {
    for (folder, manifest) in manifests().iter().filter(|(folder, _)| !folder.contains('/')) {
        assert!(manifest.contains("\n[lints]\nworkspace = true\n"), "{folder}/Cargo.toml: no [lints] workspace = true");
        assert!(manifest.contains("\nrust-version.workspace = true\n"), "{folder}/Cargo.toml: no rust-version.workspace = true");
    }
}
