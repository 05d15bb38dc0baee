//! Tests of the whole: through the real binary, and on checkpoints with recorded truth.
//!
//! Not here: unit tests, which stand beside what they test. No test needs a network, a clock within a second, or anything but the
//! Rust toolchain.

// Temporary folders, running the binary, writing safetensors files.
mod util;

// The command line: flags, outputs, exit codes, pipes, signals, limits.
mod cli;

// `infer check`: reference files, published values, verdicts.
mod check;

// `infer bench`: formats, keys, combinations, the arithmetic of the roofline.
mod bench;

// The recorded checkpoints and references, and larger models, for the next three.
mod fixtures;

// Logits and greedy continuations against transformers'.
mod golden;

// The demonstration model in the program.
mod built_in;

// Tokens, text and streams against transformers'.
mod tokenizers;

// Chat templates, injection, chats through the binary.
mod chat;

// `infer chat` with signals, on a terminal, and its commands.
mod conversation;

// GGUF files: blocks, models, tokenizers.
mod gguf;

// Writing them, good and bad.
mod gguf_file;

// `infer quantize`: files that are written, and what stays behind when one cannot be.
mod quantize;

// `--quant`: kept files, and what happens to them.
mod quant;

// Bit-identity over threads, chunks, batches and caches.
mod determinism;

// Choosing tokens: taking them back, log-probabilities, constraints.
mod choices;

// Flags of the sampler's chain, logit bias, banned strings.
mod sampling;

// JSON schemas, regular expressions and grammars that a text must follow.
mod structured;

// `--prompt-cache` and `--truncate`.
mod prompt_cache;

// `--speculate`: the same text, to the bit.
mod speculation;

// `--draft`: the same with a second model.
mod draft;

// `infer score`: log-probabilities, perplexity, multiple choice, against transformers'.
mod score;

// Broken files, prompts and surroundings.
mod hostile;

// House rules: what every file, crate and dependency must be like.
mod tidy;
