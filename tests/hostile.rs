//! Broken checkpoints, prompts and surroundings, made one fault at a time from good ones: every command that meets the fault must say
//! so in one line, with the right exit code, at once and in little memory, or do its work as if nothing were wrong.
//!
//! A table of each module has a row per fault: its name, the change, and what the line must contain. Not here: flags, pipes, signals
//! during generation and limits of the shell (`cli.rs`), broken reference files (`check.rs`).

// Running a command on a broken input, and judging what it says.
mod case;

// A safetensors file taken apart and put together wrong.
mod weights;

// The rows of each kind of input.
mod config;
mod gguf;
mod prompt;
mod safetensors;
mod shards;
mod tokenizer;

// Every truncation and every flipped bit of a tiny checkpoint.
mod mutation;

// Models of any bytes.
mod forward;

// Files that change while they are in use, special files, signals.
#[cfg(unix)]
mod environment;
