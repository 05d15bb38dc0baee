//! Text in, text out: what a program embeds to generate text with a Llama-compatible model on the CPU.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//!
//! use infer::{GenerateOptions, ModelOptions, TextModel};
//!
//! # fn main() -> Result<(), infer::Error> {
//! let model = TextModel::open("path/to/SmolLM2-135M", &ModelOptions::default())?;
//! let options = GenerateOptions { max_tokens: Some(64), stop: vec!["\n\n".into()], ..GenerateOptions::default() };
//! let done = model.generate("The capital of France is", &options, &mut |piece: &str| {
//!     print!("{piece}");
//!     ControlFlow::Continue(())
//! })?;
//! println!("\n{} tokens, ended by {:?}", done.timings.generated_tokens, done.finish);
//! # Ok(())
//! # }
//! ```
//!
//! One level down, `infer_engine` takes token ids and gives logits. Not here: the command line, which is the binary of this package
//! and uses what is public here.

mod banned;
mod built_in;
mod defaults;
mod error;
mod grammar;
mod score;
mod stop;
mod text_model;

pub use built_in::built_in_model;
pub use error::Error;
pub use grammar::Grammar;
pub use infer_engine::{Choice, Compute, Logprobs, ModelOptions, Sampling, Session, Speculation, Timings};
pub use infer_kernels::Isa;
pub use infer_loaders::Fault;
pub use score::{Endings, Likelihood, ScoredToken};
pub use stop::{StopScanner, StopStrings};
pub use text_model::{Completion, FinishReason, GenerateOptions, Observer, TextModel};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
