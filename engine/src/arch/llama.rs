//! Llama 1, 2, 3.x, and what shares its shape: TinyLlama, SmolLM, SmolLM2, DeepSeek-R1-Distill-Llama.
//!
//! Not here: other layouts of the same weights (Meta's own files).

use infer_loaders::Metadata;

use super::{Architecture, Defaults};
use crate::config::{Biases, Config};
use crate::error::ModelError;

pub(crate) const ARCHITECTURE: Architecture = Architecture {
    name: "LlamaForCausalLM",
    model_type: "llama",
    defaults: Defaults { n_kv_heads: None, head_dim: None, max_seq_len: 2048, rope_theta: 10_000.0 },
    configure,
};

fn configure(config: &Metadata, to: &mut Config) -> Result<(), ModelError> {
    let attention = config.flag("attention_bias")?.unwrap_or(false);
    to.biases = Biases { qkv: attention, o: attention, mlp: config.flag("mlp_bias")?.unwrap_or(false) };
    Ok(())
}
