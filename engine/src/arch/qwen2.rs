//! Qwen2 and Qwen2.5: Llama with biases on the query, key and value projections, and DeepSeek-R1-Distill-Qwen.
//!
//! Not here: the mixture-of-experts and vision variants.

use infer_loaders::Metadata;

use super::{Architecture, Defaults, mentions, set_windows};
use crate::config::{Biases, Config};
use crate::error::ModelError;

pub(crate) const ARCHITECTURE: Architecture = Architecture {
    name: "Qwen2ForCausalLM",
    model_type: "qwen2",
    defaults: Defaults { n_kv_heads: Some(32), head_dim: None, max_seq_len: 32_768, rope_theta: 10_000.0 },
    configure,
};

fn configure(config: &Metadata, to: &mut Config) -> Result<(), ModelError> {
    to.biases = Biases { qkv: true, o: false, mlp: false };
    set_upper_windows(config, to)
}

/// With `use_sliding_window`, the layers from `max_window_layers` on have a window.
pub(super) fn set_upper_windows(config: &Metadata, to: &mut Config) -> Result<(), ModelError> {
    let window = match config.flag("use_sliding_window")? {
        Some(true) if mentions(config, "sliding_window") => config.count("sliding_window")?,
        Some(true) => Some(4096),
        _ => None,
    };
    let first = config.index("max_window_layers")?.unwrap_or(28);
    set_windows(config, to, window, |layer| layer >= first)
}
