//! Mistral: Llama with a sliding window, and a head size of its own in Nemo.
//!
//! Not here: Mixtral's experts.

use infer_loaders::Metadata;

use super::{Architecture, Defaults, mentions, set_windows};
use crate::config::Config;
use crate::error::ModelError;

pub(crate) const ARCHITECTURE: Architecture = Architecture {
    name: "MistralForCausalLM",
    model_type: "mistral",
    defaults: Defaults { n_kv_heads: Some(8), head_dim: None, max_seq_len: 131_072, rope_theta: 10_000.0 },
    configure,
};

/// The window of a config that does not mention it. One that says `null` has none.
const DEFAULT_WINDOW: usize = 4096;

fn configure(config: &Metadata, to: &mut Config) -> Result<(), ModelError> {
    let window = if mentions(config, "sliding_window") { config.count("sliding_window")? } else { Some(DEFAULT_WINDOW) };
    set_windows(config, to, window, |_| true)
}
