//! `Source`: a Rust file as the rules see it, with comments and literals blanked, and its parts that are only for tests known.
//!
//! Not here: rules. And no parser: brackets and words are enough for them.

use std::fs;

use super::{all_files, root};

/// A Rust file.
pub struct Source {
    /// From the top of the repository, with `/` between the parts.
    pub path: String,
    pub text: String,
    /// The text with comments and the contents of literals replaced by spaces. The same lines.
    pub code: String,
    /// The code without items that `#[cfg(test)]` removes, which are spaces too; all of it where the whole file is only for tests.
    pub product: String,
}

impl Source {
    /// A file with this content, of the product itself unless its path says otherwise.
    pub fn new(path: &str, text: &str) -> Source {
        let code = blank(text);
        let product = if is_test_path(path) { spaces(&code) } else { without_test_items(&code) };
        Source { path: path.to_owned(), text: text.to_owned(), code, product }
    }

    /// Every Rust file of the repository.
    pub fn all() -> Vec<Source> {
        let read = |path: &String| Source::new(path, &fs::read_to_string(root().join(path)).unwrap());
        let mut sources: Vec<Source> = all_files().iter().filter(|path| path.ends_with(".rs")).map(read).collect();
        assert!(sources.len() > 50, "only {} sources found", sources.len());
        let test_only: Vec<usize> = (0..sources.len()).filter(|&i| is_declared_for_tests(&sources[i], &sources)).collect();
        for i in test_only {
            sources[i].product = spaces(&sources[i].code);
        }
        sources
    }

    /// Whether the path begins with one of these: a folder with `/` at its end, or a file.
    pub fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path.starts_with(place))
    }

    /// The files that may declare this one with `mod`, and the name they would declare; none where it is a root of its own.
    pub fn parents(&self) -> Option<(Vec<String>, &str)> {
        let (folder, file) = self.path.rsplit_once('/')?;
        let stem = file.strip_suffix(".rs")?;
        let (folder, name) = if stem == "mod" { folder.rsplit_once('/')? } else { (folder, stem) };
        let parents = ["/lib.rs", "/main.rs", "/mod.rs", "/tests.rs", ".rs"].map(|end| format!("{folder}{end}"));
        let parents = parents.into_iter().filter(|parent| *parent != self.path).collect();
        Some((parents, name))
    }

    /// Whether the code declares a module `name`, and whether only for tests.
    pub fn declares(&self, name: &str) -> Option<bool> {
        let declaration = format!("mod {name};");
        let at = words(&self.code, "mod").into_iter().find(|&at| self.code[at..].starts_with(&declaration))?;
        Some(self.product.as_bytes()[at] == b' ')
    }

    /// The number, from 1, of the line that holds a byte.
    pub fn line(&self, at: usize) -> usize {
        1 + self.text[..at].matches('\n').count()
    }
}

/// Tests and benches have folders of their own.
fn is_test_path(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "benches" || part == "fuzz_targets")
}

/// Whether the module that declares a file does so under `#[cfg(test)]`.
fn is_declared_for_tests(source: &Source, sources: &[Source]) -> bool {
    let Some((parents, name)) = source.parents() else { return false };
    sources.iter().filter(|other| parents.contains(&other.path)).any(|parent| parent.declares(name) == Some(true))
}

/// Where `word` begins in `code`, as a whole word.
pub fn words(code: &str, word: &str) -> Vec<usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let whole = |&(at, _): &(usize, &str)| !code[..at].ends_with(is_part) && !code[at + word.len()..].starts_with(is_part);
    code.match_indices(word).filter(whole).map(|(at, _)| at).collect()
}

/// The end of the bracketed text that begins at `open`: the byte after the bracket that closes it, or the end of the code.
pub fn after_bracket(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

fn spaces(code: &str) -> String {
    code.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect()
}

/// Blanks each `#[cfg(test)]` and the item after it, which ends with its braces or at a semicolon.
fn without_test_items(code: &str) -> String {
    let mut rest = code.to_owned();
    let mut from = 0;
    while let Some(found) = rest[from..].find("#[cfg(test)]") {
        let start = from + found;
        let mut end = start + "#[cfg(test)]".len();
        while let Some(at) = rest[end..].find(['{', ';', '(', '[']).map(|at| end + at) {
            end = if rest.as_bytes()[at] == b';' { at + 1 } else { after_bracket(&rest, at) };
            if matches!(rest.as_bytes()[end - 1], b';' | b'}') {
                break;
            }
        }
        let blanked = spaces(&rest[start..end]);
        rest.replace_range(start..end, &blanked);
        from = end;
    }
    rest
}

/// Replaces comments and the contents of string and character literals by spaces, byte for byte.
fn blank(text: &str) -> String {
    let mut code: Vec<u8> = text.as_bytes().to_vec();
    let mut at = 0;
    while at < text.len() {
        let (inner, end) = match token(text, at) {
            Some(token) => token,
            None => {
                at += 1;
                continue;
            }
        };
        code[inner.0..inner.1].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at = end;
    }
    String::from_utf8(code).expect("whole tokens were replaced")
}

/// The comment or literal that begins at `at`: what of it is to be blanked, and where it ends.
fn token(text: &str, at: usize) -> Option<((usize, usize), usize)> {
    let rest = text.get(at..)?;
    let before = text[..at].chars().next_back();
    let starts_word = !before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        let end = at + rest.find('\n').unwrap_or(rest.len());
        return Some(((at, end), end));
    }
    if rest.starts_with("/*") {
        let end = at + comment_len(rest);
        return Some(((at, end), end));
    }
    if starts_word && let Some(len) = raw_string_len(rest) {
        return Some(((at, at + len), at + len));
    }
    if let Some(quoted) = rest.strip_prefix('"') {
        let len = 1 + closing(quoted, '"');
        return Some(((at + 1, at + len), at + len + 1));
    }
    if let Some(quoted) = rest.strip_prefix('\'') {
        // `'a` is a lifetime unless a quote follows its first character.
        let mut chars = quoted.chars();
        let is_literal = chars.next() == Some('\\') || chars.next() == Some('\'');
        let len = 1 + if is_literal { closing(quoted, '\'') } else { 0 };
        return is_literal.then_some(((at + 1, at + len), at + len + 1));
    }
    None
}

/// Bytes before the quote that ends a literal; a backslash takes the next character with it.
fn closing(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            return at;
        }
    }
    text.len()
}

/// Bytes of a block comment, which may hold others.
fn comment_len(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let pair = text.as_bytes().get(at..at + 2);
        depth = match pair {
            Some(b"/*") => depth + 1,
            Some(b"*/") => depth - 1,
            _ => {
                at += 1;
                continue;
            }
        };
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// Bytes of a raw string that `text` begins with: `r"..."`, `br#"..."#` and so on.
fn raw_string_len(text: &str) -> Option<usize> {
    let hashes = text.strip_prefix("br").or(text.strip_prefix("cr")).or(text.strip_prefix('r'))?;
    let content = hashes.trim_start_matches('#');
    let end = format!("\"{}", "#".repeat(hashes.len() - content.len()));
    let content = content.strip_prefix('"')?;
    let start = text.len() - content.len();
    Some(content.find(&end).map_or(text.len(), |at| start + at + end.len()))
}

#[test]
fn comments_and_literals_are_blanked() {
    for (text, code) in [
        ("a // unsafe\nb", "a          \nb"),
        ("a /* x /* y */ z */ b", "a                   b"),
        (r#"f("un\"safe", 1)"#, r#"f("        ", 1)"#),
        ("r\"a\\\" b", "      b"),
        ("r#\"a\"b\"# c", "         c"),
        ("('\"', 'x', '\\'', b'{')", "(' ', ' ', '  ', b' ')"),
        ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
        ("\"ä\" x", "\"  \" x"),
        ("var\"x\"", "var\" \""),
    ] {
        assert_eq!(blank(text), code, "{text}");
    }
}

#[test]
fn items_for_tests_are_known() {
    let text = "use a;\n#[cfg(test)]\nmod tests {\n    fn f() { b() }\n}\nfn c() {}\n#[cfg(test)]\nmod d;\n#[cfg(test)]\nfn e(x: [u8; 2]) {}\nfn g() {}";
    let product = Source::new("x/src/lib.rs", text).product;
    assert_eq!(product.split_whitespace().collect::<Vec<_>>(), ["use", "a;", "fn", "c()", "{}", "fn", "g()", "{}"]);
    assert_eq!(product.lines().count(), text.lines().count());
    for path in ["tests/x.rs", "kernels/tests/x/y.rs", "benches/x.rs"] {
        assert_eq!(Source::new(path, "fn f() {}").product.trim(), "");
    }
}

#[test]
fn modules_and_their_parents_are_known() {
    let source = Source::new("a/src/b/c.rs", "");
    let (parents, name) = source.parents().unwrap();
    assert!(name == "c" && parents.contains(&"a/src/b.rs".to_owned()) && parents.contains(&"a/src/b/mod.rs".to_owned()));
    let source = Source::new("a/src/b/mod.rs", "");
    let (parents, name) = source.parents().unwrap();
    assert!(name == "b" && parents.contains(&"a/src/lib.rs".to_owned()) && !parents.contains(&source.path));
    let lib = Source::new("a/src/lib.rs", "mod b;\n#[cfg(test)]\nmod c;\npub(crate) mod d;\n// mod e;\nmod inline { }");
    let declared = ["b", "c", "d", "e", "inline"].map(|name| lib.declares(name));
    assert_eq!(declared, [Some(false), Some(true), Some(false), None, None]);
}

#[test]
fn words_are_whole() {
    assert_eq!(words("wide::f32 x_wide widen wide", "wide"), [0, 23]);
    assert_eq!(after_bracket("a { b { c } } d", 2), 13);
}
