//! The recorded checkpoints as models and references, and models large enough that their work is shared out among threads.
//!
//! Not here: what is expected of them (`golden.rs`, `determinism.rs`), and how they were recorded (`tests/data/README.md`).

use std::fs;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};

use infer_engine::{Batch, Compute, KvCache, KvDType, Model, ModelOptions, Row, SequenceId, State};
use infer_kernels::testing::Seeded;
use infer_kernels::{DType, Isa, Kernels, bf16, f16};
use infer_loaders::{OpenOptions, TensorFile, open_safetensors};
use serde_json::json;

use crate::util::{Dir, TensorData, data, safetensors};

/// What transformers computes for one prompt.
pub struct Reference {
    pub path: PathBuf,
    // (n,)
    pub prompt: Vec<u32>,
    // (n, vocab_size)
    pub logits: Vec<f32>,
    // The prompt and its greedy continuation. (n + m,)
    pub greedy: Vec<u32>,
}

/// The folders of `tests/data/checkpoints`, in order.
pub fn checkpoints() -> Vec<PathBuf> {
    let folders = fs::read_dir(data("checkpoints")).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = folders.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// Every `reference*.safetensors` of a checkpoint, in order.
pub fn references(checkpoint: &Path) -> Vec<Reference> {
    let is_reference = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("reference") && name.ends_with(".safetensors")
    };
    let mut paths: Vec<PathBuf> = fs::read_dir(checkpoint).unwrap().map(|e| e.unwrap().path()).filter(is_reference).collect();
    paths.sort();
    paths.iter().map(|path| Reference::open(path)).collect()
}

impl Reference {
    /// Reads a file that has all three tensors, as every recorded one does.
    pub fn open(path: &Path) -> Reference {
        let file = open_safetensors(path, &OpenOptions::default()).unwrap();
        let tensor = |name| file.tensor(name).unwrap_or_else(|| panic!("{}: no {name}", path.display()));
        let reference = Reference {
            path: path.to_path_buf(),
            prompt: ids(&file, "input_ids"),
            logits: tensor("logits").to_f32().unwrap(),
            greedy: ids(&file, "greedy_ids"),
        };
        assert!(reference.greedy.starts_with(&reference.prompt), "{}", path.display());
        assert_eq!(tensor("logits").shape()[0], reference.prompt.len(), "{}", path.display());
        reference
    }

    /// The greedy continuation alone.
    pub fn continuation(&self) -> &[u32] {
        &self.greedy[self.prompt.len()..]
    }

    /// The checkpoint's folder and the file, for messages.
    pub fn name(&self) -> String {
        let folder = self.path.parent().unwrap().file_name().unwrap();
        format!("{}/{}", folder.to_str().unwrap(), self.path.file_stem().unwrap().to_str().unwrap())
    }
}

fn ids(file: &TensorFile, name: &str) -> Vec<u32> {
    let tensor = file.tensor(name).unwrap_or_else(|| panic!("{}: no {name}", file.path().display()));
    tensor.to_i64().unwrap().into_iter().map(|id| u32::try_from(id).unwrap()).collect()
}

/// The rungs that this CPU can run, the scalar one first.
pub fn isas() -> Vec<Isa> {
    let isas: Vec<Isa> = Isa::ALL.iter().copied().filter(|&isa| Kernels::for_isa(isa).is_some()).collect();
    assert!(isas.starts_with(&[Isa::Scalar, Isa::Portable]), "every CPU can run these: {isas:?}");
    isas
}

/// Opens a model; panics where that fails.
pub fn open(folder: &Path, n_threads: usize, isa: Isa, compute: Compute) -> Model {
    open_with(folder, &OpenOptions::default(), n_threads, isa, compute)
}

/// As [`open`], with a choice of how files are read.
pub fn open_with(folder: &Path, files: &OpenOptions, n_threads: usize, isa: Isa, compute: Compute) -> Model {
    let checkpoint = infer_loaders::open(folder, files).unwrap();
    Model::open(&checkpoint, &options(n_threads, isa, compute)).unwrap()
}

/// As [`open`], keys and values of this type.
pub fn open_with_kv(folder: &Path, n_threads: usize, isa: Isa, compute: Compute, kv_dtype: KvDType) -> Model {
    let checkpoint = infer_loaders::open(folder, &OpenOptions::default()).unwrap();
    Model::open(&checkpoint, &ModelOptions { kv_dtype: Some(kv_dtype), ..options(n_threads, isa, compute) }).unwrap()
}

fn options(n_threads: usize, isa: Isa, compute: Compute) -> ModelOptions {
    let threads = NonZeroUsize::new(n_threads).unwrap();
    ModelOptions { threads, isa: Some(isa), compute, ..ModelOptions::default() }
}

/// Token ids whose first `n_prompt` are a prompt, which matters to dynamic rope alone.
#[derive(Clone)]
pub struct Text {
    pub ids: Vec<u32>,
    pub n_prompt: usize,
}

impl Text {
    /// Adds the rows of some positions, all of which want logits.
    pub fn push(&self, batch: &mut Batch, sequence: SequenceId, positions: Range<usize>) {
        for position in positions {
            let rope_len = self.n_prompt.max(position + 1);
            batch.push(Row { sequence, position, token: self.ids[position], rope_len, wants_logits: true });
        }
    }
}

/// A model with a cache and buffers.
pub struct Session<'m> {
    pub model: &'m Model,
    pub cache: KvCache,
    pub state: State,
}

impl<'m> Session<'m> {
    /// A session with an empty cache.
    pub fn new(model: &'m Model) -> Session<'m> {
        Session { model, cache: model.new_cache(), state: model.new_state() }
    }

    /// Runs a batch.
    pub fn run(&mut self, batch: &Batch) {
        self.model.forward(batch, &mut self.cache, &mut self.state).unwrap();
    }

    /// Appends the part of a text that the cache lacks, in chunks of at most `chunk` positions. Returns their logits. (n, vocab_size)
    pub fn read(&mut self, text: &Text, sequence: SequenceId, chunk: usize) -> Vec<f32> {
        let mut logits = Vec::new();
        let mut batch = Batch::new();
        loop {
            let start = self.cache.len(sequence);
            let end = text.ids.len().min(start.saturating_add(chunk));
            if start == end {
                return logits;
            }
            batch.clear();
            text.push(&mut batch, sequence, start..end);
            self.run(&batch);
            (0..end - start).for_each(|i| logits.extend_from_slice(self.state.logits(i)));
        }
    }
}

/// Logits of all positions of a text, as the only sequence of a fresh cache. (n, vocab_size)
pub fn logits(model: &Model, text: &Text, chunk: usize) -> Vec<f32> {
    let mut session = Session::new(model);
    let sequence = session.cache.create();
    session.read(text, sequence, chunk)
}

/// The storage formats that [`write_larger_model`] writes.
pub const FLOATS: &[DType] = &[DType::F32, DType::F16, DType::BF16];

/// Tokens of [`write_larger_model`].
pub const LARGER_VOCAB_SIZE: usize = 403;

/// Writes a Llama checkpoint with random weights of `dtype`. No vector width divides its sizes. Its matrices are large enough (up to 1.1 MB
/// in f32) that one product is shared out among threads, and one is wide enough that a row's sum is taken in blocks.
pub fn write_larger_model(dtype: DType) -> Dir {
    let (dim, hidden_dim, vocab_size, n_layers) = (132, 2117, LARGER_VOCAB_SIZE, 1);
    let (head_dim, n_heads, n_kv_heads) = (22, 6, 2);
    let dir = Dir::new();
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "hidden_size": dim, "intermediate_size": hidden_dim, "vocab_size": vocab_size, "num_hidden_layers": n_layers,
        "num_attention_heads": n_heads, "num_key_value_heads": n_kv_heads, "max_position_embeddings": 512,
    });
    dir.write("config.json", config.to_string());
    let mut seeded = Seeded(20);
    let mut tensors = Vec::new();
    // Weights of which a product has about the size of its input; around 1 for norms.
    let mut add = |name: String, shape: &[usize]| {
        let k = shape[shape.len() - 1];
        let (centre, scale) = if shape.len() == 1 { (1.0, 0.5) } else { (0.0, (3.0 / k as f32).sqrt()) };
        let values = (0..shape.iter().product()).map(|_| centre + scale * seeded.uniform());
        tensors.push(TensorData { name, dtype: safetensors_name(dtype), shape: shape.to_vec(), bytes: encode(dtype, values) });
    };
    add("model.embed_tokens.weight".into(), &[vocab_size, dim]);
    add("model.norm.weight".into(), &[dim]);
    add("lm_head.weight".into(), &[vocab_size, dim]);
    for layer in 0..n_layers {
        let (q_dim, kv_dim) = (n_heads * head_dim, n_kv_heads * head_dim);
        let parts: [(&str, &[usize]); 9] = [
            ("input_layernorm", &[dim]),
            ("self_attn.q_proj", &[q_dim, dim]),
            ("self_attn.k_proj", &[kv_dim, dim]),
            ("self_attn.v_proj", &[kv_dim, dim]),
            ("self_attn.o_proj", &[dim, q_dim]),
            ("post_attention_layernorm", &[dim]),
            ("mlp.gate_proj", &[hidden_dim, dim]),
            ("mlp.up_proj", &[hidden_dim, dim]),
            ("mlp.down_proj", &[dim, hidden_dim]),
        ];
        for (name, shape) in parts {
            add(format!("model.layers.{layer}.{name}.weight"), shape);
        }
    }
    dir.write("model.safetensors", safetensors(&tensors));
    dir
}

fn safetensors_name(dtype: DType) -> &'static str {
    let names = ["F32", "F16", "BF16"];
    names.into_iter().find(|name| DType::from_safetensors(name) == Some(dtype)).expect("a float format")
}

fn encode(dtype: DType, values: impl Iterator<Item = f32>) -> Vec<u8> {
    if dtype == DType::F32 {
        values.flat_map(f32::to_le_bytes).collect()
    } else if dtype == DType::F16 {
        values.flat_map(|x| f16::from_f32(x).to_le_bytes()).collect()
    } else {
        assert_eq!(dtype, DType::BF16);
        values.flat_map(|x| bf16::from_f32(x).to_le_bytes()).collect()
    }
}

/// Whether the CPU is one of Intel's, as Linux tells.
fn is_intel() -> bool {
    std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("GenuineIntel"))
}

/// Whether an instruction set of this CPU has faster products of bf16 than of f32.
pub fn multiplies_bf16_faster(isa: Isa) -> bool {
    isa == Isa::Avx512Amx || isa == Isa::Avx512Bf16 && !is_intel()
}
