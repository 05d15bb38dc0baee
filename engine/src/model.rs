//! `Model`: config, weights, kernels and threads in one value, ready to run.
//!
//! Not here: the forward pass (`forward.rs`) and the loop around it (`generate.rs`).

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use infer_kernels::{Attention, DType, Isa, Kernels, KvDType, KvLayout};
use infer_loaders::Checkpoint;

use crate::attention;
use crate::config::Config;
use crate::error::ModelError;
use crate::kv_cache::KvCache;
use crate::state::State;
use crate::team::Team;
use crate::weights::Weights;

/// A decoder that can run.
pub struct Model {
    pub(crate) config: Config,
    pub(crate) weights: Weights,
    pub(crate) kernels: Kernels,
    pub(crate) team: Team,
    pub(crate) compute: Compute,
    pub(crate) attention: Attention,
    pub(crate) prefill_chunk: NonZeroUsize,
}

/// How a model is run. None of it but `isa`, `compute` and `kv_dtype` changes results.
#[derive(Clone, Copy, Debug)]
pub struct ModelOptions {
    /// Worker threads.
    pub threads: NonZeroUsize,
    /// The instruction set; `None` is the best that this CPU has.
    pub isa: Option<Isa>,
    /// The type that activations are multiplied in.
    pub compute: Compute,
    /// The type that keys and values are stored in; `None` is f32 where `compute` asks for exact arithmetic or nothing else is rounded, weights
    /// included, and bf16 otherwise.
    pub kv_dtype: Option<KvDType>,
    /// The most rows of a prompt that one pass takes.
    pub prefill_chunk: NonZeroUsize,
}

/// The rows of a prefill pass, unless told otherwise: enough that arithmetic and not memory is the limit.
pub const DEFAULT_PREFILL_CHUNK: NonZeroUsize = NonZeroUsize::new(512).unwrap();

/// The type in which activations enter a matrix product. Sums are f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compute {
    /// For weights of each format what the CPU multiplies fastest: bf16 for bf16 where that outruns f32, bytes for integers where it multiplies
    /// the two natively; f32 otherwise.
    #[default]
    Auto,
    /// Exact f32 arithmetic.
    F32,
    /// Activations are rounded to bf16.
    Bf16,
    /// Activations are rounded to bytes for weights of integers, where the CPU multiplies the two natively; f32 otherwise.
    Int8,
}

impl Compute {
    /// Every choice.
    pub const ALL: &'static [Compute] = &[Compute::Auto, Compute::F32, Compute::Bf16, Compute::Int8];

    /// The name by which `--compute` calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Compute::Auto => "auto",
            Compute::F32 => "f32",
            Compute::Bf16 => "bf16",
            Compute::Int8 => "int8",
        }
    }
}

impl fmt::Display for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Compute {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Compute, &'static str> {
        Compute::ALL.iter().copied().find(|c| c.name() == s).ok_or("expected one of auto, f32, bf16, int8")
    }
}

impl Default for ModelOptions {
    fn default() -> ModelOptions {
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        ModelOptions { threads, isa: None, compute: Compute::Auto, kv_dtype: None, prefill_chunk: DEFAULT_PREFILL_CHUNK }
    }
}

impl Model {
    /// Reads the config, binds every tensor, starts the threads. Copies no matrix.
    pub fn open(checkpoint: &Checkpoint, options: &ModelOptions) -> Result<Model, ModelError> {
        let config = Config::from_checkpoint(checkpoint)?;
        let kernels = match options.isa {
            None => Kernels::detect(),
            Some(isa) => Kernels::for_isa(isa).ok_or_else(|| ModelError::isa(isa))?,
        };
        let weights = Weights::bind(checkpoint, &config)?;
        let team = Team::new(options.threads, scratch_len(&config, &kernels))?;
        let layout = KvLayout::new(KvDType::F32, config.head_dim);
        let attention = kernels.attention(layout, false);
        let (compute, prefill_chunk) = (options.compute, options.prefill_chunk);
        let mut model = Model { config, weights, kernels, team, compute, attention, prefill_chunk };
        let kv_dtype = options.kv_dtype.unwrap_or_else(|| model.usual_kv_dtype());
        let layout = KvLayout::new(kv_dtype, model.config.head_dim);
        model.attention = kernels.attention(layout, model.compute() != Compute::F32);
        Ok(model)
    }

    /// The shape.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.kernels.isa()
    }

    /// The type that most products' activations are rounded to, never `Auto`.
    pub fn compute(&self) -> Compute {
        self.compute_of(self.most_weights())
    }

    /// Whether nothing is rounded but sums in f32: neither activations nor keys and values.
    pub fn is_exact(&self) -> bool {
        self.compute() == Compute::F32 && self.kv_dtype() == KvDType::F32
    }

    /// The storage format of most weights.
    fn most_weights(&self) -> DType {
        self.weights.layers.first().map_or(&self.weights.lm_head, |layer| &layer.gate_proj.weight).dtype()
    }

    /// The type that keys and values are stored in where nobody says.
    fn usual_kv_dtype(&self) -> KvDType {
        let is_exact = self.compute() == Compute::F32 && self.most_weights() == DType::F32;
        if self.compute == Compute::F32 || is_exact { KvDType::F32 } else { KvDType::BF16 }
    }

    /// The type that keys and values are stored in.
    pub fn kv_dtype(&self) -> KvDType {
        self.attention.layout().dtype()
    }

    /// Number of worker threads.
    pub fn n_threads(&self) -> usize {
        self.team.n_threads()
    }

    /// The most rows of a prompt that one pass takes.
    pub fn prefill_chunk(&self) -> NonZeroUsize {
        self.prefill_chunk
    }

    /// What is odd about the checkpoint but no error, a line each.
    pub fn warnings(&self) -> &[String] {
        &self.weights.warnings
    }

    /// Names of the tensors of the checkpoint that the model does not use.
    pub fn unused_tensors(&self) -> &[String] {
        &self.weights.unused
    }

    /// Whether the output head is the embedding.
    pub fn is_tied(&self) -> bool {
        self.weights.is_tied
    }

    /// An empty cache for sequences of this model.
    pub fn new_cache(&self) -> KvCache {
        KvCache::new(&self.config, self.attention.layout())
    }

    /// Buffers for this model's passes.
    pub fn new_state(&self) -> State {
        State::new()
    }

    /// The type that activations are rounded to before they meet weights of this format, never `Auto`.
    pub(crate) fn compute_of(&self, dtype: DType) -> Compute {
        match self.compute {
            Compute::Bf16 => Compute::Bf16,
            Compute::Auto if self.kernels.prefers_bf16(dtype) => Compute::Bf16,
            Compute::Auto | Compute::Int8 if self.kernels.has_int8_dot(dtype) => Compute::Int8,
            Compute::Auto | Compute::Int8 | Compute::F32 => Compute::F32,
        }
    }
}

/// f32 of scratch memory that each thread has.
pub(crate) fn scratch_len(config: &Config, kernels: &Kernels) -> usize {
    kernels.matmul_scratch().max(attention::scratch_len(config))
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { architecture, n_layers, dim, .. } = &self.config;
        write!(f, "Model({architecture}, {n_layers} layers of {dim}, {} threads, {})", self.n_threads(), self.isa())
    }
}
