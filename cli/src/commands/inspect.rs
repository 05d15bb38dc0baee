//! `infer inspect`: what is in a checkpoint, and the memory that running it takes.
//!
//! The weights are bound as for running, so that a checkpoint that inspects well also loads; nothing is computed.

use std::collections::BTreeMap;

use infer_engine::{Config, MemoryPlan, Model, ModelOptions, Rope, RopeScaling};
use infer_loaders::{Checkpoint, Tensor, Tokenizer};
use serde_json::{Value, json};

use crate::args::InspectArgs;
use crate::commands;
use crate::quantised::{self, Kept, QUANTS};
use crate::report::{self, Failure};

/// Prompt tokens read at once, for the plan: the default of `--prefill-chunk`.
const N_ROWS: usize = 512;

/// Runs the command.
pub fn run(args: &InspectArgs) -> Result<(), Failure> {
    let (checkpoint, kept) = open(args)?;
    let model = Model::open(&checkpoint, &ModelOptions::default())?;
    // A checkpoint may come without a tokenizer; one that is there and wrong, such as a link to nothing, is an error.
    let tokenizer = if checkpoint.has_tokenizer() { Some(checkpoint.tokenizer()?) } else { None };
    let config = model.config();
    let ctx_size = args.ctx_size.filter(|&size| size > 0).unwrap_or(config.max_seq_len);
    let plan = MemoryPlan::new(&model, &checkpoint, ctx_size, N_ROWS.min(ctx_size));
    let facts = Facts { checkpoint: &checkpoint, model: &model, tokenizer: tokenizer.as_ref(), ctx_size, plan, kept };
    match args.json {
        true => report::print_json(&facts.to_json()),
        false => report::print(&facts.to_text(args.all)),
    }
}

/// The checkpoint, with the quantised matrices where `--quant` asks for them and an earlier start kept them; and what is kept.
fn open(args: &InspectArgs) -> Result<(Checkpoint, Vec<Kept>), Failure> {
    let checkpoint = commands::open_checkpoint(&args.model)?;
    if let Some(quant) = args.quant.quant {
        let kept = quantised::kept(&checkpoint, quant)?.filter(|_| !args.quant.no_cache);
        let tensors = kept.as_ref().and_then(|kept| kept.tensors.clone()).unwrap_or_default();
        return Ok((checkpoint.with_tensors(tensors), kept.into_iter().collect()));
    }
    // A checkpoint of integers has none, and that is no error where nobody asked.
    let kept = QUANTS.into_iter().filter_map(|quant| quantised::kept(&checkpoint, quant).ok().flatten());
    let kept = kept.filter(|kept| kept.tensors.is_some()).collect();
    Ok((checkpoint, kept))
}

/// Everything that is shown.
struct Facts<'a> {
    checkpoint: &'a Checkpoint,
    model: &'a Model,
    tokenizer: Option<&'a Tokenizer>,
    ctx_size: usize,
    plan: MemoryPlan,
    kept: Vec<Kept>,
}

impl Facts<'_> {
    fn n_parameters(&self) -> u64 {
        self.checkpoint.tensors().map(n_elements).sum()
    }

    fn to_json(&self) -> Value {
        let config = self.model.config();
        let tensor = |t: &Tensor| {
            json!({ "name": t.name(), "dtype": t.dtype().to_string(), "shape": t.shape(), "bytes": t.bytes().len(),
                    "hadamard": t.hadamard(), "file": t.file().display().to_string() })
        };
        let tokenizer =
            self.tokenizer.map(|t| json!({ "vocab_size": t.vocab_size(), "bos_id": t.bos_id(), "eos_ids": t.eos_ids() }));
        let kept = |kept: &Kept| {
            json!({ "quant": kept.quant.name, "path": kept.path.display().to_string(), "bytes": kept.n_bytes,
                    "kept": kept.tensors.is_some() })
        };
        json!({
            "path": self.checkpoint.path().display().to_string(),
            "files": self.checkpoint.weight_files().map(|file| file.display().to_string()).collect::<Vec<_>>(),
            "architecture": config.architecture,
            "model_type": config.model_type,
            "parameters": self.n_parameters(),
            "dim": config.dim,
            "hidden_dim": config.hidden_dim,
            "n_layers": config.n_layers,
            "n_heads": config.n_heads,
            "n_kv_heads": config.n_kv_heads,
            "head_dim": config.head_dim,
            "vocab_size": config.vocab_size,
            "max_seq_len": config.max_seq_len,
            "rope_type": config.rope.scaling.name(),
            "rope_theta": config.rope.theta,
            "sliding_window": config.windows.iter().flatten().next(),
            "tied_embeddings": self.is_tied(),
            "quantised": self.kept.iter().map(kept).collect::<Vec<_>>(),
            "tokenizer": tokenizer,
            "memory": {
                "ctx_size": self.ctx_size,
                "weights": self.plan.weights,
                "kv_per_token": self.plan.kv_per_token,
                "kv": self.plan.kv_total,
                "scratch": self.plan.scratch,
                "total": self.total(),
            },
            "warnings": self.model.warnings(),
            "tensors": self.checkpoint.tensors().map(tensor).collect::<Vec<_>>(),
        })
    }

    fn to_text(&self, all: bool) -> String {
        let config = self.model.config();
        let mut text = String::new();
        let mut line = |name: &str, value: String| text.push_str(&format!("{name:<14}{}\n", report::escape(&value)));
        line("model", self.checkpoint.path().display().to_string());
        let files: Vec<_> = self.checkpoint.weight_files().filter_map(|f| Some(f.file_name()?.to_string_lossy())).collect();
        line("files", files.join(", "));
        line("architecture", format!("{} ({})", config.architecture, config.model_type));
        line("parameters", report::count(self.n_parameters()));
        line("layers", format!("{} of width {}, feed-forward {}", config.n_layers, config.dim, config.hidden_dim));
        line("attention", describe_attention(config));
        line("position", format!("rope {}, made for {} positions", describe_rope(&config.rope), config.max_seq_len));
        let head = if self.is_tied() { "shared with the embedding" } else { "lm_head.weight" };
        line("vocabulary", format!("{} tokens, output {head}", config.vocab_size));
        line("tokenizer", self.tokenizer.map_or("none".to_string(), describe_tokenizer));
        line("dtypes", self.dtypes());
        for Kept { quant, path, n_bytes, tensors } in &self.kept {
            let (size, path) = (report::bytes(*n_bytes), path.display());
            let state = if tensors.is_some() { format!("{size} kept in {path}") } else { format!("not yet: {size} for {path}") };
            line("quantised", format!("{}, {state}", quant.name));
        }
        text.push_str(&format!("\nmemory for a context of {} tokens (-c)\n", self.ctx_size));
        let weights = if self.checkpoint.is_built_in() { "part of the program" } else { "mapped from the file" };
        let kv = format!("{} for each token", report::bytes(self.plan.kv_per_token));
        let rows = [
            ("weights", self.plan.weights, weights.to_string()),
            ("KV cache", self.plan.kv_total, kv),
            ("scratch", self.plan.scratch, format!("for {} prompt tokens at once", N_ROWS.min(self.ctx_size))),
            ("total", self.total(), String::new()),
        ];
        let rows: Vec<_> = rows.into_iter().map(|(name, n, note)| vec![format!("  {name}"), note, report::bytes(n)]).collect();
        text.push_str(&report::table(&["", "", ""], &rows, 2));
        text.push_str(&format!("\n{} tensors\n", self.checkpoint.n_tensors()));
        let rows = if all { self.tensor_rows() } else { self.grouped_rows() };
        text.push_str(&report::table(&["  name", "dtype", "shape", "size", "times"], &rows, 3));
        for warning in self.model.warnings() {
            text.push_str(&format!("\nwarning: {}\n", report::escape(warning)));
        }
        text
    }

    /// Whether the output shares the embedding's matrix: there is no other.
    fn is_tied(&self) -> bool {
        self.checkpoint.tensor("lm_head.weight").is_none()
    }

    fn total(&self) -> u64 {
        self.plan.weights.saturating_add(self.plan.kv_total).saturating_add(self.plan.scratch)
    }

    /// Bytes by dtype.
    fn dtypes(&self) -> String {
        let mut bytes: BTreeMap<String, u64> = BTreeMap::new();
        for tensor in self.checkpoint.tensors() {
            *bytes.entry(tensor.dtype().to_string()).or_default() += tensor.bytes().len() as u64;
        }
        let parts: Vec<String> = bytes.iter().map(|(dtype, &n)| format!("{dtype} {}", report::bytes(n))).collect();
        parts.join(", ")
    }

    fn tensor_rows(&self) -> Vec<Vec<String>> {
        self.checkpoint.tensors().map(|t| row(t.name(), t, t.bytes().len() as u64, 1)).collect()
    }

    /// One row for the tensors whose names differ in the layer's number only and that are otherwise alike.
    fn grouped_rows(&self) -> Vec<Vec<String>> {
        let mut groups: Vec<(String, &Tensor, u64, usize)> = Vec::new();
        let mut index: BTreeMap<(String, String, &[usize]), usize> = BTreeMap::new();
        for tensor in self.checkpoint.tensors() {
            let pattern = pattern(tensor.name());
            let key = (pattern.clone(), kept_as(tensor), tensor.shape());
            let at = *index.entry(key).or_insert(groups.len());
            match groups.get_mut(at) {
                Some((_, _, bytes, n)) => {
                    *bytes += tensor.bytes().len() as u64;
                    *n += 1;
                }
                None => groups.push((pattern, tensor, tensor.bytes().len() as u64, 1)),
            }
        }
        groups
            .iter()
            .map(|(name, tensor, bytes, n)| row(if *n == 1 { tensor.name() } else { name }, tensor, *bytes, *n))
            .collect()
    }
}

fn row(name: &str, tensor: &Tensor, bytes: u64, n: usize) -> Vec<String> {
    let shape: Vec<String> = tensor.shape().iter().map(usize::to_string).collect();
    vec![
        format!("  {name}"),
        kept_as(tensor),
        shape.join(" x "),
        report::bytes(bytes),
        if n == 1 { String::new() } else { n.to_string() },
    ]
}

/// How its elements are kept: the format and, where rows are multiplied by a Hadamard matrix, the order of that.
fn kept_as(tensor: &Tensor) -> String {
    match tensor.hadamard() {
        1 => tensor.dtype().to_string(),
        order => format!("{}, Hadamard {order}", tensor.dtype()),
    }
}

fn describe_attention(config: &Config) -> String {
    let mut text = format!("{} heads of {}, {} key-value heads", config.n_heads, config.head_dim, config.n_kv_heads);
    if config.qk_norm {
        text.push_str(", normalised queries and keys");
    }
    if let Some(window) = config.windows.iter().flatten().next() {
        let n = config.windows.iter().flatten().count();
        text.push_str(&format!(", sliding window {window} in {n} layers"));
    }
    text
}

fn describe_rope(rope: &Rope) -> String {
    let scaling = match &rope.scaling {
        RopeScaling::Default | RopeScaling::Factors { .. } => String::new(),
        RopeScaling::Linear { factor }
        | RopeScaling::Dynamic { factor, .. }
        | RopeScaling::Llama3 { factor, .. }
        | RopeScaling::Yarn { factor, .. } => format!(", factor {factor}"),
    };
    format!("{}, theta {}{scaling}", rope.scaling.name(), rope.theta)
}

fn describe_tokenizer(tokenizer: &Tokenizer) -> String {
    let piece = |id: u32| format!("{id} {:?}", tokenizer.piece(id).unwrap_or_default());
    let bos = tokenizer.bos_id().map_or("none".to_string(), piece);
    let eos: Vec<String> = tokenizer.eos_ids().iter().map(|&id| piece(id)).collect();
    let eos = if eos.is_empty() { "none".to_string() } else { eos.join(", ") };
    format!("{} tokens, begin {bos}, end {eos}", tokenizer.vocab_size())
}

/// A tensor's name with its whole-number parts, such as a layer's index, replaced by a star.
fn pattern(name: &str) -> String {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    name.split('.').map(|part| if is_number(part) { "*" } else { part }).collect::<Vec<_>>().join(".")
}

fn n_elements(tensor: &Tensor) -> u64 {
    tensor.shape().iter().map(|&dim| dim as u64).product()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_have_one_pattern() {
        assert_eq!(pattern("model.layers.12.mlp.up_proj.weight"), "model.layers.*.mlp.up_proj.weight");
        assert_eq!(pattern("lm_head.weight"), "lm_head.weight");
    }
}
