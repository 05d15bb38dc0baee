//! `infer chat` as a person uses it: signals, a terminal, the commands.
//!
//! Not here: rendering and what a script of messages says (`chat.rs`).

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command};

use serde_json::Value;

use crate::util::{Dir, collect, data, infer, text, wait};

/// A copy of `text-bpe` with a chat template, and arguments that keep it from ending an answer.
fn endless() -> (Dir, Vec<String>) {
    let dir = Dir::of_checkpoint("text-bpe");
    dir.write("chat_template.jinja", fs::read(data("chat/templates/llama3.jinja")).unwrap());
    let ends: Value = serde_json::from_slice(&fs::read(dir.path("generation_config.json")).unwrap()).unwrap();
    let ends = match &ends["eos_token_id"] {
        Value::Array(ids) => ids.clone(),
        id => vec![id.clone()],
    };
    let mut args: Vec<String> =
        ["chat", "-c", "1000000", "-n", "900000", "--temperature", "1", "--model"].map(String::from).into();
    args.push(dir.root().to_str().unwrap().to_string());
    args.extend(ends.iter().flat_map(|id| ["--logit-bias".to_string(), format!("{id}=-inf")]));
    (dir, args)
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap().success());
}

#[test]
fn ctrl_c_stops_the_answer_and_not_the_program() {
    let (dir, args) = endless();
    let saved = dir.path("saved.json");
    let mut child = infer(&args).spawn();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    for message in ["first", "second"] {
        writeln!(stdin, "{message}").unwrap();
        stdout.read_exact(&mut [0; 200]).unwrap();
        signal(&child, "INT");
        // What was on its way ends with the answer's line; the next message must find a program that reads.
        writeln!(stdin, "/save {}", saved.display()).unwrap();
        let n_messages = if message == "first" { 2 } else { 4 };
        let has_saved = || {
            let bytes = fs::read(&saved).ok()?;
            let messages: Vec<Value> = serde_json::from_slice(&bytes).ok()?;
            (messages.len() == n_messages).then_some(messages)
        };
        // The rest of the answer must be read, or it fills the pipe.
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            loop {
                match stdout.read(&mut chunk) {
                    Ok(n) if chunk[..n].ends_with(b"\n") => return stdout,
                    Ok(0) | Err(_) => panic!("the program ended"),
                    Ok(_) => {}
                }
            }
        });
        let started = std::time::Instant::now();
        let messages = loop {
            if let Some(messages) = has_saved() {
                break messages;
            }
            assert!(started.elapsed().as_secs() < 60, "the answer was not stopped");
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        let answer = messages.last().unwrap()["content"].as_str().unwrap();
        assert!(answer.len() >= 190 && messages[n_messages - 2]["content"] == message, "{answer}");
        stdout = reader.join().unwrap();
    }
    writeln!(stdin, "/exit").unwrap();
    drop(stdout);
    assert!(wait(&mut child).unwrap().success());
}

#[test]
fn the_commands_do_what_help_says() {
    let (dir, mut args) = endless();
    args.extend(["--temperature=0".to_string(), "--max-tokens=4".to_string()]);
    args.retain(|arg| arg != "-n" && arg != "900000");
    let at = args.iter().position(|arg| arg == "--temperature").unwrap();
    args.drain(at..at + 2);
    let file = |name: &str| dir.path(name).display().to_string();
    let script = format!(
        "/help\n/system\n/system Be kind.\n/system\nhello\nand\\\nmore\\\nlines\n/save {a}\n/undo\n/save {b}\n/clear\n/save {c}\n\
         /load {a}\n/undo\n/save {d}\n//slash\n/save {e}\n/set top-k 3\n/set max-tokens 2\n/set\n/regen\n/save {f}\n/exit\nnever\n",
        a = file("a"),
        b = file("b"),
        c = file("c"),
        d = file("d"),
        e = file("e"),
        f = file("f")
    );
    let output = infer(&args).stdin(script).run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let messages = |name: &str| -> Vec<Value> { serde_json::from_slice(&fs::read(dir.path(name)).unwrap()).unwrap() };
    let said = |name: &str, place: usize| messages(name)[place]["content"].as_str().unwrap().to_string();
    assert_eq!((messages("a").len(), said("a", 0), said("a", 3)), (5, "Be kind.".into(), "and\nmore\nlines".into()));
    assert_eq!(messages("b"), messages("a")[..3], "/undo takes back the message and its answer");
    assert_eq!(messages("c"), messages("a")[..1], "/clear keeps the system message");
    assert_eq!(messages("d"), messages("b"), "/load brings all back");
    assert_eq!(said("e", 3), "/slash");
    assert!(said("e", 4).starts_with(&said("f", 4)) && said("f", 4).len() < said("e", 4).len(), "/regen with max-tokens 2");
    let notes = text(&output.stderr);
    for name in ["/help", "/system", "/clear", "/regen", "/undo", "/save", "/load", "/stats", "/set", "/exit"] {
        assert!(notes.lines().any(|line| line.starts_with(name)), "{name} is not in /help");
    }
    assert!(notes.contains("no system message\nBe kind.\n") && notes.contains("  top-k 3  ") && notes.contains("max-tokens 2\n"));
    for (line, expected) in [
        ("/regen", "/regen: expected an answer to give again, found none"),
        ("/undo", "/undo: expected a message to take back, found none"),
        ("/load", "/load: expected a file, found nothing"),
        ("/load /nonexistent", "/nonexistent: expected to read a text"),
        ("/set top-k x", "/set top-k: expected a whole number, found \"x\""),
        ("/set nothing 1", "/set: expected a setting that /set alone lists, found \"nothing\""),
    ] {
        let found = infer(&args).stdin(line).fails(2);
        assert!(found.starts_with(expected), "{found}");
    }
}

/// A terminal without a screen.
#[cfg(unix)]
mod terminal {
    use std::fs::{File, OpenOptions};
    use std::os::unix::ffi::OsStrExt;
    use std::process::Stdio;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, Termios, tcgetattr};

    use super::*;

    /// Its far side, and the side that a program sees.
    fn open() -> (File, File) {
        let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&far).unwrap();
        unlockpt(&far).unwrap();
        let name = ptsname(&far, Vec::new()).unwrap();
        let near = OpenOptions::new().read(true).write(true).open(std::ffi::OsStr::from_bytes(name.as_bytes())).unwrap();
        (File::from(far), near)
    }

    fn start(near: &File, args: &[String]) -> Child {
        let end = || Stdio::from(near.try_clone().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_infer"));
        command.args(args).env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end());
        command.spawn().unwrap()
    }

    /// Waits until the terminal edits a line, or does not.
    fn wait_for(near: &File, is_edited: bool) -> Termios {
        for _ in 0..6000 {
            let modes = tcgetattr(near).unwrap();
            if modes.local_modes.contains(LocalModes::ICANON) != is_edited {
                return modes;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("the terminal never came to edit a line, or to be put back");
    }

    #[test]
    fn a_signal_at_the_prompt_leaves_the_terminal_as_it_was() {
        let (_dir, args) = endless();
        for name in ["TERM", "HUP"] {
            let (far, near) = open();
            let before = tcgetattr(&near).unwrap();
            let mut child = start(&near, &args);
            let _output = collect(UntilGone(far.try_clone().unwrap()));
            wait_for(&near, true);
            signal(&child, name);
            assert_eq!(wait(&mut child).unwrap().code(), Some(130), "{name}");
            let after = tcgetattr(&near).unwrap();
            assert_eq!((after.local_modes, after.input_modes), (before.local_modes, before.input_modes), "{name}");
            assert_eq!((after.output_modes, after.control_modes), (before.output_modes, before.control_modes), "{name}");
        }
    }

    /// Reads until `end` came up.
    fn read_to(far: &mut File, end: &str) -> String {
        let mut found = Vec::new();
        while !found.ends_with(end.as_bytes()) {
            let mut byte = [0];
            assert_eq!(far.read(&mut byte).unwrap_or(0), 1, "the program ended after {:?}", text(&found));
            found.push(byte[0]);
        }
        text(&found)
    }

    #[test]
    fn termination_during_an_answer_ends_the_program_and_ctrl_c_the_answer() {
        let (dir, args) = endless();
        let saved = dir.path("saved.json");
        for name in ["TERM", "HUP"] {
            let (mut far, near) = open();
            let before = tcgetattr(&near).unwrap();
            let mut child = start(&near, &args);
            for message in ["first", "second"] {
                wait_for(&near, true);
                write!(far, "{message}\r").unwrap();
                // The answer has begun.
                wait_for(&near, false);
                far.read_exact(&mut [0; 400]).unwrap();
                if message == "first" {
                    signal(&child, "INT");
                    // The prompt of the editor, which begins with a paste mode.
                    read_to(&mut far, "\x1b[?2004h");
                    write!(far, "/save {}\r", saved.display()).unwrap();
                    read_to(&mut far, "\x1b[?2004h");
                    let messages: Vec<Value> = serde_json::from_slice(&fs::read(&saved).unwrap()).unwrap();
                    assert!(messages.len() == 2 && messages[0]["content"] == "first", "{messages:?}");
                }
            }
            signal(&child, name);
            let _output = collect(UntilGone(far.try_clone().unwrap()));
            assert_eq!(wait(&mut child).unwrap().code(), Some(130), "{name}");
            let after = tcgetattr(&near).unwrap();
            assert_eq!((after.local_modes, after.input_modes), (before.local_modes, before.input_modes), "{name}");
            assert_eq!((after.output_modes, after.control_modes), (before.output_modes, before.control_modes), "{name}");
        }
    }

    #[test]
    fn commands_and_messages_of_several_lines_are_typed_at_a_terminal() {
        let (dir, mut args) = endless();
        args.retain(|arg| arg != "-n" && arg != "900000");
        args.extend(["-n".to_string(), "4".to_string()]);
        let (mut far, near) = open();
        let mut child = start(&near, &args);
        let file = |name: &str| dir.path(name).display().to_string();
        let lines = [
            "/system Be kind.",
            "two\\",
            "lines",
            &format!("/save {}", file("a")),
            "/clear",
            &format!("/save {}", file("b")),
            &format!("/load {}", file("a")),
            "/undo",
            &format!("/save {}", file("c")),
            "/nothing",
        ];
        for line in lines {
            read_to(&mut far, "\x1b[?2004h");
            write!(far, "{line}\r").unwrap();
        }
        let said = read_to(&mut far, "\x1b[?2004h");
        assert!(said.contains("error: /nothing: expected a command, found none of that name (try /help)"), "{said}");
        // Ctrl-D on an empty line leaves.
        write!(far, "\x04").unwrap();
        let _output = collect(UntilGone(far.try_clone().unwrap()));
        assert!(wait(&mut child).unwrap().success());
        let messages = |name: &str| -> Vec<Value> { serde_json::from_slice(&fs::read(dir.path(name)).unwrap()).unwrap() };
        let all = messages("a");
        assert_eq!((all.len(), &all[0]["content"], &all[1]["content"]), (3, &"Be kind.".into(), &"two\nlines".into()));
        assert_eq!((messages("b"), messages("c")), (all[..1].to_vec(), all[..1].to_vec()), "/clear, and /load with /undo");
    }

    #[test]
    fn what_is_typed_ahead_is_not_lost() {
        let (dir, args) = endless();
        let (mut far, near) = open();
        let mut child = start(&near, &args);
        let _output = collect(UntilGone(far.try_clone().unwrap()));
        wait_for(&near, true);
        let saved = dir.path("ahead.json");
        write!(far, "/system one\r/system two\r/set top-k 3\r/save {}\r/exit\r", saved.display()).unwrap();
        assert!(wait(&mut child).unwrap().success());
        let messages: Vec<Value> = serde_json::from_slice(&fs::read(saved).unwrap()).unwrap();
        assert_eq!(messages[0]["content"], "two");
    }

    /// The far side as a stream that ends, and does not fail, where the program is gone.
    struct UntilGone(File);

    impl Read for UntilGone {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(into).or(Ok(0))
        }
    }
}
