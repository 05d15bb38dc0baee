//! Ctrl-C and termination: the process ends with exit code 130 at once, whatever it is doing, with the terminal as it was found.
//!
//! `infer chat` alone asks for the answer to be stopped by Ctrl-C instead. Elsewhere deliberately no flag that loops would poll: a page fault in a
//! mapped file or a long matrix product polls nothing. That is safe because nothing needs an orderly end: standard output is flushed after
//! each piece of text, a file that is being written, which has another name until it is whole, is removed, and a terminal that was set to
//! edit a line is put back.

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::report;

/// The exit code of an interrupted process: 128 + SIGINT, as shells count.
pub const STATUS: i32 = 130;

static BAR_SHOWN: AtomicBool = AtomicBool::new(false);
/// A file that is not to stay behind.
static UNFINISHED: Mutex<Option<PathBuf>> = Mutex::new(None);
static ANSWERING: AtomicBool = AtomicBool::new(false);
static STOPPED: AtomicBool = AtomicBool::new(false);

/// Begins to listen. To be called before there is another thread. Should the system refuse, Ctrl-C still ends the process in the system's own way.
///
/// A write beyond the limit of `ulimit -f` is an error like a full disk from here on; by itself it would end the process.
pub fn install() {
    if let Err(error) = listen() {
        report::warn(&format!("Ctrl-C cannot be caught: {error}"));
    }
}

/// All threads to come leave these signals to one that waits for them: so it knows which came.
#[cfg(unix)]
fn listen() -> std::io::Result<()> {
    use nix::sys::signal::{SigSet, Signal};
    let ends = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    let mut held_back = ends;
    held_back.add(Signal::SIGXFSZ);
    held_back.thread_block()?;
    let wait = move || {
        while let Ok(signal) = ends.wait() {
            if signal == Signal::SIGINT { interrupt() } else { end() }
        }
    };
    let started = std::thread::Builder::new().name("signals".to_string()).spawn(wait);
    // Without that thread nobody would hear them.
    started.map(drop).inspect_err(|_| ends.thread_unblock().unwrap_or_default())
}

#[cfg(not(unix))]
fn listen() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(interrupt)
}

/// Ctrl-C. The first stops the answer; one more, should that take long, the program.
fn interrupt() {
    if !ANSWERING.load(Ordering::SeqCst) || STOPPED.swap(true, Ordering::SeqCst) {
        end();
    }
}

/// Ends the process.
fn end() {
    if BAR_SHOWN.load(Ordering::SeqCst) {
        // Clear the bar's line and show the cursor again. Without the stream's lock: the thread that draws may hold it.
        let _ = std::io::stderr().write_all(b"\r\x1b[2K\x1b[?25h");
    }
    if let Some(path) = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = std::fs::remove_file(path);
    }
    restore_terminal();
    std::process::exit(STATUS);
}

/// Tells the handler whether a progress bar is on the terminal.
pub fn bar_is_shown(shown: bool) {
    BAR_SHOWN.store(shown, Ordering::SeqCst);
}

/// Names the file that Ctrl-C removes, or none.
pub fn remove_at_exit(path: Option<PathBuf>) {
    *UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner) = path;
}

/// The modes of the terminal while a line is edited on it, as they were before.
#[cfg(unix)]
static MODES: Mutex<Option<rustix::termios::Termios>> = Mutex::new(None);

/// Calls `edit`, which sets the terminal to edit a line on it; should the process be ended meanwhile, the terminal is put back.
#[cfg(unix)]
pub fn while_editing<T>(edit: impl FnOnce() -> T) -> T {
    let keep = |modes| *MODES.lock().unwrap_or_else(PoisonError::into_inner) = modes;
    keep(rustix::termios::tcgetattr(std::io::stdin()).ok());
    let value = edit();
    keep(None);
    value
}

/// Calls `edit`.
#[cfg(not(unix))]
pub fn while_editing<T>(edit: impl FnOnce() -> T) -> T {
    edit()
}

/// Puts the terminal back, where a line is edited on it.
fn restore_terminal() {
    #[cfg(unix)]
    if let Some(modes) = MODES.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, &modes);
        // Ends what the editor began: pastes in brackets, and a line.
        let _ = std::io::stderr().write_all(b"\x1b[?2004l\r\n");
    }
}

/// Calls `answer` with Ctrl-C stopping it and not the process; see [`is_stopped`].
pub fn while_answering<T>(answer: impl FnOnce() -> T) -> T {
    STOPPED.store(false, Ordering::SeqCst);
    ANSWERING.store(true, Ordering::SeqCst);
    let value = answer();
    ANSWERING.store(false, Ordering::SeqCst);
    value
}

/// Whether the answer is to stop.
pub fn is_stopped() -> bool {
    STOPPED.load(Ordering::SeqCst)
}
