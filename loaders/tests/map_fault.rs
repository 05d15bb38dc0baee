//! What a program sees when a mapped weight file is cut short below it: one line and exit code 4; and that other bus errors, and
//! files read into memory, are untouched by that.
//!
//! Not here: a test harness. The signal ends the process, so this program starts itself again as the victim.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use infer_loaders::{OpenOptions, install_map_fault_handler, open_safetensors};

/// Bytes of the tensor: a few hundred pages.
const BYTES: usize = 1 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "victim", path, mmap] => victim(Path::new(path), mmap == "true"),
        // On systems without the signal there is nothing to test.
        _ if cfg!(not(unix)) => {}
        _ => {
            a_file_cut_short_is_named_and_the_exit_code_is_4();
            a_file_read_into_memory_is_immune();
            a_bus_error_from_elsewhere_keeps_its_default_action();
        }
    }
}

/// Opens the file, says so, waits for a line, and reads the tensor.
fn victim(path: &Path, mmap: bool) {
    install_map_fault_handler();
    let file = open_safetensors(path, &OpenOptions { mmap }).expect("a valid file");
    let mut stdout = std::io::stdout();
    stdout.write_all(b"ready\n").and_then(|()| stdout.flush()).expect("a parent that reads");
    std::io::stdin().read_line(&mut String::new()).expect("a parent that writes");
    let sum: u64 = file.tensor("w").expect("the tensor").bytes().iter().map(|&byte| u64::from(byte)).sum();
    writeln!(stdout, "{sum}").expect("a parent that reads");
}

fn a_file_cut_short_is_named_and_the_exit_code_is_4() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = write_file(folder.path());
    let output = run_victim(&path, true, |_| cut_short(&path));
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{error}");
    assert!(error.starts_with(&format!("error: {}: changed while in use", path.display())), "{error}");
    assert_eq!(error.matches('\n').count(), 1, "{error}");
}

fn a_file_read_into_memory_is_immune() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = write_file(folder.path());
    let output = run_victim(&path, false, |_| cut_short(&path));
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), (BYTES as u64 * 3).to_string());
}

fn a_bus_error_from_elsewhere_keeps_its_default_action() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = write_file(folder.path());
    let output = run_victim(&path, true, |victim| {
        let sent = Command::new("kill").args(["-BUS", &victim.id().to_string()]).status().expect("kill is part of every Unix");
        assert!(sent.success());
    });
    assert_eq!(output.status.code(), None, "ended by the signal");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A safetensors file of one tensor, all bytes 3.
fn write_file(folder: &Path) -> std::path::PathBuf {
    let header = format!(r#"{{"w":{{"dtype":"U8","shape":[{BYTES}],"data_offsets":[0,{BYTES}]}}}}"#);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + BYTES, 3);
    let path = folder.join("weights.safetensors");
    std::fs::write(&path, bytes).expect("a file in the temporary folder");
    path
}

fn cut_short(path: &Path) {
    std::fs::File::options().write(true).open(path).and_then(|file| file.set_len(4096)).expect("a file to cut short");
}

/// Starts the victim, does something to it once it has opened the file, and lets it go on.
fn run_victim(path: &Path, mmap: bool, disturb: impl FnOnce(&Child)) -> Output {
    let mut victim = Command::new(std::env::current_exe().expect("this program"))
        .args(["victim".as_ref(), path.as_os_str(), mmap.to_string().as_ref()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this program again");
    let mut stdout = BufReader::new(victim.stdout.take().expect("a pipe"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    disturb(&victim);
    // The victim may be gone already.
    let _ = victim.stdin.take().expect("a pipe").write_all(b"\n");
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).expect("the victim's output");
    let mut output = victim.wait_with_output().expect("the victim's end");
    output.stdout = rest;
    output
}
