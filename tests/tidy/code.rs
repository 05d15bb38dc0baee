//! Rules on Rust code: how a file opens, where `unsafe` may stand, what no code may call, and what each crate must be without.
//!
//! Not here: rules on dependencies (`crates.rs`).

use super::source::{Source, after_bracket, words};
use super::{Complaints, assert_tidy, root};

/// The only places where `unsafe` may stand.
const UNSAFE: &[&str] = &[
    "kernels/src/arch/",
    "kernels/src/attention.rs",
    "kernels/src/block/",
    "kernels/src/dispatch.rs",
    "kernels/src/generic/",
    "kernels/src/vector.rs",
    // A window into a matrix whose rows other threads write beside it.
    "kernels/src/view.rs",
    "loaders/src/mmap.rs",
    "engine/src/team.rs",
];

/// Macros that no code calls: what is printed goes through one place that knows of closed pipes, and nothing is left to be done.
const BANNED_MACROS: &[&str] = &["println", "eprintln", "print", "eprint", "dbg", "todo", "unimplemented"];

/// What a crate is without: (places, words, why).
const ABSENCES: &[(&[&str], &[&str], &str)] = &[
    (
        &["kernels/src/"],
        &["Vec", "Box", "Rc", "Arc", "String", "vec", "format", "thread", "spawn", "fs", "io", "env", "process"],
        "kernels never allocate, spawn or touch the world",
    ),
    (&["engine/src/"], &["fs", "File", "env", "process", "Tokenizer"], "the engine never opens a file or touches text"),
    (&["loaders/src/"], &["thread", "spawn"], "loaders start no threads"),
    (&["kernels/src/", "loaders/src/", "engine/src/"], &["stdout", "stderr", "stdin"], "only cli prints"),
];

/// The one file of the loaders with a thread: a chat template is rendered on a stack of known size.
const OWN_STACK: (&str, &str) = ("loaders/src/chat_template/environment.rs", "thread");

/// Helpers of tests and benches that a crate has to offer as product code.
const TEST_HELPERS: &[&str] = &["kernels/src/testing.rs"];

/// The one file that may tell storage formats apart.
const DTYPE_REGISTRY: &str = "kernels/src/dtype.rs";

/// Each file says first what it is.
fn opens_with_what_it_is(source: &Source) -> Complaints {
    let says = source.text.strip_prefix("//! ").is_some_and(|rest| !rest.trim_start().is_empty() && !rest.starts_with('\n'));
    let complaint = || format!("{}: expected //! and what the file is in the first line", source.path);
    if says { Vec::new() } else { vec![complaint()] }
}

fn unsafe_in_its_place(source: &Source) -> Complaints {
    if source.is_in(UNSAFE) {
        return Vec::new();
    }
    let complaint = |at| format!("{}:{}: unsafe outside of the files that may have it", source.path, source.line(at));
    words(&source.code, "unsafe").into_iter().map(complaint).collect()
}

fn no_banned_macros(source: &Source) -> Complaints {
    let calls = |name: &&str| {
        let is_call = |&at: &usize| source.code[at + name.len()..].trim_start().starts_with('!');
        let complaint = |at| format!("{}:{}: {name}!", source.path, source.line(at));
        words(&source.code, name).into_iter().filter(is_call).map(complaint).collect::<Complaints>()
    };
    BANNED_MACROS.iter().flat_map(calls).collect()
}

fn no_ignored_tests(source: &Source) -> Complaints {
    let is_attribute = |&at: &usize| source.code[..at].trim_end().ends_with("#[");
    let complaint = |at| format!("{}:{}: an ignored test", source.path, source.line(at));
    words(&source.code, "ignore").into_iter().filter(is_attribute).map(complaint).collect()
}

/// `unwrap` hides why a value is there. In a constant the compiler looks.
fn no_unwrap(source: &Source) -> Complaints {
    let is_bare = |&at: &usize| {
        let line = source.product[..at].rsplit('\n').next().unwrap_or_default().trim_start();
        source.product[at..].starts_with("unwrap()") && !line.starts_with("const ") && !line.starts_with("pub const ")
    };
    let complaint = |at| format!("{}:{}: unwrap outside of tests", source.path, source.line(at));
    words(&source.product, "unwrap").into_iter().filter(is_bare).map(complaint).collect()
}

fn absences(source: &Source) -> Complaints {
    if source.is_in(TEST_HELPERS) {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for (_, banned, why) in ABSENCES.iter().filter(|(places, ..)| source.is_in(places)) {
        for word in banned.iter().filter(|&&word| (source.path.as_str(), word) != OWN_STACK) {
            let complaint = |at| format!("{}:{}: {word}: {why}", source.path, source.line(at));
            complaints.extend(words(&source.product, word).into_iter().map(complaint));
        }
    }
    complaints
}

/// A `match` with arms for several storage formats is a list of its own, which the next format would be missing from.
fn formats_are_told_apart_in_the_registry(source: &Source) -> Complaints {
    if source.path == DTYPE_REGISTRY {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for at in words(&source.product, "match") {
        let Some(open) = source.product[at..].find('{').map(|open| at + open) else { continue };
        let body = &source.product[open..after_bracket(&source.product, open)];
        let patterns = words(body, "DType").into_iter().filter(|&at| {
            // In a pattern, nothing but patterns stands between a format and its arrow.
            let to_arrow = body[at..].split_once("=>").map(|(pattern, _)| pattern);
            body[at..].starts_with("DType::") && to_arrow.is_some_and(|pattern| !pattern.contains([',', ';', '{', '}']))
        });
        if patterns.count() > 1 {
            complaints.push(format!("{}:{}: a match over storage formats", source.path, source.line(at)));
        }
    }
    let imports = ["use infer_kernels::DType::", "use crate::dtype::DType::", "use DType::"];
    let complaint = |_| format!("{}: imports formats, which hides where they are told apart", source.path);
    complaints.extend(imports.iter().filter(|import| source.product.contains(**import)).map(complaint));
    complaints
}

/// A file that no module declares is not compiled: its tests cannot fail.
fn is_declared(source: &Source, sources: &[Source]) -> Complaints {
    let is_root = source.path.ends_with("/src/lib.rs")
        || source.path.ends_with("/src/main.rs")
        || source.path == "tests/tests.rs"
        || is_target(&source.path);
    let Some((parents, name)) = source.parents().filter(|_| !is_root) else { return Vec::new() };
    let declares = |parent: &&Source| parents.contains(&parent.path) && parent.declares(name).is_some();
    match sources.iter().find(declares) {
        Some(_) => Vec::new(),
        None => vec![format!("{}: no module declares it", source.path)],
    }
}

/// Whether cargo builds a file without a `mod`: a crate's own tests, and what a manifest names.
fn is_target(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        [_, "tests", _] => true,
        ["benches", file] => {
            let manifests = ["kernels", "loaders", "engine", "cli"].map(|krate| root().join(krate).join("Cargo.toml"));
            let line = format!("path = \"../benches/{file}\"");
            manifests.iter().any(|manifest| std::fs::read_to_string(manifest).unwrap().contains(&line))
        }
        ["tests", "fuzz", "fuzz_targets", file] => {
            let manifest = std::fs::read_to_string(root().join("tests/fuzz/Cargo.toml")).unwrap();
            manifest.contains(&format!("path = \"fuzz_targets/{file}\""))
        }
        _ => false,
    }
}

/// Runs a rule on every source.
fn check(rule: impl Fn(&Source) -> Complaints) {
    assert_tidy(Source::all().iter().flat_map(rule).collect());
}

/// A rule's complaints about a text, without its path.
fn complaints(rule: fn(&Source) -> Complaints, path: &str, text: &str) -> usize {
    rule(&Source::new(path, text)).len()
}

#[test]
fn every_file_opens_with_what_it_is() {
    check(opens_with_what_it_is);
    let rule = |text| complaints(opens_with_what_it_is, "a.rs", text);
    assert_eq!(rule("//! A thing.\n"), 0);
    assert_eq!(rule("") + rule("use a;\n") + rule("// A thing.\n") + rule("//!\n//! A thing.\n") + rule("\n//! A thing."), 5);
}

#[test]
fn unsafe_stands_where_it_may() {
    check(unsafe_in_its_place);
    for place in UNSAFE {
        assert!(root().join(place).exists(), "{place} is gone");
    }
    let rule = |path, text| complaints(unsafe_in_its_place, path, text);
    assert_eq!(rule("engine/src/forward.rs", "// unsafe\nfn unsafely() {}"), 0);
    assert_eq!(rule("engine/src/forward.rs", "fn f() { unsafe { g() } }\nunsafe fn h() {}"), 2);
    assert_eq!(rule("engine/src/forward.rs", "#[cfg(test)]\nmod tests { unsafe fn f() {} }"), 1);
    assert_eq!(rule("kernels/src/arch/avx2.rs", "unsafe fn f() {}"), 0);
    assert_eq!(rule("loaders/src/mmap/more.rs", "unsafe fn f() {}"), 1);
}

#[test]
fn nothing_prints_past_the_one_place_or_is_left_to_do() {
    check(no_banned_macros);
    check(no_ignored_tests);
    let rule = |text| complaints(no_banned_macros, "a.rs", text);
    assert_eq!(rule("fn f() { writeln!(out, \"println!\"); print(1); }"), 0);
    assert_eq!(rule("fn f() { println!(\"a\"); std::eprint !(\"b\"); todo!() }"), 3);
    let rule = |text| complaints(no_ignored_tests, "a.rs", text);
    assert_eq!(rule("#[test]\nfn ignore() {} // #[ignore]"), 0);
    assert_eq!(rule("#[test]\n#[ignore]\nfn f() {}\n#[ignore = \"slow\"]\nfn g() {}"), 2);
}

#[test]
fn the_product_does_not_unwrap() {
    check(no_unwrap);
    let rule = |text| complaints(no_unwrap, "engine/src/a.rs", text);
    assert_eq!(rule("pub const A: NonZero<u8> = NonZero::new(1).unwrap();\nfn f() { x.unwrap_or(1) }"), 0);
    assert_eq!(rule("#[cfg(test)]\nmod tests { fn f() { x.unwrap() } }"), 0);
    assert_eq!(rule("fn f() { x.unwrap(); y\n.unwrap() }"), 2);
}

#[test]
fn each_crate_is_without_what_it_must_be_without() {
    check(absences);
    let rule = |path, text| complaints(absences, path, text);
    assert_eq!(rule("kernels/src/a.rs", "fn f(x: &mut [f32]) {}\n#[cfg(test)]\nmod tests { fn f() { vec![1] } }"), 0);
    assert_eq!(rule("kernels/src/a.rs", "fn f() -> Vec<f32> { vec![1.0] }"), 2);
    assert_eq!(rule("engine/src/a.rs", "use std::fs;"), 1);
    assert_eq!(rule("loaders/src/a.rs", "fn f() { std::thread::spawn(g); std::io::stderr() }"), 3);
    assert_eq!(rule("cli/src/a.rs", "fn f() { std::thread::spawn(g); std::io::stderr() }"), 0);
}

#[test]
fn storage_formats_are_told_apart_in_one_file() {
    check(formats_are_told_apart_in_the_registry);
    let rule = |path, text| complaints(formats_are_told_apart_in_the_registry, path, text);
    let bad = "fn f() { match dtype { DType::F32 => 1, DType::F16 | DType::BF16 => g(DType::F32), } }";
    assert_eq!((rule("engine/src/a.rs", bad), rule(DTYPE_REGISTRY, bad)), (1, 0));
    assert_eq!(
        rule("engine/src/a.rs", "fn f() { match x { Weights(DType::F32) => a(), Weights(d) if d == DType::F16 => b(), }"),
        1
    );
    assert_eq!(rule("engine/src/a.rs", "fn f() { match x { A(DType::F32) => g(DType::F16), _ => h(DType::BF16), } }"), 0);
    assert_eq!(rule("engine/src/a.rs", "use infer_kernels::DType::{F16, F32};"), 1);
}

#[test]
fn every_file_is_compiled() {
    let sources = Source::all();
    assert_tidy(sources.iter().flat_map(|source| is_declared(source, &sources)).collect());
    let sources = [Source::new("a/src/lib.rs", "mod b;"), Source::new("a/src/b.rs", ""), Source::new("a/src/c.rs", "")];
    assert_eq!(sources.each_ref().map(|source| is_declared(source, &sources).len()), [0, 0, 1]);
    let orphan = Source::new("benches/nowhere.rs", "");
    assert_eq!(is_declared(&orphan, &[]).len(), 1);
}
