//! Ctrl-C and termination: the process ends with exit code 130 at once, whatever it is doing, with the terminal as it was found.
//!
//! Deliberately no flag that loops would poll: a page fault in a mapped file or a long matrix product polls nothing. That is safe
//! because nothing needs an orderly end: standard output is flushed after each piece of text and no file is ever written.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::report;

/// The exit code of an interrupted process: 128 + SIGINT, as shells count.
pub const STATUS: i32 = 130;

static BAR_SHOWN: AtomicBool = AtomicBool::new(false);

/// Installs the handler. Should the system refuse it, Ctrl-C still ends the process in the system's own way.
pub fn install() {
    let installed = ctrlc::set_handler(|| {
        if BAR_SHOWN.load(Ordering::SeqCst) {
            // Clear the bar's line and show the cursor again. Without the stream's lock: the thread that draws may hold it.
            let _ = std::io::stderr().write_all(b"\r\x1b[2K\x1b[?25h");
        }
        std::process::exit(STATUS);
    });
    if let Err(error) = installed {
        report::warn(&format!("Ctrl-C cannot be caught: {error}"));
    }
}

/// Tells the handler whether a progress bar is on the terminal.
pub fn bar_is_shown(shown: bool) {
    BAR_SHOWN.store(shown, Ordering::SeqCst);
}
