//! Running a command on a broken input, and judging what it says.
//!
//! The judgement is the promise to the user: the right exit code; one line on standard error that starts with "error: ", has at most
//! 300 characters and says what was expected and what was found; nothing on standard output; at most a second; and, where the system
//! can limit it, at most a gigabyte of address space. Not here: what a line must name, which is each row's.

use std::ffi::OsString;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use crate::util::{TestCommand, infer, shell};

/// What any refusal may take: of a processor where the system tells, for other tests run beside it, else by the clock.
const MAX_TIME: Duration = Duration::from_secs(1);

/// What it may take by the clock where other tests run beside it: it waits for nothing else.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The longest error line, in characters.
const MAX_LINE: usize = 300;

/// How often a command that took too long may try again: other tests run beside it, on the same caches.
const ATTEMPTS: usize = 4;

/// Arguments of the binary.
pub type Args = Vec<OsString>;

/// Generates a few tokens, greedily.
pub fn generate(model: &Path) -> Args {
    args(&["--prompt", "The sea", "-n", "8", "--temperature", "0", "--compute", "f32", "--model"], model)
}

/// `infer inspect`.
pub fn inspect(model: &Path) -> Args {
    args(&["inspect", "--model"], model)
}

/// `infer tokenize`.
pub fn tokenize(model: &Path) -> Args {
    args(&["tokenize", "--text", "The sea", "--model"], model)
}

/// `infer check` with the reference that a copied checkpoint has beside its weights.
pub fn check(model: &Path) -> Args {
    let reference =
        if model.is_file() { model.with_file_name("reference.safetensors") } else { model.join("reference.safetensors") };
    let mut check = args(&["check", "--compute", "f32", "--reference"], &reference);
    check.extend(args(&["--model"], model));
    check
}

/// The commands that read all of a checkpoint: weights, settings and tokenizer.
pub fn all_commands(model: &Path) -> Vec<Args> {
    vec![generate(model), inspect(model), check(model)]
}

fn args(words: &[&str], path: &Path) -> Args {
    words.iter().map(OsString::from).chain([path.as_os_str().to_owned()]).collect()
}

/// Collects what went wrong in many cases, so that one run shows it all.
#[derive(Default)]
pub struct Suite {
    failures: Vec<String>,
    n: usize,
}

impl Suite {
    /// The next of `commands`, which take turns, must refuse its input with exit code `code` and a line that contains all of `needles`.
    pub fn refused(&mut self, case: &str, commands: &[Args], code: i32, needles: &[&str]) {
        let args = &commands[self.n % commands.len()];
        self.n += 1;
        if let Err(complaint) = refusal(&run(args), code, needles) {
            self.failures.push(format!("{case}: {}: {complaint}", spelled(args)));
        }
    }

    /// The command must either succeed or refuse its input.
    pub fn either(&mut self, case: &str, args: &Args, code: i32, needles: &[&str]) {
        let ran = run(args);
        if let (false, Err(complaint)) = (ran.0.status.success(), refusal(&ran, code, needles)) {
            self.failures.push(format!("{case}: {}: {complaint}", spelled(args)));
        }
    }

    /// The command must succeed, print `expected` where given, and warn in lines that contain one of `warnings` each.
    pub fn accepted(&mut self, case: &str, args: &Args, expected: Option<&str>, warnings: &[&str]) {
        let complaint = acceptance(&run(args).0, expected, warnings);
        if let Err(complaint) = complaint {
            self.failures.push(format!("{case}: {}: {complaint}", spelled(args)));
        }
    }

    /// Something else that must hold.
    pub fn require(&mut self, case: &str, holds: bool, complaint: impl FnOnce() -> String) {
        if !holds {
            self.failures.push(format!("{case}: {}", complaint()));
        }
    }

    /// Fails the test where any case failed.
    #[track_caller]
    pub fn close(self) {
        let n = self.failures.len();
        assert!(n == 0, "{n} failures:\n{}", self.failures.join("\n"));
    }
}

/// A command line for a complaint; arguments of a test may be long.
fn spelled(args: &Args) -> String {
    format!("{args:?}").chars().take(300).collect()
}

/// What the command printed on success.
pub fn output_of(args: &Args) -> String {
    infer(args).succeeds()
}

/// Runs the command in limited memory, and says how long it took a processor, or all that it took if that was far more: the least of a few
/// attempts if the first was slow.
pub fn run(args: &Args) -> (Output, Duration) {
    let attempt = || {
        let started = Instant::now();
        let (output, time) = limited(args).run_timed();
        let elapsed = started.elapsed();
        (output, time.filter(|_| elapsed <= MAX_WAIT).unwrap_or(elapsed))
    };
    let mut best = attempt();
    for _ in 1..ATTEMPTS {
        if best.1 <= MAX_TIME {
            break;
        }
        let next = attempt();
        if next.1 < best.1 {
            best = next;
        }
    }
    best
}

/// The command with a gigabyte of address space: whoever allocates what a file merely claims to have gets an error or an abort.
fn limited(args: &Args) -> TestCommand {
    in_memory(1 << 20, args)
}

/// The command with so many KiB of address space, where the system can limit it.
pub fn in_memory(kib: usize, args: &Args) -> TestCommand {
    match cfg!(target_os = "linux") {
        true => shell(&format!("ulimit -v {kib}; exec \"$0\" \"$@\""), args),
        false => infer(args),
    }
}

fn refusal((output, time): &(Output, Duration), code: i32, needles: &[&str]) -> Result<(), String> {
    let stderr = String::from_utf8(output.stderr.clone()).map_err(|error| format!("standard error is not UTF-8: {error}"))?;
    if output.status.code() != Some(code) {
        return Err(format!("expected exit code {code}, found {}: {stderr}", output.status));
    }
    if !output.stdout.is_empty() {
        return Err(format!("expected no output, found {:?}", String::from_utf8_lossy(&output.stdout)));
    }
    let line = stderr.strip_suffix('\n').unwrap_or(&stderr);
    if line.contains('\n') || !line.starts_with("error: ") {
        return Err(format!("expected one line that starts with 'error: ', found {stderr:?}"));
    }
    if line.chars().any(char::is_control) || line.chars().count() > MAX_LINE {
        return Err(format!("expected {MAX_LINE} plain characters or fewer, found {}: {line:?}", line.chars().count()));
    }
    if line.contains("panicked") || line.contains("internal") {
        return Err(format!("a bug of the program: {line}"));
    }
    if let Some(needle) = ["expected ", "found"].iter().chain(needles).find(|needle| !line.contains(**needle)) {
        return Err(format!("expected {needle:?} in the line, found {line}"));
    }
    if *time > MAX_TIME {
        return Err(format!("expected at most {MAX_TIME:?}, found {time:?}"));
    }
    Ok(())
}

fn acceptance(output: &Output, expected: Option<&str>, warnings: &[&str]) -> Result<(), String> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("expected success, found {}: {stderr}", output.status));
    }
    if expected.is_some_and(|expected| expected.as_bytes() != output.stdout) {
        return Err(format!("expected {:?}, found {:?}", expected, String::from_utf8_lossy(&output.stdout)));
    }
    let lines: Vec<&str> = stderr.lines().collect();
    let fits = |(line, warning): (&&str, &&str)| line.starts_with("warning: ") && line.contains(warning);
    match lines.len() == warnings.len() && lines.iter().zip(warnings).all(fits) {
        true => Ok(()),
        false => Err(format!("expected warnings with {warnings:?}, found {stderr:?}")),
    }
}
