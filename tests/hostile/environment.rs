//! One fault in what surrounds a good checkpoint: files that change while they are in use, files that are none, signals, little of
//! everything.
//!
//! Not here: pipes, full disks and the limits that generating meets (`cli.rs`).

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use infer::{GenerateOptions, ModelOptions, TextModel};
use infer_loaders::Fault;
use serde_json::json;

use super::case::{Args, Suite, all_commands, check, generate, inspect, output_of, tokenize};
use crate::util::{Dir, checkpoint, collect, infer, least_address_space, shell, text, wait};

const MODEL: &str = "text-bpe";
const FILE: &str = "model.safetensors";

/// What an interrupted process may take to end.
const MAX_TIME: Duration = Duration::from_millis(500);

/// A copy of the checkpoint whose context does not end while a test runs.
fn endless() -> Dir {
    let dir = Dir::of_checkpoint(MODEL);
    dir.edit_json("config.json", |config| config["max_position_embeddings"] = json!(100_000_000));
    dir
}

/// Greedy text from that copy.
fn endless_args(dir: &Dir, more: &[&str]) -> Args {
    let mut args: Args = ["--prompt", "The sea", "--ignore-eos", "--temperature", "0", "--model"].map(Into::into).into();
    args.push(dir.root().into());
    args.extend(more.iter().map(Into::into));
    args
}

/// Starts the command and waits for its first byte of text, which it returns too.
fn started(args: &Args) -> (Child, u8) {
    let mut child = infer(args).spawn();
    let mut first = [0];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    (child, first[0])
}

/// Lets it run to its end: exit code, text with `first` in front, standard error.
fn finish(mut child: Child, first: u8) -> (Option<i32>, Vec<u8>, String) {
    let (stdout, stderr) = (collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap()));
    let status = wait(&mut child).expect("it ends");
    let mut output = vec![first];
    output.extend(stdout.join().unwrap());
    (status.code(), output, text(&stderr.join().unwrap()))
}

fn set_len(path: &Path, length: u64) {
    File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}

#[test]
fn a_mapped_file_cut_short_ends_the_program_with_its_name() {
    for length in [0, 1, 4096, 40_000] {
        let dir = endless();
        let (child, first) = started(&endless_args(&dir, &[]));
        set_len(&dir.path(FILE), length);
        let (code, _, stderr) = finish(child, first);
        let path = dir.path(FILE);
        let expected = format!("error: {}: changed while in use: expected ", path.display());
        assert_eq!(code, Some(4), "{length}: {stderr}");
        assert!(stderr.starts_with(&expected) && stderr.lines().count() == 1 && stderr.ends_with('\n'), "{length}: {stderr}");
    }
}

#[test]
fn what_happens_to_the_name_or_to_a_copied_file_does_not_matter() {
    let good = output_of(&endless_args(&endless(), &["-n", "4000"]));
    type Change = fn(&Dir);
    let rows: [(&str, &[&str], Change); 5] = [
        ("cut short, read into memory", &["--no-mmap"], |dir| set_len(&dir.path(FILE), 0)),
        ("rewritten, read into memory", &["--no-mmap"], |dir| fs::write(dir.path(FILE), vec![0xff; 75_368]).unwrap()),
        ("replaced by another file", &[], |dir| {
            let other = dir.write("other", vec![0xff; 75_368]);
            fs::rename(other, dir.path(FILE)).unwrap();
        }),
        ("removed", &[], |dir| fs::remove_file(dir.path(FILE)).unwrap()),
        ("the whole folder removed", &[], |dir| fs::remove_dir_all(dir.root()).unwrap()),
    ];
    for (case, more, change) in rows {
        let dir = endless();
        let (mut child, first) = started(&endless_args(&dir, &[&["-n", "4000"], more].concat()));
        change(&dir);
        assert!(child.try_wait().unwrap().is_none(), "{case}: it ended too early");
        let (code, output, stderr) = finish(child, first);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{case}");
        assert!(output == good.as_bytes(), "{case}: another text");
    }
}

#[test]
fn a_mapped_file_rewritten_in_place_is_no_crash() {
    let dir = endless();
    let (child, first) = started(&endless_args(&dir, &[]));
    // Every weight is a NaN from now on.
    fs::File::options()
        .write(true)
        .open(dir.path(FILE))
        .and_then(|mut file| std::io::Write::write_all(&mut file, &[0xff; 75_368]))
        .unwrap();
    let (code, _, stderr) = finish(child, first);
    assert_eq!((code, stderr.lines().count()), (Some(2), 1), "{stderr}");
    assert!(stderr.starts_with("error: ") && stderr.contains("logits"), "{stderr}");
}

#[test]
fn a_model_whose_file_has_changed_since_it_was_opened_generates_nothing() {
    type Change = fn(&Path);
    let changes: [Change; 3] = [
        |path| set_len(path, 75_400),
        |path| set_len(path, 75_000),
        |path| {
            // The same length; the clock of a file system may be coarse.
            thread::sleep(Duration::from_millis(50));
            let bytes = fs::read(path).unwrap();
            fs::write(path, bytes).unwrap();
        },
    ];
    for change in changes {
        let dir = Dir::of_checkpoint(MODEL);
        let model = TextModel::open(dir.root(), &ModelOptions::default()).unwrap();
        let mut pieces = 0;
        change(&dir.path(FILE));
        let options = GenerateOptions { max_tokens: Some(4), ..GenerateOptions::default() };
        let error = model
            .generate("The sea", &options, &mut |_: &str| {
                pieces += 1;
                std::ops::ControlFlow::Continue(())
            })
            .unwrap_err();
        let line = error.to_string();
        assert_eq!((error.fault(), pieces), (Fault::Io, 0), "{line}");
        assert!(line.contains(FILE) && line.contains("changed while in use"), "{line}");
    }
}

#[test]
fn files_that_are_none_are_refused() {
    let mut suite = Suite::default();
    type Make = fn(&Path);
    let kinds: [(&str, Make, &[&str]); 7] = [
        ("FIFO", |path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success()), &["a regular file", "a FIFO"]),
        ("folder", |path| fs::create_dir(path).unwrap(), &["a regular file", "a directory"]),
        ("socket", |path| drop(UnixListener::bind(path).unwrap()), &["a regular file", "a socket"]),
        ("/dev/zero", |path| symlink("/dev/zero", path).unwrap(), &["a regular file", "a device"]),
        ("/dev/null", |path| symlink("/dev/null", path).unwrap(), &["a regular file", "a device"]),
        ("a link to nothing", |path| symlink("nothing", path).unwrap(), &["No such file"]),
        ("a link to itself", |path| symlink(path.file_name().unwrap(), path).unwrap(), &["symbolic link"]),
    ];
    for file in
        [FILE, "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "reference.safetensors"]
    {
        for (kind, make, needles) in &kinds {
            let dir = Dir::of_checkpoint(MODEL);
            fs::remove_file(dir.path(file)).unwrap();
            make(&dir.path(file));
            let commands = match file {
                "reference.safetensors" => vec![check(dir.root())],
                "tokenizer.json" | "tokenizer_config.json" => {
                    vec![generate(dir.root()), tokenize(dir.root()), inspect(dir.root())]
                }
                _ => all_commands(dir.root()),
            };
            suite.refused(&format!("{kind} as {file}"), &commands, 2, &[&[file], *needles].concat());
        }
    }
    // As the model itself.
    let dir = Dir::of_checkpoint(MODEL);
    for (kind, make, needles) in &kinds[2..] {
        let path = dir.path("model-itself");
        make(&path);
        suite.refused(&format!("{kind} as the model"), &[generate(&path), inspect(&path)], 2, needles);
        fs::remove_file(path).unwrap();
    }
    for path in ["/dev/zero", "/dev/null", "/dev/full", "/proc/self/mem"].map(Path::new).iter().filter(|path| path.exists()) {
        suite.refused("a system file", &[generate(path), inspect(path)], 2, &[path.to_str().unwrap()]);
    }
    suite.close();
}

#[test]
fn odd_paths_are_paths() {
    let good = output_of(&generate(&checkpoint(MODEL)));
    let mut suite = Suite::default();
    let dir = Dir::new();
    for name in
        [&b"with space"[..], b"line\nbreak", b"-n", b"'\"$(id)`", b"\xff\xfe", "\u{202e}\u{1f600}".as_bytes(), b"x.safetensors"]
    {
        let path = dir.root().join(OsStr::from_bytes(name));
        symlink(checkpoint(MODEL).canonicalize().unwrap(), &path).unwrap();
        suite.accepted(&format!("{path:?}"), &generate(&path), Some(&good), &[]);
        suite.refused(&format!("{path:?}"), &[generate(&path.join("none")), inspect(&path.join("none"))], 2, &["none"]);
    }
    suite.refused("no name", &[generate(Path::new(""))], 2, &[]);
    suite.refused("a long name", &[generate(Path::new(&"x".repeat(5000)))], 2, &["xxx"]);
    suite.refused("a deep name", &[generate(Path::new(&"x/".repeat(3000)))], 2, &["x/"]);
    suite.refused("a file as a folder", &[generate(&checkpoint(MODEL).join(FILE).join("x"))], 2, &[FILE]);
    suite.close();

    // Where the program stands.
    for (script, model) in [("cd \"$1\" && exec \"$0\"", "."), ("cd \"$1\" && exec \"$0\"", FILE)] {
        let script = format!("{script} --model {model} --prompt 'The sea' -n 8 --temperature 0 --compute f32");
        assert_eq!(shell(&script, [checkpoint(MODEL)]).succeeds(), good);
    }
    let script = "mkdir \"$1/gone\" && cd \"$1/gone\" && rmdir \"$1/gone\" && exec \"$0\" --model . --prompt x";
    assert!(shell(script, [dir.root()]).fails(2).contains("expected "));
}

#[test]
fn nothing_is_written_beside_the_model() {
    let good = output_of(&generate(&checkpoint(MODEL)));
    let dir = Dir::of_checkpoint(MODEL);
    let list = || -> Vec<_> {
        let mut names: Vec<_> = fs::read_dir(dir.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = list();
    let set_mode = |mode| fs::set_permissions(dir.root(), fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o555);
    let mut suite = Suite::default();
    suite.accepted("generate", &generate(dir.root()), Some(&good), &[]);
    for args in [inspect(dir.root()), check(dir.root()), tokenize(dir.root())] {
        suite.accepted("others", &args, None, &[]);
    }
    set_mode(0o755);
    suite.close();
    assert_eq!(before, list());
}

#[test]
fn a_file_without_permission_is_refused_unless_one_may_read_all() {
    for file in [FILE, "config.json", "tokenizer.json"] {
        let dir = Dir::of_checkpoint(MODEL);
        fs::set_permissions(dir.path(file), fs::Permissions::from_mode(0o000)).unwrap();
        let mut suite = Suite::default();
        match File::open(dir.path(file)) {
            Ok(_) => suite.accepted(file, &generate(dir.root()), None, &[]),
            Err(_) => suite.refused(file, &[generate(dir.root()), inspect(dir.root())], 2, &[file, "ermission denied"]),
        }
        suite.close();
    }
}

#[test]
fn an_empty_environment_is_enough() {
    let good = output_of(&generate(&checkpoint(MODEL)));
    assert_eq!(shell("exec env -i \"$0\" \"$@\"", generate(&checkpoint(MODEL))).succeeds(), good);
    let script = "exec env LANG=xx_YY.bogus LC_ALL= TERM= NO_COLOR=1 COLUMNS=-1 RUST_BACKTRACE=full \"$0\" \"$@\"";
    assert_eq!(shell(script, generate(&checkpoint(MODEL))).succeeds(), good);
    let line = shell(script, generate(Path::new("/none"))).fails(2);
    assert!(line.starts_with("/none: "), "{line}");
}

#[test]
fn an_error_that_cannot_be_told_keeps_its_exit_code() {
    let args = generate(Path::new("/none"));
    for stderr in ["2>&-", "2>/dev/full"] {
        if stderr.contains("full") && !Path::new("/dev/full").exists() {
            continue;
        }
        let output = shell(&format!("exec \"$0\" \"$@\" {stderr}"), &args).run();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{stderr}");
    }
}

#[test]
fn little_of_everything_is_enough_or_told() {
    let commands = [
        generate(&checkpoint(MODEL)),
        inspect(&checkpoint(MODEL)),
        check(&checkpoint(MODEL)),
        tokenize(&checkpoint(MODEL)),
        check(&checkpoint("llama-sharded")),
    ];
    let expected: Vec<String> = commands.iter().map(output_of).collect();
    let descriptors = (3..=12).map(|n| format!("-n {n}"));
    // MiB beside those in which the program begins.
    let space = [1, 2, 6, 12, 20, 28, 36, 52, 68, 84, 100, 116, 132, 164, 196, 228, 292, 356, 484];
    let space = least_address_space().into_iter().flat_map(|least| space.map(|mib| format!("-v {}", least + mib * 1024)));
    let mut met = 0;
    for limit in descriptors.chain(space) {
        for (args, expected) in commands.iter().zip(&expected) {
            // One heap for all threads: glibc reserves 64 MiB of addresses for a heap of each, or not, as the threads happen to meet, and
            // what is left then may be too little for a library that ends the process where memory is short.
            let run = shell(&format!("ulimit {limit} && exec \"$0\" \"$@\""), args).env("MALLOC_ARENA_MAX", "1");
            let output = run.run();
            let stderr = text(&output.stderr);
            match output.status.code() {
                Some(0) => {
                    met += 1;
                    // The report of a plan may depend on the limit; a text may not.
                    assert!(args[0] != "--prompt" || text(&output.stdout) == *expected, "{limit} {args:?}: another text");
                }
                Some(3) => {
                    let line = stderr.strip_suffix('\n').unwrap_or_default();
                    let line = line.lines().filter(|line| !line.starts_with("warning: ")).collect::<Vec<_>>();
                    assert!(
                        line.len() == 1 && line[0].starts_with("error: ") && output.stdout.is_empty(),
                        "{limit} {args:?}: {stderr}"
                    );
                }
                // The system's own loader had too few descriptors.
                Some(127) => assert!(stderr.contains("error while loading"), "{limit} {args:?}: {stderr}"),
                _ => panic!("{limit} {args:?}: {}: {stderr}", output.status),
            }
        }
    }
    assert!(met > 40, "only {met} met");
}

/// Sends a signal as `kill` does.
fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// Waits until the process catches interrupts.
fn wait_for_handler(child: &Child) {
    let status = format!("/proc/{}/status", child.id());
    for _ in 0..1000 {
        thread::sleep(Duration::from_millis(5));
        let Ok(status) = fs::read_to_string(&status) else {
            // Not Linux: long enough on any machine.
            thread::sleep(Duration::from_secs(2));
            return;
        };
        // Held back by all threads for the one that waits for it.
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap_or_default();
        if u64::from_str_radix(blocked.trim(), 16).is_ok_and(|blocked| blocked >> 1 & 1 == 1) {
            return;
        }
    }
    panic!("no handler");
}

/// A checkpoint whose weights take long to look through: 64 GiB of zeros that take no disk.
fn slow_to_load() -> Dir {
    let dir = Dir::of_checkpoint(MODEL);
    let mut parts = super::weights::Parts::read(&dir.path(FILE));
    let (begin, extra) = (parts.data.len() as u64, 64_u64 << 30);
    parts.append(&format!(",\"a\":{{\"dtype\":\"F32\",\"shape\":[{}],\"data_offsets\":[{begin},{}]}}", extra / 4, begin + extra));
    parts.align();
    parts.file_length = Some(8 + parts.length + begin + extra);
    parts.write(&dir.path(FILE));
    dir
}

#[test]
fn signals_end_it_within_half_a_second_whatever_it_does() {
    let (slow, endless) = (slow_to_load(), endless());
    let long_prompt = endless.write("prompt", "^".repeat(200_000));
    let prefill: Args = ["--model".into(), endless.root().into(), "--prompt-file".into(), long_prompt.into()].into();
    let waiting: Args = ["--model".into(), endless.root().into(), "--prompt-file".into(), "-".into()].into();
    let mut load = generate(slow.root());
    load.push("--check-tensors".into());
    for (case, args, has_text) in [
        ("load", load, false),
        ("prefill", prefill, false),
        ("decode", endless_args(&endless, &[]), true),
        ("waiting for input", waiting, false),
    ] {
        for name in ["-INT", "-TERM", "-HUP"] {
            let attempt = || {
                let mut child = infer(&args).spawn();
                let stdin = child.stdin.take();
                wait_for_handler(&child);
                let mut stdout = child.stdout.take().unwrap();
                if has_text {
                    stdout.read_exact(&mut [0]).expect("text");
                } else {
                    thread::sleep(Duration::from_millis(600));
                }
                assert!(child.try_wait().unwrap().is_none(), "{case}: it ended by itself");
                let begin = Instant::now();
                signal(&child, name);
                // A reader takes what it writes, as a terminal would.
                let output = collect(stdout);
                let status = wait(&mut child).unwrap();
                let time = begin.elapsed();
                drop(stdin);
                let mut stderr = String::new();
                child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
                assert_eq!((status.code(), stderr.as_str()), (Some(130), ""), "{case} {name}: {status}");
                let output = output.join().unwrap();
                assert!(has_text || output.is_empty(), "{case} {name}");
                time
            };
            // Other tests run beside it.
            let times: Vec<Duration> = (0..4).map(|_| attempt()).take_while(|time| *time > MAX_TIME).collect();
            assert!(times.len() < 4, "{case} {name}: {times:?}");
        }
    }
}
