//! The boundary around the `tokenizers` crate: its errors and panics become `LoadError`s.
//!
//! The checks in `tokenizer_file.rs` keep away every file that is known to make the crate panic; this boundary is for those that are
//! not known, and for decoders that panic at some token (a `Strip` from the end of an empty token). Not here: stack overflow and
//! failed allocation, which end the process whatever one does: only the checks keep those away.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::Path;
use std::sync::Once;

use crate::error::LoadError;

/// What errors from the crate say was expected of the file at the path.
const EXPECTED: &str = "a tokenizer that can be used";

thread_local! {
    /// Whether a panic of this thread is one that `caught` will report.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Calls into the `tokenizers` crate; `path` is the file that the tokenizer is from.
///
/// # Errors
/// If the call fails or panics.
pub(crate) fn guarded<T>(path: &Path, call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, LoadError> {
    caught(call).map_err(|found| LoadError::file(path, EXPECTED, found))
}

/// Calls into the `tokenizers` crate, for who can name the part of the file that is at fault.
///
/// # Errors
/// If the call fails or panics: what was found.
pub(crate) fn caught<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    silence_caught_panics();
    let outer = CAUGHT.replace(true);
    // Broken invariants cannot be seen from outside: a tokenizer is immutable once made, and one whose making panicked is gone.
    let result = catch_unwind(AssertUnwindSafe(call));
    CAUGHT.set(outer);
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            let text = text.unwrap_or("no message");
            Err(format!("one that breaks the tokenizer library ({text})"))
        }
    }
}

/// Puts a hook before the present panic hook that passes on every panic but those that `caught` reports: the user gets one line.
fn silence_caught_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let present = take_hook();
        set_hook(Box::new(move |info| {
            // A thread that is being torn down has no `CAUGHT` any more, and is not in `caught`.
            if !CAUGHT.try_with(Cell::get).unwrap_or(false) {
                present(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_panics_become_one_line() {
        let path = Path::new("tokenizer.json");
        assert_eq!(guarded(path, || Ok(3)).unwrap(), 3);
        let error = guarded(path, || -> tokenizers::Result<()> { Err("no such token".into()) }).unwrap_err();
        assert_eq!(error.to_string(), "tokenizer.json: expected a tokenizer that can be used, found no such token");
        let error = guarded(path, || -> tokenizers::Result<()> { panic!("index {} out of range", 7) }).unwrap_err();
        assert!(error.to_string().ends_with("(index 7 out of range)"), "{error}");
        assert!(!CAUGHT.get());
    }
}
