//! Qwen3: Llama with queries and keys normalised per head, and heads of 128 elements whatever the width.
//!
//! Not here: the mixture-of-experts variant.

use infer_loaders::Metadata;

use super::qwen2::set_upper_windows;
use super::{Architecture, Defaults};
use crate::config::{Biases, Config};
use crate::error::ModelError;

pub(crate) const ARCHITECTURE: Architecture = Architecture {
    name: "Qwen3ForCausalLM",
    model_type: "qwen3",
    defaults: Defaults { n_kv_heads: Some(32), head_dim: Some(128), max_seq_len: 32_768, rope_theta: 10_000.0 },
    configure,
};

fn configure(config: &Metadata, to: &mut Config) -> Result<(), ModelError> {
    let attention = config.flag("attention_bias")?.unwrap_or(false);
    to.biases = Biases { qkv: attention, o: attention, mlp: false };
    to.qk_norm = true;
    set_upper_windows(config, to)
}
