//! `Config`: the sizes and choices that make one Llama-style decoder differ from another.
//!
//! Read from `config.json` (formats.md section 1): what all architectures share here, what one of them does differently in `arch/`.
//! Not here: tensors, which are bound and checked against this in `weights.rs`.

use infer_loaders::{Checkpoint, Metadata};

use crate::arch::{ARCHITECTURES, Architecture, mentions};
use crate::error::ModelError;
use crate::rope::Rope;

/// A decoder's shape. Counts are of elements unless they say otherwise.
#[derive(Clone, Debug)]
pub struct Config {
    /// The registry's entry, e.g. `LlamaForCausalLM`.
    pub architecture: &'static str,
    /// The family's name, e.g. `llama`.
    pub model_type: &'static str,
    /// Width of the residual stream, `hidden_size`.
    pub dim: usize,
    /// Width of the feed-forward block, `intermediate_size`.
    pub hidden_dim: usize,
    /// Number of layers.
    pub n_layers: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; each serves `n_heads / n_kv_heads` query heads.
    pub n_kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Positions that the model was made for, `max_position_embeddings`.
    pub max_seq_len: usize,
    /// Added to the mean square in each norm.
    pub norm_eps: f32,
    /// Position embedding.
    pub rope: Rope,
    /// Which projections have a bias.
    pub biases: Biases,
    /// Whether queries and keys are normalised per head before they are rotated.
    pub qk_norm: bool,
    /// Each layer's sliding window: position i sees j where i - j < window. `None` sees all. (n_layers,)
    pub windows: Vec<Option<usize>>,
    /// What `tie_word_embeddings` says, if anything; the presence of `lm_head.weight` decides.
    pub tied: Option<bool>,
}

/// Which projections have a bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Biases {
    /// q_proj, k_proj and v_proj.
    pub qkv: bool,
    /// o_proj.
    pub o: bool,
    /// gate_proj, up_proj and down_proj.
    pub mlp: bool,
}

/// The largest size of any kind that a config may state: what keeps every product of two of them inside 64 bits.
const MAX_SIZE: usize = 1 << 24;

/// The most layers: far above any model, far below what would cost memory before a tensor is looked at.
const MAX_LAYERS: usize = 1 << 14;

impl Config {
    /// Reads a checkpoint's `config.json`. An error names the field.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Config, ModelError> {
        Config::from_metadata(checkpoint.config())
    }

    /// Reads the object of a `config.json`. An error names the field.
    pub fn from_metadata(config: &Metadata) -> Result<Config, ModelError> {
        if config.has("quantization_config") {
            return Err(config.error("quantization_config", "a float checkpoint without quantization").into());
        }
        let architecture = Architecture::find(config)?;
        let defaults = &architecture.defaults;
        let required = |key: &str| size(config, key)?.ok_or_else(|| ModelError::from(config.error(key, "a positive integer")));
        let dim = required("hidden_size")?;
        let n_layers = required("num_hidden_layers")?;
        if n_layers > MAX_LAYERS {
            return Err(config.error("num_hidden_layers", format_args!("at most {MAX_LAYERS}")).into());
        }
        let n_heads = required("num_attention_heads")?;
        let n_kv_heads = match size(config, "num_key_value_heads")? {
            Some(n) => n,
            None if mentions(config, "num_key_value_heads") => n_heads,
            None => defaults.n_kv_heads.unwrap_or(n_heads),
        };
        if !n_heads.is_multiple_of(n_kv_heads) {
            return Err(config.error("num_key_value_heads", format_args!("a divisor of num_attention_heads, {n_heads}")).into());
        }
        let head_dim = match size(config, "head_dim")?.or(defaults.head_dim) {
            Some(head_dim) => head_dim,
            None if dim.is_multiple_of(n_heads) => dim / n_heads,
            None => {
                let expected = format_args!("a divisor of hidden_size, {dim}, or head_dim given").to_string();
                return Err(config.error("num_attention_heads", expected).into());
            }
        };
        if !head_dim.is_multiple_of(2) {
            let key = if config.has("head_dim") { "head_dim" } else { "num_attention_heads" };
            return Err(config.error(key, "heads of an even number of elements, since rope rotates pairs").into());
        }
        if n_heads * head_dim > MAX_SIZE {
            return Err(config.error("head_dim", format_args!("at most {} in all heads", MAX_SIZE)).into());
        }
        // The prompt's length limit is the context's; beyond it only dynamic rope and the like make sense, which is the user's choice.
        let max_seq_len = config.count("max_position_embeddings")?.unwrap_or(defaults.max_seq_len);
        let activation = config.text("hidden_act")?.unwrap_or("silu");
        if !matches!(activation, "silu" | "swish") {
            return Err(config.error("hidden_act", "silu").into());
        }
        let mut parsed = Config {
            architecture: architecture.name,
            model_type: architecture.model_type,
            dim,
            hidden_dim: required("intermediate_size")?,
            n_layers,
            n_heads,
            n_kv_heads,
            head_dim,
            vocab_size: required("vocab_size")?,
            max_seq_len,
            norm_eps: norm_eps(config)?,
            rope: Rope::from_config(config, head_dim, max_seq_len, defaults.rope_theta)?,
            biases: Biases::default(),
            qk_norm: false,
            windows: vec![None; n_layers],
            tied: config.flag("tie_word_embeddings")?,
        };
        (architecture.configure)(config, &mut parsed)?;
        Ok(parsed)
    }

    /// Query heads that share a KV head.
    pub fn group_size(&self) -> usize {
        self.n_heads / self.n_kv_heads
    }

    /// Elements of all query heads.
    pub fn q_dim(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Elements of all key heads, and of all value heads.
    pub fn kv_dim(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }

    /// The names of the architectures that can be read.
    pub fn supported() -> impl Iterator<Item = &'static str> {
        ARCHITECTURES.iter().map(|a| a.name)
    }
}

/// `rms_norm_eps` as the f32 that it is used as.
fn norm_eps(config: &Metadata) -> Result<f32, ModelError> {
    let eps = config.positive("rms_norm_eps")?.unwrap_or(1e-6) as f32;
    if eps > 0.0 && eps.is_finite() {
        Ok(eps)
    } else {
        Err(config.error("rms_norm_eps", "a positive number that f32 holds").into())
    }
}

/// A count that products of two cannot overflow.
fn size(config: &Metadata, key: &str) -> Result<Option<usize>, ModelError> {
    match config.count(key)? {
        Some(n) if n > MAX_SIZE => Err(config.error(key, format_args!("at most {MAX_SIZE}")).into()),
        n => Ok(n),
    }
}
