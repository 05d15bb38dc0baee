//! Models made of any bytes: what opens must run, whatever its weights, formats and numbers.

#![no_main]

use libfuzzer_sys::fuzz_target;

// Writing GGUF files, and the models, which the tests share.
#[path = "../../gguf_file.rs"]
mod gguf_file;
#[path = "../../hostile/forward.rs"]
mod forward;

fuzz_target!(|tape: &[u8]| {
    forward::open_and_run(tape);
});
