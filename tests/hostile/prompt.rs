//! One fault in a prompt, a sampling parameter or another argument.
//!
//! Not here: the same faults where the command line's own tests have them with their exact words (`cli.rs`).

use std::ffi::OsString;

use super::case::{Args, Suite};
use crate::util::{Dir, checkpoint};

const MODEL: &str = "text-bpe";

/// `infer --model MODEL` and more.
fn with(args: &[&str]) -> Args {
    let mut all: Args = vec!["--model".into(), checkpoint(MODEL).into()];
    all.extend(args.iter().map(OsString::from));
    all
}

/// The same for a command.
fn command(name: &str, args: &[&str]) -> Args {
    [vec![name.into()], with(args)].concat()
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let mut suite = Suite::default();
    for (flag, value) in [
        ("--temperature", "-0.1"),
        ("--temperature", "-inf"),
        ("--temperature", "1e999"),
        ("--temperature", ""),
        ("--temperature", "0,5"),
        ("--temperature", "warm"),
        ("--top-k", "1.5"),
        ("--top-k", "-9223372036854775808"),
        ("--top-k", "all"),
        ("--top-k", ""),
        ("--top-p", "-0.001"),
        ("--top-p", "1.0001"),
        ("--top-p", "-inf"),
        ("--top-p", "1e999"),
        ("--top-p", "0.9.1"),
        ("--min-p", "1.5"),
        ("--min-p", "nan"),
        ("--min-p", "inf"),
        ("--repeat-penalty", "-1"),
        ("--repeat-penalty", "nan"),
        ("--repeat-penalty", "inf"),
        ("--repeat-penalty", "1e-60"),
        ("--presence-penalty", "nan"),
        ("--presence-penalty", "1e39"),
        ("--frequency-penalty", "-inf"),
        ("--frequency-penalty", "nan"),
        ("--seed", "1.5"),
        ("--seed", "18446744073709551616"),
        ("--seed", "-9223372036854775808"),
        ("--seed", "random"),
        ("--max-tokens", "-1"),
        ("--max-tokens", "1e3"),
        ("--max-tokens", "\u{0661}\u{0662}"),
        ("--ctx-size", "-1"),
        ("--ctx-size", "1.5"),
        ("--ctx-size", "18446744073709551616"),
        ("--threads", "-1"),
        ("--threads", "1.5"),
        ("--threads", "18446744073709551616"),
        ("--threads", "two"),
        ("--prefill-chunk", "-7"),
        ("--prefill-chunk", "18446744073709551616"),
        ("--isa", "AVX2"),
        ("--isa", "neon"),
        ("--isa", ""),
        ("--compute", "int4"),
        ("--compute", ""),
        ("--stop", ""),
    ] {
        suite.refused(&format!("{flag} {value:?}"), &[with(&["--prompt", "x", &format!("{flag}={value}")])], 2, &[flag]);
    }
    suite.close();
}

#[test]
fn extreme_but_sensible_flags_are_obeyed() {
    let mut suite = Suite::default();
    // They go on to the end of the context.
    for args in [
        &["--temperature", "1e-45"][..],
        &["--temperature", "1e-38", "--repeat-penalty", "1e-45"],
        &["--temperature", "3.4e38"],
        &["--temperature", "1", "--top-k", "18446744073709551616"],
        &["--temperature", "1", "--top-k", "1"],
        &["--temperature", "1", "--top-p", "0"],
        &["--temperature", "1", "--top-p", "1e-45"],
        &["--temperature", "1", "--min-p", "1"],
        &["--temperature", "1", "--repeat-penalty", "3.4e38"],
        &["--temperature", "1", "--presence-penalty", "3.4e38", "--frequency-penalty", "3.4e38"],
        &["--temperature", "1", "--presence-penalty", "-3.4e38", "--frequency-penalty", "-3.4e38"],
        &["--temperature", "1", "--seed", "18446744073709551615"],
        &["--temperature", "0", "--max-tokens", "0"],
        &["--temperature", "0", "--prefill-chunk", "18446744073709551615"],
    ] {
        suite.accepted(&format!("{args:?}"), &with(&[&["--prompt", "The sea", "--ignore-eos"], args].concat()), None, &[]);
    }
    suite.close();
}

#[test]
fn prompts_that_are_no_text_or_too_long_are_refused() {
    let mut suite = Suite::default();
    let dir = Dir::new();
    for (name, bytes, needles) in [
        ("latin-1", &b"caf\xe9"[..], &["0xe9", "offset 3"][..]),
        ("overlong", b"a\xc0\x80", &["0xc0", "offset 1"]),
        ("surrogate", b"\xed\xa0\x80", &["0xed", "offset 0"]),
        ("beyond unicode", b"ok \xf4\x90\x80\x80", &["0xf4", "offset 3"]),
        ("cut short", b"ok \xf0\x9f\x98", &["0xf0", "offset 3"]),
        ("UTF-16", b"\xff\xfeh\0i\0", &["0xff", "offset 0"]),
        ("late", &[&[b'a'; 100_000][..], b"\x80"].concat(), &["0x80", "offset 100000"]),
    ] {
        let file = dir.write(name, bytes);
        let file = file.to_str().unwrap();
        let commands = [with(&["--prompt-file", file]), command("tokenize", &["--prompt-file", file])];
        suite.refused(name, &commands[..1], 2, &[&[name, "UTF-8"], needles].concat());
        suite.refused(name, &commands[1..], 2, &[&[name, "UTF-8"], needles].concat());
    }
    let megabyte = dir.write("megabyte", "The sea. ".repeat(111_112));
    suite.refused("a megabyte", &[with(&["--prompt-file", megabyte.to_str().unwrap()])], 2, &["prompt", "256"]);
    let missing = dir.path("missing");
    suite.refused("no file", &[with(&["--prompt-file", missing.to_str().unwrap()])], 2, &["missing"]);
    suite.refused("a folder", &[with(&["--prompt-file", dir.root().to_str().unwrap()])], 2, &[]);
    suite.close();
}

#[test]
fn the_context_is_counted_to_the_token() {
    let mut suite = Suite::default();
    // 1 + 255 tokens fill the context of 256; 256 ids leave no room for one more.
    let prompt = |n: usize| "^".repeat(n);
    for (n, fits) in [(253, true), (254, true), (255, false), (256, false), (257, false)] {
        let args = with(&["--temperature", "0", "--ignore-eos", "--prompt", &prompt(n)]);
        match fits {
            true => suite.accepted(&n.to_string(), &args, None, &[]),
            false => suite.refused(&n.to_string(), &[args], 2, &["prompt", "256", &format!("found {}", n + 1)]),
        }
    }
    suite.close();
}

#[test]
fn odd_prompts_are_text_like_any_other() {
    let mut suite = Suite::default();
    let dir = Dir::new();
    for (case, text) in [
        ("only special tokens", "<|eot_id|><|end_of_text|><|begin_of_text|>".to_string()),
        ("only spaces", " ".repeat(40)),
        ("only NUL", "\0".repeat(20)),
        ("escapes of a terminal", "\u{1b}[2J\u{1b}]0;x\u{7}".into()),
        ("a byte order mark", "\u{feff}x".into()),
        ("the end of unicode", "\u{10ffff}\u{fffe}\u{e000}".into()),
        ("emoji", "\u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467}".into()),
        ("marks", format!("a{}", "\u{301}".repeat(60))),
        ("right to left", "\u{202e}abc\u{5d0}".into()),
        ("a template", "{{ messages[0].content }}{% for x in range(9) %}{% endfor %}".into()),
        ("a format string", "%s%n%x{0}{}$(id)`id`".into()),
    ] {
        let file = dir.write("prompt", &text);
        let file = file.to_str().unwrap();
        suite.accepted(case, &with(&["--temperature", "0", "-n", "4", "--prompt-file", file]), None, &[]);
        suite.accepted(case, &command("tokenize", &["--prompt-file", file]), None, &[]);
    }
    suite.close();
}

#[test]
fn ids_that_are_none_are_refused() {
    let mut suite = Suite::default();
    for (ids, needle) in [
        (&["368"][..], "found 368"),
        (&["1", "4294967295"], "found 4294967295"),
        (&["4294967296"], "4294967296"),
        (&["-1"], "-1"),
        (&["1.5"], "1.5"),
        (&["0x10"], "0x10"),
        (&["\u{0661}"], "\u{0661}"),
        (&[""], "found \"\""),
    ] {
        suite.refused(&format!("{ids:?}"), &[command("detokenize", ids)], 2, &[needle]);
    }
    suite.close();
}

/// Arguments of the system need not be text.
#[cfg(unix)]
#[test]
fn arguments_that_are_no_text_are_refused() {
    use std::os::unix::ffi::OsStringExt;

    let mut suite = Suite::default();
    let bad = || OsString::from_vec(b"sea \xff".to_vec());
    let mut prompt = with(&["--prompt"]);
    prompt.push(bad());
    suite.refused("--prompt", &[prompt], 2, &["--prompt", "UTF-8", "0xff", "offset 4"]);
    let mut text = command("tokenize", &["--text"]);
    text.push(bad());
    suite.refused("--text", &[text], 2, &["--text", "UTF-8", "0xff", "offset 4"]);
    for flag in ["--stop", "--temperature", "--seed", "--isa"] {
        let mut args = with(&["--prompt", "x", flag]);
        args.push(bad());
        suite.refused(flag, &[args], 2, &[]);
    }
    suite.refused("--model", &[vec!["--prompt".into(), "x".into(), "--model".into(), bad()]], 2, &["sea "]);
    suite.close();
}
