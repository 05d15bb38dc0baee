//! The `infer` binary: arguments in, exit code out.
//!
//! Not here: syntax (`args.rs`), the jobs (`commands/`), messages (`report.rs`).

mod args;
mod breakers;
mod budget;
mod commands;
mod compare;
mod conversation;
mod fingerprint;
mod interrupt;
mod machine;
mod output_file;
mod progress;
mod prompt;
mod prompt_cache;
mod published;
mod quantised;
mod reference;
mod report;
mod resources;
mod scan;
mod series;
mod truncate;

use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use args::{Cli, Refusal};
use report::Failure;

/// The exit code of a bug (EX_SOFTWARE of sysexits.h): no input may lead to it.
const STATUS_BUG: u8 = 70;

/// The message of the latest panic of any thread.
static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

fn main() -> ExitCode {
    // Quiet: a library's panic on odd input may be caught on the way and told as an error about that input.
    std::panic::set_hook(Box::new(|panic| {
        let mut last = LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner);
        *last = panic.to_string();
    }));
    match std::panic::catch_unwind(run) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => {
            if !failure.line().is_empty() {
                report::say("error", failure.line());
            }
            ExitCode::from(failure.status())
        }
        Err(_) => {
            let last = LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner);
            report::say("error: internal", &format!("{last}; this is a bug in infer"));
            ExitCode::from(STATUS_BUG)
        }
    }
}

fn run() -> Result<(), Failure> {
    let cli = match Cli::from_process() {
        Ok(cli) => cli,
        Err(Refusal::Asked(text)) => return report::print(&text),
        Err(Refusal::Usage(failure)) => return Err(failure),
    };
    resources::require_working_memory()?;
    interrupt::install();
    infer_loaders::install_map_fault_handler();
    commands::run(&cli)
}
