//! Binds a checkpoint's tensors to the decoder's weights: name, format and shape of each in one line.
//!
//! Matrices stay where they are, in the memory map. Norm weights and biases, a few kilobytes, are decoded to f32. Not here: reading files
//! (`infer_loaders`), and what the weights are used for (`forward.rs`).

use std::collections::HashSet;

use infer_kernels::{DType, MATMUL_SCRATCH, decode};
use infer_loaders::{Checkpoint, Tensor, TensorType};

use crate::config::Config;
use crate::error::ModelError;
use crate::matrix::Matrix;

/// All weights of a decoder.
pub struct Weights {
    /// A row for each token. (vocab_size, dim)
    pub embed_tokens: Matrix,
    /// (n_layers,)
    pub layers: Vec<LayerWeights>,
    /// The last norm. (dim,)
    pub norm: Vec<f32>,
    /// Residual stream to logits: `lm_head`, or the embedding where the two are tied. (vocab_size, dim)
    pub lm_head: Matrix,
    /// Whether the head is the embedding.
    pub is_tied: bool,
    /// What is odd about the checkpoint but no error, a line each.
    pub warnings: Vec<String>,
    /// Names of the tensors that no weight was bound to.
    pub unused: Vec<String>,
}

/// The weights of one layer.
pub struct LayerWeights {
    /// (dim,)
    pub input_layernorm: Vec<f32>,
    /// (n_heads · head_dim, dim)
    pub q_proj: Linear,
    /// (n_kv_heads · head_dim, dim)
    pub k_proj: Linear,
    /// (n_kv_heads · head_dim, dim)
    pub v_proj: Linear,
    /// (dim, n_heads · head_dim)
    pub o_proj: Linear,
    /// Norm of each query head, where the architecture has one. (head_dim,)
    pub q_norm: Option<Vec<f32>>,
    /// Norm of each key head, where the architecture has one. (head_dim,)
    pub k_norm: Option<Vec<f32>>,
    /// (dim,)
    pub post_attention_layernorm: Vec<f32>,
    /// (hidden_dim, dim)
    pub gate_proj: Linear,
    /// (hidden_dim, dim)
    pub up_proj: Linear,
    /// (dim, hidden_dim)
    pub down_proj: Linear,
}

/// A linear map: `y = W · x + b`.
pub struct Linear {
    /// (n, k)
    pub weight: Matrix,
    /// (n,)
    pub bias: Option<Vec<f32>>,
}

impl Weights {
    /// Binds every tensor that `config` asks for. An error names the tensor, and both shapes or types.
    pub fn bind(checkpoint: &Checkpoint, config: &Config) -> Result<Weights, ModelError> {
        let (c, mut b) = (config, Binder { checkpoint, used: HashSet::new() });
        let (dim, q_dim, kv_dim, hidden_dim) = (c.dim, c.q_dim(), c.kv_dim(), c.hidden_dim);
        let embed_tokens = b.matrix("model.embed_tokens.weight", c.vocab_size, dim)?;
        let mut layers = Vec::new();
        for i in 0..c.n_layers {
            let name = |part: &str| format!("model.layers.{i}.{part}");
            layers.push(LayerWeights {
                input_layernorm: b.vector(&name("input_layernorm.weight"), dim)?,
                q_proj: b.linear(&name("self_attn.q_proj"), q_dim, dim, c.biases.qkv)?,
                k_proj: b.linear(&name("self_attn.k_proj"), kv_dim, dim, c.biases.qkv)?,
                v_proj: b.linear(&name("self_attn.v_proj"), kv_dim, dim, c.biases.qkv)?,
                o_proj: b.linear(&name("self_attn.o_proj"), dim, q_dim, c.biases.o)?,
                q_norm: c.qk_norm.then(|| b.vector(&name("self_attn.q_norm.weight"), c.head_dim)).transpose()?,
                k_norm: c.qk_norm.then(|| b.vector(&name("self_attn.k_norm.weight"), c.head_dim)).transpose()?,
                post_attention_layernorm: b.vector(&name("post_attention_layernorm.weight"), dim)?,
                gate_proj: b.linear(&name("mlp.gate_proj"), hidden_dim, dim, c.biases.mlp)?,
                up_proj: b.linear(&name("mlp.up_proj"), hidden_dim, dim, c.biases.mlp)?,
                down_proj: b.linear(&name("mlp.down_proj"), dim, hidden_dim, c.biases.mlp)?,
            });
        }
        let norm = b.vector("model.norm.weight", dim)?;
        let mut warnings = Vec::new();
        // The tensor's presence decides; the flag is only checked (formats.md section 1).
        let is_tied = checkpoint.tensor("lm_head.weight").is_none();
        let lm_head = if !is_tied {
            if c.tied == Some(true) {
                warnings.push("tie_word_embeddings is true, but the checkpoint has a lm_head.weight, which is used".to_owned());
            }
            b.matrix("lm_head.weight", c.vocab_size, dim)?
        } else if c.tied == Some(false) {
            return Err(checkpoint.missing_tensor("lm_head.weight").into());
        } else {
            embed_tokens.clone()
        };
        let unused = b.unused();
        if let [first, others @ ..] = &unused[..] {
            let others = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
            warnings.push(format!("tensor '{first}'{others} not used by this architecture"));
        }
        Ok(Weights { embed_tokens, layers, norm, lm_head, is_tied, warnings, unused })
    }
}

/// Looks tensors up by name and remembers which were used.
struct Binder<'a> {
    checkpoint: &'a Checkpoint,
    used: HashSet<&'a str>,
}

impl<'a> Binder<'a> {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<(&'a Tensor, DType), ModelError> {
        let tensor = self.checkpoint.tensor(name).ok_or_else(|| self.checkpoint.missing_tensor(name))?;
        let TensorType::Weights(dtype) = tensor.dtype() else {
            let supported = DType::ALL.iter().filter_map(|d| d.safetensors_name()).collect::<Vec<_>>().join(", ");
            return Err(tensor.error(format_args!("dtype {supported}"), tensor.dtype()).into());
        };
        if tensor.shape() != shape {
            return Err(tensor.error(format_args!("shape {shape:?}"), format_args!("{:?}", tensor.shape())).into());
        }
        self.used.insert(tensor.name());
        Ok((tensor, dtype))
    }

    fn matrix(&mut self, name: &str, n: usize, k: usize) -> Result<Matrix, ModelError> {
        let (tensor, dtype) = self.tensor(name, &[n, k])?;
        if dtype.block_len() > 1 && k > MATMUL_SCRATCH {
            // A row is decoded into a thread's scratch.
            return Err(tensor.error(format_args!("rows of at most {MATMUL_SCRATCH} {dtype}"), k).into());
        }
        Ok(Matrix::new(tensor.clone(), dtype, n, k))
    }

    fn vector(&mut self, name: &str, n: usize) -> Result<Vec<f32>, ModelError> {
        let (tensor, dtype) = self.tensor(name, &[n])?;
        let mut values = vec![0.0; n];
        decode(dtype, tensor.bytes(), &mut values);
        Ok(values)
    }

    fn linear(&mut self, name: &str, n: usize, k: usize, has_bias: bool) -> Result<Linear, ModelError> {
        let weight = self.matrix(&format!("{name}.weight"), n, k)?;
        let bias = has_bias.then(|| self.vector(&format!("{name}.bias"), n)).transpose()?;
        Ok(Linear { weight, bias })
    }

    /// Names of the tensors that were not asked for. Old files carry rotary frequencies, which are computed here.
    fn unused(&self) -> Vec<String> {
        let is_unused = |t: &&Tensor| !self.used.contains(t.name()) && !t.name().ends_with(".rotary_emb.inv_freq");
        self.checkpoint.tensors().filter(is_unused).map(|t| t.name().to_owned()).collect()
    }
}
