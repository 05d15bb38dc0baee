//! Named tensors and token ids to logits to token ids: a Llama-style decoder.
//!
//! [`Config`] says what shape a model has, [`Weights`] hold its tensors, [`State`] its activations, and [`Model`] joins them; its
//! [`forward`](Model::forward) reads as the paper does. [`Generation`] is the loop around it, [`sampler`] chooses each token.
//!
//! The crate never opens a file and never sees text. Its results do not depend on the number of threads, on how a prompt is cut into
//! chunks, or on what else is in a batch.

mod arch;
mod attention;
mod batch;
mod buffer;
mod choice;
mod config;
mod cost;
mod error;
mod forward;
mod generate;
mod kv_cache;
mod logprobs;
mod matrix;
mod model;
mod plan;
mod roofline;
mod rope;
pub mod sampler;
mod score;
mod session;
mod speculation;
mod state;
mod team;
mod weights;

pub use infer_kernels::{Isa, KvDType};

pub use batch::{Batch, Row};
pub use choice::{Choice, Constraint};
pub use config::{Biases, Config};
pub use cost::Cost;
pub use error::ModelError;
pub use generate::{Finish, Generation, GenerationOptions, Timings};
pub use kv_cache::{KvCache, PAGE_LEN, SequenceId};
pub use logprobs::{Logprobs, log_sum_exp};
pub use matrix::Matrix;
pub use model::{Compute, Model, ModelOptions};
pub use plan::MemoryPlan;
pub use roofline::Roofline;
pub use rope::{Rope, RopeScaling};
pub use sampler::{Breaker, Dry, Sampler, Sampling, SamplingError, Steps};
pub use score::Scorer;
pub use session::Session;
pub use speculation::Speculation;
pub use state::State;
pub use weights::{LayerWeights, Linear, Weights};
